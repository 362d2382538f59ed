"""Continuing a run: after an interruption, or from its last healthy state after a finding."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechx.errors import HealthStop, UserError
from speechx.log import logger
from speechx.training.distributed import Ranks
from speechx.training.health import Finding, Monitor
from speechx.training.optim import Optim
from speechx.training.state import TrainState, amend_health, drop_states, load_state, state_folder


def resume(
    out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, monitor: Monitor, ranks: Ranks
) -> TrainState:
    """Loads the newest state; the lines of later steps leave the log."""
    state = load_state(out, model, optimizer, ranks)
    monitor.memory = state.health
    forget_deleted(out, monitor)
    if ranks.is_main:
        cut_log(out / "log.jsonl", state.step)
    return state


def roll_back(
    out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, monitor: Monitor, ranks: Ranks
) -> TrainState:
    """Loads the last healthy state, the newest one after `handle_finding`, at half the learning
    rate."""
    before = monitor.memory
    state = resume(out, model, optimizer, monitor, ranks)
    monitor.roll_back(before)
    if ranks.is_main:
        amend_health(out, state.step, **asdict(monitor.memory))
    return state


def handle_finding(
    finding: Finding, monitor: Monitor, out: Path, optim: Optim, ranks: Ranks
) -> bool:
    """Acts on a finding. Returns whether the caller must `roll_back`; raises HealthStop if the run
    ends."""
    forget_deleted(out, monitor)
    memory, action = monitor.memory, monitor.action(finding)
    healthy = memory.healthy
    if ranks.is_main:
        named = {"code": finding.code, "name": finding.name, "advice": finding.advice}
        event = {"step": finding.step, **named, "text": finding.text}
        write_event(out, {**event, "action": action, "healthy": healthy})
    if action != "stop":
        logger.info(str(finding))
    if action == "warn":
        return False
    if healthy is not None:
        ranks.barrier()
        if ranks.is_main:
            drop_states(out, healthy)
            # The state was saved before it was known to be healthy.
            amend_health(out, healthy, healthy=healthy, pending=None)
        ranks.barrier()
    if action == "rollback":
        lr, tries = optim.lr * memory.lr_scale / 2, monitor.health.rollbacks
        logger.info(
            f"back to step {healthy}, the last healthy checkpoint, and on with half the learning "
            f"rate (peak {lr:g}); rollback {memory.rollbacks + 1} of {tries}"
        )
        return True
    tried = f" (rollbacks before: {memory.rollbacks})" if memory.rollbacks else ""
    what_next = (
        "No checkpoint is known to be healthy: start again with another out"
        if healthy is None
        else f"Last healthy checkpoint: step {healthy}; --resume optim.lr={optim.lr / 2:g} "
        "continues from it at half the rate"
    )
    raise HealthStop(f"{finding}{tried}. {what_next}. What helps: {finding.advice}")


def forget_deleted(out: Path, monitor: Monitor) -> None:
    """If the last healthy checkpoint was deleted, forget it, so that newer checkpoints are not
    removed. All ranks see the same."""
    memory = monitor.memory
    if memory.healthy is not None and not state_folder(out, memory.healthy).is_dir():
        memory.healthy = None


def cut_log(log: Path, step: int) -> None:
    """Drops the lines of steps that a resumed run does again; a fresh run starts an empty log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    if step and log.is_file():
        # A killed process may have cut off what follows the last newline.
        lines = log.read_text(encoding="utf-8").split("\n")[:-1]
        try:
            kept = [line + "\n" for line in lines if json.loads(line)["step"] <= step]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{log} is damaged; remove the lines in it that are no JSON objects with a step"
            ) from None
    log.write_text("".join(kept), encoding="utf-8")


def write_event(out: Path, event: dict[str, Any]) -> None:
    """Adds a line to health.jsonl: what was found and done, for `speechx health`."""
    with (out / "health.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")
