"""Where a run goes on: after an interruption, or after a finding about its health.

Two states are kept: the newest, and the newest that is known to be healthy. Going back means to
remove what came after the healthy one and to resume.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechx.data.sampling import Position
from speechx.training.checkpoint import amend_state, drop_states, load_state
from speechx.training.distributed import Machine
from speechx.training.health import ADVICE, Finding, HealthStop, Monitor
from speechx.training.optim import Optim
from speechx.training.progress import Progress


@dataclass(slots=True)
class Place:
    """Where a run is."""

    step: int = 0
    position: Position = field(default_factory=Position)
    """Of the next batch, over all ranks."""
    totals: dict[str, float] = field(default_factory=dict)
    """Of this rank, since the last line of the log."""
    micro_seconds: float | None = None
    """Length of the micro-batches up to here."""
    faults: dict[str, Any] = field(default_factory=dict)
    """Counts of what could not be read up to here."""


def restore(
    out: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    monitor: Monitor,
    machine: Machine,
    back: bool = False,
) -> Place:
    """The place of the newest state, with its weights and moments; `back`: after a finding."""
    state = load_state(out, model, optimizer)
    monitor.resume(state.get("health", {}), back)
    _forget_missing(out, monitor)
    totals = state["totals"] if machine.first else dict.fromkeys(state["totals"], 0.0)
    if machine.first:
        cut_log(out / "log.jsonl", state["step"])
        if back:
            amend_state(out, {"health": monitor.to_dict()})
        else:
            _note(out, {"step": state["step"], "action": "resume"})
    seconds, faults = state.get("micro_seconds"), state.get("faults", {})
    return Place(state["step"], _position(state), totals, seconds, faults)


def _position(state: dict[str, Any]) -> Position:
    """Older states name no epoch: all batches that were taken count from the first one."""
    number = state["taken"]
    return Position(state.get("epoch", 0), state.get("index", number), number)


def must_go_back(
    finding: Finding,
    monitor: Monitor,
    out: Path,
    optim: Optim,
    machine: Machine,
    progress: Progress,
) -> bool:
    """What a run does about a finding: False goes on, True is to `restore`, HealthStop ends it."""
    _forget_missing(out, monitor)
    memory, action = monitor.memory, monitor.action(finding)
    healthy = memory.healthy
    if machine.first:
        event = {"step": finding.step, "code": finding.code, "text": finding.text}
        _note(out, {**event, "action": action, "healthy": healthy})
    if action != "stop":
        progress.say(str(finding))
    if action == "warn":
        return False
    if healthy is not None:
        machine.wait()
        if machine.first:
            drop_states(out, healthy)
            _vouch(out, healthy)
        machine.wait()
    if action == "rollback":
        rate, tries = optim.rate * memory.rate / 2, monitor.health.rollbacks
        progress.say(
            f"back to step {healthy}, the last healthy checkpoint, and on with half the learning "
            f"rate (peak {rate:g}); return {memory.rollbacks + 1} of {tries}"
        )
        return True
    tried = f" (after {memory.rollbacks} returns to a healthy checkpoint)"
    what_next = (
        "No checkpoint is known to be healthy: start again with another out"
        if healthy is None
        else f"Last healthy checkpoint: step {healthy}; --resume optim.rate={optim.rate / 2:g} "
        "continues from it at half the rate"
    )
    raise HealthStop(
        f"{finding}{tried if memory.rollbacks else ''}. {what_next}. "
        f"What helps: {ADVICE[finding.code]}"
    )


def _forget_missing(out: Path, monitor: Monitor) -> None:
    """A healthy state that is no longer on disk is none: what is there must not be dropped for it.
    All ranks see the same."""
    memory = monitor.memory
    if memory.healthy is not None and not _state(out, memory.healthy).is_dir():
        memory.healthy = None


def _vouch(out: Path, healthy: int) -> None:
    """Writes into the newest state that it is healthy; it was saved before anyone knew."""
    saved = json.loads((_state(out, healthy) / "run.json").read_text())["health"]
    amend_state(out, {"health": {**saved, "healthy": healthy, "pending": None}})


def _state(out: Path, step: int) -> Path:
    return out / "state" / f"step_{step}"


def cut_log(log: Path, step: int) -> None:
    """Drops the lines of steps that a resumed run does again; a fresh run starts an empty log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    if step and log.is_file():
        # What follows the last newline was cut off where the process was killed.
        lines = log.read_text(encoding="utf-8").split("\n")[:-1]
        kept = [line + "\n" for line in lines if json.loads(line)["step"] <= step]
    log.write_text("".join(kept), encoding="utf-8")


def _note(out: Path, event: dict[str, Any]) -> None:
    """A line of health.jsonl: what was found and done, for `speechx health`."""
    with (out / "health.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")
