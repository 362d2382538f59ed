"""What the folder of a run says about it, without opening the model.

RUN/config.yaml, log.jsonl, health.jsonl (what the monitor found while the run went on, and what was
done) and refused.jsonl (updates that were not made). And what it is held against: the ranges of
healthy runs of ours, health_bands.json.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from speechx.config import parse, read_yaml
from speechx.errors import UserError
from speechx.training.health import Contrast, Finding, Health, Monitor


@dataclass(frozen=True, slots=True)
class Run:
    """A run as far as it is."""

    folder: Path
    kind: str
    """pretraining or finetuning"""
    steps: int
    lines: list[dict[str, Any]]
    events: list[dict[str, Any]]
    refused: int
    monitor: Monitor
    """Has seen all lines, ..."""
    findings: list[Finding]
    """... and found these."""
    age: float
    """Seconds since the last line."""

    @property
    def step(self) -> int:
        last = self.lines[-1]["step"] if self.lines else 0
        return max(last, self.stopped["step"]) if self.stopped else last

    @property
    def stopped(self) -> dict[str, Any] | None:
        """The finding that ended the run, unless it was continued since."""
        last = self.events[-1] if self.events else {}
        return last if last.get("action") == "stop" else None

    def share(self, key: str, value: float) -> float:
        """The value as it is shown: perplexities as a share of all codes."""
        contrast = self.monitor.contrast
        return value / contrast.possible if contrast and key.endswith("perplexity") else value

    def bands(self) -> dict[str, Any]:
        """Ranges measured on healthy runs, and what those were; `at` are shares of a whole run."""
        file = resources.files("speechx") / "health_bands.json"
        measured = json.loads(file.read_text(encoding="utf-8"))[self.kind]
        contrast = self.monitor.contrast
        if contrast is not None and contrast.negatives != measured["negatives"]:
            for key in ("bits", "accuracy"):  # among fewer or more negatives
                del measured[key]
        return measured


def read_run(folder: Path) -> Run:
    log, file = folder / "log.jsonl", folder / "config.yaml"
    for needed in (file, log):
        if not needed.is_file():
            raise UserError(
                f"{folder} is not the folder of a run: it has no {needed.name}; expected the `out` "
                "of `speechx pretrain` or `speechx finetune`"
            )
    raw = read_yaml(file)
    limits = parse(Health, raw.get("health") or {}, str(file))
    try:
        steps, warmup = raw["run"]["steps"], raw["optim"]["warmup"]
        contrast = None
        if "units" not in raw:
            codes = raw["model"]["quantizer"]
            contrast = Contrast(raw["contrastive"]["negatives"], codes["groups"], codes["entries"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} is not the configuration of a run: it has no {error}") from None
    monitor, lines = Monitor(limits, steps, warmup, contrast), _json_lines(log)
    key = "blank_share" if contrast is None else "bits"
    seen = [monitor.see(line["step"], line) for line in lines if key in line]
    return Run(
        folder=folder,
        kind="finetuning" if contrast is None else "pretraining",
        steps=steps,
        lines=lines,
        events=_json_lines(folder / "health.jsonl"),
        refused=len({line["step"] for line in _json_lines(folder / "refused.jsonl")}),
        monitor=monitor,
        findings=[finding for finding in seen if finding is not None],
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
