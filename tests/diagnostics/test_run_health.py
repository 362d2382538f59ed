"""`speechx health RUN`: the verdict on finished, running and stopped runs, and their curves."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys

import pytest
from matplotlib.figure import Figure

from speechx.cli.main import main
from speechx.config import merge, to_dict
from speechx.diagnostics.run_health import examine, standing_findings, verdict
from speechx.diagnostics.run_log import healthy_bands, read_run
from speechx.errors import HealthStop, UserError
from speechx.finetuning import finetune
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.pretraining import Pretrain, pretrain
from tests.configs import make_config
from tests.conftest import finetune_config, pretrain_config, read_log
from tests.failing_runs import failing_config


@pytest.fixture(scope="module")
def runs(tmp_path_factory, manifests):
    """A run that ends well, one that is stopped, and a fine-tuning that writes nothing."""
    folder = tmp_path_factory.mktemp("runs")
    dev = {"data": {"dev": [str(manifests[1])]}, "run": {"steps": 60, "eval_steps": 20}}
    pretrain(failing_config(folder / "healthy", manifests, "healthy", **dev))
    with pytest.raises(HealthStop):
        pretrain(failing_config(folder / "stopped", manifests, "E102"))
    run = {"steps": 30, "log_steps": 5, "save_steps": 30, "eval_steps": 15}
    slow = {"optim": {"lr": 0.001}, "run": run, "health": {"window": 10}}
    finetune(finetune_config(folder / "blank", manifests, **slow))
    return folder


@pytest.fixture(scope="module")
def two_tasks(tmp_path_factory, manifests):
    """The folder of a run with two tasks, one of which cannot fail by name."""
    config = pretrain_config(tmp_path_factory.mktemp("tasks") / "run", manifests)
    plain = to_dict(config)
    speech = {"objective": plain.pop("objective"), "data": plain.pop("data")}
    labelled = {"train": speech["data"]["train"], "dev": speech["data"]["dev"]}
    languages = {"objective": {"kind": "language_id"}, "data": labelled}
    tasks = {"tasks": {"speech": speech, "languages": languages}}
    pretrain(make_config(Pretrain, merge(plain, {**tasks, "run": {"eval_steps": 3}})))
    return config.out


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def row_of(text, key):
    """The number, and the rest of the row, of a key of the table."""
    (row,) = [line.split() for line in text.splitlines() if line.split()[:1] == [key]]
    return float(row[1]), " ".join(row[2:])


def lines_of(text):
    return text.splitlines()


def test_a_run_that_ended_well(runs, tmp_path, capsys):
    assert main(["health", str(runs / "healthy"), "-o", str(tmp_path / "it" / "well.png")]) == 0
    text, err = capsys.readouterr()
    lines = text.splitlines()
    assert lines[0] == f"{runs / 'healthy'}: wav2vec2, finished at step 60 of 60"
    assert lines[-1] == "healthy"
    last = {}
    for line in read_log(runs / "healthy"):
        last |= line
    chance = math.log2(11)
    assert f"loss, bits per masked frame (chance {chance:.3f})" in lines
    assert row_of(text, "bits") == (pytest.approx(last["bits"], abs=5e-4), "")
    assert 0 < row_of(text, "chance_bits")[0] < chance
    # Perplexities, their level and their ranges are shares of all codes.
    assert "perplexity, share of 20 codes (collapse 0.250)" in lines
    share, healthy = row_of(text, "code_perplexity")
    assert share == pytest.approx(last["code_perplexity"] / 20, abs=5e-4)
    assert healthy == "0.387 to 0.461"
    for key in ("dev_bits", "dev_bits/xx", "dev_bits/yy", "feature_variance", "gradient_norm"):
        assert row_of(text, key)[0] == pytest.approx(last[key], abs=5e-4)
    assert "64 s of audio per step: 2000 steps on 10 hours of real speech" in text
    assert err == f"curves in {tmp_path / 'it' / 'well.png'}\n"
    assert is_picture(tmp_path / "it" / "well.png")


def test_a_run_that_was_stopped(runs, capsys):
    assert main(["health", str(runs / "stopped")]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("wav2vec2, stopped for its health at step 25 of 100")
    (found,) = [line for line in lines if line.startswith("E102 collapse at step 25: ")]
    assert found.endswith("-> the run stopped; no checkpoint is known to be healthy")
    assert lines[-2].startswith("what helps against E102 collapse: lower optim.lr")
    assert lines[-1] == "NOT HEALTHY: E102"
    assert is_picture(runs / "stopped" / "health.png")


def test_a_run_that_rolled_back_and_recovered_reports_both(runs, tmp_path):
    """The lines of the failure are gone from the log; the monitor's note is not."""
    shutil.copytree(runs / "healthy", tmp_path / "back")
    note = {"step": 40, "code": "E102", "name": "collapse", "advice": "none", "text": "few codes"}
    note |= {"action": "rollback", "healthy": 20}
    (tmp_path / "back" / "health.jsonl").write_text(f"{json.dumps(note)}\n" * 2)
    *_, before, found, last = lines_of(verdict(read_run(tmp_path / "back")))
    assert found == (
        "E102 collapse at step 40: few codes -> the run went back to step 20, at half the learning "
        "rate"
    )
    assert (before, last) == ("", "healthy")


