"""Is my curve normal? What the log of a run says, in words and as a picture.

    speechx health runs/pretrain -o health.png

Needs no model and no GPU, and works while the run goes on. The monitor that watched the run reads
its log again, so runs of older versions are judged as well. Losses are in bits per masked frame:
fairseq logs the same, transformers logs nats (1 nat = 1.443 bits).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from speechx.health_figure import draw
from speechx.run_log import Run, read_run
from speechx.training.health import ADVICE, NAMES, Finding
from speechx.training.progress import say

NUMBERS = {
    "bits": "bits per masked frame",
    "accuracy": "accuracy",
    "code_perplexity": "code perplexity, share of all codes",
    "soft_perplexity": "soft perplexity, share of all codes",
    "negatives_equal_positive": "negatives equal to the positive",
    "feature_variance": "variance of the features",
    "quantizer_gradient": "gradient norm of the choice of codes",
    "loss": "nats per unit",
    "blank_share": "frames read as blank",
    "gradient_norm": "gradient norm",
}


def examine(folder: Path | str, picture: Path | str | None = None) -> int:
    """Prints the verdict on a run and draws its curves, by default to health.png in its folder.

    Returns the exit code: 0, or 3 if the run is not healthy.
    """
    run = read_run(Path(folder))
    print("\n".join(verdict(run)), flush=True)
    path = Path(picture) if picture is not None else run.folder / "health.png"
    try:
        draw(run, path)
    except ModuleNotFoundError as error:
        missing = str(error.name).split(".")[0]
        say(f"no {path}: {missing} is not installed; pip install 'speechx[figures]'")
    else:
        say(f"curves in {path}")
    return 3 if ills(run) else 0


def verdict(run: Run) -> list[str]:
    """In words: where the run is, its numbers beside those of healthy runs, what was found."""
    lines = [f"{run.folder}: {run.kind}, {_where(run)}", ""]
    if run.lines:
        lines += [*_numbers(run), ""]
    if run.refused:
        lines.append(
            f"{run.refused} updates refused for a gradient that is not finite, "
            f"{1000 * run.refused / max(run.step, 1):.1f} in 1000; a few in 1000 are normal"
        )
    # Once, though a run that was interrupted may have found it again.
    lines += dict.fromkeys(_told(event) for event in run.events if "code" in event)
    told = {(event.get("code"), event["step"]) for event in run.events}
    lines += [str(f) for f in run.findings if (f.code, f.step) not in told]
    standing, sick = ills(run), run.monitor.memory.sick
    lines += [f"what helps against {c} {NAMES[c]}: {ADVICE[c]}" for c in standing if c in ADVICE]
    if standing:
        lines.append(f"NOT HEALTHY: {', '.join(standing)}")
    elif sick:
        lines.append(
            f"SUSPICIOUS: the last {sick} steps show the signature of a failure; a finding needs "
            f"{run.monitor.window}"
        )
    elif not run.lines:
        lines.append("the log is empty so far")
    elif run.step < (judged := run.monitor.judges_from):
        lines.append(
            f"TOO EARLY to say: a run of {run.steps} steps is judged from step {judged} on"
            if judged <= run.steps
            else f"TOO SHORT to say: a finding needs {judged} steps, the run has {run.steps}"
        )
    else:
        lines.append("healthy")
    return lines


def ills(run: Run) -> list[str]:
    """Codes of the findings that stand: none was left behind by going back, or by getting well."""
    if run.stopped:
        return [run.stopped["code"]]
    shares = [line["blank_share"] for line in run.lines if "blank_share" in line]
    blank = bool(shares) and shares[-1] > run.monitor.health.blank
    codes = {f.code for f in run.findings if f.code in run.monitor.memory.told}
    return sorted(codes | {f.code for f in run.findings if f.code == "E201" and blank})


def _numbers(run: Run) -> list[str]:
    """A table: the newest numbers, and the reference at this point of a run."""
    bands = run.bands()
    newest: dict[str, Any] = {}
    for line in run.lines:
        newest |= line
    rows = [f"{f'step {run.step}':<38}{'now':>8}   healthy runs at this point"]
    for key, name in NUMBERS.items():
        if key not in newest or (key == "loss" and run.kind == "pretraining"):
            continue
        row = f"{name:<38}{run.share(key, newest[key]):>8.3f}"
        if key in bands:
            at = run.step / run.steps
            low, high = (np.interp(at, bands["at"], end) for end in _ends(bands[key]))
            row += f"   {low:.3f} to {high:.3f}"
        if key == "bits" and run.monitor.contrast is not None:
            chance = newest.get("chance_bits", run.monitor.contrast.chance())
            row += f"   (chance {chance:.3f})"
        rows.append(row)
    of_validation = [key for key in newest if key.startswith(("valid_", "dev_"))]
    rows += [f"{key:<38}{newest[key]:>8.3f}" for key in of_validation]
    return [*rows, f"(healthy runs: {bands['measured_on']})"]


def _ends(band: dict[str, list[float]]) -> tuple[list[float], list[float]]:
    return band["low"], band["high"]


def _where(run: Run) -> str:
    at = f"step {run.step} of {run.steps}"
    if run.stopped:
        return f"stopped for its health at {at}"
    if run.step >= run.steps:
        return f"finished at {at}"
    ago = f"{run.age:.0f} s" if run.age < 120 else f"{run.age / 60:.0f} min"
    return f"at {at}, last line {ago} ago"


def _told(event: dict[str, Any]) -> str:
    """What the monitor found while the run went on, and what was done about it."""
    finding = Finding(event["code"], event["step"], event["text"])
    match event["action"]:
        case "warn":
            done = "the run went on"
        case "rollback":
            done = f"the run went back to step {event['healthy']}, at half the learning rate"
        case _ if event["healthy"] is None:
            done = "the run stopped; no checkpoint is known to be healthy"
        case _:
            done = f"the run stopped; last healthy checkpoint: step {event['healthy']}"
    return f"{finding} -> {done}"
