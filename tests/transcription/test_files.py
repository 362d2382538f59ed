"""Many files to transcripts: a bad one stops no other, and what is missing is said."""

from pathlib import Path

import numpy as np
import pytest

from speechx.audio.files import SAMPLE_RATE, read_audio
from speechx.errors import UserError
from speechx.transcription.files import transcribe_files
from speechx.transcription.result import Transcript
from tests.audio.broken_files import file_of, noise


def seconds(audio: Path, progress: object = None) -> Transcript:
    """A transcript that says how long the sound is."""
    length = len(read_audio(audio)) / SAMPLE_RATE
    return Transcript(
        text=f"{length:.2f}", tokens=(), token_type="characters", duration=length,
        covered_duration=length, model="m", language=None, inventory=None,
    )  # fmt: skip


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
        assert transcribe_files(seconds, files, "txt", tmp_path / "out", print) == 2
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
        assert transcribe_files(seconds, [half], "txt", None, written.append) == 2
    assert written == ["3.00"]
    assert "cut off" in caplog.text
    (tmp_path / "bad.wav").write_bytes(np.random.default_rng(0).bytes(500))
    with pytest.raises(UserError, match="not audio"):
        transcribe_files(seconds, [tmp_path / "bad.wav"], "txt", None, written.append)
