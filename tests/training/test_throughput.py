"""The line about loader and model: the numbers of the clock, and what to change."""

from __future__ import annotations

import pytest
import torch

from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.training.distributed import Ranks
from speechx.training.throughput import Throughput, verdict

ALONE = Ranks(0, 1, torch.device("cpu"))
MP3 = {"decoding mp3": 0.7, "resampling": 0.2, "the rest": 0.1}


def facts(line, *expected):
    """Asserts that a line states each of these facts."""
    for fact in expected:
        assert fact in line


def test_a_fast_loader_is_reported_as_ok():
    facts(verdict(412.4, 280.2, 0.0, workers=2, cores=8, spent=MP3), "412x", "280x", ": ok")
    assert verdict(4000, 38, 0.01, workers=0, cores=2, spent=MP3).endswith(": ok")


def test_a_slow_loader_is_named_with_its_largest_part_and_a_remedy():
    line = verdict(38.0, 280.0, 0.9, workers=2, cores=32, spent=MP3)
    facts(line, "bottleneck", "38x", "2 workers", "280x", "decoding mp3", "70%")
    facts(line, "run.workers to 19", "speechx data pack")
    line = verdict(38.0, 280.0, 0.9, workers=1, cores=8, spent=MP3)
    facts(line, "1 worker,", "10 workers", "8 cores", "speechx data pack")
    assert "run.workers" not in line
    shards = {"decoding shards": 0.9, "the rest": 0.1}
    facts(verdict(38.0, 80.0, 0.5, workers=1, cores=8, spent=shards), "int16")


def test_without_workers_the_share_of_reading_is_named():
    line = verdict(100.0, 300.0, 0.75, workers=0, cores=8, spent=MP3)
    facts(line, "75%", "run.workers is 0", "run.workers=4")
    facts(verdict(100.0, 300.0, 0.75, workers=0, cores=2, spent=MP3), "run.workers=1")


def test_waiting_is_never_ok():
    line = verdict(412.0, 280.0, 0.6, workers=4, cores=8, spent=MP3)
    facts(line, "60%", "waiting", "4 workers", "412x", "280x")
    assert "ok" not in line
    facts(verdict(412.0, 280.0, 0.06, workers=1, cores=8, spent=MP3), "1 worker ")
    facts(verdict(412.0, 280.0, 0.04, workers=4, cores=8, spent=MP3), ": ok")


class Clock:
    """Time that passes only where the test adds it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def batches(self, waiting, spent, seconds=3.0):
        while True:
            self.now += waiting
            yield Batch(
                position=Position(),
                wave_BS=torch.zeros(1, 1),
                lengths_B=torch.tensor([int(seconds * 16_000)]),
                padded=False,
                ids=("a",),
                languages=("xx",),
                spent=spent,
            )


def run(clock, throughput, source, steps, computing, first=5.0, accumulate=2):
    """The lines by step. The first two steps take longer than the others."""
    source, lines = throughput.watch(source), {}
    for step in range(steps):
        for _ in range(accumulate):
            next(source)
            clock.now += computing + (first if step < 2 else 0)
        line = throughput.step_done(ALONE)
        clock.now += 100.0  # validation, which belongs to neither
        if line:
            lines[step] = line
    return lines


def test_both_rates_are_measured_without_the_other():
    clock = Clock()
    # 3 s of audio: a worker takes 0.06 s, so two give 100x; the model 0.02 s, so 150x.
    source = clock.batches(waiting=0.01, spent={"decoding flac": 0.05, "the rest": 0.01})
    lines = run(clock, Throughput(2, 100, clock=clock), source, 100, computing=0.02)
    assert list(lines) == [11]
    facts(lines[11], " 100x", "2 workers", " 150x", "decoding flac", "83%")


def test_workers_of_all_tasks_read_at_once():
    clock = Clock()
    source = clock.batches(waiting=0.01, spent={"decoding flac": 0.05, "the rest": 0.01})
    lines = run(clock, Throughput(2, 100, tasks=2, clock=clock), source, 12, computing=0.02)
    facts(lines[11], " 200x", " 150x")


def test_a_short_run_has_its_line_at_its_end():
    clock = Clock()
    source = clock.batches(waiting=0.0, spent={"decoding flac": 0.003})
    lines = run(clock, Throughput(1, 4, clock=clock), source, 4, computing=0.02)
    assert list(lines) == [3]
    facts(lines[3], "1000x", "150x", ": ok")
    assert run(clock, Throughput(1, 2, clock=clock), source, 2, computing=0.02) == {}


def test_waiting_share_covers_the_time_since_the_last_call():
    clock = Clock()
    throughput = Throughput(1, 100, clock=clock)
    source = throughput.watch(clock.batches(waiting=0.25, spent={"the rest": 0.1}))
    for computing, share in ((0.75, 0.25), (0.0, 1.0), (0.25, 0.5)):
        next(source)
        clock.now += computing
        throughput.step_done(ALONE)
        assert throughput.waiting_share(ALONE) == pytest.approx(share)


class AllRanks:
    """All ranks of a job in one process, one after the other."""

    def __init__(self, rank, given):
        self.rank, self.world, self.given, self.call = rank, len(given), given, 0

    def gather(self, mine):
        """Until the last rank has given its own, the ones before it see their own instead."""
        self.given[self.rank].append(mine)
        self.call += 1
        return [(given[self.call - 1 :] or [mine])[0] for given in self.given]


@pytest.mark.parametrize("late", [0.0, 7.0])
def test_waiting_for_the_data_of_another_rank_is_not_computing(late):
    """The first rank has its data at once and stands in the first all-reduce for 0.06 s, until the
    second has its own; each then computes 0.04 s. `late`: the other came later to the step."""
    given, lines, shares = ([], []), [], []
    for rank in (0, 1):
        clock = Clock()
        ranks, throughput = AllRanks(rank, given), Throughput(1, 4, clock=clock)
        spent = {"decoding mp3": 0.01 + 0.1 * rank}
        source = throughput.watch(clock.batches(waiting=0.06 * rank, spent=spent))
        for _ in range(4):
            next(source)
            clock.now += 0.04 if rank else 0.1 + late
            line = throughput.step_done(ranks)
        lines.append(line)
        shares.append(throughput.waiting_share(ranks))
    # 6 s of audio a step: 0.04 s of computing, 0.12 s in which a worker of each rank reads.
    facts(lines[1], "bottleneck", " 100x", "1 worker,", " 150x")
    assert shares[1] == pytest.approx(0.6)
