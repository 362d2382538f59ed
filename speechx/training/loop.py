"""The training loop that every run goes through.

Everything random is drawn in the loader's workers, so the targets of all micro-batches on all ranks
are counted before the first forward pass. The loop divides each term of the loss once per
step by its own global count: K micro-batches or K ranks equal one big batch, for every term that is
additive by nature.

The whole run is (config, position in the streams of batches). Every micro-batch seeds torch's
generator with the run's seed and its own number, so a resumed run repeats dropout and Gumbel noise
to the bit.

    L layers
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from speechx.config import config, require_not_negative, require_positive
from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.log import logger
from speechx.models.encoder import EncoderConfig
from speechx.models.packed import multiplies_bfloat16
from speechx.objectives.model import SpeechModel, layer_keep
from speechx.objectives.objective import Loss
from speechx.training.audio_errors import AudioErrors
from speechx.training.distributed import (
    Precision,
    Ranks,
    accumulating,
    autocast,
    parallelize,
    precision_on,
    set_training,
)
from speechx.training.health import Health, Monitor
from speechx.training.optim import Optim, build_optimizer, learning_rate, set_lr
from speechx.training.progress import Progress
from speechx.training.recovery import cut_log, handle_finding, resume, roll_back, write_event
from speechx.training.state import TrainState, save_state, sum_over_ranks, write_config
from speechx.training.throughput import Throughput, cores

MicroStep: TypeAlias = dict[str, Batch]  # one micro-batch of each task


@config
class TrainingConfig:
    """How long, how much at a time, on what."""

    steps: int
    seed: int = 1
    batch_seconds: float = 5760.0
    """Audio per optimiser step over the whole job (1.6 hours, as XLSR), of each task that does not
    set its own; accumulation is derived."""
    max_seconds_per_device: float = 87.5
    """Audio that fits one device at once, of all tasks together."""
    precision: Precision = "float32"
    """`auto` is bfloat16 where the device multiplies it faster than float32, else float32."""
    device: str = "auto"
    workers: int | None = None
    """Processes that read audio ahead for each task, on each rank. By default none on a CPU, where
    reading is a small part of a step, and up to four beside a GPU; a line after the first steps
    shows whether they are enough."""
    log_steps: int = 50
    eval_steps: int = 500
    save_steps: int = 500

    def __post_init__(self) -> None:
        require_positive(
            self, "steps", "batch_seconds", "max_seconds_per_device", "log_steps", "eval_steps",
            "save_steps",
        )  # fmt: skip
        require_not_negative(self, "seed", "workers")

    def num_workers(self, device: torch.device) -> int:
        """Loader processes of this rank."""
        if self.workers is not None:
            return self.workers
        return min(4, max(1, cores() - 1)) if device.type == "cuda" else 0


@dataclass(frozen=True, slots=True)
class Task:
    """An objective of the model, by name, and the stream of batches that feeds it."""

    name: str
    batches: Callable[[Position], Iterator[Batch]]
    """This rank's batches from a position on."""
    micro_seconds: float
    """Audio of a micro-batch."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """Everything about a run that is decided before it starts."""

    name: str
    """Of the command, for messages."""
    out: Path
    training: TrainingConfig
    optim: Optim
    health: Health
    accumulate: int
    """Micro-batches per rank and step."""
    max_unreadable: float = 0.01
    resume: bool = False
    config: Any = None
    """Written to RUN/config.yaml when the run begins."""
    frozen: Callable[[int], tuple[str, ...]] = field(default=lambda step: ())
    """Beginnings of the names of parameters that do not train at a step."""


class Hooks(Protocol):
    """What a run does with its model beside training it."""

    def validate(self, model: SpeechModel) -> tuple[dict[str, float | str], float | None]:
        """Values for the log, and an error that chooses the best model, if there is one; called by
        the first rank, in evaluation mode."""
        ...

    def save(self, model: SpeechModel, error: float | None) -> None:
        """Writes model folders after a validation with this error; called by the first rank."""
        ...


def train(job: Job, model: SpeechModel, tasks: Sequence[Task], hooks: Hooks, ranks: Ranks) -> None:
    """Runs the optimiser steps."""
    training, out, accumulate = job.training, job.out, job.accumulate
    heads = [f"objectives.{name}." for name in model.heads]
    optimizer = build_optimizer(model, heads, job.optim)
    prefixes = {task.name: f"{task.name}/" if len(tasks) > 1 else "" for task in tasks}
    signatures = {prefixes[name]: c.signatures() for name, c in model.configs.items()}
    monitor = Monitor(job.health, training.steps, job.optim.warmup_ratio, signatures)
    errors = AudioErrors(out, job.max_unreadable, job.resume, ranks)
    if job.resume:
        state = resume(out, model, optimizer, monitor, ranks)
        if ranks.is_main:
            write_event(out, {"step": state.step, "action": "resume"})
    else:
        state = TrainState(health=monitor.memory, positions={t.name: Position() for t in tasks})
        if ranks.is_main:
            cut_log(out / "log.jsonl", 0)
            (out / "health.jsonl").unlink(missing_ok=True)
    if ranks.is_main and job.config is not None:
        write_config(out, job.config, job.resume)
    errors.resume(state.audio_errors)
    _announce(job, tasks, state, ranks)
    silent = not ranks.is_main
    progress = Progress(job.name, out / "log.jsonl", training.steps, state.step, silent)
    clock = Throughput(training.num_workers(ranks.device), training.steps - state.step, len(tasks))

    def open_streams() -> dict[str, Iterator[Batch]]:
        return {t.name: clock.watch(t.batches(state.positions[t.name])) for t in tasks}

    streams, wrapped, frozen = open_streams(), None, None
    while state.step < training.steps:
        step = state.step
        if wrapped is None or job.frozen(step) != frozen:
            frozen = job.frozen(step)
            set_training(model, frozen)
            wrapped = parallelize(model, ranks)
        group: list[MicroStep] = [
            {name: next(stream).to(ranks.device) for name, stream in streams.items()}
            for _ in range(accumulate)
        ]
        for name, batch in group[-1].items():
            state.positions[name] = batch.position.after(ranks.world - ranks.rank)
        counts, seconds = _count(group, errors, ranks)
        totals = _backward(wrapped, group, tasks, counts, model.encoder.config, step, job, ranks)
        norms = _clip(model, job.optim.clip, prefixes)
        lr = learning_rate(step, training.steps, job.optim) * monitor.memory.lr_scale
        finding = None
        if math.isfinite(norm := float(norms["gradient_norm"])):
            set_lr(optimizer, lr)
            optimizer.step()
            monitor.step_taken()
            for key, total in {**totals, **norms, "steps": 1.0}.items():
                state.totals[key] = state.totals.get(key, 0.0) + total
        else:
            # Before the update: the weights are still good. DDP has summed the gradients, so all
            # ranks agree.
            _write_refused(job, step, norm, group, ranks)
            finding = monitor.refuse(step)
        optimizer.zero_grad(set_to_none=True)
        state.step = done = step + 1
        progress.advance(done, seconds)
        if line := clock.step_done(ranks):
            logger.info(f"{job.name}: {line}")
        if (done % training.log_steps == 0 or done == training.steps) and state.totals:
            summed = sum_over_ranks(state.totals, ranks)
            means = {key: summed[key] / summed["steps"] for key in norms}
            waiting = {"waiting_share": clock.waiting_share(ranks)}
            values = {**_metrics(model, summed, prefixes), **means, "lr": lr, **waiting}
            progress.report(values)
            state.totals = {}
            finding = finding or monitor.see(done, values)
        if finding is not None and handle_finding(finding, monitor, out, job.optim, ranks):
            state = roll_back(out, model, optimizer, monitor, ranks)
            errors.resume(state.audio_errors)
            streams = open_streams()
            continue
        if ranks.is_main and (done % training.eval_steps == 0 or done == training.steps):
            model.eval()
            with torch.no_grad():
                validated, error = hooks.validate(model)
            set_training(model, frozen)
            if validated:
                progress.report(validated)
            if monitor.may_save or done == training.steps:
                hooks.save(model, error)
        if done % training.save_steps == 0 or done == training.steps:
            monitor.saved(done)
            state.micro_seconds = {t.name: t.micro_seconds for t in tasks}
            state.audio_errors = errors.to_dict()
            save_state(out, model, optimizer, state, ranks)
    ranks.barrier()
    progress.close()


def _announce(job: Job, tasks: Sequence[Task], state: TrainState, ranks: Ranks) -> None:
    """Logs every derived number: a log then explains itself."""
    chosen = job.training.precision
    precision = precision_on(ranks.device, chosen)
    if chosen == "bfloat16" and ranks.device.type == "cpu" and not multiplies_bfloat16():
        logger.warning(
            "this processor multiplies bfloat16 several times slower than float32; "
            "run.precision=auto takes the faster one"
        )
    for task in tasks:
        of_task = f" of {task.name}" if len(tasks) > 1 else ""
        scale = state.health.lr_scale
        logger.info(
            f"{job.name}: {task.micro_seconds * job.accumulate * ranks.world:g} s of audio per "
            f"step{of_task} = {ranks.world} process(es) x {job.accumulate} micro-batch(es) x "
            f"{task.micro_seconds:g} s, on {ranks.device} in {precision}"
            + (f"; continuing at step {state.step}" if job.resume else "")
            + (f", at {scale:g} of the learning rate" if scale < 1 else "")
        )
        before = state.micro_seconds.get(task.name, task.micro_seconds)
        if before != task.micro_seconds:
            logger.info(
                f"{job.name}: micro-batches had {before:g} s before: other settings or another "
                "number of processes put the data in another order from here on"
            )
    if state.step >= job.training.steps:
        logger.info(f"{job.name}: all steps are done; raise run.steps to go on")


def _count(
    group: Sequence[MicroStep], errors: AudioErrors, ranks: Ranks
) -> tuple[dict[str, float], float]:
    """Global counts of the targets of each task ("task/count"), and seconds of audio of a step."""
    batches = [batch for micro in group for batch in micro.values()]
    counts: dict[str, float] = {}
    for micro in group:
        for name, batch in micro.items():
            for count, number in batch.counts.items():
                key = f"{name}/{count}"
                counts[key] = counts.get(key, 0) + number
    keys = sorted(counts)
    *numbers, seconds, tried, wrong = ranks.all_reduce_sum(
        [
            *(counts[key] for key in keys),
            sum(batch.seconds for batch in batches),
            sum(batch.tried for batch in batches),
            sum(len(batch.errors) for batch in batches),
        ]
    )
    errors.add(batches, tried, wrong)
    return dict(zip(keys, numbers, strict=True)), seconds


def _backward(
    wrapped: nn.Module,
    group: Sequence[MicroStep],
    tasks: Sequence[Task],
    counts: Mapping[str, float],
    encoder: EncoderConfig,
    step: int,
    job: Job,
    ranks: Ranks,
) -> dict[str, Any]:
    """Gradients of a step; returns the sums for the log ("task/total"), in float64."""
    seed = job.training.seed
    totals: dict[str, Any] = {}
    layer_keep_L = layer_keep(encoder, seed, step)
    for index, micro in enumerate(group):
        torch.manual_seed(seed * 1_000_003 + next(iter(micro.values())).number)
        with accumulating(wrapped, last=index == len(group) - 1):
            with autocast(ranks.device, job.training.precision):
                losses: dict[str, Loss] = wrapped(micro, step, layer_keep_L)
            scaled = [
                term.sum * (task.weight * ranks.world / max(counts[f"{task.name}/{term.count}"], 1))
                for task in tasks
                for term in losses[task.name].terms
            ]
            torch.stack(scaled).sum().backward()
        for name, loss in losses.items():
            for key, total in loss.totals.items():
                key, total = f"{name}/{key}", total.double()
                totals[key] = totals[key] + total if key in totals else total
    return totals


def _clip(model: SpeechModel, limit: float, prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """Cuts the gradient to `limit`; returns its norm before, and the norms of the groups that
    objectives watch."""
    norms = {}
    for name, prefix in prefixes.items():
        for key, parameters in model.objective(name).watched_gradients().items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            norms[f"{prefix}{key}"] = nn.utils.get_total_norm(gradients).double()
    whole = nn.utils.clip_grad_norm_(model.parameters(), limit).double()
    return {"gradient_norm": whole, **norms}


def _metrics(
    model: SpeechModel, summed: Mapping[str, float], prefixes: Mapping[str, str]
) -> dict[str, float]:
    """Values for the log; the names of several tasks stand before their metrics."""
    values: dict[str, float] = {}
    for name, prefix in prefixes.items():
        own = {
            key.removeprefix(f"{name}/"): v
            for key, v in summed.items()
            if key.startswith(f"{name}/")
        }
        metrics = model.objective(name).metrics(own)
        values |= {f"{prefix}{key}": value for key, value in metrics.items()}
    return values


def _write_refused(
    job: Job, step: int, norm: float, group: Sequence[MicroStep], ranks: Ranks
) -> None:
    """Names the step that is not taken, and lists the utterances of all ranks."""
    ids = ranks.gather([i for micro in group for batch in micro.values() for i in batch.ids])
    logger.info(
        f"{job.name}: step {step}: gradient is not finite; update refused, batch in refused.jsonl"
    )
    if ranks.is_main:
        line = {"step": step, "norm": str(norm), "ids": list(chain.from_iterable(ids))}
        with (job.out / "refused.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