def test_a_run_without_notes_of_the_monitor_is_judged_from_its_log(runs, tmp_path):
    """As a run that still goes on, whose last line is half written."""
    going = tmp_path / "going"
    shutil.copytree(runs / "stopped", going)
    (going / "health.jsonl").unlink()
    with (going / "log.jsonl").open("a") as log:
        log.write('{"step": 30, "bi')
    lines = lines_of(verdict(read_run(going)))
    assert "wav2vec2, at step 25 of 100, last line " in lines[0]
    assert any(line.startswith("E102 collapse at step 25: code perplexity is ") for line in lines)
    assert lines[-1] == "NOT HEALTHY: E102"


def test_a_signature_too_short_for_a_finding_is_suspicious(runs, tmp_path):
    shutil.copytree(runs / "stopped", tmp_path / "short")
    (tmp_path / "short" / "health.jsonl").unlink()
    config = tmp_path / "short" / "config.yaml"
    config.write_text(config.read_text().replace("window: 20", "window: 50"))
    run = read_run(tmp_path / "short")
    assert lines_of(verdict(run))[-1].startswith("SUSPICIOUS: the last 20 steps show the signature")
    assert standing_findings(run) == {}


def test_a_run_continued_after_its_stop_is_no_longer_stopped(runs, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(runs / "stopped", again)
    with (again / "health.jsonl").open("a") as file:
        file.write('{"step": 5, "action": "resume"}\n')
    lines = (again / "log.jsonl").read_text().splitlines()[:1]
    (again / "log.jsonl").write_text("\n".join(lines) + "\n")
    lines = lines_of(verdict(read_run(again)))
    assert "at step 5 of 100, last line" in lines[0]
    assert lines[-1].startswith("TOO EARLY to say: a run of 100 steps is judged from step ")


def test_a_run_of_a_few_steps_is_not_yet_called_healthy(manifests, tmp_path):
    """Its values are far outside of the ranges, and no finding was possible yet."""
    finetune(finetune_config(tmp_path / "run", manifests))
    text, code = examine(tmp_path / "run")
    assert code == 0
    too_short = "TOO SHORT to say: a finding needs 100 steps, the run has 6"
    assert lines_of(text)[-1] == too_short
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("  steps: 6\n", "  steps: 1000\n"))
    too_early = "TOO EARLY to say: a run of 1000 steps is judged from step 333 on"
    assert lines_of(verdict(read_run(tmp_path / "run")))[-1] == too_early


@pytest.mark.parametrize(("step", "word"), [(27, "TOO EARLY"), (28, "healthy")])
def test_the_warm_up_and_a_window_come_first(step, word, runs, tmp_path):
    shutil.copytree(runs / "healthy", tmp_path / "w")
    config = tmp_path / "w" / "config.yaml"
    config.write_text(re.sub(r"warmup_ratio: .*", "warmup_ratio: 0.13", config.read_text()))
    trained = [line for line in read_log(tmp_path / "w") if "bits" in line]
    (tmp_path / "w" / "log.jsonl").write_text(json.dumps({**trained[-1], "step": step}) + "\n")
    assert lines_of(verdict(read_run(tmp_path / "w")))[-1].startswith(word)


def test_fine_tuning_on_a_blank_plateau(runs):
    text, code = examine(runs / "blank")
    lines = text.splitlines()
    assert code == 3
    assert lines[0].endswith("ctc, finished at step 30 of 30")
    assert "frames read as blank (blank plateau 0.995)" in lines
    assert row_of(text, "blank_share") == (1.0, "0.783 to 0.795")
    assert row_of(text, "dev_cer/xx")[0] == 1
    (found,) = [line for line in lines if line.startswith("E201 blank plateau at step 10: 100.00%")]
    assert found.endswith("-> the run went on")
    assert lines[-1] == "NOT HEALTHY: E201"
    assert is_picture(runs / "blank" / "health.png")


def test_a_blank_plateau_that_was_left_does_not_count(runs, tmp_path):
    shutil.copytree(runs / "blank", tmp_path / "left")
    log = tmp_path / "left" / "log.jsonl"
    *before, last = [line for line in read_log(tmp_path / "left") if "blank_share" in line]
    lines = [*before, {**last, "blank_share": 0.8}]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert lines_of(verdict(read_run(tmp_path / "left")))[-1] == "healthy"


