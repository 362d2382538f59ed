"""Reads any audio file as mono float32 at 16 kHz.

opening.py handles every difference between files (container, rate, coding, a wrong length); here
are segments, channels, the sample rate, and every error in the samples.

    wave_S = read_audio("talk.mp3", start=60.0, duration=10.0)     # 160,000 samples

Times are in seconds. A file that cannot be read raises a `UserError` with its name.

    S samples · C channels
"""

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import soundfile
import soxr

from speechx.audio.channels import OPPOSITE_PHASE as OPPOSITE_PHASE
from speechx.audio.channels import mean
from speechx.audio.decoders import MOST_SECONDS, Flac, OpenSound
from speechx.audio.opening import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from speechx.audio.opening import log_once, open_sound
from speechx.audio.sources import Part, source_name
from speechx.audio.storing import coded
from speechx.errors import UserError
from speechx.whole_file import whole_file

SAMPLE_RATE = 16_000

BLOCK_FRAMES = 1 << 21
BLOCK_SECONDS = 30.0
# After a seek in Vorbis, libsndfile 1.2 may mix old samples into the next ones, for at most a block
# of the codec (8192 frames). Decoding therefore starts one block early.
VORBIS_FRAMES = 8192
CUT_SECONDS = 0.1  # a tolerance: old programs included the header in the length
# How much shorter than requested a segment may be. Corpora round durations and mp3 encoders pad, so
# clips end up to a few tenths of a second before or after the time in their tables.
END_TOLERANCE_SECONDS = 0.25

Segment: TypeAlias = tuple[float, float | None, int | None]
"""Start and duration in seconds (None: to the end) and channel (None: the mean of all)."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Length in seconds, sample rate and channels of a file."""

    duration: float
    rate: int
    channels: int
    cut: str = ""
    """The message if the file is cut off, else empty."""


def check_audio(path: str | Path, exact: bool = False) -> AudioInfo:
    """Like `audio_info`, but also decodes one frame: a UserError if the file is absent, empty, not
    audio, or cut off.

    Takes a fraction of a millisecond for most files; does not find damage after the first frame.
    """
    name = str(path)
    with open_sound(path) as sound:
        first = len(_read_frames(sound, name, 0, 1))
        if first == 0:
            raise UserError(_no_samples(name))
        info = _info(sound, name, exact, first)
    if info.cut:
        raise UserError(f"{name}: {info.cut}")
    return info


def audio_info(path: str | Path, exact: bool = True, part: Part | None = None) -> AudioInfo:
    """Length, rate and channels of a file, of what is really there.

    The frames of an mp3 may not all be decodable, so mp3 is decoded and counted, which takes a
    second per hour. With `exact=False` its frames are counted.
    """
    name = source_name(path, part)
    with open_sound(path, part) as sound:
        return _info(sound, name, exact)


def _info(sound: OpenSound, name: str, exact: bool, decoded: int = 0) -> AudioInfo:
    """Length and format of an open file; `decoded` frames have already been read."""
    if isinstance(sound, Flac):
        try:
            sound.check_end()
        except soundfile.LibsndfileError as error:
            raise UserError(_damaged(name)) from error
    frames, promised = sound.frames, sound.frames * sound.promised
    if sound.format in ("MP3", "SHORTEN") and exact:
        frames = decoded
        while more := len(_read_frames(sound, name, frames, BLOCK_FRAMES, frames)):
            frames += more
    if frames == 0:
        raise UserError(_no_samples(name))
    seconds = frames / sound.samplerate
    tolerance = CUT_SECONDS if sound.format != "FLAC" else 0.5 / sound.samplerate
    cut = cut_message(seconds, promised / sound.samplerate, tolerance)
    return AudioInfo(seconds, sound.samplerate, sound.channels, cut)


def cut_message(seconds: float, promised: float, tolerance: float = CUT_SECONDS) -> str:
    """The message for a file that is shorter than its header promises."""
    if math.isinf(promised):
        return f"the file is cut off: it breaks off after {seconds:.2f} s. Copy it again."
    if promised - seconds <= tolerance or promised > MOST_SECONDS:
        return ""
    return (
        f"the file is cut off: its header promises {promised:.2f} s, but it has {seconds:.2f} s. "
        "Copy it again."
    )


def read_audio(
    path: str | Path,
    start: float = 0.0,
    duration: float | None = None,
    channel: int | None = None,
    part: Part | None = None,
    tolerance: float = END_TOLERANCE_SECONDS,
) -> np.ndarray:
    """The samples of a file, or of `duration` seconds from `start`: (S,) float32, 16 kHz, mono.

    `channel` selects one channel, counted from 0; None averages all channels. `part` is a range of
    bytes that is a complete audio file (a member of a shard). The file may end up to `tolerance`
    seconds before the end of the segment. The segment is cut at the file's own rate and then
    resampled. mp3 is always decoded from its beginning, because decoders disagree on the position
    after a seek.
    """
    wave_S, rate = read_native(path, start, duration, channel, part, tolerance)
    return at_16_khz(wave_S, rate, source_name(path, part))


