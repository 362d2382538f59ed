"""The loop: sums divided once, bad gradients refused before the update, logs that add up."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from speechx.data.batches import Batch
from speechx.data.sampling import Position, stream
from speechx.errors import UserError
from speechx.training.distributed import Machine
from speechx.training.health import HealthStop
from speechx.training.loop import Run, Sums, train
from speechx.training.optim import Optim
from tests.conftest import read_log

HERE = Machine(0, 1, torch.device("cpu"))


def batch_of(number, rows):
    generator = torch.Generator().manual_seed(number)
    return Batch(
        position=Position(0, number, number),
        wave_BS=torch.randn(rows, 4, generator=generator),
        lengths_B=torch.full((rows,), 4),
        ids=tuple(f"{number}_{row}" for row in range(rows)),
        languages=("xx",) * rows,
    )


@dataclass
class Ready:
    batch: Batch
    targets: int


class Squares:
    """The least task: a linear map whose squared outputs shall vanish; one target a row."""

    def __init__(self, bad=()):
        self.bad, self.weights, self.kept = bad, [], []

    def prepare(self, batch, step):
        return Ready(batch, len(batch.ids))

    def sums(self, model, prepared, step):
        self.weights.append([p.detach().clone() for p in model.parameters()])
        loss = model(prepared.batch.wave_BS).square().sum()
        if step in self.bad:
            loss = loss * math.nan
        return Sums(loss, {"loss": loss.detach(), "rows": torch.tensor(prepared.targets)})

    def summary(self, sums):
        return {"loss": sums["loss"] / sums["rows"]}

    def frozen(self, step):
        return ()

    def validate(self, model, step):
        assert not model.training
        assert not torch.is_grad_enabled()
        return {"valid": float(step)}

    def keep(self, model, step, values):
        self.kept.append((step, values))


STEADY = Optim(rate=0.05, schedule="tri_stage", warmup=0.0, hold=1.0)


class Stop(Exception):
    pass


class StopsAtSix(Squares):
    def prepare(self, batch, step):
        if step == 6:
            raise Stop
        return super().prepare(batch, step)


def go(out, sizes=(2,), steps=6, task=None, skip=(), resume=False, optim=STEADY, **run):
    """Trains on batches of the given numbers of rows, over and over; returns model and task."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2))
    task = task or Squares()
    settings = {
        "steps": steps, "batch_seconds": 1.0 * len(sizes), "device_seconds": 1.0, "log_steps": 1,
        "eval_steps": 100, "save_steps": 100, **run,
    }  # fmt: skip

    def batches(start):
        number = start.number
        while True:
            if number not in skip:
                yield batch_of(number, sizes[number % len(sizes)])
            number += 1

    train(
        "test", model, task, batches, Run(**settings), optim, out, HERE, resume,
    )  # fmt: skip
    return model, task


@pytest.mark.parametrize(
    ("batch", "device", "world", "accumulate"),
    [
        (5760, 87.5, 64, 2), (5760, 90, 64, 1), (6, 3, 1, 2), (6, 3, 2, 1), (10, 3, 1, 4),
        (1, 3, 1, 1),
    ],
)  # fmt: skip
def test_accumulation_is_derived_from_seconds(batch, device, world, accumulate):
    run = Run(steps=1, batch_seconds=batch, device_seconds=device)
    assert run.accumulate(world) == accumulate
    assert run.micro_seconds(world) <= device
    assert run.micro_seconds(world) * accumulate * world == pytest.approx(batch)


def test_the_gradient_is_divided_once_by_all_targets(tmp_path):
    """Micro-batches of 3, 1 and 2 rows: each row has the weight of 1/6, whatever its batch."""
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    before = [p.detach().clone() for p in model.parameters()]
    parts = [batch_of(n, rows) for n, rows in enumerate((3, 1, 2))]
    task = Squares()
    train(
        "test", model, task, lambda start: iter(parts),
        Run(steps=1, batch_seconds=3, device_seconds=1), Optim(rate=1e-9, clip=1e9), tmp_path, HERE,
    )  # fmt: skip
    whole = nn.Linear(4, 2)
    with torch.no_grad():
        for parameter, value in zip(whole.parameters(), before, strict=True):
            parameter.copy_(value)
    whole(torch.cat([part.wave_BS for part in parts])).square().sum(1).mean().backward()
    expected = nn.utils.clip_grad_norm_(whole.parameters(), 1e9)
    assert read_log(tmp_path)[0]["gradient_norm"] == pytest.approx(float(expected), rel=1e-5)
    assert len(task.weights) == 3