def test_several_tasks_are_shown_with_their_names(two_tasks):
    """Their keys in the log are prefixed; an objective without panels shows each metric."""
    run = read_run(two_tasks)
    text = verdict(run)
    assert text.startswith(f"{two_tasks}: speech (wav2vec2), languages (language_id), finished")
    titles = [panel.title for panel, _ in run.panels()]
    assert titles[:2] == ["speech: loss, bits per masked frame", "speech: accuracy"]
    assert titles[-1] == "gradient norm"
    assert {"languages: loss", "languages: accuracy"} < set(titles)
    last = [line for line in read_log(two_tasks) if "lr" in line][-1]
    for key in ("speech/bits", "languages/loss", "gradient_norm"):
        assert row_of(text, key)[0] == pytest.approx(last[key], abs=5e-4)
    assert row_of(text, "speech/code_perplexity")[1] == "0.387 to 0.461"
    assert row_of(text, "gradient_norm")[1] == ""  # of both tasks, so without a range
    assert examine(two_tasks)[1] == 0
    assert is_picture(two_tasks / "health.png")


def test_every_panel_of_the_figure_has_its_curves(runs, two_tasks, tmp_path, monkeypatch):
    """The picture shows no empty axes, every level with its name, and every finding."""
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **settings: drawn.append(figure))
    for folder in (runs / "healthy", runs / "stopped", two_tasks):
        examine(folder, tmp_path / "no.png")
        (figure,), run = drawn, read_run(folder)
        drawn.clear()
        for axes, (panel, curves) in zip(figure.axes, run.panels(), strict=True):
            assert axes.get_title() == panel.title
            with_points = [curve.key.split("/")[-1] for curve in curves if curve.points]
            assert axes.get_legend_handles_labels()[1] == with_points
            texts = [text.get_text() for text in axes.texts]
            assert ("not in the log" in texts) == (not with_points)
            assert panel.level is None or f"{panel.level_name} {panel.shown_level:.4g}" in texts
            assert ("E102" in texts) == (folder.name == "stopped")
            assert len(axes.collections) == sum(curve.band is not None for curve in curves)


def test_without_matplotlib_there_is_a_verdict_all_the_same(runs, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text, code = examine(runs / "healthy")
    assert (lines_of(text)[-1], code) == ("healthy", 0)
    missing = "matplotlib is not installed; pip install 'speechx[figures]'"
    assert capsys.readouterr().err == f"no {runs / 'healthy' / 'health.png'}: {missing}\n"


def test_ranges_that_hold_for_other_settings_are_not_shown(runs):
    """Chance and accuracy depend on the number of negatives; the use of codes does not."""
    (config,) = read_run(runs / "healthy").objectives.values()
    assert config.num_negatives == 10
    assert not {"bits", "accuracy"} & set(healthy_bands(config))
    bands = healthy_bands(Wav2Vec2Config(num_negatives=100))
    assert {"bits", "accuracy", "code_perplexity"} <= set(bands)
    for band in bands.values():
        assert len(band.low) == len(band.high) == len(band.at)
        assert all(low <= high for low, high in zip(band.low, band.high, strict=True))
    assert healthy_bands(LanguageIDConfig()) == {}


def test_an_objective_without_signatures_is_not_called_healthy(manifests, tmp_path):
    finetune(finetune_config(tmp_path / "run", manifests, objective={"kind": "language_id"}))
    assert lines_of(verdict(read_run(tmp_path / "run")))[-1] == (
        "no overflow; language_id has no other signature of a failure"
    )


def test_a_folder_that_is_no_run_is_one_line(tmp_path, runs):
    with pytest.raises(UserError, match=r"has no config\.yaml; expected the `out` of"):
        examine(tmp_path)
    shutil.copy(runs / "healthy" / "config.yaml", tmp_path)
    with pytest.raises(UserError, match=r"has no log\.jsonl"):
        examine(tmp_path)
    log = tmp_path / "log.jsonl"
    log.write_text("")
    assert lines_of(verdict(read_run(tmp_path)))[-1] == "the log is empty so far"
    assert examine(tmp_path)[1] == 0
    log.write_text("{]\n")
    with pytest.raises(UserError, match=r"log\.jsonl is damaged"):
        examine(tmp_path)
    shutil.copy(runs / "blank" / "log.jsonl", tmp_path)
    with pytest.raises(UserError, match="is not the log of this configuration: no 'feature_varia"):
        examine(tmp_path)
    model = tmp_path / "model"
    shutil.copytree(runs / "healthy" / "final", model)
    (model / "log.jsonl").write_text("")
    with pytest.raises(UserError, match="is not the configuration of a run"):
        examine(model)


def test_curves_are_drawn_in_a_format_of_pictures(runs):
    with pytest.raises(UserError, match=r"health\.txt must end in \.png"):
        examine(runs / "healthy", runs / "health.txt")
