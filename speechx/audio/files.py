"""Reads any audio file as mono float32 at 16 kHz.

This module handles every difference between recordings (container, rate, channels, coding) and
every error in them. libsndfile reads wav, flac, mp3, ogg and opus; sphere.py reads NIST SPHERE; the
`ffmpeg` program, if installed, decodes other containers (m4a, webm, ...).

    wave_S = read_audio("talk.mp3", start=60.0, duration=10.0)     # 160,000 samples

Times are in seconds. A file that cannot be read raises a `UserError` with its name.

    S samples · C channels
"""

import errno
import io
import math
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
import soxr

from speechx.audio.plain_wav import plain_wav
from speechx.audio.sources import Part, is_url, read_bytes, source_name
from speechx.audio.sphere import MAGIC as SPHERE
from speechx.audio.sphere import SphereSound
from speechx.errors import UserError
from speechx.whole_file import whole_file

SAMPLE_RATE = 16_000

READABLE = "wav, flac, mp3, ogg, opus or NIST SPHERE"
FFMPEG_SUFFIXES = frozenset(
    (".m4a", ".mp4", ".m4b", ".aac", ".webm", ".mkv", ".mka", ".mov", ".wma", ".amr", ".3gp")
)
AUDIO_SUFFIXES = FFMPEG_SUFFIXES | {
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".sph", ".aif", ".aiff", ".au")
}
HEAD_BYTES = 1024
# O_NONBLOCK, because opening a pipe without a writer would block.
OPENING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
BLOCK_FRAMES = 1 << 21
# After a seek in Vorbis, libsndfile 1.2 may mix old samples into the next ones, for at most a block
# of the codec (8192 frames). Decoding therefore starts one block early.
VORBIS_FRAMES = 8192
UNKNOWN_FRAMES = 1 << 62
MOST_CHUNKS = 1000  # of a wav before its data chunk
STREAM_BYTES = 0x7FFF0000  # programs write this or more for a wav of unknown length
CUT_SECONDS = 0.1  # a tolerance: old programs included the header in the length
MOST_TAGS = 1 << 14  # bytes of tags at the end of an mp3
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


def check_audio(path: str | Path, exact: bool = False) -> AudioInfo:
    """Like `audio_info`, but also decodes one frame: a UserError if the file is absent, empty, not
    audio, or a wav without its end.

    Takes a fraction of a millisecond for any length; does not find damage after the first frame.
    """
    name = str(path)
    with _open(path) as sound:
        first = len(_read_frames(sound, name, 0, 1))
        if first == 0:
            raise UserError(_no_samples(name))
        info = _info(sound, name, exact, first)
    if not is_url(path):
        _refuse_cut_wav(path, info.duration)
    return info


def _refuse_cut_wav(path: str | Path, seconds: float) -> None:
    """Compares a wav with the length in its header, which libsndfile does not. The length in a wav
    that was written as a stream means nothing."""
    with open(path, "rb") as file:
        riff = file.read(12)
        chunk = file.read(8) if riff[:4] == b"RIFF" and riff[8:] == b"WAVE" else b""
        for _ in range(MOST_CHUNKS):
            size = int.from_bytes(chunk[4:], "little")
            if len(chunk) < 8 or chunk.startswith(b"data"):
                break
            file.seek(size + size % 2, os.SEEK_CUR)
            chunk = file.read(8)
        present = os.fstat(file.fileno()).st_size - file.tell()
    if chunk.startswith(b"data") and 0 < present < size < STREAM_BYTES:
        promised = seconds * size / present
        if promised - seconds > CUT_SECONDS:
            raise UserError(
                f"{path}: the file is cut off: its header promises {promised:.2f} s, but it has "
                f"{seconds:.2f} s. Copy it again."
            )


def audio_info(path: str | Path, exact: bool = True, part: Part | None = None) -> AudioInfo:
    """Length, rate and channels of a file, from its header if the header is reliable.

    The length in an mp3 header may be wrong (or a guess from the bit rate), so mp3 is decoded and
    counted, which takes a second per hour. With `exact=False` the header is trusted.
    """
    name = source_name(path, part)
    with _open(path, part) as sound:
        return _info(sound, name, exact)


