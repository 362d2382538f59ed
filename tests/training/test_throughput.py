"""The line about loader and model says what the clock says, and what to do."""

from __future__ import annotations

import pytest
import torch

from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.training import throughput
from speechx.training.distributed import Machine
from speechx.training.throughput import Throughput, verdict

HERE = Machine(0, 1, torch.device("cpu"))
MP3 = {"decoding mp3": 0.7, "resampling": 0.2, "the rest": 0.1}


def test_enough_is_one_word():
    line = verdict(412.4, 280.2, 0.0, workers=2, cores=8, spent=MP3)
    assert line == "loader 412x real time, model needs 280x: ok"
    assert verdict(4000, 38, 0.01, workers=0, cores=2, spent=MP3).endswith(": ok")


def test_a_slow_loader_is_named_with_what_takes_its_time_and_what_helps():
    line = verdict(38.0, 280.0, 0.9, workers=2, cores=32, spent=MP3)
    assert line == (
        "the loader is the bottleneck: 38x real time with 2 workers, model could take 280x; "
        "decoding mp3 takes 70% of it: raise run.workers to 19, or pack: "
        "speechx data pack MANIFESTS -o SHARDS"
    )
    line = verdict(38.0, 280.0, 0.9, workers=1, cores=8, spent=MP3)
    assert "with 1 worker," in line
    assert "10 workers would be needed and there are 8 cores for them, so pack: " in line
    shards = {"decoding shards": 0.9, "the rest": 0.1}
    assert "or pack as int16: " in verdict(38.0, 80.0, 0.5, workers=1, cores=8, spent=shards)


def test_without_workers_the_share_that_reading_takes_is_named():
    line = verdict(100.0, 300.0, 0.75, workers=0, cores=8, spent=MP3)
    assert line.startswith("75% of the time goes to reading data: run.workers is 0")
    assert line.endswith("set run.workers=4")
    line = verdict(100.0, 300.0, 0.75, workers=0, cores=2, spent=MP3)
    assert line.endswith("set run.workers=1")


def test_what_is_waited_is_never_ok():
    line = verdict(412.0, 280.0, 0.6, workers=4, cores=8, spent=MP3)
    assert line.startswith(
        "60% of the time goes to waiting for data, though 4 workers read fast enough "
        "(loader 412x real time, model could take 280x): workers that still start"
    )
    assert "ok" not in line
    assert "1 worker reads" in verdict(412.0, 280.0, 0.06, workers=1, cores=8, spent=MP3)
    assert verdict(412.0, 280.0, 0.04, workers=4, cores=8, spent=MP3).endswith(": ok")


class Clock:
    """Time that passes when the test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(throughput.time, "perf_counter", lambda: self.now)

    def batches(self, waiting, spent, seconds=3.0):
        while True:
            self.now += waiting
            yield Batch(
                position=Position(),
                wave_BS=torch.zeros(1, 1),
                lengths_B=torch.tensor([int(seconds * 16_000)]),
                ids=("a",),
                languages=("xx",),
                spent=spent,
            )


def run(clock, pace, source, steps, computing, first=5.0, accumulate=2):
    """Lines said, by step. The first two steps take longer than the others."""
    source, said = pace.watch(source), {}
    for step in range(steps):
        for _ in range(accumulate):
            next(source)
            clock.now += computing + (first if step < 2 else 0)
        line = pace.step_done(HERE)
        clock.now += 100.0  # validation, which is nobody's
        if line:
            said[step] = line
    return said


def test_both_rates_are_measured_without_the_other(monkeypatch):
    clock = Clock(monkeypatch)
    pace = Throughput(workers=2, steps=100)
    # 3 s of audio: a worker takes 0.06 s, so two give 100x; the model 0.02 s, so 150x.
    source = clock.batches(waiting=0.01, spent={"decoding flac": 0.05, "the rest": 0.01})
    said = run(clock, pace, source, 100, computing=0.02)
    assert list(said) == [11]
    assert "100x real time with 2 workers, model could take 150x" in said[11]
    assert "decoding flac takes 83% of it" in said[11]


def test_a_short_run_says_it_at_its_end(monkeypatch):
    clock = Clock(monkeypatch)
    source = clock.batches(waiting=0.0, spent={"decoding flac": 0.003})
    said = run(clock, Throughput(1, 4), source, 4, computing=0.02)
    assert said == {3: "loader 1000x real time, model needs 150x: ok"}
    assert run(clock, Throughput(1, 2), source, 2, computing=0.02) == {}


def test_the_share_of_waiting_is_of_the_time_since_it_was_asked_before(monkeypatch):
    clock = Clock(monkeypatch)
    pace = Throughput(1, 100)
    source = pace.watch(clock.batches(waiting=0.25, spent={"the rest": 0.1}))
    for computing, share in ((0.75, 0.25), (0.0, 1.0), (0.25, 0.5)):
        next(source)
        clock.now += computing
        pace.step_done(HERE)
        assert pace.waiting_share(HERE) == pytest.approx(share)


class Ranks:
    """All ranks of a job in one process: what a rank gives waits until the last has given."""

    def __init__(self, rank, given):
        self.rank, self.world, self.given, self.call = rank, len(given), given, 0

    def total(self, values):
        self.given[self.rank].append(list(values))
        self.call += 1
        of_ranks = [(given[self.call - 1 :] or [[0.0] * len(values)])[0] for given in self.given]
        return [sum(column) for column in zip(*of_ranks, strict=True)]

    def gather(self, names):
        return list(names) * self.world


@pytest.mark.parametrize("late", [0.0, 7.0])
def test_waiting_for_the_data_of_another_rank_is_not_computing(monkeypatch, late):
    """The first rank has its data at once and stands in the first all-reduce for 0.06 s, until the
    second has its own; each then computes 0.04 s. `late`: the other came later to the step."""
    given, said, shares = ([], []), [], []
    for rank in (0, 1):
        clock = Clock(monkeypatch)
        machine, pace = Ranks(rank, given), Throughput(workers=1, steps=4)
        spent = {"decoding mp3": 0.01 + 0.1 * rank}
        source = pace.watch(clock.batches(waiting=0.06 * rank, spent=spent))
        for _ in range(4):
            next(source)
            clock.now += 0.04 if rank else 0.1 + late
            line = pace.step_done(machine)
        said.append(line)
        shares.append(pace.waiting_share(machine))
    # 6 s of audio a step: 0.04 s of computing, 0.12 s in which a worker of each rank reads.
    line = said[1]
    assert line.startswith("the loader is the bottleneck: 100x real time with 1 worker,")
    assert "model could take 150x" in line
    assert shares[1] == pytest.approx(0.6)
