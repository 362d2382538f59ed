"""The loop: sums divided once, bad gradients refused before the update, logs that add up."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from speechx.config import config
from speechx.data.batches import Batch
from speechx.data.sampling import Position, stream
from speechx.errors import HealthStop
from speechx.objectives.model import SpeechModel
from speechx.objectives.objective import Loss, Objective, ObjectiveConfig, Term
from speechx.training.distributed import Ranks
from speechx.training.health import Health
from speechx.training.loop import Job, Task, TrainingConfig, train
from speechx.training.optim import Optim, build_optimizer
from speechx.training.state import load_state
from tests.conftest import read_log, small_filterbank

ALONE = Ranks(0, 1, torch.device("cpu"))


def batch_of(number: int, rows: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    return Batch(
        position=Position(0, number, number),
        wave_BS=torch.randn(rows, 4, generator=generator),
        lengths_B=torch.full((rows,), 4),
        padded=False,
        ids=tuple(f"{number}_{row}" for row in range(rows)),
        languages=("xx",) * rows,
        counts={"rows": rows},
    )


class Squares(Objective):
    """The least objective: a linear map whose squared outputs are to vanish; one target a row. It
    also stands for the hooks of a run, and remembers its weights and the models it was to save."""

    def __init__(self, bad: Sequence[int] = ()) -> None:
        """The loss of the steps `bad` is not a number."""
        super().__init__()
        torch.manual_seed(0)
        self.bad = bad
        self.net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2))
        self.weights: list[list[Tensor]] = []
        self.kept: list[float | None] = []

    def forward(self, encoder: Any, batch: Batch, step: Any, layer_keep_L: Any = None) -> Loss:
        self.weights.append([p.detach().clone() for p in self.net.parameters()])
        loss = self.net(batch.wave_BS).square().sum()
        if step in self.bad:
            loss = loss * math.nan
        totals = {"loss": loss.detach(), "rows": torch.tensor(float(len(batch.ids)))}
        return Loss((Term(loss, "rows"),), totals)

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        return {"loss": totals["loss"] / totals["rows"]}

    def validate(self, model: SpeechModel) -> tuple[dict[str, float | str], float | None]:
        assert not model.training
        assert not torch.is_grad_enabled()
        dev_sum = float(sum(p.sum() for p in self.net.parameters()))
        return {"dev_sum": dev_sum}, dev_sum

    def save(self, model: SpeechModel, error: float | None) -> None:
        self.kept.append(error)


@config
class SquaresConfig(ObjectiveConfig):
    kind: Literal["squares"] = "squares"
    objective: Any

    def build(self, encoder: Any, vocabulary: Any) -> Objective:
        return self.objective


STEADY = Optim(lr=0.05, schedule="tri_stage", warmup_ratio=0.0, hold_ratio=1.0)


class Stop(Exception):
    pass


class StopsAtSix(Squares):
    def forward(self, encoder: Any, batch: Batch, step: Any, layer_keep_L: Any = None) -> Loss:
        if step == 6:
            raise Stop
        return super().forward(encoder, batch, step)


def go(
    out: Path,
    sizes: Sequence[int] = (2,),
    steps: int = 6,
    task: Squares | None = None,
    skip: Sequence[int] = (),
    resume: bool = False,
    optim: Optim = STEADY,
    batches: Any = None,
    micro_seconds: float = 1.0,
    health: Health | None = None,
    **run: Any,
) -> tuple[Squares, Squares]:
    """Trains on batches of the given numbers of rows, over and over; returns the objective twice,
    as model and as record."""
    objective = task or Squares()
    model = squares({"squares": objective})
    settings = {"steps": steps, "log_steps": 1, "eval_steps": 100, "save_steps": 100, **run}

    def over_and_over(start: Position) -> Iterator[Batch]:
        number = start.number
        while True:
            if number not in skip:
                yield batch_of(number, sizes[number % len(sizes)])
            number += 1

    job = Job(
        name="test", out=out, training=TrainingConfig(**settings), optim=optim,
        health=health or Health(), accumulate=len(sizes), resume=resume,
    )  # fmt: skip
    stream = Task("squares", batches or over_and_over, micro_seconds)
    train(job, model, [stream], objective, ALONE)
    return objective, objective


FORGETFUL = Optim(lr=1e-9, clip=1e9, betas=(0.0, 0.98))
"""The first moments of an optimizer without memory are the last gradient, after clipping."""


def last_gradient(out: Path, model: SpeechModel, ranks: Ranks = ALONE) -> dict[str, Tensor]:
    """The gradient of the last step of a run that `FORGETFUL` made, by parameter."""
    optimizer = build_optimizer(model, [], FORGETFUL)
    load_state(out, model, optimizer, ranks)
    return {name: optimizer.state[p]["exp_avg"] for name, p in model.named_parameters()}


def squares(objectives: Mapping[str, Squares]) -> SpeechModel:
    """A model of these objectives."""
    configs = {name: SquaresConfig(objective=each) for name, each in objectives.items()}
    return SpeechModel(small_filterbank(), configs, {})


def test_the_gradient_is_divided_once_by_all_targets(tmp_path):
    """Micro-batches of 3, 1 and 2 rows: each row has the weight of 1/6, whatever its batch."""

    def without_dropout():
        objective = Squares()
        objective.net[1].p = 0.0
        return objective

    run, _ = go(tmp_path, (3, 1, 2), steps=1, task=without_dropout(), optim=FORGETFUL)
    gradient = last_gradient(tmp_path, squares({"squares": run}))
    whole = without_dropout().net
    wave_BS = torch.cat([batch_of(n, rows).wave_BS for n, rows in enumerate((3, 1, 2))])
    whole(wave_BS).square().sum(1).mean().backward()
    for name, parameter in whole.named_parameters():
        found = gradient[f"objectives.squares.net.{name}"]
        torch.testing.assert_close(found, parameter.grad, atol=1e-6, rtol=0)
    norm = float(nn.utils.get_total_norm([p.grad for p in whole.parameters()]))
    assert read_log(tmp_path)[0]["gradient_norm"] == pytest.approx(norm, rel=1e-5)


def test_a_gradient_longer_than_clip_is_cut_to_it(tmp_path):
    run, _ = go(tmp_path, optim=replace(FORGETFUL, clip=0.01))
    gradient = last_gradient(tmp_path, squares({"squares": run}))
    assert float(nn.utils.get_total_norm(gradient.values())) == pytest.approx(0.01, rel=1e-3)
    assert all(line["gradient_norm"] > 0.01 for line in read_log(tmp_path) if "loss" in line)


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
    with pytest.raises(HealthStop, match=r"E105.* 8 steps"):
        go(tmp_path, steps=40, task=Squares(range(3, 40)), save_steps=2)
    lines = (tmp_path / "refused.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(3, 11))
    assert "refused.jsonl" in capsys.readouterr().err
    # Only the last state is left that a good line has confirmed.
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["step_2"]
    # The state is good: resumed with a sane task, the run ends.
    model, _ = go(tmp_path, steps=12, resume=True)
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_good_step_between_starts_the_count_again(tmp_path):
    steps = [*range(7), *range(8, 15)]
    go(tmp_path, steps=16, task=Squares(steps))
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
    validated = [line for line in read_log(tmp_path) if "dev_sum" in line]
    assert task.kept == [line["dev_sum"] for line in validated]
    assert [line["step"] for line in validated] == [3, 6, 7]
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["step_7"]


def test_the_newest_state_is_kept_and_the_last_that_is_known_to_be_healthy(tmp_path):
    go(tmp_path, steps=9, save_steps=2, log_steps=3)
    # The line of step 9 has confirmed step 8, the newest state before it.
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


def test_resuming_a_finished_run_does_nothing_and_logs_it(tmp_path, capsys):
    model, _ = go(tmp_path, steps=3)
    log = read_log(tmp_path)
    again, task = go(tmp_path, steps=3, resume=True)
    assert task.weights == []
    assert "raise run.steps" in capsys.readouterr().err
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
    """The position in the stream is saved as (epoch, index)."""

    def run(name, steps, resume=False):
        epochs = Epochs()
        go(tmp_path / name, (2, 2), steps, resume=resume, batches=epochs)
        return len(epochs.planned)

    assert run("whole", 20) in (7, 8)
    run("part", 13)
    file = tmp_path / "part" / "state" / "step_13" / "run.json"
    position = json.loads(file.read_text())["positions"]["squares"]
    assert position["number"] == 26
    assert position["epoch"] in (4, 5)
    assert 0 <= position["index"] <= 6
    assert run("part", 20, resume=True) <= 4
    losses = [
        [line["loss"] for line in read_log(tmp_path / name) if "loss" in line]
        for name in ("whole", "part")
    ]
    assert losses[0] == losses[1]


def test_other_micro_batches_on_resume_are_logged(tmp_path, capsys):
    go(tmp_path, steps=3)
    go(tmp_path, steps=4, resume=True)
    assert "micro-batches had" not in capsys.readouterr().err
    go(tmp_path, steps=5, resume=True, micro_seconds=0.5)
    assert "micro-batches had 1 s before" in capsys.readouterr().err


def test_weights_of_tasks_scale_their_gradients(tmp_path):
    """A task that weighs three times as much has three times the gradient; the log does not show
    weights."""

    def gradient(name, weight):
        objectives = {"one": Squares(), "other": Squares()}
        model = squares(objectives)
        training = TrainingConfig(steps=1, log_steps=1, eval_steps=1, save_steps=1)
        job = Job(
            name="test", out=tmp_path / name, training=training, optim=FORGETFUL, health=Health(),
            accumulate=1,
        )  # fmt: skip
        tasks = [
            Task("one", lambda start: iter([batch_of(0, 2)]), 1.0, weight),
            Task("other", lambda start: iter([batch_of(1, 3)]), 1.0),
        ]
        train(job, model, tasks, objectives["one"], ALONE)
        found = last_gradient(tmp_path / name, model)
        return [
            [found[f"objectives.{name}.net.{p}"] for p, _ in each.net.named_parameters()]
            for name, each in objectives.items()
        ]

    (one, other), (three, same) = gradient("a", 1.0), gradient("b", 3.0)
    for a, b in zip(one, three, strict=True):
        torch.testing.assert_close(b, 3 * a)
    assert all(torch.equal(a, b) for a, b in zip(other, same, strict=True))
    a, b = (read_log(tmp_path / name)[0] for name in "ab")
    assert {"one/loss", "other/loss"} <= set(a)
    assert (a["one/loss"], a["other/loss"]) == (b["one/loss"], b["other/loss"])
