"""Whether data comes as fast as the model takes it.

    loader 412x real time, model needs 280x: ok

Both are seconds of audio per second, of the whole job. The speed of the loader comes from the time
that its workers spent on the batches of the first steps, times the number of workers; the speed of
the model from the rest of the same steps, without waiting for data. Neither hides behind the other,
and the line names what to change before GPU hours are lost. The first two steps do not count:
workers start, kernels are chosen.

With several ranks, all wait for the rank whose data comes last. The waiting time of a step is
therefore the longest of all ranks, and its computing time the shortest.

Every line of the log has `waiting_share`: the share of the time since the line before in which the
model waited for data, on the rank that waited most.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from speechx.data.batches import Batch
from speechx.training.distributed import Ranks

NOT_COUNTED = 2
STEPS = 10
ROOM = 1.25  # more workers than just enough, for batches that take longer than others
TOLERABLE = 0.05  # share of waiting


class Throughput:
    """Clock of a run: what is read, computed and waited."""

    def __init__(
        self,
        workers: int,
        steps: int,
        tasks: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`workers` of each of the tasks; `steps` are the steps that the run still takes."""
        self.workers, self.tasks, self.clock = workers, tasks, clock
        self.left, self.steps = steps, 0
        self.begun: float | None = None
        self.step_waited = self.audio = 0.0
        self.computed: list[float] = []  # of each step that counts
        self.waited: list[float] = []
        self.spent: Counter[str] = Counter()  # type: ignore[assignment]
        self.reported, self.reported_waited, self.all_waited = self.clock(), 0.0, 0.0

    def watch(self, source: Iterator[Batch]) -> Iterator[Batch]:
        """The batches, with the time that is waited for them."""
        while True:
            before = self.clock()
            if self.begun is None:
                self.begun = before
            batch = next(source)
            waited = self.clock() - before
            self.step_waited += waited
            self.all_waited += waited
            if self.steps >= NOT_COUNTED:
                self.audio += batch.seconds
                self.spent.update(batch.spent)
            yield batch

    def step_done(self, ranks: Ranks) -> str | None:
        """After each step, on every rank: once, when enough were taken, the line about them."""
        now = self.clock()
        if self.steps >= NOT_COUNTED and self.begun is not None:
            self.computed.append(now - self.begun - self.step_waited)
            self.waited.append(self.step_waited)
        self.begun, self.step_waited = None, 0.0
        self.steps += 1
        self.left -= 1
        counted = self.steps - NOT_COUNTED
        if counted < 1 or not (counted == STEPS or (counted < STEPS and self.left == 0)):
            return None
        audio = sum(ranks.gather(self.audio))
        computed = sum(min(step) for step in zip(*ranks.gather(self.computed), strict=True))
        waited = sum(max(step) for step in zip(*ranks.gather(self.waited), strict=True))
        spent: Counter[str] = sum(ranks.gather(self.spent), Counter())
        read = sum(spent.values())
        if min(audio, computed, read) <= 0:
            return None
        return verdict(
            loader=audio / read * ranks.world * max(1, self.workers * self.tasks),
            model=audio / computed,
            waiting=waited / (waited + computed),
            workers=self.workers,
            cores=max(1, cores() // self.tasks),
            spent=spent,
        )

    def waiting_share(self, ranks: Ranks) -> float:
        """Share of the time since the last call, on the rank that waited most."""
        now = self.clock()
        share = (self.all_waited - self.reported_waited) / max(now - self.reported, 1e-9)
        self.reported, self.reported_waited = now, self.all_waited
        return round(max(ranks.gather(share)), 4)


def verdict(
    loader: float,
    model: float,
    waiting: float,
    workers: int,
    cores: int,
    spent: Mapping[str, float],
) -> str:
    """The line: times real time of loader and model, and what to do where the loader is slower.

    `waiting` is the share of time spent waiting, `cores` the number of cores for each task of each
    process of the job, `spent` the loader's seconds by purpose.
    """
    if workers == 0 and waiting > TOLERABLE:
        return (
            f"{waiting:.0%} of the time goes to reading data: run.workers is 0, so nothing is read "
            f"while the model computes (loader {loader:.0f}x real time, model could take "
            f"{model:.0f}x); set run.workers={max(1, min(_enough(1, loader, model), cores - 1))}"
        )
    if loader >= model and waiting > TOLERABLE:
        who = "1 worker reads" if workers == 1 else f"{workers} workers read"
        return (
            f"{waiting:.0%} of the time goes to waiting for data, though {who} fast enough "
            f"(loader {loader:.0f}x real time, model could take {model:.0f}x): workers that still "
            "start, a rank that reads slower, or batches that are slow to hand over; if "
            "waiting_share in log.jsonl stays high, raise run.workers"
        )
    if loader >= model:
        return f"loader {loader:.0f}x real time, model needs {model:.0f}x: ok"
    most = max(spent, key=lambda name: spent[name])
    share = spent[most] / sum(spent.values())
    needed = _enough(workers, loader, model)
    more = (
        f"raise run.workers to {needed}, or pack"
        if needed <= cores
        else f"{needed} workers would be needed and there are {cores} cores for them, so pack"
    )
    if "shards" in most:
        more = more.replace("or pack", "or pack as int16").replace("so pack", "so pack as int16")
    return (
        f"the loader is the bottleneck: {loader:.0f}x real time with {workers} "
        f"worker{'s' if workers != 1 else ''}, model could take {model:.0f}x; "
        f"{most} takes {share:.0%} of it: {more}: speechx data pack MANIFESTS -o SHARDS"
    )


def cores() -> int:
    """Cores of this machine for each process of the job on it (torchrun gives their number)."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (available or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _enough(workers: int, loader: float, model: float) -> int:
    return max(1, math.ceil(workers * model / loader * ROOM))
