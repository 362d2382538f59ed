"""Is my curve normal? What the log of a run shows, in words and as a picture.

    speechx health runs/pretrain -o health.png

Needs no model and no GPU, and works while the run goes on: the monitor that watched the run reads
its log again. The contrastive loss is in bits per masked frame: fairseq logs the same, transformers
logs nats (1 nat = 1.443 bits).
"""

from pathlib import Path
from typing import Any

import numpy as np

from speechx.diagnostics.health_figure import draw
from speechx.diagnostics.run_log import RunRecord, read_run
from speechx.errors import UserError
from speechx.log import logger
from speechx.text_table import text_table
from speechx.training.health import Finding

PICTURES = (".png", ".svg", ".pdf")


def examine(folder: Path | str, picture: Path | str | None = None) -> tuple[str, int]:
    """The verdict on a run, and the exit code: 0, or 3 if the run is not healthy. Draws its curves,
    by default to health.png in its folder."""
    run = read_run(Path(folder))
    path = Path(picture) if picture is not None else run.folder / "health.png"
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"the curves are a picture: {path} must end in {' or '.join(PICTURES)}")
    try:
        draw(run, path)
    except ModuleNotFoundError as error:
        missing = str(error.name).split(".")[0]
        logger.info(f"no {path}: {missing} is not installed; pip install 'speechx[figures]'")
    else:
        logger.info(f"curves in {path}")
    return verdict(run), 3 if standing_findings(run) else 0


def verdict(run: RunRecord) -> str:
    """In words: where the run is, its numbers beside those of healthy runs, what was found."""
    lines = [f"{run.folder}: {run.name}, {_where(run)}", ""]
    if run.lines:
        lines += [_numbers(run), ""]
    if run.refused:
        lines.append(
            f"{run.refused} updates refused for a gradient that is not finite, "
            f"{1000 * run.refused / max(run.step, 1):.1f} in 1000; a few in 1000 are normal"
        )
    # Each line once: a run that was interrupted may have found the same again.
    lines += dict.fromkeys(_describe(event) for event in run.events if "code" in event)
    reported = {(event.get("code"), event["step"]) for event in run.events}
    lines += [str(f) for f in run.findings if (f.code, f.step) not in reported]
    standing = standing_findings(run)
    unhealthy = max(run.monitor.memory.unhealthy.values(), default=0)
    lines += [f"what helps against {c} {f.name}: {f.advice}" for c, f in standing.items()]
    if standing:
        lines.append(f"NOT HEALTHY: {', '.join(standing)}")
    elif unhealthy:
        lines.append(
            f"SUSPICIOUS: the last {unhealthy} steps show the signature of a failure; a finding "
            f"needs {run.monitor.window}"
        )
    elif not run.lines:
        lines.append("the log is empty so far")
    elif not any(run.monitor.signatures.values()):
        lines.append(f"no overflow; {run.name} has no other signature of a failure")
    elif run.step < (judged := run.monitor.judges_from):
        lines.append(
            f"TOO EARLY to say: a run of {run.steps} steps is judged from step {judged} on"
            if judged <= run.steps
            else f"TOO SHORT to say: a finding needs {judged} steps, the run has {run.steps}"
        )
    else:
        lines.append("healthy")
    return "\n".join(lines)


def standing_findings(run: RunRecord) -> dict[str, Finding]:
    """By code, the findings that still hold: no rollback and no better line came after them."""
    if run.stopped:
        return {run.stopped["code"]: _finding(run.stopped)}
    now = {f.code: f for f in run.findings}
    held = {c for c, f in now.items() if f.warning and c in run.warned}
    return {c: now[c] for c in sorted(now) if c in held or c in run.monitor.memory.reported}


def _numbers(run: RunRecord) -> str:
    """A table: the newest numbers, and the range of healthy runs at this point."""
    rows = [[f"step {run.step}", "now", "healthy runs at this point"]]
    at = run.step / run.steps
    for panel, curves in run.panels():
        known = [curve for curve in curves if curve.points]
        level = "" if panel.level is None else f" ({panel.level_name} {_short(panel.shown_level)})"
        rows += [[panel.title + level]] if known else []
        for curve in known:
            row = [f"  {curve.key}", _short(curve.points[-1][1])]
            if band := curve.band:
                low, high = (float(np.interp(at, band.at, end)) for end in (band.low, band.high))
                row.append(f"{_short(low)} to {_short(high)}")
            rows.append(row)
    measured = [f"(healthy runs: {text})" for text in run.measured_on()]
    return "\n".join([text_table(rows, left=(0, 2)), *measured])


def _short(value: float) -> str:
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


def _where(run: RunRecord) -> str:
    at = f"step {run.step} of {run.steps}"
    if run.stopped:
        return f"stopped for its health at {at}"
    if run.step >= run.steps:
        return f"finished at {at}"
    ago = f"{run.age:.0f} s" if run.age < 120 else f"{run.age / 60:.0f} min"
    return f"at {at}, last line {ago} ago"


def _finding(event: dict[str, Any]) -> Finding:
    return Finding(*(event[key] for key in ("code", "name", "advice", "step", "text")))


def _describe(event: dict[str, Any]) -> str:
    """What the monitor found during the run, and what was done about it."""
    match event["action"]:
        case "warn":
            done = "the run went on"
        case "rollback":
            done = f"the run went back to step {event['healthy']}, at half the learning rate"
        case _ if event["healthy"] is None:
            done = "the run stopped; no checkpoint is known to be healthy"
        case _:
            done = f"the run stopped; last healthy checkpoint: step {event['healthy']}"
    return f"{_finding(event)} -> {done}"
