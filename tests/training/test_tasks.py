"""A run with several tasks: contrastive, CTC on phonemes and language identification at once, on
one encoder.

Two processes are tested in test_distributed.py: they equal accumulation, and resume to the bit.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechx.config import dump, merge, to_dict
from speechx.data.manifest import read_manifest, write_manifest
from speechx.errors import UserError
from speechx.finetuning import finetune
from speechx.models.folder import open_folder, saved_dev_error
from speechx.objectives.model import SpeechModel
from speechx.pretraining import Pretrain, pretrain
from tests.configs import load_config, make_config
from tests.conftest import (
    finetune_config,
    finish,
    read_log,
    run_job,
    small_filterbank,
    start,
    tasks_config,
)

TASKS = ("speech", "phones", "language")


def steps_of(out):
    return [line for line in read_log(out) if "gradient_norm" in line]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, manifests):
    """A run that learns all three."""
    out = tmp_path_factory.mktemp("tasks") / "run"
    quiet = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    context = {"embed_dim": 32, "ffn_dim": 64, **quiet}
    masks = {
        "time_masking": {"probability": 0.1, "span": 3}, "channel_masking": {"probability": 0.0},
    }  # fmt: skip
    config = tasks_config(
        out, manifests, encoder={"context": context, "input_dropout": 0.0},
        tasks={name: {"objective": masks} for name in ("phones", "language")},
        optim={"lr": 0.01},
        run={"steps": 60, "eval_steps": 30, "save_steps": 60, "seed": 2},
    )  # fmt: skip
    return config, pretrain(config)


def test_every_task_learns(trained):
    config, _ = trained
    steps = steps_of(config.out)
    assert len(steps) == 60
    for name in TASKS:
        losses = [line[f"{name}/loss"] for line in steps]
        assert all(map(math.isfinite, losses))
        assert np.mean(losses[-10:]) < np.mean(losses[:5]), name
    phones = [line["phones/loss"] for line in steps]
    assert np.mean(phones[-10:]) < 0.8 * np.mean(phones[:5])


def test_keys_of_the_log_begin_with_the_name_of_the_task(trained):
    config, _ = trained
    step, validated = steps_of(config.out)[-1], read_log(config.out)[-1]
    shared = {"step", "gradient_norm", "lr"}
    assert {key.split("/")[0] for key in step} - set(TASKS) == shared
    for key in (
        "speech/bits",
        "speech/quantizer_gradient",
        "phones/blank_share",
        "language/accuracy",
    ):
        assert key in step
    assert {key.split("/")[0] for key in validated} - set(TASKS) == {"step"}
    for key in ("speech/dev_bits", "phones/dev_per", "language/dev_accuracy", "phones/dev_per/xx"):
        assert key in validated


def test_the_folder_opens_with_all_objectives_and_vocabularies(trained, manifests):
    config, final = trained
    assert load_config(Pretrain, config.out / "config.yaml") == config
    saved = open_folder(final)
    assert list(saved.objectives) == list(TASKS)
    assert saved.vocabularies["phones"].tokens == ("a", "b", "c", "d")
    assert saved.vocabularies["language"].tokens == ("xx", "yy")
    model, report = SpeechModel.from_saved(saved)
    assert list(model.heads) == ["phones", "language"]
    assert model.configs == {name: task.objective for name, task in config.tasks.items()}
    for name in TASKS:
        assert name in report
    best = SpeechModel.from_saved(open_folder(config.out / "best"))[0]
    assert list(best.heads) == ["phones", "language"]


def test_best_is_the_lowest_mean_error_of_the_heads(trained):
    config, _ = trained
    lines = [line for line in read_log(config.out) if "phones/dev_per" in line]
    means = [(line["phones/dev_per"] + 1 - line["language/dev_accuracy"]) / 2 for line in lines]
    assert saved_dev_error(config.out / "best") == pytest.approx(min(means))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_resumes_all_streams_to_the_bit(manifests, tmp_path, workers):
    """The streams have their own positions: their epochs have different lengths."""

    def config(name):
        tasks = {"phones": {"batch_seconds": 3}}
        run = {"workers": workers, "steps": 14, "save_steps": 4}
        encoder = {"context": {"layer_drop": 0.3}}
        return tasks_config(tmp_path / name, manifests, run=run, tasks=tasks, encoder=encoder)

    killed = start(run_job, "pretrain", config("killed"), False, 10, True)
    pretrain(config("whole"))
    assert finish(killed) == [-9]
    state = json.loads((tmp_path / "killed" / "state" / "step_8" / "run.json").read_text())
    assert {position["number"] for position in state["positions"].values()} == {16}
    assert len({tuple(position.values()) for position in state["positions"].values()}) > 1
    pretrain(load_config(Pretrain, tmp_path / "killed" / "config.yaml", resume=True), resume=True)
    assert read_log(tmp_path / "killed") == read_log(tmp_path / "whole")
    whole, killed = (open_folder(tmp_path / n / "final").weights for n in ("whole", "killed"))
    for name, tensor in whole.items():
        assert torch.equal(killed[name], tensor), name


def test_a_task_has_the_audio_of_its_own_size(manifests, tmp_path, capsys):
    tasks = {"phones": {"batch_seconds": 3}, "language": {"batch_seconds": 1.5}}
    pretrain(tasks_config(tmp_path / "run", manifests, tasks=tasks, run={"steps": 1}))
    err = capsys.readouterr().err
    for size in ("6 s of audio per step of speech", "3 s of audio per step of phones",
                 "1.5 s of audio per step of language"):  # fmt: skip
        assert size in err


def test_lists_of_labels_that_are_too_long_do_not_replace_each_other(manifests, tmp_path):
    train = read_manifest(manifests[0])
    many = [u for n in range(8) for u in _renamed(train, n)]
    long = _renamed(train[:1], "long", phones=("a",) * 99, text="ab" * 99)
    write_manifest(tmp_path / "train.jsonl", [*many, *long])
    data = {"train": [str(tmp_path / "train.jsonl")], "dev": [str(manifests[1])]}
    kinds = {"phones": "phonemes", "letters": "characters"}
    tasks = {
        name: {"objective": {"kind": "ctc", "tokens": kind}, "data": data}
        for name, kind in kinds.items()
    }
    settings = {"out": str(tmp_path / "run"), "encoder": to_dict(small_filterbank())}
    run = {"steps": 1, "batch_seconds": 2, "max_seconds_per_device": 4, "device": "cpu"}
    finetune(**settings, tasks=tasks, run=run)
    for name, needed in (("phones", 197), ("letters", 198)):
        lines = (tmp_path / "run" / f"too_long_{name}.tsv").read_text().splitlines()
        assert len(lines) == 2
        assert lines[1].endswith(f"\t{needed}")


def _renamed(utterances, mark, **changes):
    from dataclasses import replace

    return [replace(u, id=f"{u.id}_{mark}", **changes) for u in utterances]


def test_one_task_of_a_model_is_fine_tuned_further(trained, manifests, tmp_path, capsys):
    """Its head goes on from the head of the same kind, whatever that one's name is."""
    _, final = trained
    objective = {"kind": "ctc", "tokens": "phonemes"}
    config = finetune_config(
        tmp_path / "run", manifests, init=str(final), objective=objective, run={"steps": 1}
    )
    finetune(config)
    assert "4 of 4 phonemes" in capsys.readouterr().err
    saved = open_folder(tmp_path / "run" / "final")
    assert list(saved.objectives) == ["ctc"]
    assert list(saved.vocabularies) == ["ctc"]


