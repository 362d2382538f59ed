"""Faults of the audio are listed once each, counted always, and end a run past their share."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from speechx.data.batches import Batch
from speechx.data.manifest import read_manifest, write_manifest
from speechx.data.reading import Fault
from speechx.data.sampling import Position
from speechx.errors import UserError
from speechx.training.distributed import Machine
from speechx.training.faults import Faults
from tests.conftest import finetune_config, pretrain_config, read_log, run_job

HERE = Machine(0, 1, torch.device("cpu"))


def batch(*faults):
    return Batch(
        Position(), torch.zeros(1, 1), torch.ones(1), ("a",), ("xx",), tried=10, faults=faults
    )


def failed(number):
    return Fault(f"u{number}", f"clips/{number}.mp3", "is\tbroken.\n", True, "v")


def test_each_is_listed_once_in_its_list(tmp_path):
    faults, said = Faults(tmp_path, 0.01, False, HERE), []
    shorter = Fault("s", "s.mp3", "1.0 s of the 2.0 s", False)
    for some in ((failed(1),), (), (failed(1), shorter), (failed(2), shorter)):
        faults.see([batch(*some)], 10, len(some), said.append)
    assert (tmp_path / "unreadable.tsv").read_text().splitlines() == [
        "id\taudio\twhy\treplaced by",
        "u1\tclips/1.mp3\tis broken.\tv",
        "u2\tclips/2.mp3\tis broken.\tv",
    ]
    assert (tmp_path / "shorter.tsv").read_text().splitlines()[1:] == [
        "s\ts.mp3\t1.0 s of the 2.0 s\t"
    ]
    assert (faults.tried, faults.failed) == (40, 3)
    assert [line.split(" ")[0] for line in said] == ["1", "1", "2"]
    resumed = Faults(tmp_path, 0.01, True, HERE)
    resumed.see([batch(failed(2), failed(3))], 10, 2, said.append)
    assert len((tmp_path / "unreadable.tsv").read_text().splitlines()) == 4
    Faults(tmp_path, 0.01, False, HERE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("most", "tried", "ends"), [(0.01, 10, 11), (0.01, 500, 21), (0.0, 10, 1)])
def test_past_the_share_the_run_stops_by_name(tmp_path, most, tried, ends):
    faults = Faults(tmp_path, most, False, HERE)
    for number in range(1, ends):
        faults.see([batch(failed(number))], tried if number < 5 else 0, 1, lambda _: None)
    with pytest.raises(UserError) as raised:
        faults.see([batch(failed(ends))], 0 if most else tried, 1, lambda _: None)
    message = str(raised.value)
    assert message.startswith(f"{ends} of ")
    assert f"more than data.max_unreadable = {most:g} allows" in message
    assert str(tmp_path / "unreadable.tsv") in message
    assert "the first is u1: is broken." in message
    assert "\n" not in message
    assert len((tmp_path / "unreadable.tsv").read_text().splitlines()) == ends + 1


@pytest.fixture
def damaged(manifests, tmp_path):
    """Training data with a cut mp3 that claims to be whole, a flac whose header lies about its
    length, a text called wav, and a file that is gone; and how many utterances there are."""
    lines = read_manifest(manifests[0])
    wave_S = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(tmp_path / "cut.mp3", wave_S, 16_000)
    data = (tmp_path / "cut.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(data[: len(data) // 3])
    soundfile.write(tmp_path / "lies.flac", wave_S, 16_000)
    stream = bytearray((tmp_path / "lies.flac").read_bytes())
    stream[22:26] = (2_000_000_000).to_bytes(4, "big")
    (tmp_path / "lies.flac").write_bytes(stream)
    (tmp_path / "text.wav").write_text("words" * 500)
    for i, name in enumerate(("cut.mp3", "lies.flac", "text.wav", "gone.wav")):
        lines[i] = dataclasses.replace(lines[i], audio=tmp_path / name)
    write_manifest(tmp_path / "train.jsonl", lines)
    return (tmp_path / "train.jsonl", manifests[1]), [u.id for u in lines[:4]]


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_a_run_goes_on_and_a_resumed_one_hears_the_same(damaged, tmp_path, kind):
    paths, bad = damaged
    make = {"pretrain": pretrain_config, "finetune": finetune_config}[kind]
    data = {"max_unreadable": 0.5}
    run_job(kind, make(tmp_path / "whole", paths, data=data))
    rows = (tmp_path / "whole" / "unreadable.tsv").read_text().splitlines()[1:]
    assert {row.split("\t")[0] for row in rows} <= set(bad)
    assert len(rows) >= 3
    assert all(row.split("\t")[3] for row in rows)
    run_job(kind, make(tmp_path / "parts", paths, data=data), stop_at=4)
    run_job(kind, make(tmp_path / "parts", paths, data=data), resume=True)
    assert read_log(tmp_path / "parts") == read_log(tmp_path / "whole")
    lines = [json.loads(x) for x in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert all(0 <= line["waiting_share"] <= 1 for line in lines if "waiting_share" in line)
    assert any("waiting_share" in line for line in lines)


def test_a_run_past_its_share_stops_by_name(damaged, tmp_path):
    paths, bad = damaged
    with pytest.raises(UserError, match=r"more than data\.max_unreadable = 0 .*the first is") as e:
        run_job("pretrain", pretrain_config(tmp_path / "o", paths, data={"max_unreadable": 0}))
    assert any(id in str(e.value) for id in bad)
    with pytest.raises(UserError, match="max_unreadable is a share"):
        pretrain_config(tmp_path / "o", paths, data={"max_unreadable": 2})


def test_a_run_says_whether_its_data_comes_fast_enough(manifests, tmp_path, capsys):
    run_job("pretrain", pretrain_config(tmp_path / "o", manifests))
    said = [line for line in capsys.readouterr().err.splitlines() if "loader" in line]
    assert len(said) == 1
    assert "x real time" in said[0]
