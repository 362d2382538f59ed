"""After a stop: the states left on disk are enough to continue, however often a run stops again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import pytest

from speechx.errors import HealthStop
from speechx.finetuning import finetune
from speechx.models.folder import open_folder
from speechx.objectives.model import SpeechModel
from tests.conftest import finetune_config, read_log


def go(out, manifests, bad=(), resume=False, before_step=lambda step: None, **run):
    """Fine-tuning, none of whose lines shows a signature, with a loss of NaN at `bad` steps."""
    settings = {"steps": 200, "batch_seconds": 5, "eval_steps": 1000}
    every = {"log_steps": 12, "save_steps": 12}
    config = finetune_config(out, manifests, run={**settings, **every, **run})
    forward = SpeechModel.forward

    def forward_or_nan(self, batches, step, *rest):
        if step is not None:
            before_step(step)
        losses = forward(self, batches, step, *rest)
        if step not in bad:
            return losses
        return {
            name: replace(
                loss, terms=tuple(replace(term, sum=term.sum * math.nan) for term in loss.terms)
            )
            for name, loss in losses.items()
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpeechModel, "forward", forward_or_nan)
        finetune(config, resume=resume)


def stop(out, manifests, bad, **settings):
    """Ends at the eighth of the `bad` steps in a row; its message, and the states it left."""
    with pytest.raises(HealthStop) as caught:
        go(out, manifests, bad, **settings)
    return str(caught.value), states(out)


def states(out):
    return sorted(int(p.name.split("_")[1]) for p in (out / "state").iterdir())


def memory(out, step):
    return json.loads((out / "state" / f"step_{step}" / "run.json").read_text())["health"]


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory, manifests):
    """Stopped at step 70: line 60 confirmed the state of step 48, no line that of step 60."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    message, left = stop(out, manifests, range(62, 80))
    assert "E105 overflow at step 69: 8 steps in a row" in message
    assert "Last healthy checkpoint: step 48; --resume" in message
    assert left == [48]
    return out


@pytest.fixture
def stopped(stopped_once, tmp_path):
    return shutil.copytree(stopped_once, tmp_path / "run")


def test_a_run_that_stops_again_at_once_keeps_its_only_state(stopped, manifests):
    """The state of step 48 was saved when the state of step 36, long gone, was the healthy one."""
    assert (memory(stopped, 48)["healthy"], memory(stopped, 48)["pending"]) == (48, None)
    for _ in range(2):
        message, left = stop(stopped, manifests, range(48, 60), resume=True)
        assert "Last healthy checkpoint: step 48; --resume" in message
        assert left == [48]


def test_a_state_before_the_first_good_line_does_not_replace_the_healthy_one(stopped, manifests):
    rare = {"log_steps": 100, "save_steps": 3}
    message, left = stop(stopped, manifests, range(53, 70), resume=True, **rare)
    assert "Last healthy checkpoint: step 48; --resume" in message
    assert left == [48]
    go(stopped, manifests, steps=60, resume=True)
    assert all(
        tensor.isfinite().all() for tensor in open_folder(stopped / "final").weights.values()
    )
    assert states(stopped) == [48, 60]


def test_a_healthy_state_that_is_gone_costs_no_other(stopped, manifests):
    """Deleted by hand before the run continues, and while it runs."""
    file = stopped / "state" / "step_48" / "run.json"
    saved = json.loads(file.read_text())
    saved["health"] |= {"healthy": 36, "pending": 48}
    file.write_text(json.dumps(saved))
    message, left = stop(stopped, manifests, range(48, 60), resume=True)
    assert "No checkpoint is known to be healthy" in message
    assert left == [48]

    def delete(step):
        if step == 75:
            shutil.rmtree(stopped / "state" / "step_60", ignore_errors=True)

    message, left = stop(stopped, manifests, range(76, 90), resume=True, before_step=delete)
    assert "No checkpoint is known to be healthy" in message
    assert left == [72]


def test_the_log_has_every_line_once_after_a_stop(stopped, manifests):
    """Lines of steps that are done again leave the log; so does a line that was cut by a kill."""
    with (stopped / "log.jsonl").open("a") as log:
        log.write('{"step": 61, "lo')
    go(stopped, manifests, steps=84, resume=True)
    steps = [line["step"] for line in read_log(stopped) if "lr" in line]
    assert steps == [12, 24, 36, 48, 60, 72, 84]
    notes = [json.loads(line) for line in (stopped / "health.jsonl").read_text().splitlines()]
    assert [(note["action"], note["step"]) for note in notes] == [("stop", 69), ("resume", 48)]


def test_an_overflow_rolls_back_to_the_same_data_at_half_the_learning_rate(tmp_path, manifests):
    """The run goes on from the healthy state as a resumed run does, and reaches its end."""
    config = finetune_config(tmp_path / "run", manifests, health={"action": "rollback"})
    seen = []

    def forward_once_bad(self, batches, step, *rest):
        losses = forward(self, batches, step, *rest)
        if step is None:
            return losses
        (batch,), (loss,) = batches.values(), losses.values()
        seen.append((step, batch.ids))
        first_time = sum(seen_step == step for seen_step, _ in seen) <= 2  # micro-batches
        bad = math.nan if step in range(20, 28) and first_time else 1.0
        terms = tuple(replace(term, sum=term.sum * bad) for term in loss.terms)
        return {name: replace(loss, terms=terms) for name in losses}

    forward = SpeechModel.forward
    run = replace(config.run, steps=40, log_steps=4, save_steps=4, eval_steps=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpeechModel, "forward", forward_once_bad)
        finetune(replace(config, run=run))
    (note,) = [json.loads(line) for line in (config.out / "health.jsonl").read_text().splitlines()]
    assert (note["code"], note["action"], note["healthy"]) == ("E105", "rollback", 16)
    again = [index for index, (step, _) in enumerate(seen) if step == 16]
    first, second = again[:2], again[2:]
    assert [seen[i] for i in first] == [seen[i] for i in second]
    assert [line["step"] for line in read_log(config.out) if "lr" in line] == list(range(4, 41, 4))
    assert memory(config.out, 40)["lr_scale"] == 0.5
