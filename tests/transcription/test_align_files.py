"""`speechx align` on files, folders and manifests."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from speechx.audio.files import write_flac
from speechx.cli.main import main
from speechx.errors import UserError
from tests.conftest import write_wav
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
    assert run("tapes", "-o", "out", "-f", "json,txt") == 0
    assert (folder / "out/a.json").read_text(encoding="utf-8") == "mine"
    assert (folder / "out/deep/b.txt").is_file()
    assert capsys.readouterr().out == ""
    assert run("tapes", "-o", "out", "--overwrite") == 0
    assert words_of(folder / "out/a.json") == ["Hello", "World."]


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
        {"id": "x/1", "audio": "tapes/a.flac", "duration": 2, "language": "en", "text": "hello"},
        {"id": "2", "audio": "long.flac", "duration": seconds, "language": "en"},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "m.jsonl").write_text(text, encoding="utf-8")
    assert run("--manifest", "m.jsonl", "-o", "out") == 2  # the second has no text
    data = json.loads((folder / "out/x_1.json").read_text(encoding="utf-8"))
    assert data["language"] == "en"
    assert data["audio"].endswith("tapes/a.flac")
    assert words_of(folder / "out/x_1.json") == ["hello"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs a recording"),
        (("tapes/a.flac", "tapes/no.txt"), "no such file"),
        (("nowhere",), "no such file"),
        (("tapes/none",), "no recordings"),
        (("tapes/a.flac", "  "), "no words"),
        (("tapes/a.flac", ""), "no words"),
        (("tapes/empty.flac", "tapes/empty.txt"), "empty.flac: its text has no words"),
        (("tapes/a.flac", "hello", "-f", "doc"), "'doc' is not known"),
        (("tapes/a.flac", "hello", "--language", "auto"), "only transcribe takes auto"),
        (("tapes/a.flac", "hello", "-o", "a.srt"), "a folder is needed"),
        (("tapes/a.flac", "hello", "-f", "json,txt"), "-o FOLDER"),
        (("tapes/silent.wav", "hello"), "silent.wav"),
        (("tapes", "-o", "out"), "same name"),
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


def test_a_recording_that_is_cut_off_is_aligned_and_said(folder, capsys):
    write_wav(folder / "half.wav", clicks("hello world")[0])
    data = (folder / "half.wav").read_bytes()
    (folder / "half.wav").write_bytes(data[: len(data) * 2 // 3])
    assert run("half.wav", "hello world", "-f", "txt") == 2
    assert "half.wav: the file is cut off" in capsys.readouterr().err


def test_what_no_text_can_have_is_said_once(folder, capsys, monkeypatch):
    def refuse(*_, **__):
        raise UserError("no voice for the language 'xx'")

    monkeypatch.setattr("speechx.transcription.aligner.align", refuse)
    assert run("tapes", "--language", "xx") == 1
    assert capsys.readouterr().err.count("no voice") == 1


def test_a_text_with_a_mark_of_its_encoding(folder, capsys):
    (folder / "t.txt").write_bytes("hello world\r\n".encode("utf-16"))
    assert run("tapes/a.flac", "t.txt") == 0
    assert 'unaligned": []' in capsys.readouterr().out
