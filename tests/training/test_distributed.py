"""Two processes are one process that accumulates twice; what one saved, the other continues.

All runs of two processes are made once, by one pair of processes, for the tests of this file.
"""

from __future__ import annotations

import gc
import json
import math
import os
import socket
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from speechx.data.corpus import Corpus
from speechx.data.sampling import Position
from speechx.errors import UserError
from speechx.finetuning import finetune
from speechx.pretraining import Pretraining, batches, pretrain
from speechx.training.checkpoint import open_model
from speechx.training.distributed import Machine, machine, pick_device
from tests.conftest import (
    finetune_config,
    finish,
    pretrain_config,
    read_log,
    run_job,
    small_filterbank,
    start,
)

CPU = torch.device("cpu")
TOLERANCE = 1e-5
BAD_STEP = 2


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run_bad_step(config):
    """A run in which the second rank has a loss that is not a number at one step."""
    with pytest.MonkeyPatch.context() as patch:
        sums = Pretraining.sums

        def bad_sums(self, model, prepared, step):
            good = sums(self, model, prepared, step)
            bad = step == BAD_STEP and self.here.rank == 1
            return replace(good, loss=good.loss * math.nan) if bad else good

        patch.setattr(Pretraining, "sums", bad_sums)
        pretrain(config)


def destroy_alone():
    """No wrapped model may outlive its process group: as its last holder it can wait forever."""
    alive = [x for x in gc.get_objects() if type(x) is DistributedDataParallel]
    assert not alive, f"{len(alive)} wrapped models are alive as the process group is destroyed"
    destroy()


destroy = torch.distributed.destroy_process_group


def be_rank(rank, ports, jobs):
    """One of two processes: takes part in all jobs, each with a process group of its own."""
    torch.distributed.destroy_process_group = destroy_alone
    for port, job in zip(ports, jobs, strict=True):
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        work, *arguments = job
        work(*arguments)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, manifests):
    """Folders of runs that one process (`one_*`) and two processes (`two_*`) made."""
    folder = tmp_path_factory.mktemp("runs")
    dropped = {"transformer": {"layer_drop": 0.5}}

    def pre(name, **changes):
        model = {**dropped, **changes.pop("model", {})}
        run = {"batch_seconds": 12, **changes.pop("run", {})}  # 1 x 4 or 2 x 2 micro-batches
        return pretrain_config(folder / name, manifests, model=model, run=run, **changes)

    def fine(name, **changes):
        init = {"init": str(folder / "one_pre" / "final"), "freeze_steps": 3, "model": dropped}
        return finetune_config(folder / name, manifests, **{**init, **changes})

    pretrain(pre("one_pre"))
    run_job("pretrain", pre("one_then_two"), False, 4)
    finetune(fine("one_fine"))
    unmasked = {"time_masking": {"probability": 0.0}, "freeze_encoder": False}
    jobs = [
        (run_job, "pretrain", pre("two_pre")),
        (run_job, "pretrain", pre("two_then_one"), False, 4),
        (run_job, "pretrain", pre("one_then_two"), True),
        (run_bad_step, pre("two_bad", run={"log_steps": 6})),
        (run_job, "finetune", fine("two_fine")),
        (run_job, "finetune", fine("two_unmasked", freeze_steps=0, **unmasked)),
        (run_job, "finetune", finetune_config(folder / "two_scratch", manifests, **unmasked)),
    ]
    ports = free_ports(len(jobs))
    ranks = [start(be_rank, rank, ports, jobs) for rank in range(2)]
    assert finish(*ranks) == [0, 0]
    run_job("pretrain", pre("two_then_one"), True)
    return SimpleNamespace(folder=folder, config=pre)


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
    pairs = [(a["loss"], b["loss"]) for a, b in zip(lines, others, strict=True) if "loss" in a]
    worst = max(abs(a - b) for a, b in pairs)
    print(f"losses of {len(pairs)} steps: largest difference {worst:.1e}")
    weights, theirs = (open_model(folder / "final").weights for folder in (one, two))
    assert weights.keys() == theirs.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(theirs[name], tensor, atol=1e-4, rtol=0, msg=name)


def test_pretraining_in_two_processes_equals_accumulation(runs):
    """Dropout, LayerDrop, Gumbel noise and several micro-batches per process and step are on."""
    assert_same_run(runs.folder / "one_pre", runs.folder / "two_pre")
    losses = [line["loss"] for line in read_log(runs.folder / "one_pre") if "loss" in line]
    assert len(set(losses)) == 6


@pytest.mark.parametrize("name", ["two_then_one", "one_then_two"])
def test_what_one_saved_the_other_continues(runs, name):
    """Interrupted at step 4 of 6 and resumed with another number of processes."""
    assert_same_run(runs.folder / "one_pre", runs.folder / name)


def test_finetuning_in_two_processes_equals_accumulation_across_the_freeze(runs):
    assert_same_run(runs.folder / "one_fine", runs.folder / "two_fine")


@pytest.mark.parametrize("name", ["two_unmasked", "two_scratch"])
def test_a_vector_that_is_never_used_does_not_stop_two_processes(runs, name):
    """Without time masking the mask vector has no gradient, with `init` and without."""
    steps = [line["step"] for line in read_log(runs.folder / name) if "loss" in line]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_both_refuse_what_is_bad_for_one_and_name_the_batches_of_both(runs):
    (line,) = (runs.folder / "two_bad" / "refused.jsonl").read_text().splitlines()
    refused = json.loads(line)
    assert refused["step"] == BAD_STEP
    config = runs.config("two_bad")
    every = batches(config, Corpus.read(config.data.train), Machine(0, 1, CPU))(Position())
    numbered = {batch.number: batch.ids for batch in islice(every, 4 * (BAD_STEP + 1))}
    first = 4 * BAD_STEP  # two micro-batches on each rank and step, dealt out in turn
    expected = [id_ for number in (0, 2, 1, 3) for id_ in numbered[first + number]]
    assert refused["ids"] == expected
    weights = open_model(runs.folder / "two_bad" / "final").weights
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_one_process_needs_no_group():
    here = Machine(0, 1, CPU)
    assert here.first
    assert here.total([1, 2.5]) == [1, 2.5]
    assert here.gather(["a", "b"]) == ["a", "b"]
    here.wait()
    with machine("cpu") as joined:
        assert joined == here
    assert not torch.distributed.is_initialized()


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == CPU
    with pytest.raises(UserError, match="torch sees no GPU here"):
        pick_device("cuda:0")
    with pytest.raises(UserError, match="'gpu' is unknown"):
        pick_device("gpu")


def test_the_small_model_has_every_kind_of_dropout():
    """Else the equalities above would prove less."""
    config = small_filterbank()
    transformer = config.transformer
    assert min(
        transformer.dropout, transformer.attention_dropout, transformer.activation_dropout,
        config.input_dropout, config.target_dropout,
    ) > 0  # fmt: skip
