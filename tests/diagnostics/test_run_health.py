"""`speechx health RUN`: the verdict on finished, running and stopped runs, and their curves."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys

import pytest

from speechx.cli.main import main
from speechx.errors import UserError
from speechx.finetuning import finetune
from speechx.health import examine, ills, verdict
from speechx.pretraining import pretrain
from speechx.run_log import read_run
from speechx.training.health import HealthStop
from tests.conftest import finetune_config, read_log
from tests.sick_runs import sick_config


@pytest.fixture(scope="module")
def runs(tmp_path_factory, manifests):
    """One that ends well, one that is stopped, and one of fine-tuning that writes nothing."""
    folder = tmp_path_factory.mktemp("runs")
    valid = {"data": {"valid": [str(manifests[1])]}, "run": {"steps": 60, "eval_steps": 20}}
    pretrain(sick_config(folder / "well", manifests, "well", **valid))
    with pytest.raises(HealthStop):
        pretrain(sick_config(folder / "stopped", manifests, "E102"))
    run = {"steps": 30, "log_steps": 5, "save_steps": 30, "eval_steps": 15}
    slow = {"optim": {"rate": 0.001}, "run": run, "health": {"window": 10}}
    finetune(finetune_config(folder / "blank", manifests, **slow))
    return folder


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_a_run_that_ended_well(runs, tmp_path, capsys):
    assert main(["health", str(runs / "well"), "-o", str(tmp_path / "it" / "well.png")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == f"{runs / 'well'}: pretraining, finished at step 60 of 60"
    assert out.splitlines()[-1] == "healthy"
    last = {}
    for line in read_log(runs / "well"):
        last |= line
    assert f"bits per masked frame{last['bits']:>25.3f}   (chance {last['chance_bits']:.3f})" in out
    assert 0 < last["chance_bits"] < math.log2(11)
    assert f"code perplexity, share of all codes{last['code_perplexity'] / 20:>11.3f}" in out
    assert f"valid_bits/xx{last['valid_bits/xx']:>33.3f}" in out
    assert "64 s of audio per step: 2000 steps on 10 hours of real speech" in out
    assert err == f"curves in {tmp_path / 'it' / 'well.png'}\n"
    assert is_picture(tmp_path / "it" / "well.png")


def test_a_run_that_was_stopped(runs, capsys):
    assert main(["health", str(runs / "stopped")]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("pretraining, stopped for its health at step 25 of 100")
    (found,) = [line for line in lines if line.startswith("E102 collapse at step 25: ")]
    assert found.endswith("-> the run stopped; no checkpoint is known to be healthy")
    assert lines[-2].startswith("what helps against E102 collapse: lower optim.rate")
    assert lines[-1] == "NOT HEALTHY: E102"
    assert is_picture(runs / "stopped" / "health.png")


def test_a_run_that_went_back_and_got_well_tells_so(runs, tmp_path):
    """The lines of the failure are gone from the log; the monitor's note is not."""
    shutil.copytree(runs / "well", tmp_path / "back")
    note = {"step": 40, "code": "E102", "text": "few codes", "action": "rollback", "healthy": 20}
    (tmp_path / "back" / "health.jsonl").write_text(json.dumps(note) + "\n")
    said = verdict(read_run(tmp_path / "back"))
    assert said[-2] == (
        "E102 collapse at step 40: few codes -> the run went back to step 20, at half the learning "
        "rate"
    )
    assert said[-1] == "healthy"


def test_a_run_without_the_monitors_own_notes_is_judged_from_its_log(runs, tmp_path):
    """As one of an older version, or one still going on, whose last line is half written."""
    old = tmp_path / "old"
    shutil.copytree(runs / "stopped", old)
    (old / "health.jsonl").unlink()
    lines = [json.loads(line) for line in (old / "log.jsonl").read_text().splitlines()]
    for line in lines:
        del line["feature_variance"], line["quantizer_gradient"], line["chance_bits"]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (old / "log.jsonl").write_text(text + '{"step": 30, "bi')
    said = verdict(read_run(old))
    assert "pretraining, at step 25 of 100, last line " in said[0]
    assert any(line.startswith("E102 collapse at step 25: code perplexity is ") for line in said)
    assert said[-1] == "NOT HEALTHY: E102"


def test_a_signature_too_short_for_a_finding_is_suspicious(runs, tmp_path):
    shutil.copytree(runs / "stopped", tmp_path / "short")
    (tmp_path / "short" / "health.jsonl").unlink()
    config = tmp_path / "short" / "config.yaml"
    config.write_text(config.read_text().replace("window: 20", "window: 50"))
    run = read_run(tmp_path / "short")
    assert verdict(run)[-1].startswith("SUSPICIOUS: the last 20 steps show the signature")
    assert ills(run) == []