def _info(sound: Any, name: str, exact: bool, decoded: int = 0) -> AudioInfo:
    """Length and format of an open file; `decoded` frames have already been read."""
    frames = sound.frames
    if sound.format in ("MP3", "SHORTEN") and exact:
        frames = decoded
        while more := len(_read_frames(sound, name, frames, BLOCK_FRAMES, frames)):
            frames += more
    if frames == 0:
        raise UserError(_no_samples(name))
    return AudioInfo(frames / sound.samplerate, sound.samplerate, sound.channels)


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
) -> tuple[np.ndarray, int]:
    """`read_audio` without resampling: (S,) float32 and the file's own sample rate."""
    name = source_name(path, part)
    if start < 0 or (duration is not None and duration <= 0):
        raise ValueError(f"start {start} must be >= 0 and duration {duration} > 0, in seconds")
    with _open(path, part) as sound:
        rate = sound.samplerate
        wave_SC = _read_frames(sound, name, *_frame_range(start, duration, rate))
    return _one_channel(wave_SC, rate, (start, duration, channel), name, tolerance), rate


def read_segments(
    path: str | Path, segments: Iterable[Segment]
) -> Iterator[np.ndarray | UserError]:
    """`read_audio` for each segment, sorted by start. Yields a `UserError` for a segment that
    cannot be read.

    Opens and decodes the file once. Memory holds one segment and the frames that overlap it.
    """
    name = str(path)
    with _open(path) as sound:
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


def _frame_range(start: float, duration: float | None, rate: int) -> tuple[int, int | None]:
    """The first frame of a segment and its number of frames."""
    return round(start * rate), None if duration is None else max(1, round(duration * rate))


def _one_channel(
    wave_SC: np.ndarray, rate: int, segment: Segment, name: str, tolerance: float
) -> np.ndarray:
    """One channel (S,) of a segment; a UserError if the segment is too short or not finite."""
    start, duration, channel = segment
    first, wanted = _frame_range(start, duration, rate)
    channels = wave_SC.shape[1]
    if channel is not None and not 0 <= channel < channels:
        raise UserError(
            f"{name}: channel {channel} was requested, but the file has {channels} "
            f"(0 to {channels - 1})."
        )
    if len(wave_SC) == 0:
        if first == 0:
            raise UserError(_no_samples(name))
        raise UserError(f"{name}: the segment starts at {start:g} s, after the end of the file.")
    if wanted is not None and len(wave_SC) < wanted - tolerance * rate:
        raise UserError(
            f"{name}: a segment of {duration:g} s from {start:g} s was requested, but the file "
            f"ends at {(first + len(wave_SC)) / rate:.3f} s."
        )
    if channel is None and channels > 1:
        wave_S = wave_SC @ np.full(channels, 1 / channels, np.float32)
    else:
        wave_S = wave_SC[:, channel or 0]
    # The product is a fast check for NaN and infinity, but also overflows for large finite samples.
    if not math.isfinite(np.dot(wave_S, wave_S)) and not np.isfinite(wave_S).all():
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


@contextmanager
def _open(path: str | Path, part: Part | None = None) -> Iterator[Any]:
    """Opens a file like `soundfile.SoundFile`; a UserError says why it is not audio.

    A local file is opened only once, both for its first bytes and for libsndfile: short clips are
    then read as fast as by libsndfile alone.
    """
    name = source_name(path, part)
    if part is not None or is_url(path):
        data = read_bytes(path, part)
        if sound := plain_wav(data):
            yield sound
            return
        with io.BytesIO(data) as file:
            yield from _sound(file, data[:HEAD_BYTES], None, name)
        return
    descriptor = -1
    try:
        descriptor = os.open(path, OPENING)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is a directory, a pipe or a device")
        head = os.read(descriptor, HEAD_BYTES)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise UserError(f"{name}: cannot be read as audio: {error.strerror}.") from error
    try:
        yield from _sound(descriptor, head, path, name)
    finally:
        os.close(descriptor)


