"""Runs of BEST-RQ, w2v-BERT and masked autoencoding: they learn, resume to the bit, are equal in
two processes, stop by name where they fail, and give their encoder to a head."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from speechx.cli.main import main
from speechx.config import dump, merge
from speechx.finetuning import finetune
from speechx.models.folder import open_folder
from speechx.pretraining import pretrain
from tests.conftest import (
    SMALL_QUANTIZER,
    finetune_config,
    finish,
    pretrain_config,
    read_log,
    run_job,
    start,
)
from tests.failing_runs import CHIRP_S, copies
from tests.ranks import run_in_two_processes

SHORT = {"probability": 0.4, "span": 5}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "best_rq": {"kind": "best_rq", "num_codes": 20, "dim": 8, "masking": SHORT},
    "w2v_bert": {
        "kind": "w2v_bert", "contrastive_layer": 1, "num_negatives": 10, "masking": SHORT,
        "quantizer": SMALL_QUANTIZER, "target_dropout": 0.0,
    },
    "masked_autoencoding": {
        "kind": "masked_autoencoding", "decoder_layers": 1, "decoder_dim": 16, "masking": SHORT,
    },
}  # fmt: skip
RATE = {
    "best_rq": ("bits", "chance_bits"),
    "w2v_bert": ("prediction_bits", "prediction_chance_bits"),
    "masked_autoencoding": ("error", "chance_error"),
}
KINDS = tuple(OBJECTIVES)
LR = {"best_rq": 0.02, "w2v_bert": 0.02, "masked_autoencoding": 0.01}
WATCHED = {
    "run": {
        "steps": 60, "log_steps": 5, "save_steps": 60, "batch_seconds": 6,
        "max_seconds_per_device": 6,
    },
    "health": {"window": 20}, "data": {"dev": []},
}  # fmt: skip
FAILING: dict[str, dict[str, Any]] = {
    "best_rq E102 collapse on silence": {},
    "best_rq E101 chance level": {"optim": {"lr": 3.0}},
    "w2v_bert E103 trivial solution on silence": {},
    "w2v_bert E101 chance level": {
        "objective": {"prediction": 0.0, "features_penalty": 0.0}, "optim": {"lr": 0.01},
    },
    "masked_autoencoding E103 trivial solution on silence": {},
    "masked_autoencoding E101 chance level": {"optim": {"lr": 3.0}},
}  # fmt: skip


def config_of(out, manifests, kind, **changes):
    return pretrain_config(out, manifests, **merge({"objective": OBJECTIVES[kind]}, changes))


@pytest.fixture(scope="module")
def parents(tmp_path_factory, manifests):
    """A run of each kind, of 60 steps of 6 seconds."""
    folder = tmp_path_factory.mktemp("parents")
    for kind in KINDS:
        run = {**WATCHED["run"], "eval_steps": 30}
        changes = {"run": run, "health": WATCHED["health"], "optim": {"lr": LR[kind]}}
        pretrain(config_of(folder / kind, manifests, kind, **changes))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_the_mean_prediction_does_not_know(parents, kind):
    rate, chance = RATE[kind]
    lines = [line for line in read_log(parents / kind) if rate in line]
    assert lines[-1][rate] < 0.95 * lines[-1][chance]
    last = read_log(parents / kind)[-1]
    each = "dev_error" if rate == "error" else "dev_bits"
    assert {f"dev_{rate}", f"{each}/xx", f"{each}/yy"} <= last.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_run_is_healthy(parents, kind, capsys):
    assert main(["health", str(parents / kind)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "healthy"


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_resumes_with_bit_equal_losses(tmp_path, manifests, kind):
    """SIGKILL at step 5 of 8, the last state at step 4, two micro-batches a step."""

    def config(name):
        return config_of(tmp_path / name, manifests, kind, run={"steps": 8, "eval_steps": 3})

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
    kinds = ("best_rq", "masked_autoencoding")  # w2v_bert draws Gumbel noise for each process

    def config(kind, name):
        return config_of(tmp_path / f"{kind}_{name}", manifests, kind)

    for kind in kinds:
        pretrain(config(kind, "one"))
    run_in_two_processes(*((run_job, "pretrain", config(kind, "two")) for kind in kinds))
    for kind in kinds:
        one, two = (read_log(tmp_path / f"{kind}_{name}") for name in ("one", "two"))
        assert len(one) == len(two) > 5
        for line, other in zip(one, two, strict=True):
            assert line == pytest.approx(other, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", FAILING)
def test_a_run_that_fails_is_stopped_by_name_with_exit_code_3(tmp_path, manifests, name, capsys):
    kind, failure = name.split(maxsplit=1)
    failure, *silent = failure.split(" on ")
    if silent:
        manifests = copies(tmp_path / "silence", 0 * CHIRP_S)
    config = config_of(tmp_path / "run", manifests, kind, **merge(WATCHED, FAILING[name]))
    (tmp_path / "run.yaml").write_text(dump(config))
    assert main(["pretrain", str(tmp_path / "run.yaml")]) == 3
    assert f"{failure} at step " in capsys.readouterr().err
    assert main(["health", str(tmp_path / "run")]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == f"NOT HEALTHY: {failure.split()[0]}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_fine_tuned_and_its_pretraining_continued(parents, manifests, tmp_path, kind):
    init = str(parents / kind / "final")
    before = open_folder(init).weights
    tuned = finetune(finetune_config(tmp_path / "tuned", manifests, init=init))
    after = open_folder(tuned).weights
    assert any((after[n] != before[n]).any() for n in after if n.startswith("encoder.context."))
    continued = pretrain(config_of(tmp_path / "more", manifests, kind, init=init))
    own = open_folder(continued).weights
    frozen = [name for name in before if "quantizer.map" in name or "quantizer.codes" in name]
    assert all(torch.equal(own[name], before[name]) for name in frozen)
    assert bool(frozen) == (kind == "best_rq")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_at_chance_is_not_continued(manifests, tmp_path, kind, capsys):
    """Weights of a run that was interrupted before it learned anything."""
    run = {"steps": 1}
    pretrain(config_of(tmp_path / "run", manifests, kind, run=run))
    init = str(tmp_path / "run" / "final")
    config = config_of(tmp_path / "more", manifests, kind, init=init)
    (tmp_path / "more.yaml").write_text(dump(config))
    assert main(["pretrain", str(tmp_path / "more.yaml")]) == 1
    assert "is at chance on this audio" in capsys.readouterr().err