def test_a_run_continued_after_its_stop_is_no_longer_stopped(runs, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(runs / "stopped", again)
    with (again / "health.jsonl").open("a") as file:
        file.write('{"step": 5, "action": "resume"}\n')
    lines = (again / "log.jsonl").read_text().splitlines()[:1]
    (again / "log.jsonl").write_text("\n".join(lines) + "\n")
    said = verdict(read_run(again))
    assert "at step 5 of 100, last line" in said[0]
    assert said[-1].startswith("TOO EARLY to say: a run of 100 steps is judged from step ")


def test_a_run_of_a_few_steps_is_not_yet_called_healthy(manifests, tmp_path, capsys):
    """Its values are far outside of the ranges, and no finding was possible yet."""
    finetune(finetune_config(tmp_path / "run", manifests))
    capsys.readouterr()
    assert examine(tmp_path / "run") == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "TOO SHORT to say: a finding needs 100 steps, the run has 6"
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("  steps: 6\n", "  steps: 1000\n"))
    said = verdict(read_run(tmp_path / "run"))[-1]
    assert said == "TOO EARLY to say: a run of 1000 steps is judged from step 333 on"


@pytest.mark.parametrize(("step", "word"), [(27, "TOO EARLY"), (28, "healthy")])
def test_the_warm_up_and_a_window_come_first(step, word, runs, tmp_path):
    shutil.copytree(runs / "well", tmp_path / "w")
    config = tmp_path / "w" / "config.yaml"
    config.write_text(re.sub(r"warmup: .*", "warmup: 0.13", config.read_text()))
    line = json.loads((tmp_path / "w" / "log.jsonl").read_text().splitlines()[-1])
    (tmp_path / "w" / "log.jsonl").write_text(json.dumps({**line, "step": step}) + "\n")
    assert verdict(read_run(tmp_path / "w"))[-1].startswith(word)


def test_fine_tuning_on_a_blank_plateau(runs, capsys):
    assert examine(runs / "blank") == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("finetuning, finished at step 30 of 30")
    assert any(line.startswith("frames read as blank" + " " * 21 + "1.000") for line in lines)
    assert any(line.startswith("dev_cer/xx ") for line in lines)
    (found,) = [line for line in lines if line.startswith("E201 blank plateau at step 10: 100.00%")]
    assert found.endswith("-> the run went on")
    assert lines[-1] == "NOT HEALTHY: E201"
    assert is_picture(runs / "blank" / "health.png")


def test_without_matplotlib_the_verdict_is_printed_all_the_same(runs, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert examine(runs / "well") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "healthy"
    missing = "matplotlib is not installed; pip install 'speechx[figures]'"
    assert err == f"no {runs / 'well' / 'health.png'}: {missing}\n"


def test_reference_ranges_of_another_question_are_not_shown(runs, tmp_path):
    """Chance and accuracy depend on the number of negatives; the use of codes does not."""
    assert not {"bits", "accuracy"} & set(read_run(runs / "well").bands())
    shutil.copytree(runs / "well", tmp_path / "hundred")
    config = tmp_path / "hundred" / "config.yaml"
    config.write_text(config.read_text().replace("negatives: 10", "negatives: 100"))
    bands = read_run(tmp_path / "hundred").bands()
    assert {"bits", "accuracy", "code_perplexity"} <= set(bands)
    for band in (bands["bits"], bands["accuracy"], bands["code_perplexity"]):
        assert len(band["low"]) == len(band["high"]) == len(bands["at"])
        assert all(low <= high for low, high in zip(band["low"], band["high"], strict=True))


def test_what_is_no_run_is_one_line(tmp_path, runs, capsys):
    with pytest.raises(UserError, match=r"has no config\.yaml; expected the `out` of"):
        examine(tmp_path)
    shutil.copy(runs / "well" / "config.yaml", tmp_path)
    with pytest.raises(UserError, match=r"has no log\.jsonl"):
        examine(tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    assert verdict(read_run(tmp_path))[-1] == "the log is empty so far"
    assert examine(tmp_path) == 0
    (tmp_path / "log.jsonl").write_text("{]\n")
    with pytest.raises(UserError, match=r"log\.jsonl is damaged"):
        examine(tmp_path)
    model = tmp_path / "model"
    shutil.copytree(runs / "well" / "final", model)
    (model / "log.jsonl").write_text("")
    with pytest.raises(UserError, match="is not the configuration of a run"):
        examine(model)
