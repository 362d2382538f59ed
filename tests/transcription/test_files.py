"""Many files to transcripts: a bad one stops no other, and what is missing is said."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from speechx.audio.files import SAMPLE_RATE
from speechx.errors import UserError
from speechx.transcription.files import check_outputs, write_transcripts
from speechx.transcription.formats import parse_formats
from speechx.transcription.inputs import find_inputs
from speechx.transcription.recording import Recording
from speechx.transcription.result import Segment, Transcript, Word
from tests.audio.broken_files import file_of, noise


def seconds(recordings: Iterable[Recording], progress: object = None):
    """Transcripts that say how long the sound is."""
    for recording in recordings:
        try:
            length = sum(map(len, recording.blocks())) / SAMPLE_RATE
        except UserError as error:
            yield recording, error
            continue
        text = f"{length:.2f}"
        segment = Segment(text, 0, length, (Word(text, 0, length, 1.0),))
        yield recording, Transcript(text, (segment,), "characters", length, length, "m")


def transcribe(files: list[Path], folder: Path | None, write=print) -> int:
    inputs, failed = find_inputs([str(file) for file in files])
    return write_transcripts(seconds, inputs, ["txt"], folder, write, failed)


def test_formats_in_any_spelling() -> None:
    assert parse_formats("SRT, .textgrid,srt") == ["srt", "TextGrid"]
    assert parse_formats("srt,ALL") == parse_formats("all")
    with pytest.raises(UserError, match="'doc' is not known"):
        parse_formats("srt,doc")


def halves(folder: Path) -> list[Path]:
    paths = []
    for kind in ("wav", "flac", "mp3", "sph"):
        data = file_of({"sph": "NIST"}.get(kind, kind.upper()), noise(6.0))
        paths.append(folder / f"half_{kind}.{kind}")
        paths[-1].write_bytes(data[: len(data) // 2])
    return paths


def test_what_is_left_of_files_that_are_cut_off_is_transcribed_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = tmp_path / "whole.wav"
    whole.write_bytes(file_of("WAV", noise(2.0)))
    files = [*halves(tmp_path), whole]
    with caplog.at_level("INFO", "speechx"):
        assert transcribe(files, tmp_path / "out") == 2
    for file in files[:-1]:
        text = (tmp_path / "out" / f"{file.stem}.txt").read_text().strip()
        words = f"cut off: its header promises 6.00 s, but it has {text} s. Copy it again."
        assert [line for line in caplog.messages if str(file) in line and words in line]
    assert (tmp_path / "out" / "whole.txt").read_text() == "2.00\n"
    assert not [line for line in caplog.messages if str(whole) in line]


def test_a_single_file_that_is_cut_off_is_written_and_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half, written = halves(tmp_path)[0], []
    with caplog.at_level("INFO", "speechx"):
        assert transcribe([half], None, written.append) == 2
    assert written == ["3.00"]
    assert "cut off" in caplog.text
    (tmp_path / "bad.wav").write_bytes(np.random.default_rng(0).bytes(500))
    with pytest.raises(UserError, match="not audio"):
        transcribe([tmp_path / "bad.wav"], None, written.append)


def test_a_file_that_is_given_twice_has_one_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.wav").write_bytes(file_of("WAV", noise(1.0)))
    monkeypatch.chdir(tmp_path)
    written: list[str] = []
    with caplog.at_level("INFO", "speechx"):
        assert transcribe([Path("a.wav"), tmp_path / "a.wav", tmp_path], None, written.append) == 0
    assert written == ["1.00"]
    assert "2 files are given more than once" in caplog.text
    assert transcribe([Path("a.wav"), tmp_path], tmp_path / "out") == 0
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.wav: "):
        transcribe([Path("a.wav"), Path("a.wav")], None)


def test_two_forms_of_a_recording_in_one_folder_are_refused_with_the_right_advice(
    tmp_path: Path,
) -> None:
    for name in ("a.wav", "a.flac"):
        (tmp_path / name).write_bytes(file_of(name[2:].upper(), noise(1.0)))
    inputs, _ = find_inputs([str(tmp_path)])
    with pytest.raises(UserError, match="same result, a; rename one, or give only one"):
        check_outputs(inputs, ["txt"], tmp_path / "out")


@pytest.mark.parametrize("end", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_failed_is_listed_where_the_work_ends_early(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, end: BaseException
) -> None:
    """Finished files stay, and the next call goes on."""
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(file_of("WAV", noise(1.0)))
    (tmp_path / "bad.wav").write_bytes(b"")
    inputs, failed = find_inputs([str(tmp_path)])

    def ends(recordings: Iterable[Recording], progress: object = None):
        yield from itertools.islice(seconds(recordings), 2)
        raise end

    with caplog.at_level("INFO", "speechx"), pytest.raises(type(end)):
        write_transcripts(ends, inputs, ["txt"], tmp_path / "out", print, failed)
    assert "bad.wav: the file is empty" in caplog.text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b.txt"]
    (tmp_path / "out/a.txt").write_text("mine")
    assert write_transcripts(seconds, inputs, ["txt"], tmp_path / "out", print) == 0
    assert (tmp_path / "out/a.txt").read_text() == "mine"
    assert (tmp_path / "out/c.txt").read_text() == "1.00\n"
