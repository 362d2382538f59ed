"""speechx.audio.files reads any audio file as 16 kHz mono; the error for any other is one line."""

import errno
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import speechx.audio.files as files
import speechx.audio.sources as sources
from speechx.audio.files import (
    SAMPLE_RATE,
    audio_info,
    check_audio,
    read_audio,
    read_blocks,
    write_flac,
)
from speechx.errors import UserError

FORMATS = [
    ("wav", "WAV", "PCM_16", 16_000),
    ("wav", "WAV", "FLOAT", 44_100),
    ("flac", "FLAC", "PCM_16", 48_000),
    ("mp3", "MP3", "MPEG_LAYER_III", 48_000),
    ("mp3", "MP3", "MPEG_LAYER_III", 16_000),
    ("ogg", "OGG", "VORBIS", 22_050),
    ("opus", "OGG", "OPUS", 48_000),
    ("sph", "NIST", "PCM_16", 16_000),
    ("sph", "NIST", "ULAW", 8_000),
    ("sph", "NIST", "ALAW", 8_000),
]


def tone(seconds: float = 1.0, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def loudest_hertz(wave_S: np.ndarray) -> float:
    spectrum_F = np.abs(np.fft.rfft(wave_S * np.hanning(len(wave_S))))
    return float(spectrum_F.argmax() * SAMPLE_RATE / len(wave_S))


@pytest.mark.parametrize(("suffix", "container", "coding", "rate"), FORMATS)
def test_every_format_becomes_the_same_tone_at_16_khz(
    tmp_path: Path, suffix: str, container: str, coding: str, rate: int
) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(1.5, rate), rate, format=container, subtype=coding)
    info = audio_info(path)
    wave_S = read_audio(path)
    assert (info.rate, info.channels) == (rate, 1)
    assert info.duration == pytest.approx(1.5, abs=1e-3)
    assert wave_S.dtype == np.float32
    assert wave_S.shape == (24_000,)
    assert loudest_hertz(wave_S) == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(wave_S**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.03)


def test_16_khz_pcm_is_read_exactly(tmp_path: Path) -> None:
    samples_S = np.array([0, 1, -1, 32767, -32768, 1234] * 100, np.int16)
    soundfile.write(tmp_path / "a.wav", samples_S, SAMPLE_RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), samples_S / np.float32(32768))


def test_stereo_is_averaged_over_channels_not_over_time(tmp_path: Path) -> None:
    left_S, right_S = tone(hertz=300), tone(hertz=700)
    soundfile.write(
        tmp_path / "s.wav", np.stack([left_S, right_S], axis=1), SAMPLE_RATE, subtype="FLOAT"
    )
    assert audio_info(tmp_path / "s.wav").channels == 2
    np.testing.assert_allclose(
        read_audio(tmp_path / "s.wav"), (left_S + right_S) / 2, atol=1e-6, rtol=0
    )
    np.testing.assert_allclose(
        read_audio(tmp_path / "s.wav", channel=1), right_S, atol=1e-6, rtol=0
    )
    with pytest.raises(UserError, match=r"s\.wav: channel 2 .* has 2"):
        read_audio(tmp_path / "s.wav", channel=2)


