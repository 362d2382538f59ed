"""Two processes equal one process that accumulates twice; each continues runs of the other.

All runs of two processes are made once, by one pair of processes, for the tests of this file.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from speechx.errors import UserError
from speechx.finetuning import finetune
from speechx.models.folder import open_folder
from speechx.objectives.model import SpeechModel
from speechx.pretraining import pretrain
from speechx.training.distributed import Ranks, distributed, pick_device
from tests.conftest import (
    SMALL_CONFORMER,
    batches_of,
    finetune_config,
    pretrain_config,
    read_log,
    run_job,
    small_filterbank,
    tasks_config,
)
from tests.ranks import run_in_two_processes

CPU = torch.device("cpu")
TOLERANCE = 1e-5
BAD_STEP = 2


def run_bad_step(config):
    """A run in which the second rank has a loss that is not a number at one step."""
    forward = SpeechModel.forward

    def bad_forward(self: Any, batches: Any, step: Any, *rest: Any) -> Any:
        losses = forward(self, batches, step, *rest)
        if step != BAD_STEP or os.environ.get("RANK") != "1":
            return losses
        return {
            name: replace(loss, terms=tuple(replace(t, sum=t.sum * math.nan) for t in loss.terms))
            for name, loss in losses.items()
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpeechModel, "forward", bad_forward)
        pretrain(config)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, manifests):
    """Folders of runs that one process (`one_*`) and two processes (`two_*`) made."""
    folder = tmp_path_factory.mktemp("runs")
    dropped = {"context": {"layer_drop": 0.5}}

    def pre(name, **changes):
        encoder = {**dropped, **changes.pop("encoder", {})}
        run = {"batch_seconds": 12, **changes.pop("run", {})}  # 1 x 4 or 2 x 2 micro-batches
        return pretrain_config(folder / name, manifests, encoder=encoder, run=run, **changes)

    def fine(name, **changes):
        init = {"init": str(folder / "one_pre" / "final"), "freeze_steps": 3, "encoder": dropped}
        return finetune_config(folder / name, manifests, **{**init, **changes})

    def conformer(name, **run):
        encoder = {"context": SMALL_CONFORMER}
        return pretrain_config(folder / name, manifests, encoder=encoder, run=run)

    def tasks(name):
        return tasks_config(folder / name, manifests, encoder=dropped)

    pretrain(pre("one_pre"))
    run_job("pretrain", pre("one_then_two"), False, 4)
    finetune(fine("one_fine"))
    pretrain(tasks("one_tasks"))
    unmasked = {"time_masking": {"probability": 0.0}}
    free = {"freeze_feature_extractor": False, "freeze_steps": 0}
    still = {"features": {"gradient_scale": 0.0}}
    scratch = finetune_config(folder / "two_scratch", manifests, objective=unmasked)
    run_in_two_processes(
        (run_job, "pretrain", pre("two_pre")),
        (run_job, "pretrain", pre("two_then_one"), False, 4),
        (run_job, "pretrain", pre("one_then_two"), True),
        (run_bad_step, pre("two_bad", run={"log_steps": 6})),
        (run_job, "finetune", fine("two_fine")),
        (run_job, "finetune", fine("two_unmasked", objective=unmasked, **free)),
        (run_job, "finetune", scratch),
        (run_job, "finetune", fine("two_still", encoder=still, **free)),
        (run_job, "pretrain", pre("two_still_scratch", encoder=still)),
        (run_job, "pretrain", conformer("two_conformer", batch_seconds=12)),
        (run_job, "pretrain", conformer("two_conformer_resumed", batch_seconds=12), False, 4),
        (run_job, "pretrain", conformer("two_conformer_resumed", batch_seconds=12), True),
        (run_job, "pretrain", tasks("two_tasks")),
        (run_job, "pretrain", tasks("two_tasks_resumed"), False, 5),
        (run_job, "pretrain", tasks("two_tasks_resumed"), True),
    )
    run_job("pretrain", pre("two_then_one"), True)
    return SimpleNamespace(folder=folder, config=pre)


def steps_of(log):
    return [line for line in log if "gradient_norm" in line]


def assert_same_run(one, two):
    """Every logged number of every step, and the weights at the end."""
    lines, others = read_log(one), read_log(two)
    assert len(lines) == len(others) > 5
    for line, other in zip(lines, others, strict=True):
        assert line.keys() == other.keys()
        for key, value in line.items():
            if isinstance(value, float):
                assert other[key] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), key
            else:
                assert other[key] == value, key
    weights, theirs = (open_folder(folder / "final").weights for folder in (one, two))
    assert weights.keys() == theirs.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(theirs[name], tensor, atol=1e-4, rtol=0, msg=name)


def assert_equal_to_the_bit(one, two):
    assert read_log(one) == read_log(two)
    weights, theirs = (open_folder(folder / "final").weights for folder in (one, two))
    for name, tensor in weights.items():
        assert torch.equal(theirs[name], tensor), name


def test_pretraining_in_two_processes_equals_accumulation(runs):
    """Dropout, LayerDrop, Gumbel noise and several micro-batches per process and step are on."""
    assert_same_run(runs.folder / "one_pre", runs.folder / "two_pre")
    losses = [line["loss"] for line in steps_of(read_log(runs.folder / "one_pre"))]
    assert len(set(losses)) == 6


@pytest.mark.parametrize("name", ["two_then_one", "one_then_two"])
def test_one_continues_a_run_of_two_and_two_a_run_of_one(runs, name):
    """Interrupted at step 4 of 6 and resumed with another number of processes."""
    assert_same_run(runs.folder / "one_pre", runs.folder / name)


def test_finetuning_in_two_processes_equals_accumulation_across_the_freeze(runs):
    assert_same_run(runs.folder / "one_fine", runs.folder / "two_fine")


def test_several_tasks_in_two_processes_equal_accumulation(runs):
    assert_same_run(runs.folder / "one_tasks", runs.folder / "two_tasks")


@pytest.mark.parametrize("name", ["two_tasks", "two_conformer"])
def test_two_processes_resume_their_run_to_the_bit(runs, name):
    """The batch statistics of a conformer differ between ranks: the first rank's are saved, and
    all ranks go on with them."""
    assert_equal_to_the_bit(runs.folder / name, runs.folder / f"{name}_resumed")


@pytest.mark.parametrize("name", ["two_unmasked", "two_scratch"])
def test_a_mask_embedding_that_masks_nothing_does_not_stop_two_processes(runs, name):
    """With `init` and without."""
    steps = [line["step"] for line in steps_of(read_log(runs.folder / name))]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("name", "parent"), [("two_still", "one_pre"), ("two_still_scratch", "")])
def test_an_extractor_without_gradient_does_not_stop_two_processes(runs, name, parent):
    """With `encoder.features.gradient_scale` 0 the extractor is frozen, also where
    `freeze_feature_extractor` is false."""
    assert len(steps_of(read_log(runs.folder / name))) == 6
    if parent:
        given, weights = (open_folder(runs.folder / n / "final").weights for n in (parent, name))
        for key, tensor in weights.items():
            if key.startswith("encoder."):
                still = key.startswith("encoder.feature_extractor.")
                assert torch.equal(tensor, given[key]) == still, key


def test_both_refuse_a_step_that_is_bad_for_one_and_name_the_batches_of_both(runs):
    (line,) = (runs.folder / "two_bad" / "refused.jsonl").read_text().splitlines()
    refused = json.loads(line)
    assert refused["step"] == BAD_STEP
    config = runs.config("two_bad")
    numbered = {batch.number: batch.ids for batch in islice(batches_of(config), 4 * (BAD_STEP + 1))}
    first = 4 * BAD_STEP  # two micro-batches on each rank and step, dealt out in turn
    expected = [id_ for number in (0, 2, 1, 3) for id_ in numbered[first + number]]
    assert refused["ids"] == expected
    weights = open_folder(runs.folder / "two_bad" / "final").weights
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_one_process_needs_no_group():
    alone = Ranks(0, 1, CPU)
    assert alone.is_main
    assert alone.all_reduce_sum([1, 2.5]) == [1, 2.5]
    assert alone.gather("a") == ["a"]
    alone.barrier()
    with distributed("cpu") as joined:
        assert joined == alone
    assert not torch.distributed.is_initialized()


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == CPU
    with pytest.raises(UserError, match=r"'cuda:0'.*device cpu"):
        pick_device("cuda:0")
    with pytest.raises(UserError, match=r"'gpu'.*cuda:N"):
        pick_device("gpu")


def test_the_small_model_has_every_kind_of_dropout(manifests, tmp_path):
    """Else the equalities above would prove less."""
    encoder, context = small_filterbank(), small_filterbank().context
    objective = pretrain_config(tmp_path, manifests).objective
    assert min(
        context.dropout, context.attention_dropout, context.activation_dropout,
        encoder.input_dropout, objective.target_dropout,
    ) > 0  # fmt: skip
