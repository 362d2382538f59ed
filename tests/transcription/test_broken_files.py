"""Files as people send them, through `transcribe` and `align`: the commands, and in Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from speechx.cli.main import main
from speechx.errors import UserError
from speechx.transcription.loading import load
from speechx.transcription.recognizer import Recognizer
from tests.audio.broken_files import file_of, noise, with_length
from tests.toy_models import toy_model

ONE, OTHER = noise(1.5), noise(1.0, seed=1)
BOTH = np.concatenate((ONE, OTHER))
LOUD = file_of("WAV", 4 * ONE, subtype="FLOAT")
READ = {  # the file, and the seconds of sound in it
    "chained.ogg": (file_of("OGG", ONE) + file_of("OGG", OTHER), 2.5),
    "chained.opus": (file_of("OPUS", ONE) + file_of("OPUS", OTHER), 2.5),
    "joined.mp3": (file_of("MP3", ONE) + file_of("MP3", OTHER), 2.5),
    "killed.wav": (with_length("WAV", file_of("WAV", ONE), 0), 1.5),
    "pipe.wav": (with_length("WAV", file_of("WAV", ONE), 0xFFFFFFFF), 1.5),
    "opposite.wav": (file_of("WAV", np.concatenate((ONE, -ONE), 1)), 1.5),
    "loud.wav": (LOUD, 1.5),
    "faint.wav": (file_of("WAV", ONE * 1e-4, subtype="FLOAT"), 1.5),
}
CUT = {f"half.{kind}": file_of(kind.upper(), noise(6.0)) for kind in ("wav", "flac", "mp3")}
BAD = {  # the file, and what the message says
    "empty.wav": (b"", "empty"),
    "noise.wav": (np.random.default_rng(0).bytes(500), "not audio"),
    "page.mp3": (b"<html><body>404</body></html>", "not audio"),
    "header.wav": (file_of("WAV", ONE)[:44], "no audio samples"),
    "nan.wav": (file_of("WAV", np.full((9000, 1), np.nan, np.float32), subtype="FLOAT"), "finite"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Recognizer:
    return load(toy_model(tmp_path_factory.mktemp("broken") / "model"), "cpu")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with every file and its text."""
    every = {name: data for name, (data, _) in (READ | BAD).items()}
    every |= {name: data[: len(data) // 2] for name, data in CUT.items()}
    for name, data in every.items():
        folder = tmp_path / "files" / name.rpartition(".")[2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(".txt").write_text("ab ba", encoding="utf-8")
    return tmp_path / "files"


@pytest.mark.parametrize("command", ["transcribe", "align"])
def test_each_ends_in_a_result_or_in_a_line_that_names_it(model, files, tmp_path, capsys, command):
    options = ["--every-word"] if command == "align" else []
    words = [command, str(files), "--model", str(model.folder), "-f", "json", *options]
    assert main([*words, "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    for name, (_, seconds) in READ.items():
        form, stem = name.rpartition(".")[2], name.rpartition(".")[0]
        found = json.loads((tmp_path / "out" / form / f"{stem}.json").read_text())
        assert found["audio_duration"] == pytest.approx(seconds, abs=0.16), name
        assert found["text"]
    for name in CUT:
        assert f"{name}: the file is cut off" in err
        assert (tmp_path / "out" / name.rpartition(".")[2] / "half.json").is_file()
    for name, (_, said) in BAD.items():
        (line,) = [line for line in err.splitlines() if f"/{name}: " in line]
        assert said in line
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == len(READ) + len(CUT)


def test_python_gives_the_same(model, files, caplog):
    for path in (path for path in files.rglob("*.*") if path.suffix != ".txt"):
        for call in (model.transcribe, lambda path: model.align(path, "ab", every_word=True)):
            caplog.clear()
            if path.name in BAD:
                with pytest.raises(UserError, match=f"{path.name}: .*{BAD[path.name][1]}"):
                    call(path)
                continue
            assert call(path).text
            assert ("cut off" in caplog.text) == (path.name in CUT)


def test_a_repaired_file_has_the_text_of_the_whole_one(model, files, tmp_path):
    (tmp_path / "whole.wav").write_bytes(file_of("WAV", ONE))
    text = model.transcribe(tmp_path / "whole.wav").text
    for name in ("killed.wav", "pipe.wav", "opposite.wav"):
        assert model.transcribe(files / "wav" / name).text == text
    (tmp_path / "loud.wav").write_bytes(LOUD)
    loud = model.transcribe(4 * ONE[:, 0]).text
    assert model.transcribe(tmp_path / "loud.wav").text == loud