def read_native(
    path: str | Path,
    start: float = 0.0,
    duration: float | None = None,
    channel: int | None = None,
    part: Part | None = None,
    tolerance: float = END_TOLERANCE_SECONDS,
    notes: list[str] | None = None,
) -> tuple[np.ndarray, int]:
    """`read_audio` without resampling: (S,) float32 and the file's own sample rate. Remarks
    about the file are added to `notes`, or logged."""
    name = source_name(path, part)
    if start < 0 or (duration is not None and duration <= 0):
        raise ValueError(f"start {start} must be >= 0 and duration {duration} > 0, in seconds")
    with open_sound(path, part) as sound:
        rate = sound.samplerate
        wave_SC = _read_frames(sound, name, *_frame_range(start, duration, rate))
    segment = start, duration, channel
    return _one_channel(wave_SC, rate, segment, name, tolerance, notes), rate


def read_blocks(
    path: str | Path,
    channel: int | None = None,
    seconds: float = BLOCK_SECONDS,
    start: float = 0.0,
    duration: float | None = None,
    part: Part | None = None,
) -> Iterator[np.ndarray]:
    """`read_audio` in blocks (S,) of about `seconds`. Joined they are the same samples; memory
    holds one block. Channels in opposite phase are noticed in each block."""
    name = source_name(path, part)
    with open_sound(path, part) as sound:
        rate = sound.samplerate
        begin, wanted = _frame_range(start, duration, rate)
        stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        frames = max(1, round(seconds * rate))
        size = frames if wanted is None else min(frames, wanted)
        block_SC, at = _read_frames(sound, name, begin, size), begin
        while True:
            at += len(block_SC)
            size = frames if wanted is None else min(frames, begin + wanted - at)
            following_SC = _read_frames(sound, name, at, size, at)
            last = len(following_SC) == 0
            segment = (at - len(block_SC)) / rate, None, channel
            wave_S = _one_channel(block_SC, rate, segment, name, 0.0)
            if last and at - begin < (wanted or 0) - END_TOLERANCE_SECONDS * rate:
                raise UserError(_too_short(name, start, duration, at / rate))
            if rate != SAMPLE_RATE:
                wave_S = stream.resample_chunk(np.ascontiguousarray(wave_S), last)
            if len(wave_S):
                yield np.ascontiguousarray(wave_S)
            elif last and at == begin + len(block_SC):
                raise UserError(_no_samples(name))
            if last:
                return
            block_SC = following_SC


def read_segments(
    path: str | Path, segments: Iterable[Segment]
) -> Iterator[np.ndarray | UserError]:
    """`read_audio` for each segment, sorted by start. Yields a `UserError` for a segment that
    cannot be read.

    Opens and decodes the file once. Memory holds one segment and the frames that overlap it.
    """
    name = str(path)
    with open_sound(path) as sound:
        rate = sound.samplerate
        kept_SC, end = np.zeros((0, sound.channels), np.float32), 0  # the frames before `end`
        damage: UserError | None = None
        for segment in segments:
            first, wanted = _frame_range(*segment[:2], rate)
            kept_SC = kept_SC[max(0, len(kept_SC) - max(0, end - first)) :]
            if damage is None and (wanted is None or len(kept_SC) < wanted):
                begin = max(first, end)
                more = None if wanted is None else wanted - len(kept_SC)
                try:
                    more_SC = _read_frames(sound, name, begin, more, end)
                except UserError as error:
                    damage = error  # for all later segments: the decoder position is undefined
                else:
                    kept_SC, end = np.concatenate((kept_SC, more_SC)), begin + len(more_SC)
            if damage is not None:
                yield damage
                continue
            try:
                kept = kept_SC[:wanted]
                wave_S = _one_channel(kept, rate, segment, name, END_TOLERANCE_SECONDS)
                yield at_16_khz(wave_S, rate, name)
            except UserError as error:
                yield error


def require_channel(name: str | Path, channel: int, channels: int) -> None:
    """A UserError if a file with so many channels does not have this one, counted from 0."""
    if not 0 <= channel < channels:
        raise UserError(
            f"{name}: channel {channel} was requested, but the file has {channels} "
            f"(0 to {channels - 1})."
        )


def _frame_range(start: float, duration: float | None, rate: int) -> tuple[int, int | None]:
    """The first frame of a segment and its number of frames."""
    return round(start * rate), None if duration is None else max(1, round(duration * rate))


