"""Faults of the audio are listed once each, counted always, and end a run past their share."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from speechx.data.batches import Batch
from speechx.data.exclusion import Exclusion, Exclusions, read_exclusions
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


def failed(number, language="xx"):
    audio = f"{language}/{number}.mp3"
    return Fault("cv", language, f"u{number}", audio, "is\tbroken.\n", True, "v")


def test_each_is_listed_once_in_its_list(tmp_path):
    faults, said = Faults(tmp_path, 0.01, False, HERE), []
    shorter = Fault("", "xx", "s", "s.mp3", "1.0 s of the 2.0 s", False)
    for some in ((failed(1),), (), (failed(1), shorter), (failed(2), shorter)):
        faults.see([batch(*some)], 10, len(some), said.append)
    assert (tmp_path / "unreadable.tsv").read_text().splitlines() == [
        "corpus\tlanguage\tid\treason\tdetail\taudio\treplaced by",
        "cv\txx\tu1\tunreadable\tis broken.\txx/1.mp3\tv",
        "cv\txx\tu2\tunreadable\tis broken.\txx/2.mp3\tv",
    ]
    assert (tmp_path / "shorter.tsv").read_text().splitlines()[1:] == [
        "\txx\ts\tshorter\t1.0 s of the 2.0 s\ts.mp3\t"
    ]
    assert (faults.tried, faults.failed) == (40, 3)
    assert [line.split(" ")[0] for line in said] == ["1", "1", "2"]
    resumed = Faults(tmp_path, 0.01, True, HERE)
    resumed.see([batch(failed(2), failed(3))], 10, 2, said.append)
    assert len((tmp_path / "unreadable.tsv").read_text().splitlines()) == 4
    resumed.see([batch(failed(2, "yy"))], 10, 1, said.append)  # another u2
    assert len((tmp_path / "unreadable.tsv").read_text().splitlines()) == 5
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


def test_the_list_is_an_exclusion_list(tmp_path):
    faults = Faults(tmp_path, 0.01, False, HERE)
    shorter = Fault("", "xx", "s", "s.mp3", "1.0 s of the 2.0 s", False)
    faults.see([batch(failed(1), failed(1, "yy"), shorter)], 10, 3, lambda _: None)
    exclusions = Exclusions([tmp_path / "unreadable.tsv"])
    for corpus, language, id, named in (
        ("cv", "xx", "u1", True), ("cv", "yy", "u1", True), (None, "xx", "u1", False),
        ("cv", "zz", "u1", False), ("cv", "xx", "u2", False), (None, "xx", "s", False),
    ):  # fmt: skip
        assert exclusions.names(corpus, language, id, 1.0) == named
    assert read_exclusions(tmp_path / "shorter.tsv") == [
        Exclusion("", "xx", "s", "shorter", "1.0 s of the 2.0 s")
    ]


def test_the_share_is_that_of_the_whole_run(tmp_path):
    first = Faults(tmp_path, 0.01, False, HERE)
    for number in range(8):
        first.see([batch(failed(number))], 100, 1, lambda _: None)
    resumed = Faults(tmp_path, 0.01, True, HERE)
    resumed.resume(json.loads(json.dumps(first.to_dict())))
    assert (resumed.tried, resumed.failed) == (800, 8)
    many = [failed(number) for number in range(8, 11)]
    with pytest.raises(UserError, match=r"11 of 900 .* the first is u0: is broken\."):
        resumed.see([batch(*many)], 100, 3, lambda _: None)
    resumed.resume({})
    assert (resumed.tried, resumed.failed) == (0, 0)


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


def counts(out):
    """What the newest state says was tried and failed, over the whole run."""
    newest = max((out / "state").glob("step_*"), key=lambda path: int(path.name[5:]))
    return json.loads((newest / "run.json").read_text())["faults"]


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_a_run_goes_on_and_a_resumed_one_hears_the_same(damaged, tmp_path, kind):
    paths, bad = damaged
    make = {"pretrain": pretrain_config, "finetune": finetune_config}[kind]
    data = {"max_unreadable": 0.5}
    run_job(kind, make(tmp_path / "whole", paths, data=data))
    rows = (tmp_path / "whole" / "unreadable.tsv").read_text().splitlines()[1:]
    assert {row.split("\t")[2] for row in rows} <= set(bad)
    assert len(rows) >= 3
    assert all(row.split("\t")[6] for row in rows)
    run_job(kind, make(tmp_path / "parts", paths, data=data), stop_at=4)
    run_job(kind, make(tmp_path / "parts", paths, data=data), resume=True)
    assert read_log(tmp_path / "parts") == read_log(tmp_path / "whole")
    whole, parts = counts(tmp_path / "whole"), counts(tmp_path / "parts")
    assert parts == whole
    assert whole["tried"] > whole["failed"] >= 3
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
