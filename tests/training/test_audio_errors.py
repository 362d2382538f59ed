"""Audio that contradicts its manifest is listed once, and ends a run beyond a share."""

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
from speechx.data.reading import AudioError
from speechx.data.sampling import Position
from speechx.errors import UserError
from speechx.training.audio_errors import AudioErrors
from speechx.training.distributed import Ranks
from tests.conftest import finetune_config, pretrain_config, read_log, run_job

ALONE = Ranks(0, 1, torch.device("cpu"))


def batch(*errors):
    return Batch(
        position=Position(), wave_BS=torch.zeros(1, 1), lengths_B=torch.ones(1), padded=False,
        ids=("a",), languages=("xx",), tried=10, errors=errors,
    )  # fmt: skip


def failed(number, language="xx"):
    audio = f"{language}/{number}.mp3"
    return AudioError("cv", language, f"u{number}", audio, "is\tbroken.\n", True, "v")


def test_each_is_listed_once_in_its_list(tmp_path, capsys):
    errors = AudioErrors(tmp_path, 0.01, False, ALONE)
    shorter = AudioError("", "xx", "s", "s.mp3", "1.0 s of the 2.0 s", False)
    for some in ((failed(1),), (), (failed(1), shorter), (failed(2), shorter)):
        errors.add([batch(*some)], 10, len(some))
    assert (tmp_path / "unreadable.tsv").read_text().splitlines() == [
        "corpus\tlanguage\tid\treason\tdetail\taudio\treplaced by",
        "cv\txx\tu1\tunreadable\tis broken.\txx/1.mp3\tv",
        "cv\txx\tu2\tunreadable\tis broken.\txx/2.mp3\tv",
    ]
    assert (tmp_path / "shorter.tsv").read_text().splitlines()[1:] == [
        "\txx\ts\tshorter\t1.0 s of the 2.0 s\ts.mp3\t"
    ]
    assert (errors.tried, errors.failed) == (40, 3)
    messages = capsys.readouterr().err.splitlines()
    assert [message.split(" ")[0] for message in messages] == ["1", "1", "2"]
    resumed = AudioErrors(tmp_path, 0.01, True, ALONE)
    resumed.add([batch(failed(2), failed(3))], 10, 2)
    assert len((tmp_path / "unreadable.tsv").read_text().splitlines()) == 4
    resumed.add([batch(failed(2, "yy"))], 10, 1)  # another u2
    assert len((tmp_path / "unreadable.tsv").read_text().splitlines()) == 5
    AudioErrors(tmp_path, 0.01, False, ALONE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("most", "tried", "ends"), [(0.01, 10, 11), (0.01, 500, 21), (0.0, 10, 1)])
def test_beyond_the_share_the_run_stops_and_names_the_first(tmp_path, most, tried, ends):
    errors = AudioErrors(tmp_path, most, False, ALONE)
    for number in range(1, ends):
        errors.add([batch(failed(number))], tried if number < 5 else 0, 1)
    with pytest.raises(UserError) as raised:
        errors.add([batch(failed(ends))], 0 if most else tried, 1)
    message = str(raised.value)
    assert message.startswith(f"{ends} of ")
    for fact in (f"max_unreadable = {most:g}", str(tmp_path / "unreadable.tsv"), "u1: is broken."):
        assert fact in message
    assert "\n" not in message
    assert len((tmp_path / "unreadable.tsv").read_text().splitlines()) == ends + 1


def test_the_list_is_an_exclusion_list(tmp_path):
    errors = AudioErrors(tmp_path, 0.01, False, ALONE)
    shorter = AudioError("", "xx", "s", "s.mp3", "1.0 s of the 2.0 s", False)
    errors.add([batch(failed(1), failed(1, "yy"), shorter)], 10, 3)
    exclusions = Exclusions([tmp_path / "unreadable.tsv"])
    for corpus, language, id, named in (
        ("cv", "xx", "u1", True), ("cv", "yy", "u1", True), (None, "xx", "u1", False),
        ("cv", "zz", "u1", False), ("cv", "xx", "u2", False), (None, "xx", "s", False),
    ):  # fmt: skip
        assert exclusions.excludes(corpus, language, id, 1.0) == named
    assert read_exclusions(tmp_path / "shorter.tsv") == [
        Exclusion("", "xx", "s", "shorter", "1.0 s of the 2.0 s")
    ]


def test_the_share_is_that_of_the_whole_run(tmp_path):
    first = AudioErrors(tmp_path, 0.01, False, ALONE)
    for number in range(8):
        first.add([batch(failed(number))], 100, 1)
    resumed = AudioErrors(tmp_path, 0.01, True, ALONE)
    resumed.resume(json.loads(json.dumps(first.to_dict())))
    assert (resumed.tried, resumed.failed) == (800, 8)
    many = [failed(number) for number in range(8, 11)]
    with pytest.raises(UserError, match=r"11 of 900 .*u0: is broken\."):
        resumed.add([batch(*many)], 100, 3)


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
    """Utterances of the whole run that were tried and that failed, from the newest state."""
    newest = max((out / "state").glob("step_*"), key=lambda path: int(path.name[5:]))
    return json.loads((newest / "run.json").read_text())["audio_errors"]


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_a_run_goes_on_and_a_resumed_one_reads_the_same_audio(damaged, tmp_path, kind):
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


def test_a_run_beyond_its_share_stops_and_names_the_first(damaged, tmp_path):
    paths, bad = damaged
    with pytest.raises(UserError, match=r"data\.max_unreadable = 0 ") as caught:
        run_job("pretrain", pretrain_config(tmp_path / "o", paths, data={"max_unreadable": 0}))
    assert any(id in str(caught.value) for id in bad)
    with pytest.raises(UserError, match=r"data: max_unreadable .*0 and 1.* 2"):
        pretrain_config(tmp_path / "o", paths, data={"max_unreadable": 2})


def test_a_run_logs_once_whether_its_data_comes_fast_enough(manifests, tmp_path, capsys):
    run_job("pretrain", pretrain_config(tmp_path / "o", manifests))
    lines = [line for line in capsys.readouterr().err.splitlines() if "loader" in line]
    assert len(lines) == 1
    assert "x real time" in lines[0]
