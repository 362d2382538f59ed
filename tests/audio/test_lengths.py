"""How long a file is: all that can be read of it, whatever its header says, and what is missing."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from speechx.audio import flac
from speechx.audio.files import audio_info, check_audio, read_audio, read_segments
from speechx.errors import UserError
from tests.audio.broken_files import (
    ID3_V1,
    LENGTHS,
    LYRICS,
    LYRICS_V1,
    RATE,
    ape,
    file_of,
    flac_with_total,
    id3,
    noise,
    replaced,
    with_length,
)

CODINGS = [(kind, None) for kind in LENGTHS] + [("WAV", "FLOAT"), ("AIFF", "PCM_24")]


def written(folder: Path, data: bytes) -> Path:
    path = folder / "a.bin"  # the name says nothing
    path.write_bytes(data)
    return path


def seconds_of(path: Path) -> float:
    """By every way of reading."""
    wave_S = read_audio(path)
    (segment_S,) = read_segments(path, [(0.0, None, None)])
    np.testing.assert_array_equal(segment_S, wave_S)
    seconds = len(wave_S) / RATE
    for info in (audio_info(path), audio_info(path, exact=False)):
        assert info.duration == pytest.approx(seconds, abs=1e-4)
    return seconds


@pytest.mark.parametrize(("kind", "coding"), CODINGS)
@pytest.mark.parametrize("length", [0, 1 << 64, 1000])
def test_sound_behind_a_wrong_length_is_read(
    tmp_path: Path, kind: str, coding: str | None, length: int
) -> None:
    data = file_of(kind, noise(2.0, 2), subtype=coding)
    whole_S = read_audio(written(tmp_path, data))
    path = written(tmp_path, with_length(kind, data, length))
    assert seconds_of(path) == 2.0
    assert check_audio(path).cut == ""
    np.testing.assert_array_equal(read_audio(path), whole_S)


@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
def test_an_empty_file_with_other_chunks_holds_no_sound(tmp_path: Path, kind: str) -> None:
    data = file_of(kind, noise()[:0])
    path = written(tmp_path, data + b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    with pytest.raises(UserError, match="no audio samples"):
        audio_info(path)


@pytest.mark.parametrize(
    "behind", [b"LIST\4\0\0\0INFO", ID3_V1, ape(), bytes(5000), b"words " * 400]
)
def test_what_stands_behind_the_sound_of_a_wav_is_no_sound(tmp_path: Path, behind: bytes) -> None:
    assert seconds_of(written(tmp_path, file_of("WAV", noise()) + behind)) == 1.0


JUNK = np.random.default_rng(7).bytes(60_000)
BEHIND = {
    "ID3v2": id3(60_000),
    "UTF-8": "één woord ".encode() * 900,
    "one value": b"\xff" * 9000,
    "a chunk that is cut off": b"SNDM" + (9000).to_bytes(4, "little") + JUNK[:9000],
    "an odd chunk": b"minf" + (15).to_bytes(4, "little") + JUNK[:15] + b"regn" + JUNK[:2000],
    "anything": b"\x80\x81" + JUNK[:12_000],
    "many bytes": b"\x80\x81" + JUNK,
}


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "CAF", "W64", "NIST", "FLAC"])
@pytest.mark.parametrize("behind", BEHIND)
def test_a_plausible_length_is_trusted_whatever_is_behind(
    tmp_path: Path, kind: str, behind: str
) -> None:
    wave_SC = noise(3.0)
    path = written(tmp_path, file_of(kind, wave_SC) + BEHIND[behind])
    assert seconds_of(path) == 3.0
    assert check_audio(path).cut == ""
    np.testing.assert_allclose(read_audio(path), wave_SC[:, 0], atol=1e-4)


@pytest.mark.parametrize("kind", ["WAV", "NIST"])
def test_more_sound_than_the_header_claims_is_read_behind_silence_too(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole_SC = noise(9.0)
    whole_SC[RATE : 2 * RATE] = whole_SC[4 * RATE : 6 * RATE] = 0
    data = file_of(kind, whole_SC)
    if kind == "WAV":
        data = with_length(kind, data, 2 * RATE)
    else:
        data = data.replace(b"sample_count -i %d" % (9 * RATE), b"sample_count -i %06d" % RATE)
    with caplog.at_level("INFO", "speechx"):
        assert seconds_of(written(tmp_path, data)) == 9.0
    assert "more are behind" in caplog.text


def test_bytes_behind_the_sound_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "speechx"):
        read_audio(written(tmp_path, file_of("WAV", noise(3.0)) + JUNK))
    assert "60000 bytes" in caplog.text


def test_a_joined_wav_with_chunks_behind_its_sound(tmp_path: Path) -> None:
    one, two = file_of("WAV", noise(3.0)), file_of("WAV", noise(2.0))
    assert seconds_of(written(tmp_path, one + b"LIST\4\0\0\0INFO" + two)) == 5.0


@pytest.mark.parametrize("coding", ["GSM610", "IMA_ADPCM", "ULAW"])
def test_a_compressed_aiff_that_does_not_know_its_length(tmp_path: Path, coding: str) -> None:
    data = file_of("AIFF", noise(4.0), subtype=coding)
    path = written(tmp_path, with_length("AIFF", data, 0))
    assert seconds_of(path) == pytest.approx(4.0, abs=0.03)


@pytest.mark.parametrize("kind", [*LENGTHS, "NIST", "FLAC", "MP3", "OGG", "OPUS"])
def test_half_a_file_is_read_and_said_to_be_cut_off(tmp_path: Path, kind: str) -> None:
    data = file_of(kind, noise(6.0))
    path = written(tmp_path, data[: len(data) // 2])
    there = seconds_of(path)
    assert 1.5 < there < 3.2
    words = f"it breaks off after {there:.2f} s. Copy it again."
    if kind not in ("OGG", "OPUS"):
        words = f"its header promises 6.00 s, but it has {there:.2f} s. Copy it again."
    assert audio_info(path).cut == f"the file is cut off: {words}"
    with pytest.raises(UserError) as raised:
        check_audio(path)
    assert str(raised.value) == f"{path}: the file is cut off: {words}"


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "OPUS"])
def test_a_file_that_is_cut_before_its_first_sound(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, file_of(kind, noise(6.0))[:200])
    with pytest.raises(UserError, match=r"cut off before its first sound|damaged"):
        audio_info(path)


@pytest.mark.parametrize("total", [0, 100, 2**36 - 1])
@pytest.mark.parametrize(("channels", "coding"), [(1, "PCM_16"), (2, "PCM_24")])
def test_a_flac_that_does_not_know_its_length(
    tmp_path: Path, total: int, channels: int, coding: str
) -> None:
    data = file_of("FLAC", noise(3.0, channels), subtype=coding)
    whole_S = read_audio(written(tmp_path, data))
    for content in (data, id3() + data + ID3_V1):
        path = written(tmp_path, flac_with_total(content, total) if content is data else content)
        assert seconds_of(path) == 3.0
        assert check_audio(path).cut == ""
        np.testing.assert_array_equal(read_audio(path), whole_S)
        np.testing.assert_array_equal(read_audio(path, 1.0, 1.5), whole_S[RATE : RATE * 5 // 2])


@pytest.mark.parametrize("total", [0, 14_400])
def test_a_flac_of_unknown_length_with_something_behind(tmp_path: Path, total: int) -> None:
    data = flac_with_total(file_of("FLAC", noise(3.0)), total)
    for behind in (JUNK[:2000], JUNK, 2 * JUNK):
        path = written(tmp_path, data + behind)
        assert seconds_of(path) == 3.0
        assert check_audio(path).cut == ""


def test_headers_of_frames_without_frames_cost_no_time() -> None:
    numbers = (chr(number).encode() for number in range(0x10000, 0x13000))
    frames = (b"\xff\xf8\x69\x18" + number + b"\0" for number in numbers)
    tail = b"".join(frame + bytes([flac._crc8(frame)]) for frame in frames)
    begun = time.monotonic()
    flac.counted(tail)
    assert time.monotonic() - begun < 1.0


def test_segments_of_a_flac_that_is_longer_than_it_claims(tmp_path: Path) -> None:
    wave_SC = noise(1.0)
    path = written(tmp_path, flac_with_total(file_of("FLAC", wave_SC), 14_400))
    begin_S, end_S = read_segments(path, [(0.0, 0.9, None), (0.9, 0.1, None)])
    np.testing.assert_allclose(np.concatenate((begin_S, end_S)), wave_SC[:, 0], atol=1e-4)


def test_a_flac_in_which_the_decoder_cannot_seek_is_read(tmp_path: Path) -> None:
    data = file_of("FLAC", noise(4.0))
    whole_S = read_audio(written(tmp_path, data))
    path = written(tmp_path, replaced(data, 8, b"\x70"))  # its smallest block
    assert seconds_of(path) == 4.0
    assert check_audio(path).cut == ""
    np.testing.assert_array_equal(read_audio(path, 2.0, 1.0), whole_S[2 * RATE : 3 * RATE])


def test_a_flac_that_was_written_as_a_stream_is_read_whatever_its_checksums_are(
    tmp_path: Path,
) -> None:
    for seed in range(40):
        data = file_of("FLAC", noise(0.6, 2, seed=seed))
        stream = replaced(flac_with_total(data, 0), 8, bytes(2) + data[10:12] + bytes(6))
        assert seconds_of(written(tmp_path, stream)) == 0.6


@pytest.mark.parametrize("largest", [b"\x10\0", b"\xff\xff"])
def test_a_flac_stream_with_a_broken_last_block_says_so(tmp_path: Path, largest: bytes) -> None:
    """Also if the header has another size of its blocks."""
    data = replaced(flac_with_total(file_of("FLAC", noise(1.0)), 0), 10, largest)
    assert audio_info(written(tmp_path, data)).cut == ""
    for broken in (data[:-1], replaced(data, len(data) - 9, b"\0")):
        info = audio_info(written(tmp_path, broken))
        assert info.duration == 3 * 4096 / RATE
        assert "breaks off" in info.cut


def test_a_flac_stream_of_which_half_a_block_is_left_has_no_length(tmp_path: Path) -> None:
    path = written(tmp_path, flac_with_total(file_of("FLAC", noise(0.2)), 0)[:-100])
    with pytest.raises(UserError, match="cut off before its first sound"):
        audio_info(path)


def test_an_impossible_sample_rate_is_an_error_that_costs_nothing(tmp_path: Path) -> None:
    data = replaced(file_of("WAV", noise()), 24, b"\1\0\0\0")
    with pytest.raises(UserError, match="sample rate of 1 Hz"):
        read_audio(written(tmp_path, data))
    data = file_of("NIST", noise()).replace(b"sample_rate -i 16000", b"sample_rate -i 00001")
    with pytest.raises(UserError, match="sample_rate = '00001'"):
        read_audio(written(tmp_path, data))


def test_a_flac_without_its_last_byte_loses_the_last_block_and_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, file_of("FLAC", noise(3.0, rate=48_000), 48_000)[:-1])
    assert "promises 3.00 s" in audio_info(path).cut


def test_joined_flac_files_are_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, file_of("FLAC", noise(2.0)) + file_of("FLAC", noise(3.0)))
    for read in (audio_info, read_audio):
        with pytest.raises(UserError, match="several FLAC files"):
            read(path)
    twice = written(tmp_path, 2 * file_of("FLAC", noise(2.0)))
    for read in (audio_info, read_audio):
        with pytest.raises(UserError, match="several FLAC files"):
            read(twice)


@pytest.mark.parametrize("kind", ["OGG", "OPUS", "WAV", "AIFF"])
def test_joined_files_are_read_one_after_another(tmp_path: Path, kind: str) -> None:
    files = [file_of(kind, noise(seconds, seed=n)) for n, seconds in enumerate((2.0, 1.0, 1.5))]
    parts = [read_audio(written(tmp_path, data)) for data in files]
    path = written(tmp_path, b"".join(files))
    assert seconds_of(path) == 4.5
    np.testing.assert_allclose(read_audio(path), np.concatenate(parts), atol=1e-6)
    for start in (0.0, 1.75, 2.25, 3.5):
        np.testing.assert_allclose(
            read_audio(path, start, 0.75),
            np.concatenate(parts)[int(start * RATE) :][: RATE * 3 // 4],
            atol=1e-6,
        )
    segments = [(start, 0.5, None) for start in (0.5, 1.75, 2.0, 2.9, 4.0)]
    for (start, *_), wave_S in zip(segments, read_segments(path, segments), strict=True):
        np.testing.assert_allclose(wave_S, read_audio(path, start, 0.5), atol=1e-6)
    assert seconds_of(written(tmp_path, files[0] * 2)) == 4.0  # the same serial number twice


def test_the_last_of_joined_ogg_files_may_be_cut_off(tmp_path: Path) -> None:
    one, two = file_of("OGG", noise(2.0)), file_of("OGG", noise(6.0, seed=1))
    half = written(tmp_path, one + two[: len(two) // 2])
    assert 3.5 < seconds_of(half) < 6.0
    assert "cut off" in audio_info(half).cut
    assert seconds_of(written(tmp_path, one + two[:100])) == 2.0
    headers = written(tmp_path, one + two[: two.index(b"OggS", two.index(b"OggS", 9) + 9) + 50])
    assert seconds_of(headers) == 2.0
    assert "breaks off after 2.00 s" in audio_info(headers).cut


@pytest.mark.parametrize("kind", ["OGG", "OPUS", "MP3", "WAV"])
@pytest.mark.parametrize(("channels", "rate"), [(2, RATE), (1, 48_000)])
def test_joined_files_that_differ_become_like_the_first(
    tmp_path: Path, kind: str, channels: int, rate: int, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = (1, RATE), (channels, rate)
    for begin, end in ((one, two), (two, one)):
        data = (file_of(kind, noise(2.0, c, r), r) for c, r in (begin, end))
        path = written(tmp_path, b"".join(data))
        with caplog.at_level("INFO", "speechx"):
            assert seconds_of(path) == pytest.approx(4.0, abs=0.15)
        info = audio_info(path)
        assert (info.channels, info.rate) == begin
        assert "of which number 2 has" in caplog.text


@pytest.mark.parametrize("kind", ["OGG", "OPUS"])
def test_a_damaged_page_of_an_ogg_is_named(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = file_of(kind, noise(6.0))
    with caplog.at_level("INFO", "speechx"):
        read_audio(written(tmp_path, data))
        assert not caplog.text
        middle = data.index(b"OggS", len(data) // 2) + 300
        read_audio(written(tmp_path, replaced(data, middle, bytes([data[middle] ^ 1]))))
    assert "sound is lost: 1" in caplog.text


@pytest.mark.parametrize("kind", ["OPUS", "MP3", "WAV"])
def test_a_joined_recording_in_opposite_phase_is_kept(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = noise(2.0), noise(3.0) * [[1, -1]]
    path = written(tmp_path, file_of(kind, one) + file_of(kind, two))
    with caplog.at_level("INFO", "speechx"):
        later_S = read_audio(path)[5 * RATE // 2 : 4 * RATE]
    assert later_S.std() > 0.1
    assert "opposite phase" in caplog.text


def test_a_later_recording_is_decoded_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, file_of("OGG", noise(2.0)) + file_of("OGG", noise(3.0, 2), 48_000))

    def resampled(*_: object) -> None:
        raise AssertionError("what comes before is all that is needed")

    monkeypatch.setattr("soxr.resample", resampled)
    assert len(read_audio(path, 0.0, 1.0)) == RATE
    audio_info(path)


def test_two_headers_of_an_mp3_by_chance_are_no_mp3(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    first = b"\xff\xfb\x90\x64" + random.bytes(413)
    path = written(tmp_path, first + b"\xff\xf3\x40\xc4" + random.bytes(3000))
    with pytest.raises(UserError, match="not audio"):
        read_audio(path)


def bare(data: bytes) -> bytes:
    """An mp3 without its Xing frame."""
    return data[data.index(data[:2], 100) :]


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_joined_mp3_with_tags_between(tmp_path: Path, rate: int, channels: int) -> None:
    one, two = (file_of("MP3", noise(s, channels, rate), rate) for s in (2.0, 3.0))
    begin_S, end_S = (read_audio(written(tmp_path, data)) for data in (one, two))
    for joined in (
        one + two,
        id3() + one + ID3_V1 + id3(9000) + two + ape() + ID3_V1,
        ape() + one + LYRICS + ID3_V1 + two + LYRICS_V1 + ID3_V1,
        one + bytes(3000) + two + bytes(3000),
        bytes(2000) + one + two,
    ):
        path = written(tmp_path, joined)
        assert 5.0 <= seconds_of(path) < 5.3
        assert check_audio(path, exact=True).cut == ""
        wave_S = read_audio(path)
        np.testing.assert_allclose(wave_S[:RATE], begin_S[:RATE], atol=1e-3)
        if rate == RATE:
            lags = range(2 * RATE, 2 * RATE + 4000)
            lag = max(lags, key=lambda lag: float(wave_S[lag : lag + RATE] @ end_S[:RATE]))
            for at in (RATE, 2 * RATE):
                found_S = wave_S[lag + at : lag + at + RATE // 2]
                np.testing.assert_allclose(found_S, end_S[at : at + RATE // 2], atol=0.02)


def test_joined_mp3_without_headers_and_tags_around_a_single_one(tmp_path: Path) -> None:
    one, two = file_of("MP3", noise(2.0)), file_of("MP3", noise(3.0, seed=1))
    assert seconds_of(written(tmp_path, bare(one) + bare(two))) == pytest.approx(5.15, abs=0.1)
    assert seconds_of(written(tmp_path, one + bare(two))) == pytest.approx(5.1, abs=0.1)
    for content in (
        id3() + one,
        id3() + id3(700) + one + ID3_V1,
        ape() + one,
        one + ape() + LYRICS,
    ):
        assert seconds_of(written(tmp_path, content)) == 2.0


@pytest.mark.parametrize("frames", [0, 1, 20, 2**31, 2**32 - 1])
def test_a_count_of_frames_that_is_nonsense(tmp_path: Path, frames: int) -> None:
    data = file_of("MP3", noise(2.0))
    place = max(data.find(b"Xing", 0, 200), data.find(b"Info", 0, 200)) + 8
    path = written(tmp_path, replaced(data, place, frames.to_bytes(4, "big")))
    assert seconds_of(path) == pytest.approx(2.0, abs=0.1)
    check_audio(path)


def test_a_header_of_an_mp3_that_the_decoder_does_not_take_for_one(tmp_path: Path) -> None:
    data = file_of("MP3", noise(2.0))
    assert seconds_of(written(tmp_path, replaced(data, 6, b"\xa7"))) == 2.0


def test_a_long_wav_that_is_wrong_about_the_whole_file(tmp_path: Path) -> None:
    data = file_of("RF64", noise(2.0))
    assert seconds_of(written(tmp_path, replaced(data, 20, b"\xff" * 7))) == 2.0


def test_tags_before_any_format(tmp_path: Path) -> None:
    for kind in ("WAV", "FLAC", "OGG", "NIST", "AIFF"):
        assert seconds_of(written(tmp_path, id3() + file_of(kind, noise(2.0)) + ID3_V1)) == 2.0


def test_the_same_in_a_part_of_a_file(tmp_path: Path) -> None:
    data = file_of("OGG", noise(2.0)) + file_of("OGG", noise(1.0))
    (tmp_path / "many.tar").write_bytes(b"before" + data + b"after")
    part = 6, len(data)
    assert audio_info(tmp_path / "many.tar", part=part).duration == 3.0
    assert len(read_audio(tmp_path / "many.tar", part=part)) == 3 * RATE


def test_an_aiff_that_counts_no_samples_is_read(tmp_path: Path) -> None:
    data = file_of("AIFF", noise(1.0))
    silent = replaced(data, data.index(b"COMM") + 10, bytes(4))
    for behind in (b"", b"ANNO\0\0\0\4abcd"):
        path = written(tmp_path, silent + behind)
        assert seconds_of(path) == 1.0
        np.testing.assert_array_equal(read_audio(path), read_audio(written(tmp_path, data)))


def test_a_tag_of_a_wrong_size_hides_no_sound(tmp_path: Path) -> None:
    sound = file_of("MP3", noise(1.0))
    whole = seconds_of(written(tmp_path, id3() + sound + id3() + sound))
    wrong = replaced(id3(), 8, b"\x20\x22")  # 4130 bytes, many of them of the sound
    path = written(tmp_path, wrong + sound + wrong + sound)
    assert seconds_of(path) == pytest.approx(whole, abs=0.1)


@pytest.mark.parametrize("kind", ["MP3", "OGG"])
def test_a_file_that_is_written_again_is_looked_at_again(tmp_path: Path, kind: str) -> None:
    """Also within one tick of the clock, or with the time and size of the file before it."""
    twice = 2 * file_of(kind, noise(1.0))
    once = file_of(kind, noise(2.0))
    size = max(len(twice), len(once) + 20)
    first, second = twice + bytes(size - len(twice)), once + bytes(size - len(once))
    path = tmp_path / "a.bin"
    for settled in (False, True):
        lengths = []
        for data in (first, second):
            path.write_bytes(data)
            if settled:
                time.sleep(2.1)
            os.utime(path, (1_000_000_000, 1_000_000_000))
            lengths.append(audio_info(path).duration)
        path.write_bytes(b"")
        assert lengths == [audio_info(written(tmp_path, data)).duration for data in (first, second)]