def _sound(
    file: int | io.BytesIO, head: bytes, local: str | Path | None, name: str
) -> Iterator[soundfile.SoundFile | SphereSound]:
    """Opens with libsndfile or sphere.py, or else with ffmpeg if the file is `local`."""
    if not head:
        raise UserError(f"{name}: the file is empty (0 bytes), but audio was expected.")
    if head.startswith(SPHERE):
        with open(file, "rb", closefd=False) if isinstance(file, int) else file as binary:
            yield SphereSound(binary, name)
        return
    try:
        sound = soundfile.SoundFile(file, closefd=False)
    except soundfile.LibsndfileError as error:
        if local is not None and Path(local).suffix.lower() in FFMPEG_SUFFIXES:
            with _through_ffmpeg(Path(local)) as sound:
                yield sound
            return
        raise UserError(f"{name}: not audio that can be read (expected {READABLE}).") from error
    with sound:
        if sound.frames >= UNKNOWN_FRAMES:
            raise UserError(
                f"{name}: its header does not contain its length (it was written as a stream); "
                "rewrite it with: ffmpeg -i IN OUT.wav"
            )
        if sound.format == "MP3":
            # After each read soundfile seeks to the current position; the mp3 decoder may then lose
            # a frame. (In other formats this seek detects headers that claim too many frames.)
            sound.seekable = lambda: False
        yield sound
        if sound.format == "MP3" and isinstance(file, int) and sound.tell() == sound.frames:
            _refuse_cut_mp3(file, name, sound.frames / sound.samplerate)


def _refuse_cut_mp3(file: int, name: str, seconds: float) -> None:
    """Checks that an mp3 ends here. Without a header libsndfile guesses the length from the first
    frame's bit rate; a file of variable rate may be much longer."""
    unread = os.fstat(file).st_size - os.lseek(file, 0, os.SEEK_CUR)
    if unread > MOST_TAGS:
        raise UserError(
            f"{name}: the mp3 seems to end at {seconds:.2f} s, but {unread} more bytes follow; "
            "add a header with its length: ffmpeg -i IN.mp3 -c copy OUT.mp3"
        )


@contextmanager
def _through_ffmpeg(path: Path) -> Iterator[Any]:
    """Decodes a file with ffmpeg into a temporary wav with the same rate and channels."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError(
            f"{path}: {path.suffix} needs the ffmpeg program, which is not installed. Install it, "
            f"or convert the file elsewhere: ffmpeg -i IN{path.suffix} OUT.wav"
        )
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "decoded.wav"
        command = [program, "-nostdin", "-v", "error", "-i", str(path.absolute()), "-vn"]
        done = subprocess.run([*command, "-c:a", "pcm_f32le", str(wav)], capture_output=True)
        if done.returncode != 0 or not wav.exists():
            why = done.stderr.decode(errors="replace").strip().splitlines()
            raise UserError(f"{path}: ffmpeg cannot decode it: {why[-1] if why else 'no audio'}.")
        with soundfile.SoundFile(wav) as sound:
            yield sound


def _read_frames(sound: Any, name: str, first: int, wanted: int | None, at: int = 0) -> np.ndarray:
    """Frames first .. first+wanted as (S, C); fewer, or none, at the end of the file. `at` is the
    decoder position. A UserError if the audio is damaged.

    Reads at most `BLOCK_FRAMES` at a time, so that a header that claims hours costs no memory.
    """
    left = max(0, sound.frames - first)  # libsndfile never reads beyond this
    if wanted is not None:
        left = min(wanted, left)
    kept: list[np.ndarray] = []
    try:
        skipped = first - _seek(sound, first, at) if left else 0
        left += skipped
        while left > 0:
            block_SC = sound.read(min(left, BLOCK_FRAMES), "float32", True)
            if len(block_SC) == 0:
                break
            left -= len(block_SC)
            kept.append(block_SC[skipped:])
            skipped = max(0, skipped - len(block_SC))
    except soundfile.LibsndfileError as error:
        raise UserError(f"{name}: the audio is damaged and cannot be decoded.") from error
    if len(kept) == 1:
        return kept[0]
    return np.concatenate(kept) if kept else np.zeros((0, sound.channels), np.float32)


def _seek(sound: Any, first: int, at: int) -> int:
    """Moves the decoder towards `first`; returns the frame that it reads next."""
    if sound.format == "MP3":
        return at
    vorbis = sound.format == "OGG" and sound.subtype == "VORBIS"
    begin = max(at, first - VORBIS_FRAMES) if vorbis else first
    if begin != at:
        sound.seek(begin)
    return begin


def _no_samples(path: str | Path) -> str:
    return f"{path}: the file holds no audio samples."