def test_a_gradient_longer_than_clip_is_cut_to_it(tmp_path, monkeypatch):
    seen = []
    step = torch.optim.AdamW.step

    def watch(self, *arguments, **named):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        seen.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    go(tmp_path, optim=Optim(rate=1e-9, clip=0.01))
    assert seen == pytest.approx([0.01] * 6, rel=1e-3)
    assert all(line["gradient_norm"] > 0.01 for line in read_log(tmp_path)[:-1])


@pytest.mark.parametrize("sizes", [(2,), (2, 3)])
def test_a_step_that_is_not_finite_is_refused_before_the_update(tmp_path, sizes):
    _, task = go(tmp_path, sizes, steps=5, task=Squares(bad=(2,)))
    before, refused, after = (task.weights[len(sizes) * n] for n in (1, 2, 3))
    assert all(torch.equal(a, b) for a, b in zip(refused, after, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, refused, strict=True))
    assert all(p.isfinite().all() for p in task.weights[-1])
    (line,) = (tmp_path / "refused.jsonl").read_text().splitlines()
    numbers = range(2 * len(sizes), 3 * len(sizes))
    ids = [f"{n}_{row}" for n in numbers for row in range(sizes[n % len(sizes)])]
    assert json.loads(line) == {"step": 2, "norm": "nan", "ids": ids}


def test_a_refused_step_leaves_no_trace_in_the_optimizer(tmp_path):
    """Refusing batch 3 and going on is the same as never having seen it."""
    refused, _ = go(tmp_path / "a", steps=6, task=Squares(bad=(3,)))
    skipped, _ = go(tmp_path / "b", steps=5, skip=(3,))
    for a, b in zip(refused.parameters(), skipped.parameters(), strict=True):
        assert torch.equal(a, b)