def _one_channel(
    wave_SC: np.ndarray,
    rate: int,
    segment: Segment,
    name: str,
    tolerance: float,
    notes: list[str] | None = None,
) -> np.ndarray:
    """One channel (S,) of a segment; a UserError if the segment is too short or not finite."""
    start, duration, channel = segment
    first, wanted = _frame_range(start, duration, rate)
    channels = wave_SC.shape[1]
    if channel is not None:
        require_channel(name, channel, channels)
    if len(wave_SC) == 0:
        if first == 0:
            raise UserError(_no_samples(name))
        raise UserError(f"{name}: the segment starts at {start:g} s, after the end of the file.")
    if wanted is not None and len(wave_SC) < wanted - tolerance * rate:
        raise UserError(_too_short(name, start, duration, (first + len(wave_SC)) / rate))
    if channel is None and channels > 1:
        wave_S, opposite = mean(wave_SC)
        if opposite and notes is None:
            log_once(f"{name}: {OPPOSITE_PHASE}")
        elif opposite and notes is not None:
            notes.append(OPPOSITE_PHASE)
    else:
        wave_S = wave_SC[:, channel or 0]
    # The product is a fast check for NaN and infinity, but also overflows for large finite samples.
    energy = float(np.dot(wave_S, wave_S))
    if not math.isfinite(energy) and not np.isfinite(wave_S).all():
        bad = int((~np.isfinite(wave_S)).sum())
        raise UserError(f"{name}: {bad} of {len(wave_S)} samples are not finite numbers.")
    return wave_S


def at_16_khz(wave_S: np.ndarray, rate: int, name: str) -> np.ndarray:
    """What was read from the file `name`, resampled; a UserError if nothing is left."""
    wave_S = resample(wave_S, rate, SAMPLE_RATE)
    if len(wave_S) == 0:
        raise UserError(_no_samples(name))
    return wave_S


def resample(wave_S: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Band-limited change of sample rate; equal rates return the same samples."""
    if rate == new_rate:
        return np.ascontiguousarray(wave_S)
    new_S = soxr.resample(np.ascontiguousarray(wave_S), rate, new_rate)
    return new_S.astype(np.float32, copy=False)


def write_flac(path: str | Path, wave_S: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Writes 16-bit mono FLAC atomically; clips values beyond ±1."""
    path = Path(path)
    if wave_S.ndim != 1 or len(wave_S) == 0:
        raise ValueError(f"a non-empty (S,) wave is expected, not shape {wave_S.shape}")
    coded = io.BytesIO()  # libsndfile would not report a full disk
    soundfile.write(coded, wave_S, rate, format="FLAC", subtype="PCM_16")
    with whole_file(path) as new:
        new.write_bytes(coded.getbuffer())


def write_wave(stem: Path, wave_S: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    """Writes `stem`.flac atomically, or `stem`.wav with floats where FLAC would change the samples
    (storing.py); returns its path."""
    suffix, data = coded(wave_S, rate)
    path = stem.with_name(f"{stem.name}.{suffix}")
    with whole_file(path) as new:
        new.write_bytes(data)
    return path


def _read_frames(
    sound: OpenSound, name: str, first: int, wanted: int | None, at: int = 0
) -> np.ndarray:
    """Frames first .. first+wanted as (S, C); fewer, or none, at the end of the file. `at` is the
    decoder position. A UserError if the audio is damaged.

    Reads at most `BLOCK_FRAMES` at a time, so that a header that claims hours costs no memory.
    """
    kept: list[np.ndarray] = []
    try:
        if first >= sound.frames and isinstance(sound, Flac):
            sound.check_end()
            at = 0
        begin = _seek(sound, first, at) if first < sound.frames else first
        while (left := _left(sound, begin, first, wanted)) > 0:
            block_SC = sound.read(min(left, BLOCK_FRAMES), "float32", True)
            if len(block_SC) == 0:
                break
            kept.append(block_SC[max(0, first - begin) :])
            begin += len(block_SC)
    except soundfile.LibsndfileError as error:
        raise UserError(_damaged(name)) from error
    if len(kept) == 1:
        return kept[0]
    return np.concatenate(kept) if kept else np.zeros((0, sound.channels), np.float32)


def _left(sound: OpenSound, at: int, first: int, wanted: int | None) -> int:
    """Frames to read from `at`. libsndfile never reads beyond the end that it knows, which may
    change while a FLAC is read."""
    return (sound.frames if wanted is None else min(first + wanted, sound.frames)) - at


def _seek(sound: OpenSound, first: int, at: int) -> int:
    """Moves the decoder towards `first`; returns the frame that it reads next."""
    if sound.format == "MP3":
        return at
    vorbis = sound.format == "OGG" and sound.subtype == "VORBIS"
    begin = max(at, first - VORBIS_FRAMES) if vorbis else first
    if begin != at:
        sound.seek(begin)
    return begin


def _damaged(name: str) -> str:
    return f"{name}: the audio is damaged and cannot be decoded."


def _too_short(name: str, start: float, duration: float | None, end: float) -> str:
    return (
        f"{name}: a segment of {duration:g} s from {start:g} s was requested, but the file ends at "
        f"{end:.3f} s."
    )


def _no_samples(path: str | Path) -> str:
    return f"{path}: the file holds no audio samples."
