"""What a file is decides how it is read, and not what it is called."""

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.audio.files import audio_info, check_audio, read_audio, read_segments
from speechx.errors import UserError
from tests.audio.broken_files import RATE, file_of, noise

EBML = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82"
HEADS = {
    "WebM": EBML + b"\x84webm",
    "Matroska": EBML + b"\x88matroska",
    "MPEG-4": b"\0\0\0\x1cftypisom\0\0\2\0",
    "m4a": b"\0\0\0\x1cftypM4A \0\0\2\0",
    "3GPP": b"\0\0\0\x1cftyp3gp4\0\0\2\0",
    "QuickTime": b"\0\0\0\x14ftypqt  \0\0\2\0",
    "AMR": b"#!AMR-WB\n\x0c\x91\x17",
    "Windows Media": b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel",
    "AAC": b"\xff\xf1\x50\x80\x02\x1f\xfc",
    "Speex": b"OggS\0\2" + bytes(20) + b"\1\x50Speex   1.2",
    "AVI": b"RIFF\0\1\0\0AVI LIST",
    "WavPack": b"wvpk\x90\0\0\0\x10\4\0\0",
    "SILK": b"\2#!SILK_V3\x0c\0",
}
OTHERS = {
    "a zip archive": b"PK\3\4\x14\0\0\0\x08\0",
    "packed by gzip": b"\x1f\x8b\x08\0\0\0\0\0",
    "a web page": b"<!DOCTYPE html>\n<html><head><title>404</title>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
    "all 0": bytes(300),
    "text": "príliš žluťoučký kůň\n".encode() * 30,
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "a PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
}
needs_scripts = pytest.mark.skipif(os.name == "nt", reason="needs an executable script")


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG", "OPUS", "AIFF", "AU", "CAF", "W64",
                                  "RF64", "NIST", "VOC", "SVX"])  # fmt: skip
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.webm", "a"])
def test_what_libsndfile_reads_is_read_by_any_name(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(file_of(kind, noise(1.5)))
    assert audio_info(tmp_path / name).duration == 1.5
    assert len(read_audio(tmp_path / name)) == 1.5 * RATE
    check_audio(tmp_path / name)


def test_the_long_wav_of_broadcasters_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"BW64" + file_of("RF64", noise(1.5))[4:])
    assert audio_info(tmp_path / "a.wav").duration == 1.5


def test_mp3_in_a_wav_is_read(tmp_path: Path) -> None:
    data = file_of("MP3", noise(1.5))
    form = bytes.fromhex("55000100803e0000e803000001000000 0c00010002000000 78000100 7105")
    chunks = b"WAVEfmt " + len(form).to_bytes(4, "little") + form + b"data"
    body = chunks + len(data).to_bytes(4, "little") + data
    (tmp_path / "a.wav").write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert audio_info(tmp_path / "a.wav").duration == 1.5


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "b.m4a"])
def test_without_ffmpeg_the_error_names_what_the_file_is(
    tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    path = tmp_path / name
    path.write_bytes(HEADS[kind] + np.random.default_rng(0).bytes(2000))
    for read in (audio_info, read_audio, check_audio):
        with pytest.raises(UserError) as raised:
            read(path)
        message = str(raised.value)
        assert message.startswith(f"{path}: this is ")
        assert kind in message
        assert f"ffmpeg -i IN{path.suffix} OUT.wav" in message
        assert "\n" not in message


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_sound_is_named_with_and_without_ffmpeg(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ffmpeg(tmp_path / "bin", "sys.exit('should not be asked')")
    path = tmp_path / "a.wav"
    path.write_bytes(OTHERS[kind])
    for programs in ("", str(tmp_path / "bin")):
        monkeypatch.setenv("PATH", programs)
        with pytest.raises(UserError, match="not audio that can be read") as raised:
            read_audio(path)
        assert kind in str(raised.value)


def ffmpeg(folder: Path, body: str) -> None:
    """A program called ffmpeg; sys.argv has its arguments."""
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport sys, shutil\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@needs_scripts
@pytest.mark.parametrize("name", ["browser.wav", "phone.mp3", "real.webm", "no_suffix"])
def test_with_ffmpeg_a_file_is_read_by_any_name(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "decoded.wav", noise(1.5, 2), RATE, subtype="FLOAT")
    expected_S = read_audio(tmp_path / "decoded.wav")
    ffmpeg(tmp_path / "bin", f"shutil.copy({str(tmp_path / 'decoded.wav')!r}, sys.argv[-1])")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    path = tmp_path / name
    path.write_bytes(HEADS["WebM"] + np.random.default_rng(0).bytes(2000))
    assert audio_info(path).duration == check_audio(path).duration == 1.5
    np.testing.assert_array_equal(read_audio(path), expected_S)
    (segment_S,) = read_segments(path, [(0.5, 0.5, None)])
    np.testing.assert_array_equal(segment_S, expected_S[RATE // 2 : RATE])
    part = 0, path.stat().st_size  # of a shard
    np.testing.assert_array_equal(read_audio(path, part=part), expected_S)


@needs_scripts
def test_what_ffmpeg_says_of_a_file_that_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "decoded.wav", noise(1.5), RATE)
    copy = f"shutil.copy({str(tmp_path / 'decoded.wav')!r}, sys.argv[-1])"
    ffmpeg(tmp_path / "bin", f"{copy}; sys.stderr.write('x: File ended prematurely at pos. 1')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin") + os.pathsep + os.environ["PATH"])
    path = tmp_path / "a.webm"
    path.write_bytes(HEADS["WebM"])
    assert len(read_audio(path)) == 1.5 * RATE
    assert audio_info(path).cut == (
        "the file is cut off: it breaks off after 1.50 s. Copy it again."
    )
