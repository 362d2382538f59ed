"""`speechx align` on files, folders and manifests."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.audio.files import write_flac
from speechx.cli.main import main
from tests.transcription.stub_model import ClickModel, clicks


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two recordings and their texts, and a model that reads clicks."""
    stub = types.ModuleType("speechx.transcription.loading")
    stub.load = lambda *_, **__: ClickModel()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", "hello world"), ("deep/b", "this is fine")):
        record(tmp_path / f"tapes/{name}.flac", text)
        (tmp_path / f"tapes/{name}.txt").write_text(f"{text.title()}.\n", encoding="utf-8")
    return tmp_path


def record(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flac(path, clicks(text)[0])


def run(*words: str) -> int:
    return main(["align", "--model", "m", *words])


def words_of(path: Path) -> list[str]:
    data = json.loads(path.read_text(encoding="utf-8"))
    return [word["word"] for segment in data["segments"] for word in segment["words"]]


@pytest.mark.parametrize("text", ["tapes/a.txt", "Hello, world!"])
def test_a_recording_with_a_file_or_a_text(folder, capsys, text):
    assert run("tapes/a.flac", text) == 0
    data = json.loads(capsys.readouterr().out)
    assert [w["word"].lower().strip(".,!") for w in data["segments"][0]["words"]] == [
        "hello", "world",
    ]  # fmt: skip
    assert data["audio"] == "tapes/a.flac"


def test_a_folder_keeps_its_folders_and_finished_files(folder, capsys, caplog):
    assert run("tapes", "-o", "out", "-f", "JSON,txt") == 0
    assert words_of(folder / "out/a.json") == ["Hello", "World."]
    assert words_of(folder / "out/deep/b.json") == ["This", "Is", "Fine."]
    assert (folder / "out/a.txt").is_file()
    (folder / "out/a.json").write_text("mine", encoding="utf-8")
    (folder / "out/deep/b.txt").unlink()
    (folder / "out/deep/b.json").write_text("mine", encoding="utf-8")
    assert run("tapes", "-o", "out", "-f", "json,txt") == 0
    assert (folder / "out/a.json").read_text(encoding="utf-8") == "mine"
    assert (folder / "out/deep/b.json").read_text(encoding="utf-8") == "mine"
    assert (folder / "out/deep/b.txt").is_file()
    assert run("tapes", "-o", "out", "--overwrite") == 0
    assert words_of(folder / "out/a.json") == ["Hello", "World."]
    assert capsys.readouterr().out == ""
    assert run("tapes", "-o", "out", "--overwrite") == 0
    assert words_of(folder / "out/a.json") == ["Hello", "World."]


def test_finished_files_are_made_again_on_request(folder, caplog):
    out = folder / "out/a.json"
    for overwrite, kept in (((), True), (("--overwrite",), False)):
        assert run("tapes/a.flac", "-o", "out", *overwrite) == 0
        out.write_text("mine", encoding="utf-8")
        later = out.stat().st_mtime + 10
        os.utime(folder / "tapes/a.txt", (later, later))
        assert run("tapes/*.flac", "-o", "out", *overwrite) == 0
        assert (out.read_text(encoding="utf-8") == "mine") == kept
    assert "1 of these results is older" in caplog.text


def test_each_channel_may_have_a_text_of_its_own(folder):
    one_S, other_S = clicks("hello")[0], clicks("world")[0]
    both_SC = np.stack([one_S[: len(other_S)], other_S[: len(one_S)]], axis=1)
    soundfile.write(folder / "two.wav", both_SC, 16_000, subtype="FLOAT")
    (folder / "two.txt").write_text("hello", encoding="utf-8")
    (folder / "two.channel1.txt").write_text("world", encoding="utf-8")
    assert run("two.wav", "-o", "out", "--channels", "split", "--every-word") == 0
    for channel, word in enumerate(("hello", "world")):
        data = json.loads((folder / f"out/two.channel{channel}.json").read_text(encoding="utf-8"))
        assert (data["channel"], data["text"]) == (channel, word)
        assert data["audio_duration"] == data["covered_duration"]


def test_texts_may_lie_in_another_folder(folder):
    (folder / "tapes/a.txt").rename(folder / "a.txt")
    (folder / "texts").mkdir()
    (folder / "a.txt").rename(folder / "texts/a.txt")
    (folder / "tapes/deep/b.txt").rename(folder / "texts/b.txt")
    assert run("tapes", "--texts", "texts", "-o", "out") == 0
    assert words_of(folder / "out/deep/b.json") == ["This", "Is", "Fine."]


def test_several_recordings_have_their_texts_beside_them(folder):
    assert run("tapes/a.flac", "tapes/deep/b.flac", "-o", "out") == 0
    assert {path.name for path in (folder / "out").iterdir()} == {"a.json", "b.json"}


def test_one_bad_pair_does_not_stop_the_others(folder, caplog):
    record(folder / "tapes/lonely.flac", "hello")
    record(folder / "tapes/latin.flac", "hello")
    (folder / "tapes/latin.txt").write_bytes("né à Orléans, été".encode("latin1"))
    record(folder / "tapes/other.flac", "hello")
    (folder / "tapes/other.txt").write_text("zzz", encoding="utf-8")
    (folder / "tapes/broken.flac").write_bytes(b"no sound")
    (folder / "tapes/broken.txt").write_text("hello", encoding="utf-8")
    (folder / "tapes/spare.txt").write_text("hello", encoding="utf-8")
    assert run("tapes", "-o", "out") == 2
    assert words_of(folder / "out/a.json") == ["Hello", "World."]
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["a.json", "deep"]
    logged = caplog.text
    for name in ("lonely.flac", "latin.txt", "other.flac", "broken.flac", "spare.txt"):
        assert name in logged
    assert "UTF-8" in logged


def test_a_manifest(folder):
    record(folder / "long.flac", "hello world this is fine")
    seconds = len(clicks("hello world this is fine")[0]) / 16_000
    lines = [
        {"id": "x/1", "audio": "tapes/a.flac", "start": 0.25, "duration": 2, "text": "hello"},
        {"id": "2", "audio": "long.flac", "duration": seconds},
    ]
    lines = [{**line, "language": "en"} for line in lines]
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "m.jsonl").write_text(text, encoding="utf-8")
    assert run("m.jsonl", "-o", "out") == 2  # the second has no text
    data = json.loads((folder / "out/x/1.json").read_text(encoding="utf-8"))
    assert data["language"] == "en"
    assert data["audio_start"] == 0.25
    assert data["audio"].endswith("tapes/a.flac")
    assert words_of(folder / "out/x/1.json") == ["hello"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "required: AUDIO"),
        (("tapes/a.flac", "tapes/no.txt"), "no such file"),
        (("nowhere",), "nowhere: cannot be read"),
        (("tapes/none",), "no recordings"),
        (("tapes/a.flac", "  "), "no words"),
        (("tapes/a.flac", ""), "no words"),
        (("tapes/a.flac", "hello", "-f", "doc"), "'doc' is not known"),
        (("tapes/a.flac", "hello", "-o", "a.srt"), "a folder is needed"),
        (("tapes/a.flac", "hello", "-f", "json,txt"), "-o FOLDER"),
        (("tapes/silent.wav", "hello"), "silent.wav"),
        (("tapes", "-o", "out"), "same result"),
    ],
)
def test_mistakes_are_one_line(folder, capsys, words, said):
    (folder / "tapes/none").mkdir()
    (folder / "tapes/silent.wav").touch()
    record(folder / "tapes/empty.flac", "hello")
    (folder / "tapes/empty.txt").touch()
    record(folder / "tapes/A.flac", "hello")
    (folder / "tapes/A.txt").write_text("hello", encoding="utf-8")
    assert run(*words) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_recording_that_is_cut_off_is_aligned_and_listed(folder, caplog):
    soundfile.write(folder / "whole.wav", np.pad(clicks("hello world")[0], (0, 20_000)), 16_000)
    (folder / "cut.wav").write_bytes((folder / "whole.wav").read_bytes()[:-20_000])
    assert run("cut.wav", "hello world", "-o", "out") == 2
    assert words_of(folder / "out/cut.json") == ["hello", "world"]
    assert "cut off" in caplog.text


def test_a_text_with_a_mark_of_its_encoding(folder, capsys):
    (folder / "t.txt").write_bytes("hello world\r\n".encode("utf-16"))
    assert run("tapes/a.flac", "t.txt") == 0
    assert 'unaligned": []' in capsys.readouterr().out


def test_the_text_of_a_recording_that_cannot_be_read_is_not_spare(folder, caplog):
    (folder / "tapes/a.flac").write_bytes(b"")
    assert run("tapes", "-o", "out") == 2
    assert "no recording" not in caplog.text
    (folder / "tapes/spare.txt").write_text("x", encoding="utf-8")
    assert run("tapes", "-o", "out") == 2
    assert "1 text has no recording" in caplog.text


@pytest.mark.parametrize("name", ["a.TextGrid", "a.eaf", "a.srt", "a.json"])
def test_a_file_with_more_than_words_is_no_text(folder, capsys, name):
    (folder / name).write_text("hello world", encoding="utf-8")
    assert run("tapes/a.flac", name) == 1
    assert "holds more than the words" in capsys.readouterr().err
    (folder / name).unlink()
    assert run("tapes/a.flac", name) == 1
    assert "there is no such file" in capsys.readouterr().err
