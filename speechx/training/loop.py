"""The training loop that every objective runs in.

A task draws what is random (masks, negatives) before the forward pass, so that the number of
targets of all micro-batches on all ranks is known, and gives sums over targets. The loop divides
once per optimiser step by the global number of targets: K micro-batches, or K ranks, equal one
big batch.

The whole run is (config, number of batches taken). Every micro-batch seeds torch's generator with
the run's seed and its own number, so a resumed run repeats dropout and Gumbel noise to the bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from speechx.config import config, require_not_negative, require_positive
from speechx.data.batches import Batch
from speechx.training.checkpoint import load_state, save_state
from speechx.training.distributed import Machine, Precision, accumulating, autocast, parallelize
from speechx.training.optim import Optim, build_optimizer, learning_rate, set_rate
from speechx.training.progress import Progress, Silent

REFUSALS_IN_A_ROW = 8  # steps with a non-finite gradient before the run stops


class HealthStop(Exception):
    """Training stopped for its health; the command line exits with code 3."""


@config
class Run:
    """How long, how much at a time, on what."""

    steps: int
    seed: int = 1
    batch_seconds: float = 5760.0
    """Audio per optimiser step over the whole job (1.6 hours, as XLSR); accumulation is derived."""
    device_seconds: float = 87.5
    """Audio that fits one device at once."""
    precision: Precision = "float32"
    device: str = "auto"
    workers: int = 0
    """Processes that read audio ahead, on each rank."""
    log_steps: int = 50
    eval_steps: int = 500
    save_steps: int = 500

    def __post_init__(self) -> None:
        require_positive(
            self,
            "steps",
            "batch_seconds",
            "device_seconds",
            "log_steps",
            "eval_steps",
            "save_steps",
        )
        require_not_negative(self, "workers", "seed")

    def accumulate(self, world: int) -> int:
        """Micro-batches per rank and optimiser step."""
        return max(1, math.ceil(self.batch_seconds / (world * self.device_seconds) - 1e-9))

    def micro_seconds(self, world: int) -> float:
        """Audio per micro-batch."""
        return self.batch_seconds / (world * self.accumulate(world))


P = TypeVar("P", bound="Prepared")


class Prepared(Protocol):
    """A batch with everything random drawn."""

    @property
    def batch(self) -> Batch: ...
    @property
    def targets(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Sums:
    """Over the targets of a micro-batch: the loss that is differentiated, and what is logged."""

    loss: Tensor
    metrics: dict[str, Tensor]


class Task(Protocol, Generic[P]):
    """What is learned. `frozen` names the parameters that do not train at a step."""

    def prepare(self, batch: Batch, step: int) -> P: ...
    def sums(self, model: nn.Module, prepared: P, step: int) -> Sums: ...
    def summary(self, sums: Mapping[str, float]) -> dict[str, float]: ...
    def frozen(self, step: int) -> tuple[str, ...]: ...
    def validate(self, model: nn.Module, step: int) -> dict[str, float | str]: ...
    def keep(self, model: nn.Module, step: int, values: Mapping[str, float | str]) -> None: ...


def train(
    name: str,
    model: nn.Module,
    task: Task[Any],
    batches: Callable[[int], Iterator[Batch]],
    run: Run,
    optim: Optim,
    out: Path,
    machine: Machine,
    resume: bool = False,
) -> None:
    """Runs the optimiser steps; `batches(taken)` gives this rank's batches from `taken` on."""
    optimizer = build_optimizer(model, optim)
    start, taken = 0, 0
    totals: dict[str, float] = {}  # of this rank, since the last report
    if resume:
        state = load_state(out, model, optimizer)
        start, taken = state["step"], state["taken"]
        totals = state["totals"] if machine.first else dict.fromkeys(state["totals"], 0.0)
    log = out / "log.jsonl"
    progress: Progress = Silent()
    if machine.first:
        _cut_log(log, start)
        progress = Progress(name, log, run.steps, start)
    accumulate = run.accumulate(machine.world)
    progress.say(
        f"{run.batch_seconds:g} s of audio per step = {machine.world} process(es) x {accumulate} "
        f"micro-batch(es) x {run.micro_seconds(machine.world):g} s, on {machine.device}"
        + (f"; continuing at step {start}" if resume else "")
    )
    source = batches(taken)
    wrapped, frozen = model, None
    refused = 0
    model.train()
    for step in range(start, run.steps):
        if task.frozen(step) != frozen:
            frozen = task.frozen(step)
            wrapped = parallelize(model, machine, frozen)
        group = [task.prepare(next(source).to(machine.device), step) for _ in range(accumulate)]
        taken += accumulate * machine.world
        targets, audio = machine.total(
            [sum(part.targets for part in group), sum(part.batch.seconds for part in group)]
        )
        metrics: dict[str, float] = {}
        for index, part in enumerate(group):
            torch.manual_seed(run.seed * 1_000_003 + part.batch.number)
            with accumulating(wrapped, last=index == accumulate - 1):
                with autocast(machine.device, run.precision):
                    sums = task.sums(wrapped, part, step)
                (sums.loss * (machine.world / max(targets, 1))).backward()
            for key, value in sums.metrics.items():
                metrics[key] = metrics.get(key, 0.0) + float(value)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), optim.clip))
        rate = learning_rate(step, run.steps, optim)
        if math.isfinite(norm):
            set_rate(optimizer, rate)
            optimizer.step()
            refused = 0
            for key, number in {**metrics, "gradient_norm": norm, "steps": 1.0}.items():
                totals[key] = totals.get(key, 0.0) + number
        else:
            # Before the update: the weights are still good. DDP has summed the gradients, so all
            # ranks agree.
            refused += 1
            _refuse(step, norm, group, out, machine, progress)
            if refused == REFUSALS_IN_A_ROW:
                raise HealthStop(
                    f"{refused} steps in a row had a non-finite gradient, the last one {step}. "
                    f"The last good state is in {out / 'state'}; lower optim.rate or use "
                    "run.precision=float32."
                )
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        progress.advance(done, audio)
        if (done % run.log_steps == 0 or done == run.steps) and totals:
            summed = _over_ranks(totals, machine)
            norms = summed["gradient_norm"] / summed["steps"]
            progress.report({**task.summary(summed), "gradient_norm": norms, "rate": rate})
            totals = {}
        if done % run.eval_steps == 0 or done == run.steps:
            model.eval()
            with torch.no_grad(), autocast(machine.device, run.precision):
                values = task.validate(model, done)
            model.train()
            if values:
                progress.report(values)
            if machine.first:
                task.keep(model, done, values)
        if done % run.save_steps == 0 or done == run.steps:
            save_state(
                out,
                done,
                model,
                optimizer,
                {"taken": taken, "totals": _over_ranks(totals, machine)},
            )
    machine.wait()
    progress.close()


def _refuse(
    step: int, norm: float, group: list[Any], out: Path, machine: Machine, progress: Progress
) -> None:
    """Says which step is not taken, and writes down the utterances of all ranks."""
    ids = machine.gather([i for part in group for i in part.batch.ids])
    progress.say(f"step {step}: gradient is not finite; update refused, batch in refused.jsonl")
    if machine.first:
        with (out / "refused.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "norm": str(norm), "ids": ids}) + "\n")


def _over_ranks(totals: Mapping[str, float], machine: Machine) -> dict[str, float]:
    keys = sorted(totals)
    return dict(zip(keys, machine.total([totals[key] for key in keys]), strict=True))


def _cut_log(log: Path, step: int) -> None:
    """Drops the lines of steps that a resumed run does again; a fresh run starts an empty log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    if step and log.is_file():
        # What follows the last newline was cut off where the process was killed.
        lines = log.read_text(encoding="utf-8").split("\n")[:-1]
        kept = [line + "\n" for line in lines if json.loads(line)["step"] <= step]
    log.write_text("".join(kept), encoding="utf-8")