def test_other_tasks_on_resume_are_refused(manifests, tmp_path):
    config = tasks_config(tmp_path / "run", manifests)
    run_job("pretrain", config, stop_at=3)
    tasks = to_dict(config)["tasks"]
    fewer = {name: task for name, task in tasks.items() if name != "language"}
    changed = merge({**to_dict(config), "tasks": None}, {"tasks": fewer})
    before = (config.out / "config.yaml").read_text()
    with pytest.raises(UserError, match=r"--resume.*another model.*language"):
        pretrain(make_config(Pretrain, changed), resume=True)
    assert (config.out / "config.yaml").read_text() == before


def test_a_task_whose_audio_is_less_than_an_utterance_says_so(manifests, tmp_path, capsys):
    tasks = {"phones": {"batch_seconds": 0.5}}
    pretrain(tasks_config(tmp_path / "run", manifests, tasks=tasks, run={"steps": 1}))
    lines = [x for x in capsys.readouterr().err.splitlines() if "less than a usual utterance" in x]
    assert [line.split(":")[1].strip() for line in lines] == ["phones"]


def test_finetune_does_not_resume_a_pretraining(manifests, tmp_path):
    """Of several tasks, one with labels: `finetune` would freeze parts that have trained."""
    config = tasks_config(tmp_path / "run", manifests)
    config.out.mkdir()
    (config.out / "config.yaml").write_text(dump(replace(config, init=Path("x"))))
    with pytest.raises(UserError, match=r"of another command: it lacks .*freeze_steps"):
        finetune(out=str(config.out), resume=True)
