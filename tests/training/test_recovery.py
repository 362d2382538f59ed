"""After a stop: what is left on disk is enough to go on from, however often a run stops again."""

from __future__ import annotations

import json
import shutil

import pytest

from speechx.training.health import HealthStop
from tests.training.test_loop import Squares, go

EVERY = {"log_steps": 12, "save_steps": 12}


def stop(out, bad, resume=False, **run):
    """Ends at the eighth of the `bad` steps in a row; what it said, and the states it left."""
    with pytest.raises(HealthStop) as caught:
        go(out, steps=200, task=Squares(bad=bad), resume=resume, **{**EVERY, **run})
    return str(caught.value), states(out)


def states(out):
    return sorted(int(p.name.split("_")[1]) for p in (out / "state").iterdir())


def memory(out, step):
    return json.loads((out / "state" / f"step_{step}" / "run.json").read_text())["health"]


@pytest.fixture
def stopped(tmp_path):
    """Stopped at step 70: line 60 vouched for the state of step 48, nothing for that of 60."""
    out = tmp_path / "run"
    said, left = stop(out, range(62, 80))
    assert "Last healthy checkpoint: step 48; --resume" in said
    assert left == [48]
    return out


def test_a_run_that_stops_again_at_once_keeps_its_only_state(stopped):
    """The state of step 48 was saved when that of 36, long gone, was the healthy one."""
    assert (memory(stopped, 48)["healthy"], memory(stopped, 48)["pending"]) == (48, None)
    for _ in range(2):
        said, left = stop(stopped, range(48, 60), resume=True)
        assert "Last healthy checkpoint: step 48; --resume" in said
        assert left == [48]


def test_a_state_saved_before_the_first_good_line_does_not_replace_the_healthy_one(stopped):
    said, left = stop(stopped, range(53, 70), resume=True, log_steps=100, save_steps=3)
    assert "Last healthy checkpoint: step 48; --resume" in said
    assert left == [48]
    model, _ = go(stopped, steps=60, resume=True, **EVERY)
    assert all(p.isfinite().all() for p in model.parameters())
    assert states(stopped) == [48, 60]


def test_a_healthy_state_that_is_gone_costs_no_other(stopped):
    """As left by a stop of older versions, and by hand while the run goes on."""
    file = stopped / "state" / "step_48" / "run.json"
    saved = json.loads(file.read_text())
    saved["health"] |= {"healthy": 36, "pending": 48}
    file.write_text(json.dumps(saved))
    said, left = stop(stopped, range(48, 60), resume=True)
    assert "No checkpoint is known to be healthy" in said
    assert left == [48]

    class Deletes(Squares):
        def prepare(self, batch, step):
            if step == 75:
                shutil.rmtree(stopped / "state" / "step_60")
            return super().prepare(batch, step)

    with pytest.raises(HealthStop, match="No checkpoint is known to be healthy"):
        go(stopped, steps=200, task=Deletes(bad=range(76, 90)), resume=True, **EVERY)
    assert states(stopped) == [72]
