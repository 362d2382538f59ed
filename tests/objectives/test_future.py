"""Runs of the objectives that predict later frames: CPC and wav2vec (2019).

They learn, resume to the bit, are equal in two processes, stop by name where they fail, and give
their encoder to a head, also a frozen one.
"""

from __future__ import annotations

import math

import pytest
import torch

import speechx
from speechx.cli.main import main
from speechx.config import dump, merge, to_dict
from speechx.finetuning import finetune
from speechx.models.folder import open_folder
from speechx.pretraining import pretrain
from tests.conftest import (
    finetune_config,
    finish,
    future_config,
    read_log,
    run_job,
    start,
)
from tests.failing_runs import CHIRP_S, copies
from tests.ranks import run_in_two_processes

KINDS = ("cpc", "wav2vec")
LR = {"cpc": 0.01, "wav2vec": 0.001}
JOINED = {"data": {"join_seconds": 2.4}}  # more than the two windows of 0.3 s in an utterance
WATCHED = {"run": {"steps": 60, "log_steps": 5, "save_steps": 60}, "health": {"window": 20}}

FAILING = {
    # A window of 30 frames, not 128: to know the two at its ends is worth 3 % of a guess.
    "cpc E101": {"limits": {"chance": 0.04, "variance": 0.0}, "optim": {"lr": 1.0}},
    "cpc E103": {"optim": {"lr": 1.0}},
    "cpc E103 on silence": {},
    "wav2vec E101": {"limits": {"variance": 0.0}, "optim": {"lr": 0.01}},
    "wav2vec E103": {"optim": {"lr": 0.05}},
}