def test_eight_refusals_in_a_row_stop_the_run(tmp_path, capsys):
    with pytest.raises(HealthStop, match="8 steps in a row had a non-finite gradient"):
        go(tmp_path, steps=40, task=Squares(bad=range(3, 40)), save_steps=2)
    lines = (tmp_path / "refused.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(3, 11))
    assert "update refused" in capsys.readouterr().err
    # What came after the last state that a good line has vouched for is gone.
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["step_2"]
    # The state is good: resumed with a sane task, the run ends.
    model, _ = go(tmp_path, steps=12, resume=True)
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_good_step_between_starts_the_count_again(tmp_path):
    bad = [*range(7), *range(8, 15)]
    go(tmp_path, steps=16, task=Squares(bad))
    assert len((tmp_path / "refused.jsonl").read_text().splitlines()) == 14


def test_log_lines_are_means_over_their_steps_and_the_last_is_never_lost(tmp_path):
    go(tmp_path / "each", sizes=(2, 3), steps=7)
    go(tmp_path / "some", sizes=(2, 3), steps=7, log_steps=3)
    each = [line for line in read_log(tmp_path / "each") if "loss" in line]
    some = [line for line in read_log(tmp_path / "some") if "loss" in line]
    assert [line["step"] for line in some] == [3, 6, 7]
    for line, first in zip(some, (0, 3, 6), strict=True):
        part = each[first : line["step"]]
        assert line["loss"] == pytest.approx(sum(p["loss"] for p in part) / len(part))
        norms = [p["gradient_norm"] for p in part]
        assert line["gradient_norm"] == pytest.approx(sum(norms) / len(norms))


def test_validation_and_saving_have_their_steps_and_the_end(tmp_path):
    _, task = go(tmp_path, steps=7, eval_steps=3, save_steps=100)
    assert task.kept == [(3, {"valid": 3.0}), (6, {"valid": 6.0}), (7, {"valid": 7.0})]
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["step_7"]


def test_the_newest_state_is_kept_and_the_last_that_is_known_to_be_healthy(tmp_path):
    go(tmp_path, steps=9, save_steps=2, log_steps=3)
    # The line of step 9 has vouched for step 8, the newest state before it.
    assert {p.name for p in (tmp_path / "state").iterdir()} == {"step_8", "step_9"}


@pytest.mark.parametrize("log_steps", [1, 3, 100])
def test_resuming_repeats_losses_and_weights_to_the_bit(tmp_path, log_steps):
    """Also where the saved state lies inside a log line, and the killed run wrote half a line."""
    whole, _ = go(tmp_path / "whole", steps=8, log_steps=log_steps, eval_steps=3)
    settings = {"steps": 8, "log_steps": log_steps, "eval_steps": 3, "save_steps": 4}
    with pytest.raises(Stop):
        go(tmp_path / "part", task=StopsAtSix(), **settings)
    with (tmp_path / "part" / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    resumed, _ = go(tmp_path / "part", resume=True, **settings)
    assert read_log(tmp_path / "part") == read_log(tmp_path / "whole")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_dropout_depends_on_the_number_of_the_batch_and_not_on_what_ran_before(tmp_path):
    go(tmp_path / "a")
    torch.rand(99)
    go(tmp_path / "b", eval_steps=1)
    a, b = ([line["loss"] for line in read_log(tmp_path / name) if "loss" in line] for name in "ab")
    assert a == b


def test_resuming_a_finished_run_does_nothing_and_says_so(tmp_path, capsys):
    model, _ = go(tmp_path, steps=3)
    log = read_log(tmp_path)
    again, task = go(tmp_path, steps=3, resume=True)
    assert task.weights == []
    assert "all steps are done; raise run.steps to go on" in capsys.readouterr().err
    assert read_log(tmp_path) == log
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


class Epochs:
    """Batches in epochs of 5 and 6; `planned` has one item for each epoch that was planned."""

    def __init__(self):
        self.planned = []

    def __call__(self, start):
        def epoch(random):
            self.planned.append(random)
            return [()] * int(random.integers(5, 7))

        return map(self.batch, stream(epoch, 1, start))

    @staticmethod
    def batch(plan):
        return replace(batch_of(plan.position.number, 2), position=plan.position)


def test_a_resumed_run_goes_on_from_its_epoch_without_planning_those_before(tmp_path):
    """The place is saved as (epoch, index); states of before, with a number only, are taken up."""

    def run(out, steps, resume=False):
        epochs = Epochs()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2))
        settings = Run(
            steps=steps, batch_seconds=2, device_seconds=1, log_steps=1, save_steps=100,
            eval_steps=100,
        )  # fmt: skip
        train("test", model, Squares(), epochs, settings, STEADY, out, HERE, resume)
        return epochs

    def losses(name):
        return [line["loss"] for line in read_log(tmp_path / name) if "loss" in line]

    assert len(run(tmp_path / "whole", 20).planned) in (7, 8)
    run(tmp_path / "part", 13)
    file = tmp_path / "part" / "state" / "step_13" / "run.json"
    saved = json.loads(file.read_text())
    assert saved["taken"] == 26
    assert saved["epoch"] in (4, 5)
    assert 0 <= saved["index"] <= 6
    older = {key: value for key, value in saved.items() if key not in ("epoch", "index")}
    shutil.copytree(tmp_path / "part", tmp_path / "older")
    (tmp_path / "older" / "state" / "step_13" / "run.json").write_text(json.dumps(older))
    assert len(run(tmp_path / "part", 20, resume=True).planned) <= 4
    assert len(run(tmp_path / "older", 20, resume=True).planned) in (7, 8)
    for name in ("part", "older"):
        assert losses(name) == losses("whole")


def test_other_micro_batches_on_resume_are_said(tmp_path, capsys):
    go(tmp_path, steps=3)
    go(tmp_path, steps=4, resume=True)
    assert "another order" not in capsys.readouterr().err
    go(tmp_path, steps=5, resume=True, device_seconds=0.5)
    assert "put the data in another order from here on" in capsys.readouterr().err


def test_resuming_nothing_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no saved state"):
        go(tmp_path, resume=True)
