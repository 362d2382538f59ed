"""What the folder of a run holds beside the model.

RUN/config.yaml, log.jsonl, health.jsonl (what the monitor found during the run, and what was done)
and refused.jsonl (updates that were not made). The objectives of the run state what to show of
the log; health_bands.json has the ranges of healthy runs of ours, by kind of objective.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from speechx.config import flat, parse, read_yaml, to_dict
from speechx.errors import UserError
from speechx.objectives.objective import ObjectiveConfig, Panel
from speechx.training.health import Finding, Monitor
from speechx.training.run import RunConfig

# Keys that the loop adds to the metrics of the objectives.
OF_THE_LOOP = ("step", "lr", "waiting_share", "audio_seconds", "seconds", "gradient_norm")
GRADIENT = Panel("gradient norm", ("gradient_norm",), scale="logarithmic")


@dataclass(frozen=True, slots=True)
class Band:
    """Range of a metric in healthy runs; `at` are shares of a whole run."""

    at: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, slots=True)
class Curve:
    """A key of the log as it is shown; no points if the log does not have it."""

    key: str
    points: list[tuple[int, float]]
    """Steps and values."""
    band: Band | None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run has logged so far."""

    folder: Path
    objectives: Mapping[str, ObjectiveConfig]
    """By the prefix of their metrics in the log: empty for a single one."""
    steps: int
    lines: list[dict[str, Any]]
    events: list[dict[str, Any]]
    refused: int
    monitor: Monitor
    """Has seen all lines, ..."""
    findings: list[Finding]
    """... and found these."""
    warned: set[str]
    """Codes of the signatures that the last line shows."""
    age: float
    """Seconds since the last line."""

    @property
    def name(self) -> str:
        """What the run learns."""
        parts = (f"{prefix[:-1]} ({c.kind})" for prefix, c in self.objectives.items() if prefix)
        return ", ".join(parts) or self.objectives[""].kind

    @property
    def step(self) -> int:
        last = self.lines[-1]["step"] if self.lines else 0
        return max(last, self.stopped["step"]) if self.stopped else last

    @property
    def stopped(self) -> dict[str, Any] | None:
        """The finding that ended the run, unless the run was continued since."""
        last = self.events[-1] if self.events else {}
        return last if last.get("action") == "stop" else None

    def measured_on(self) -> list[str]:
        """Which runs the bands were measured on."""
        kinds, measured = {c.kind for c in self.objectives.values()}, _measured()
        return [measured[kind]["measured_on"] for kind in sorted(kinds & measured.keys())]

    def panels(self) -> list[tuple[Panel, list[Curve]]]:
        """What to show: the panels of all objectives, and the gradient norm."""
        shown = []
        for prefix, config in self.objectives.items():
            bands = healthy_bands(config)
            for panel in config.panels() or self._panel_of_each_metric(prefix):
                title = prefix.replace("/", ": ") + panel.title
                shown.append((replace(panel, title=title), self._curves(panel, prefix, bands)))
        # The norm over several objectives has no band.
        bands = bands if len(self.objectives) == 1 else {}
        return [*shown, (GRADIENT, self._curves(GRADIENT, "", bands))]

    def _curves(self, panel: Panel, prefix: str, bands: Mapping[str, Band]) -> list[Curve]:
        curves = []
        for metric in panel.metrics:
            keys = sorted(k for k in self._keys() if fnmatchcase(k, prefix + metric))
            for key in keys or ([prefix + metric] if metric in bands else []):
                lines = (line for line in self.lines if key in line)
                points = [(line["step"], line[key] / panel.share_of) for line in lines]
                curves.append(Curve(key, points, bands.get(metric)))
        return curves

    def _panel_of_each_metric(self, prefix: str) -> list[Panel]:
        own = [k.removeprefix(prefix) for k in self._keys() if k.startswith(prefix)]
        metrics = [k.removeprefix("dev_").split("/")[0] for k in own if k not in OF_THE_LOOP]
        return [Panel(m, (m, f"dev_{m}", f"dev_{m}/*")) for m in dict.fromkeys(metrics)]

    def _keys(self) -> dict[str, None]:
        """All keys of the log that have numbers."""
        return {k: None for line in self.lines for k, v in line.items() if not isinstance(v, str)}


def healthy_bands(config: ObjectiveConfig) -> dict[str, Band]:
    """Ranges of metrics in healthy runs of this kind, in the units of its panels. Some hold only
    for certain settings: bits and accuracy depend on the number of negatives."""
    measured = _measured().get(config.kind, {"bands": {}})
    settings = flat(to_dict(config))
    return {
        key: Band(measured["at"], band["low"], band["high"])
        for key, band in measured["bands"].items()
        if all(settings.get(name) == value for name, value in band.get("only_if", {}).items())
    }


def _measured() -> dict[str, Any]:
    file = resources.files("speechx.diagnostics") / "health_bands.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def read_run(folder: Path) -> RunRecord:
    """Reads the files of a run, and judges its log as the monitor did during the run."""
    log, file = folder / "log.jsonl", folder / "config.yaml"
    for needed in (file, log):
        if not needed.is_file():
            raise UserError(
                f"{folder} is not the folder of a run: it has no {needed.name}; expected the `out` "
                "of `speechx pretrain` or `speechx finetune`"
            )
    raw, known = read_yaml(file), {field.name for field in fields(RunConfig)}
    if "run" not in raw:
        raise UserError(f"{file} is not the configuration of a run: it has no `run`")
    config = parse(RunConfig, {key: value for key, value in raw.items() if key in known}, str(file))
    tasks = config.all_tasks()
    objectives = {f"{n}/" if len(tasks) > 1 else "": task.objective for n, task in tasks.items()}
    signatures = {prefix: objective.signatures() for prefix, objective in objectives.items()}
    monitor = Monitor(config.health, config.run.steps, config.optim.warmup_ratio, signatures)
    lines = _json_lines(log)
    trained = [line for line in lines if "gradient_norm" in line]
    try:
        findings = [monitor.see(line["step"], line) for line in trained]
        warned = monitor.codes(trained[-1]["step"], trained[-1]) if trained else set()
    except KeyError as error:
        raise UserError(f"{log} is not the log of this configuration: no {error}") from None
    return RunRecord(
        folder=folder,
        objectives=objectives,
        steps=config.run.steps,
        lines=lines,
        events=_json_lines(folder / "health.jsonl"),
        refused=len({line["step"] for line in _json_lines(folder / "refused.jsonl")}),
        monitor=monitor,
        findings=[finding for finding in findings if finding is not None],
        warned=warned,
        age=time.time() - log.stat().st_mtime,
    )


def _json_lines(file: Path) -> list[dict[str, Any]]:
    """Whole lines only: the run may be writing the last one."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is damaged: {error}") from None
