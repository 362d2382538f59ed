"""What may be given to transcribe: files, folders, patterns, manifests, a list, channels."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.audio.files import write_flac
from speechx.cli.main import main
from speechx.errors import UserError
from speechx.transcription.inputs import find_inputs
from speechx.transcription.loading import load
from tests.toy_models import toy_model


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A model, and a tree of recordings."""
    folder = tmp_path_factory.mktemp("inputs")
    toy_model(folder / "model")
    random = np.random.default_rng(0)
    for name in ("tapes/a.flac", "tapes/day 2/a.flac", "tapes/day 2/b.flac"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_flac(folder / name, 0.1 * random.standard_normal(16_000).astype(np.float32))
    (folder / "tapes/notes.txt").write_text("no sound")
    (folder / "tapes/.hidden.wav").write_text("of another program")
    both_SC = 0.1 * random.standard_normal((16_000, 2))
    soundfile.write(folder / "two.wav", both_SC, 16_000)
    return folder


def outputs(*given: object, channels: str | int = "mix") -> list[str]:
    inputs, failed = find_inputs([str(one) for one in given], channels)
    assert not failed
    return [str(one.output) for one in inputs]


def test_folders_keep_their_sub_folders(place: Path) -> None:
    assert outputs(place / "tapes") == ["a", "day 2/a", "day 2/b"]


def test_patterns_and_a_list_on_the_standard_input(place: Path, monkeypatch) -> None:
    assert outputs(place / "tapes/day*/*.flac") == ["a", "b"]
    monkeypatch.chdir(place)
    assert outputs("tapes/day*/?.flac", "two.wav") == ["a", "b", "two"]
    monkeypatch.setattr("sys.stdin", io.StringIO("two.wav\n\ntapes/day 2/b.flac\r\n"))
    assert outputs("-") == ["two", "b"]
    monkeypatch.setattr("sys.stdin", io.StringIO("two.wav\0tapes/day 2/b.flac\0"))
    assert outputs("-") == ["two", "b"]


def test_names_of_files_need_not_be_utf_8(place: Path, tmp_path, monkeypatch) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.flac"
    shutil.copy(place / "tapes/a.flac", name)
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(name + b"\n"), "utf-8"))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, "utf-8"))
    assert main(["transcribe", "-", str(place / "two.wav"), "--model", str(place / "model")]) == 0
    assert name in out.getvalue()


def test_lines_of_a_manifest_are_parts_of_recordings(place: Path) -> None:
    record = {"id": "x/1", "audio": "two.wav", "start": 0.25, "duration": 0.5, "language": "xx"}
    (place / "some.jsonl").write_text(json.dumps(record) + "\n")
    inputs, _ = find_inputs([str(place / "some.jsonl")])
    assert [(str(one.output), one.seconds) for one in inputs] == [("x/1", 0.5)]
    record["id"] = "../a/../../.b c/.."
    (place / "other.jsonl").write_text(json.dumps(record) + "\n")
    assert outputs(place / "other.jsonl") == ["a/.b_c"]
    ((_, transcript),) = load(place / "model", "cpu").stream([inputs[0].recording])
    assert transcript.audio_duration == 0.5


@pytest.mark.parametrize("nothing", ["empty", "*.wav", "-"])
def test_nothing_to_transcribe_is_an_error(tmp_path, monkeypatch, nothing) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(UserError, match=r"no recordings|no file matches|standard input is empty"):
        find_inputs([nothing])


def test_each_channel_by_itself(place: Path, tmp_path, capsys) -> None:
    assert outputs(place / "two.wav", channels="split") == ["two.channel0", "two.channel1"]
    assert outputs(place / "tapes/a.flac", channels="split") == ["a"]
    model = load(place / "model", "cpu")
    both_SC, _ = soundfile.read(place / "two.wav", dtype="float32")
    words = ["transcribe", str(place / "two.wav"), "--model", str(place / "model"), "-f", "json"]
    assert main([*words, "-o", str(tmp_path), "--channels", "split"]) == 0
    for channel in (0, 1):
        said = json.loads((tmp_path / f"two.channel{channel}.json").read_text())
        assert said["text"] == model.transcribe(both_SC[:, channel]).text
        assert said["channel"] == channel
        assert model.transcribe(place / "two.wav", channel=channel).text == said["text"]
    capsys.readouterr()
    assert main([*words, "--channels", "2"]) == 1
    assert "channel 2 was requested, but the file has 2" in capsys.readouterr().err


def test_finished_results_are_kept_until_they_are_to_be_made_again(place, tmp_path, capsys):
    words = ["transcribe", str(place / "tapes"), "--model", str(place / "model"), "-o", tmp_path]
    words = [*map(str, words), "-f", "txt,json"]
    assert main(words) == 0
    files = [tmp_path / f"{stem}.{form}" for stem in ("a", "day 2/b") for form in ("txt", "json")]
    assert all(file.is_file() for file in files)
    (tmp_path / "a.txt").write_text("corrected by hand")
    (tmp_path / "day 2/b.json").unlink()
    (tmp_path / "day 2/b.txt").write_text("corrected too")
    capsys.readouterr()
    assert main(words) == 0
    assert "2 of 3 recordings" in capsys.readouterr().err
    assert (tmp_path / "day 2/b.json").is_file()
    assert (tmp_path / "day 2/b.txt").read_text() == "corrected too"
    assert (tmp_path / "a.txt").read_text() == "corrected by hand"
    assert main([*words, "--overwrite"]) == 0
    assert (tmp_path / "a.txt").read_text() != "corrected by hand"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-f", "doc"], "the format 'doc' is not known"),
        (["-f", "srt", "-o", "two.srt"], "a folder is needed"),
        (["-f", "txt,json"], "several formats need a folder"),
        (["--channels", "left"], "expected mix, split or a number"),
        (["--batch-size", "0"], "batch_size must be at least 1"),
        (["--threads", "-1"], "threads must be at least 1"),
        (["--max-line-width", "0"], "max_line_width"),
    ],
)
def test_options_that_mean_nothing(place, capsys, options, said) -> None:
    words = ["transcribe", str(place / "two.wav"), "--model", str(place / "model"), *options]
    assert main(words) == 1
    assert said in capsys.readouterr().err


def test_a_list_gives_what_each_of_it_gives(place: Path) -> None:
    model = load(place / "model", "cpu")
    files = sorted((place / "tapes").rglob("*.flac"))
    alone = [model.transcribe(file) for file in files]
    model.compute_with(batch_size=3)
    together = model.transcribe(files)
    assert [t.text for t in together] == [t.text for t in alone]
    assert [t.audio for t in together] == [str(file) for file in files]
    assert model.transcribe([]) == []


def test_chunks_and_other_rates_are_the_same_recording(place: Path) -> None:
    model = load(place / "model", "cpu")
    wave_S, _ = soundfile.read(place / "tapes/a.flac", dtype="float32")
    chunks = iter(np.array_split(wave_S, 7))
    assert model.transcribe(chunks).words == model.transcribe(wave_S).words
    slow = model.transcribe(iter(np.array_split(wave_S, 7)), rate=8000)
    assert slow.audio_duration == 2.0
    assert slow.words == model.transcribe(wave_S, rate=8000).words