@pytest.fixture(scope="module")
def parents(tmp_path_factory, manifests):
    """A run of each kind, of 60 steps of 6 seconds."""
    folder = tmp_path_factory.mktemp("parents")
    run = {"steps": 60, "log_steps": 10, "batch_seconds": 6, "max_seconds_per_device": 6}
    for kind in KINDS:
        changes = {
            "run": {**run, "eval_steps": 30},
            "optim": {"lr": 0.01 if kind == "cpc" else 1e-3},
        }
        pretrain(future_config(folder / kind, manifests, kind, **merge(JOINED, changes)))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_is_in_stated_units(parents, kind):
    lines = [line for line in read_log(parents / kind) if "bits" in line]
    chance = math.log2(11) if kind == "cpc" else 4.8345
    for line in lines:
        assert line["chance_bits"] == pytest.approx(chance, rel=0.01)
        for key in ("accuracy", "accuracy_first", "accuracy_last"):
            assert 0 <= line[key] <= 1
    last = read_log(parents / kind)[-1]
    assert {"dev_bits", "dev_accuracy", "dev_bits/xx", "dev_bits/yy"} <= last.keys()
    assert lines[-1]["bits"] < lines[0]["bits"]
    if kind == "cpc":
        assert lines[-1]["bits"] < 0.93 * chance
        assert lines[-1]["without_speaker"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_resumes_with_bit_equal_losses(tmp_path, manifests, kind):
    """SIGKILL at step 5 of 8, the last state at step 4, two micro-batches a step."""

    def config(name):
        run = {"run": {"steps": 8, "eval_steps": 3}}
        return future_config(tmp_path / name, manifests, kind, **merge(JOINED, run))

    killed = start(run_job, "pretrain", config("killed"), False, 5, True)
    pretrain(config("whole"))
    assert finish(killed) == [-9]
    pretrain(config("killed"), resume=True)
    whole, resumed = (read_log(tmp_path / name) for name in ("whole", "killed"))
    assert resumed == whole
    weights, others = (open_folder(tmp_path / n / "final").weights for n in ("whole", "killed"))
    for name, tensor in weights.items():
        assert torch.equal(others[name], tensor), name


def test_two_processes_equal_accumulation(tmp_path, manifests):
    def config(kind, name):
        return future_config(tmp_path / f"{kind}_{name}", manifests, kind, **JOINED)

    for kind in KINDS:
        pretrain(config(kind, "one"))
    run_in_two_processes(*((run_job, "pretrain", config(kind, "two")) for kind in KINDS))
    for kind in KINDS:
        one, two = (read_log(tmp_path / f"{kind}_{name}") for name in ("one", "two"))
        assert len(one) == len(two) > 5
        for line, other in zip(one, two, strict=True):
            assert line == pytest.approx(other, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", FAILING)
def test_a_run_that_fails_is_stopped_by_name_with_exit_code_3(tmp_path, manifests, name, capsys):
    kind, code, *silent = name.split(maxsplit=2)
    changes = dict(FAILING[name])
    objective = {"limits": changes.pop("limits", {})}
    if silent:
        manifests = copies(tmp_path / "silence", 0 * CHIRP_S)
    settings = merge(merge(JOINED, WATCHED), {**changes, "objective": objective})
    settings = merge(settings, {"data": {"dev": []}})
    config = future_config(tmp_path / "run", manifests, kind, **settings)
    (tmp_path / "run.yaml").write_text(dump(config))
    assert main(["pretrain", str(tmp_path / "run.yaml")]) == 3
    err = capsys.readouterr().err
    title = {"E101": "chance level", "E103": "trivial solution"}[code]
    assert f"{code} {title} at step " in err
    assert main(["health", str(tmp_path / "run")]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == f"NOT HEALTHY: {code}"
    last = [line for line in read_log(tmp_path / "run") if "bits" in line][-1]
    if code == "E103":
        assert last["feature_variance"] < 1e-4
    else:
        assert last["bits"] == pytest.approx(last["chance_bits"], rel=0.03)


def test_a_healthy_run_is_healthy(tmp_path, manifests, capsys):
    settings = merge(merge(JOINED, WATCHED), {"optim": {"lr": 0.01}})
    config = future_config(tmp_path / "run", manifests, "cpc", **settings)
    pretrain(config)
    capsys.readouterr()
    assert main(["health", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "healthy"
    assert "bits per prediction" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_encoder_gives_features_to_a_head(parents, manifests, tmp_path, kind, capsys):
    """Its weights stay, the head learns, and both averages of the error rate are printed."""
    init = parents / kind / "final"
    config = finetune_config(
        tmp_path / "run", manifests, init=str(init), freeze_steps=99, optim={"lr": 0.05},
        run={"steps": 30, "eval_steps": 15},
        objective={"tokens": "phonemes", "time_masking": {"probability": 0.0}},
    )  # fmt: skip
    best = finetune(config)
    weights, before = open_folder(best).weights, open_folder(init).weights
    kept = [name for name in before if name.startswith("encoder.")]
    assert kept
    assert all(torch.equal(weights[name], before[name]) for name in kept)
    losses = [line["loss"] for line in read_log(tmp_path / "run") if "loss" in line]
    assert losses[-1] < losses[0]
    assert speechx.load(best).vocabulary.token_type == "phonemes"
    capsys.readouterr()
    assert (
        main(["evaluate", "--model", str(best), "--manifest", str(manifests[1]), "--allow-leaks"])
        == 0
    )
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"overall", "utterance mean"} <= set(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_fine_tuned_and_its_pretraining_continued(parents, manifests, tmp_path, kind):
    init = str(parents / kind / "final")
    before = open_folder(init).weights
    tuned = finetune(finetune_config(tmp_path / "tuned", manifests, init=init))
    after = open_folder(tuned).weights
    assert any((after[n] != before[n]).any() for n in after if n.startswith("encoder.context."))
    settings = {"init": init, "allow_chance_level": kind == "wav2vec"}
    config = future_config(tmp_path / "more", manifests, kind, **merge(JOINED, settings))
    continued = pretrain(config)
    assert open_folder(continued).encoder == open_folder(init).encoder


def test_a_model_at_chance_is_not_continued(manifests, tmp_path, capsys):
    """Weights of a run that was interrupted before it learned anything."""
    config = future_config(tmp_path / "run", manifests, "cpc", run={"steps": 1})
    pretrain(config)
    text = dump(
        merge(
            to_dict(config), {"init": str(tmp_path / "run" / "final"), "out": str(tmp_path / "x")}
        )
    )
    (tmp_path / "more.yaml").write_text(text)
    assert main(["pretrain", str(tmp_path / "more.yaml")]) == 1
    assert "is at chance on this audio" in capsys.readouterr().err
