"""The training loop that every objective runs in.

A task draws what is random (masks, negatives) before the forward pass, so that the number of
targets of all micro-batches on all ranks is known, and gives sums over targets. The loop divides
once per optimiser step by the global number of targets: K micro-batches, or K ranks, equal one
big batch.

The whole run is (config, position in the stream of batches). Every micro-batch seeds torch's
generator with the run's seed and its own number, so a resumed run repeats dropout and Gumbel noise
to the bit.
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
from speechx.data.sampling import Position
from speechx.training.checkpoint import save_state
from speechx.training.distributed import Machine, Precision, accumulating, autocast, parallelize
from speechx.training.faults import Faults
from speechx.training.health import Health, Monitor
from speechx.training.optim import Optim, build_optimizer, learning_rate, set_rate
from speechx.training.progress import Progress, Silent
from speechx.training.recovery import Place, cut_log, must_go_back, restore
from speechx.training.throughput import Throughput, cores


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
    workers: int | None = None
    """Processes that read audio ahead, on each rank. By default none on a CPU, where reading is a
    small part of a step, and up to four beside a GPU, which then never waits for single files of
    usual corpora; a line after the first steps says whether that is enough."""
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
        require_not_negative(self, "seed")
        if self.workers is not None:
            require_not_negative(self, "workers")

    def readers(self, device: torch.device) -> int:
        """How many workers this rank has."""
        if self.workers is not None:
            return self.workers
        return min(4, max(1, cores() - 1)) if device.type == "cuda" else 0

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
    batches: Callable[[Position], Iterator[Batch]],
    run: Run,
    optim: Optim,
    out: Path,
    machine: Machine,
    resume: bool = False,
    monitor: Monitor | None = None,
    max_unreadable: float = 0.01,
) -> None:
    """Runs the optimiser steps; `batches(position)` gives this rank's batches from there on.
    Without a `monitor` only what needs no limits is watched."""
    optimizer = build_optimizer(model, optim)
    monitor = monitor or Monitor(Health(), run.steps, optim.warmup)
    place = Place()
    faults = Faults(out, max_unreadable, resume, machine)
    if resume:
        place = restore(out, model, optimizer, monitor, machine)
        faults.resume(place.faults)
    log = out / "log.jsonl"
    progress: Progress = Silent()
    if machine.first:
        if not resume:
            cut_log(log, 0)
            (out / "health.jsonl").unlink(missing_ok=True)
        progress = Progress(name, log, run.steps, place.step)
    accumulate = run.accumulate(machine.world)
    progress.say(
        f"{run.batch_seconds:g} s of audio per step = {machine.world} process(es) x {accumulate} "
        f"micro-batch(es) x {run.micro_seconds(machine.world):g} s, on {machine.device}"
        + (f"; continuing at step {place.step}" if resume else "")
        + (f", at {share:g} of the learning rate" if (share := monitor.memory.rate) < 1 else "")
    )
    micro_seconds = run.micro_seconds(machine.world)
    if place.micro_seconds not in (None, micro_seconds):
        progress.say(
            f"micro-batches had {place.micro_seconds:g} s before: other settings or another number "
            "of processes put the data in another order from here on"
        )
    if place.step >= run.steps:
        progress.say("all steps are done; raise run.steps to go on")
    pace = Throughput(run.readers(machine.device), run.steps - place.step)
    source = pace.watch(batches(place.position))
    wrapped, frozen = model, None
    model.train()
    while place.step < run.steps:
        step = place.step
        if task.frozen(step) != frozen:
            frozen = task.frozen(step)
            wrapped = parallelize(model, machine, frozen)
        group = [task.prepare(next(source).to(machine.device), step) for _ in range(accumulate)]
        place.position = group[-1].batch.position.after(machine.world - machine.rank)
        heard = [part.batch for part in group]
        targets, audio, tried, wrong = machine.total(
            [
                sum(part.targets for part in group),
                sum(batch.seconds for batch in heard),
                sum(batch.tried for batch in heard),
                sum(len(batch.faults) for batch in heard),
            ]
        )
        faults.see(heard, tried, wrong, progress.say)
        metrics: dict[str, float] = {}
        for index, part in enumerate(group):
            torch.manual_seed(run.seed * 1_000_003 + part.batch.number)
            with accumulating(wrapped, last=index == accumulate - 1):
                with autocast(machine.device, run.precision):
                    sums = task.sums(wrapped, part, step)
                (sums.loss * (machine.world / max(targets, 1))).backward()
            for key, value in sums.metrics.items():
                metrics[key] = metrics.get(key, 0.0) + float(value)
        norms = _clip(model, optim.clip)
        rate = learning_rate(step, run.steps, optim) * monitor.memory.rate
        finding = None
        if math.isfinite(norms["gradient_norm"]):
            set_rate(optimizer, rate)
            optimizer.step()
            monitor.step_taken()
            for key, number in {**metrics, **norms, "steps": 1.0}.items():
                place.totals[key] = place.totals.get(key, 0.0) + number
        else:
            # Before the update: the weights are still good. DDP has summed the gradients, so all
            # ranks agree.
            _refuse(step, norms["gradient_norm"], group, out, machine, progress)
            finding = monitor.refuse(step)
        optimizer.zero_grad(set_to_none=True)
        place.step = done = step + 1
        progress.advance(done, audio)
        if line := pace.step_done(machine):
            progress.say(line)
        if (done % run.log_steps == 0 or done == run.steps) and place.totals:
            summed = _over_ranks(place.totals, machine)
            means = {key: summed[key] / summed["steps"] for key in norms}
            waiting = {"waiting_share": pace.waiting_share(machine)}
            values = {**task.summary(summed), **means, "rate": rate, **waiting}
            progress.report(values)
            place.totals = {}
            finding = finding or monitor.see(done, values)
        if finding is not None and must_go_back(finding, monitor, out, optim, machine, progress):
            place = restore(out, model, optimizer, monitor, machine, back=True)
            faults.resume(place.faults)
            source = pace.watch(batches(place.position))
            continue
        if done % run.eval_steps == 0 or done == run.steps:
            model.eval()
            with torch.no_grad(), autocast(machine.device, run.precision):
                validated = task.validate(model, done)
            model.train()
            if validated:
                progress.report(validated)
            if machine.first and (monitor.may_keep or done == run.steps):
                task.keep(model, done, validated)
        if done % run.save_steps == 0 or done == run.steps:
            monitor.saved(done)
            extra = {
                "taken": place.position.number,
                "epoch": place.position.epoch,
                "index": place.position.index,
                "totals": _over_ranks(place.totals, machine),
                "health": monitor.to_dict(),
                "faults": faults.to_dict(),
                "micro_seconds": micro_seconds,
            }
            save_state(out, done, model, optimizer, extra, keep=monitor.memory.healthy)
    machine.wait()
    progress.close()


def _clip(model: nn.Module, limit: float) -> dict[str, float]:
    """Cuts the gradient to `limit`; its norm before, and that of the part that chooses codes."""
    choosing = [
        parameter.grad
        for name, parameter in model.named_parameters()
        if name.startswith("quantizer.logits.") and parameter.grad is not None
    ]
    part = {"quantizer_gradient": float(nn.utils.get_total_norm(choosing))} if choosing else {}
    return {"gradient_norm": float(nn.utils.clip_grad_norm_(model.parameters(), limit)), **part}


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