@pytest.mark.parametrize("other", [[-1.0], [-0.95], [-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_of_channels_in_opposite_phase_the_first_is_taken(
    tmp_path: Path, other: list[float], offset: float, caplog: pytest.LogCaptureFixture
) -> None:
    path, factors = tmp_path / "a.wav", np.array([1.0, *other])
    wave_SC = tone()[:, None] * factors + offset
    soundfile.write(path, wave_SC, SAMPLE_RATE, subtype="FLOAT")
    expected_S = wave_SC[:, 0]
    with caplog.at_level("INFO", "speechx"):
        np.testing.assert_allclose(read_audio(path), expected_S, atol=1e-6)
        (segment_S,) = files.read_segments(path, [(0.25, 0.5, None)])
        np.testing.assert_allclose(segment_S, expected_S[4000:12_000], atol=1e-6)
    (line,) = caplog.messages  # said once of a file
    assert line.startswith(f"{path}: its channels are in opposite phase")
    notes: list[str] = []
    files.read_native(path, notes=notes)
    assert notes == [files.OPPOSITE_PHASE]
    second_S = read_audio(path, channel=1)
    np.testing.assert_allclose(second_S, wave_SC[:, 1], atol=1e-6)


@pytest.mark.parametrize("number", [2, 6])
def test_other_channels_are_averaged_as_ever(tmp_path: Path, number: int) -> None:
    random = np.random.default_rng(0)
    silent_SC = np.zeros((SAMPLE_RATE, number))
    one_SC = silent_SC.copy()
    one_SC[:, 0] = tone()
    apart_SC = random.normal(0, 0.1, (SAMPLE_RATE, number))
    for wave_SC in (silent_SC, one_SC, apart_SC, np.tile(tone()[:, None], (1, number)) * -0.5):
        soundfile.write(tmp_path / "a.wav", wave_SC, SAMPLE_RATE, subtype="FLOAT")
        np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), wave_SC.mean(axis=1), atol=1e-6)


def test_a_tone_above_8_khz_is_not_aliased(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", tone(1, 48_000, hertz=12_000), 48_000)
    assert np.abs(read_audio(tmp_path / "high.wav")[500:-500]).max() < 1e-3


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 8_000), ("mp3", 16_000), ("ogg", 48_000)])
def test_a_segment_is_that_part_of_the_whole(tmp_path: Path, suffix: str, rate: int) -> None:
    noise_S = np.random.default_rng(0).standard_normal(8 * rate) * 0.1
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, noise_S, rate)
    whole_S = read_audio(path)
    for start, duration in ((0.0, 1.0), (3.25, 2.0), (7.5, 0.5)):
        part_S = read_audio(path, start, duration)
        expected_S = whole_S[round(start * 16_000) : round((start + duration) * 16_000)]
        assert part_S.shape == expected_S.shape
        edge = slice(200, -200)  # beyond the cut the resampler gets silence, not speech
        np.testing.assert_allclose(part_S[edge], expected_S[edge], atol=2e-3, rtol=0)
    assert len(read_audio(path, start=6.0)) == 32_000


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 8_000), ("mp3", 44_100), ("flac", 16_000)])
def test_segments_read_together_equal_those_read_alone(
    tmp_path: Path, suffix: str, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"two.{suffix}"
    noise_SC = np.random.default_rng(0).uniform(-0.5, 0.5, (10 * rate, 2))
    soundfile.write(path, noise_SC, rate)
    segments = [
        (0.0, 1.0, None), (0.5, 3.0, 0), (1.0, 0.25, 1), (3.5, 0.5, None), (5.0, 4.0, None),
        (6.0, None, 1), (6.5, 1.0, 5), (7.0, 1.0, 1), (12.0, 1.0, None),
    ]  # fmt: skip
    for segment, wave_S in zip(segments, files.read_segments(path, segments), strict=True):
        if isinstance(wave_S, UserError):
            with pytest.raises(UserError) as raised:
                read_audio(path, *segment)
            assert str(raised.value) == str(wave_S)
        else:
            np.testing.assert_allclose(wave_S, read_audio(path, *segment), atol=1e-6)

    def damaged(*_: object) -> None:
        raise UserError("damaged")

    found = files.read_segments(path, segments)
    assert isinstance(next(found), np.ndarray)
    monkeypatch.setattr(files, "_read_frames", damaged)
    assert {str(one) for one in found} == {"damaged"}


def test_seeking_in_vorbis_does_not_change_the_samples(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "noise.ogg"
    soundfile.write(path, rng.uniform(-0.5, 0.5, 60 * SAMPLE_RATE), SAMPLE_RATE)
    whole_S = read_audio(path)
    segments = [(float(start), 0.25, None) for start in np.sort(rng.uniform(0, 59, 100)).round(3)]
    for (start, *_), wave_S in zip(segments, files.read_segments(path, segments), strict=True):
        first = round(start * SAMPLE_RATE)
        np.testing.assert_allclose(wave_S, whole_S[first : first + len(wave_S)], atol=1e-6)


def test_an_mp3_read_in_blocks_equals_one_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "noise.mp3"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(160_000), SAMPLE_RATE)
    monkeypatch.setattr(files, "BLOCK_FRAMES", 1000)
    np.testing.assert_allclose(read_audio(path), soundfile.read(path)[0], atol=1e-6)


def test_a_segment_past_the_end_is_refused_beyond_rounding(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2.0), SAMPLE_RATE)
    assert len(read_audio(tmp_path / "a.wav", 1.0, 1.2)) == 16_000
    with pytest.raises(UserError, match=r"segment of 3 s from 1 s .* ends at 2\.000 s"):
        read_audio(tmp_path / "a.wav", 1.0, 3.0)
    for start in (2.0, 9.0):
        with pytest.raises(UserError, match="after the end of the file"):
            read_audio(tmp_path / "a.wav", start, 0.5)
    with pytest.raises(ValueError, match="start -1"):
        read_audio(tmp_path / "a.wav", -1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_three_samples_are_enough(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "short.wav", np.full(3, 0.1), rate)
    assert audio_info(tmp_path / "short.wav").duration == pytest.approx(3 / rate)
    assert len(read_audio(tmp_path / "short.wav")) == 3 * 16_000 // rate


def test_an_mp3_without_a_header_is_read_to_its_end(tmp_path: Path) -> None:
    loud_S = np.random.default_rng(0).normal(0, 0.3, 10 * SAMPLE_RATE)
    wave_S = np.concatenate([loud_S, np.zeros(50 * SAMPLE_RATE)])
    path = tmp_path / "bare.mp3"
    soundfile.write(path, wave_S, SAMPLE_RATE, bitrate_mode="VARIABLE", compression_level=0.0)
    assert len(read_audio(path)) == len(wave_S)
    data = path.read_bytes()
    second = data.index(data[:2], data.index(b"Xing"))  # the first frame is only a header
    path.write_bytes(data[second:])
    assert soundfile.info(path).frames < len(wave_S) / 2
    for seconds in (len(read_audio(path)) / SAMPLE_RATE, audio_info(path).duration):
        assert seconds == pytest.approx(60, abs=0.2)
    assert len(read_audio(path, 1.0, 2.0)) == 2 * SAMPLE_RATE


def test_the_length_of_an_mp3_is_its_decoded_length(tmp_path: Path) -> None:
    noise_S = np.random.default_rng(0).standard_normal(48_000) * 0.1
    soundfile.write(tmp_path / "whole.mp3", noise_S, SAMPLE_RATE)
    data = (tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(data[: len(data) // 2])
    assert soundfile.info(tmp_path / "cut.mp3").duration == 3.0
    assert audio_info(tmp_path / "cut.mp3").duration == pytest.approx(1.5, abs=0.2)
    assert (
        len(read_audio(tmp_path / "cut.mp3")) / 16_000 == audio_info(tmp_path / "cut.mp3").duration
    )


@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
@pytest.mark.parametrize("coding", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize("channels", [1, 2])
def test_check_audio_refuses_half_a_wav(
    tmp_path: Path, form: str, coding: str, channels: int
) -> None:
    path = tmp_path / "a.wav"
    wave_SC = np.tile(tone(2.0, 8000)[:, None], (1, channels))
    soundfile.write(path, wave_SC, 8000, coding, format=form)
    assert check_audio(path).duration == 2.0
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cut off.* promises 2\.00 s, but it has (1\.00|0\.9)"):
        check_audio(path)
    assert len(read_audio(path)) == pytest.approx(SAMPLE_RATE, rel=0.02)  # accepted


def wav(length: int, *chunks: tuple[bytes, int], promised: int | None = None, pad: bool) -> bytes:
    """8-bit mono at 8 kHz, with other chunks around the sound."""
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    sound = b"data" + struct.pack("<I", length if promised is None else promised)
    sound += b"\x90\x70" * (length // 2) + b"\x80" * (length % 2) + b"\0" * (pad and length % 2)
    others = [name + struct.pack("<I", n) + bytes(n + n % 2) for name, n in chunks]
    body = b"WAVE" + b"".join([form, *others[:1], sound, *others[1:]])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_check_audio_accepts_whole_wavs_of_old_programs(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    rng = np.random.default_rng(5)
    for _ in range(200):
        length, size = int(rng.integers(1, 9000)), int(rng.integers(0, 300))
        chunks = [(b"LIST", size), (b"junk", size // 2)][: int(rng.integers(0, 3))]
        counted_too = int(rng.choice([0, 8, 44]))
        path.write_bytes(
            wav(length, *chunks, promised=length + counted_too, pad=bool(rng.integers(0, 2)))
        )
        check_audio(path)
    for promised in (0x7FFFF000, 0x80000000, 0xFFFFFFFF):  # of streams
        path.write_bytes(wav(8000, promised=promised, pad=True))
        assert check_audio(path).duration == 1.0


def bad_files(folder: Path) -> dict[str, str]:
    """Writes bad files; the fact that the error for each must contain."""
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is not a recording\n" * 50)
    (folder / "text.mp3").write_text("neither is this\n" * 50)
    (folder / "text.raw").write_text("nor this\n")
    (folder / "folder.wav").mkdir()
    soundfile.write(folder / "full.wav", tone(), SAMPLE_RATE)
    (folder / "header.wav").write_bytes((folder / "full.wav").read_bytes()[:44])
    soundfile.write(folder / "full.flac", np.random.default_rng(0).uniform(-1, 1, 64_000), 16_000)
    soundfile.write(folder / "full.sph", tone(), SAMPLE_RATE, format="NIST", subtype="PCM_16")
    data = (folder / "full.sph").read_bytes()
    assert b"-s3 pcm" in data
    packed = data.replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00", 1)
    (folder / "packed.sph").write_bytes(packed)
    soundfile.write(
        folder / "nan.wav", np.array([0.0, np.nan, np.inf, 0.5]), SAMPLE_RATE, subtype="FLOAT"
    )
    return {
        "absent.wav": "No such file",
        "empty.wav": "empty (0 bytes)",
        "text.wav": "not audio that can be read",
        "text.mp3": "not audio that can be read",
        "text.raw": "not audio that can be read",
        "folder.wav": "directory",
        "header.wav": "no audio samples",
        "packed.sph": "its shorten data cannot be decoded: the stream does not begin with ajkg",
        "nan.wav": "2 of 4 samples are not finite",
    }


def test_the_error_for_an_unreadable_file_is_one_line_with_its_name(tmp_path: Path) -> None:
    for name, fact in bad_files(tmp_path).items():
        with pytest.raises(UserError) as raised:
            read_audio(tmp_path / name)
        message = str(raised.value)
        assert message.startswith(f"{tmp_path / name}: "), name
        assert fact in message, message
        assert "\n" not in message


@pytest.mark.parametrize("probe", [audio_info, check_audio])
def test_a_file_without_a_header_is_an_error(
    tmp_path: Path, probe: Callable[[Path], object]
) -> None:
    for name in bad_files(tmp_path):
        if name != "nan.wav":  # it has a header
            with pytest.raises(UserError, match=name):
                probe(tmp_path / name)
    for name in ("nan.wav", "full.flac", "full.sph"):
        probe(tmp_path / name)


@pytest.mark.parametrize(("suffix", "rate"), [("flac", 16_000), ("mp3", 48_000), ("sph", 8_000)])
def test_a_part_of_a_file_and_a_url_are_read_like_the_file(
    tmp_path: Path, suffix: str, rate: int
) -> None:
    import fsspec

    path = tmp_path / f"tone.{suffix}"
    kind = {"sph": "NIST"}.get(suffix)
    soundfile.write(path, tone(1.5, rate), rate, format=kind)
    data = path.read_bytes()
    (tmp_path / "many.tar").write_bytes(b"before" + data + b"after")
    fsspec.filesystem("memory").pipe("/files/many.tar", b"before" + data + b"after")
    fsspec.filesystem("memory").pipe(f"/files/tone.{suffix}", data)
    part = (6, len(data))
    for start, duration in ((0.0, None), (0.5, 0.75)):
        expected_S = read_audio(path, start, duration)
        for source, where in (
            (tmp_path / "many.tar", part),
            ("memory://files/many.tar", part),
            (f"file://{tmp_path}/many.tar", part),
            (f"simplecache::file://{tmp_path}/many.tar", part),
            (f"memory://files/tone.{suffix}", None),
        ):
            wave_S = read_audio(source, start, duration, part=where)
            np.testing.assert_array_equal(wave_S, expected_S)
    assert audio_info("memory://files/many.tar", part=part) == audio_info(path)
    check_audio(f"memory://files/tone.{suffix}")


def test_the_error_for_a_missing_url_or_part_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(100))
    for part in ((0, 101), (100, 1), (90, 10**15), (10**15, 5)):
        with pytest.raises(
            UserError, match=r"a\.tar\[\d+\+\d+\]: the file ends within these bytes"
        ):
            read_audio(tmp_path / "a.tar", part=part)
    with pytest.raises(UserError, match=r"a\.tar\[10\+50\]: not audio"):
        read_audio(tmp_path / "a.tar", part=(10, 50))
    for url in ("memory://absent/a.wav", f"file://{tmp_path}/absent.wav", "nonsense://a/b.wav"):
        with pytest.raises(UserError) as raised:
            read_audio(url)
        assert str(raised.value).startswith(f"{url}: cannot be read: ")
        assert "\n" not in str(raised.value)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UserError, match=r"s3://b/a\.wav: .*pip install fsspec"):
        read_audio("s3://b/a.wav")


@pytest.mark.parametrize("before", ["", "simplecache::"])
def test_a_web_server_that_does_not_answer_is_a_timeout(monkeypatch, before) -> None:
    monkeypatch.setattr(sources, "SILENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{before}http://127.0.0.1:{server.getsockname()[1]}/a.flac"
        began = time.monotonic()
        with pytest.raises(UserError, match=r"a\.flac\[0\+9\]: cannot be read"):
            read_audio(url, part=(0, 9))
        assert time.monotonic() - began < 20  # fsspec waits for 300


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_with_tolerance_a_file_shorter_than_requested_is_read_whole(
    tmp_path: Path, rate: int
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, rate), rate)
    with pytest.raises(UserError, match=r"ends at 1\.000 s"):
        read_audio(tmp_path / "a.wav", 0.0, 9.0)
    assert len(read_audio(tmp_path / "a.wav", 0.0, 9.0, tolerance=np.inf)) == 16_000
    with pytest.raises(UserError, match="after the end"):
        read_audio(tmp_path / "a.wav", 1.5, 9.0, tolerance=np.inf)


def test_a_header_that_claims_hours_costs_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    soundfile.write(tmp_path / "a.flac", tone(1.0), SAMPLE_RATE)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[22:26] = (2_000_000_000).to_bytes(4, "big")  # samples, in STREAMINFO
    (tmp_path / "a.flac").write_bytes(data)
    tracemalloc.start()
    try:
        for duration in (1.0, None):
            assert len(read_audio(tmp_path / "a.flac", 0.0, duration)) == SAMPLE_RATE
        with pytest.raises(UserError, match=r"a\.flac: .* ends at 1\.000 s"):
            read_audio(tmp_path / "a.flac", 0.0, 90_000.0)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def test_loud_but_finite_samples_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(1000, 3e38), SAMPLE_RATE, subtype="FLOAT")
    assert np.isfinite(read_audio(tmp_path / "a.wav")).all()


def test_flac_is_written_and_clipped(tmp_path: Path) -> None:
    wave_S = np.array([0.0, 0.5, -0.5, 1.7, -1.7] * 10, np.float32)
    write_flac(tmp_path / "new" / "a.flac", wave_S)
    np.testing.assert_allclose(
        read_audio(tmp_path / "new" / "a.flac"), np.clip(wave_S, -1, 1), atol=1e-4, rtol=0
    )
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.flac"]
    with pytest.raises(ValueError, match="non-empty"):
        write_flac(tmp_path / "b.flac", wave_S[:0])


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.flac'"):
        write_flac(tmp_path / "a.flac", np.zeros(10, np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def m4a(tmp_path: Path) -> Path:
    path = tmp_path / "talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    return path


def test_m4a_needs_ffmpeg_or_conversion(m4a: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"needs the ffmpeg program.* ffmpeg -i IN\.m4a OUT\.wav"):
        read_audio(m4a)


def stand_in_ffmpeg(folder: Path, body: str) -> None:
    """A program called ffmpeg that runs `body`; sys.argv[-1] is the wav it should write."""
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(os.name == "nt", reason="needs an executable script")
def test_m4a_goes_through_ffmpeg(
    m4a: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "decoded.wav", tone(1, 44_100), 44_100)
    copy = f"import shutil\nshutil.copy({str(tmp_path / 'decoded.wav')!r}, sys.argv[-1])\n"
    stand_in_ffmpeg(tmp_path / "good", copy)
    monkeypatch.setenv("PATH", str(tmp_path / "good"))
    assert loudest_hertz(read_audio(m4a)) == pytest.approx(440, abs=1)
    assert audio_info(m4a).duration == 1.0

    stand_in_ffmpeg(tmp_path / "bad", "sys.exit('moov atom not found')\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bad"))
    with pytest.raises(UserError, match=r"talk\.m4a: ffmpeg cannot decode it: moov atom not found"):
        read_audio(m4a)


@pytest.mark.parametrize("suffix", ["wav", "mp3", "ogg"])
@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("segment", [(0, None), (0, 2.05), (0.7, 1.1), (1.3, None), (1.9, 0.2)])
def test_blocks_of_a_segment_are_its_samples(tmp_path, suffix, rate, segment):
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / f"a.{suffix}", random.uniform(-0.5, 0.5, (2 * rate, 2)), rate)
    start, duration = segment
    blocks = read_blocks(tmp_path / f"a.{suffix}", 1, 0.4, start, duration)
    whole_S = read_audio(tmp_path / f"a.{suffix}", start, duration, 1)
    np.testing.assert_allclose(np.concatenate([*blocks]), whole_S, atol=1e-6)


def test_blocks_of_a_segment_that_ends_too_late_are_an_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(32_000), 16_000)
    with pytest.raises(UserError, match=r"of 2.5 s from 0.5 s was requested.* ends at 2.000 s"):
        list(read_blocks(tmp_path / "a.wav", None, 0.4, 0.5, 2.5))
