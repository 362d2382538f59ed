"""Any sound file to mono float32 at 16 kHz.

Models hear one thing only: a vector of samples at 16 kHz. Everything that can differ between
recordings (container, rate, channels, coding) ends here, and so does everything that can be wrong
with one. libsndfile reads wav, flac, mp3, ogg and opus, sphere.py reads NIST SPHERE; containers
it does not know (m4a, webm, ...) go through the `ffmpeg` program when there is one.

    wave_S = read_audio("talk.mp3", start=60.0, duration=10.0)     # 160,000 samples

Times are seconds. A file that cannot be read is a `UserError` that names it.

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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile

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
# Without waiting: a pipe that nobody writes to would otherwise be opened without end.
OPENING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
BLOCK_FRAMES = 1 << 21
# After a seek in Vorbis, libsndfile 1.2 may mix what it decoded last into the next samples, for at
# most a block of the codec (8192): that much before the samples wanted is decoded too.
VORBIS_FRAMES = 8192
UNKNOWN_FRAMES = 1 << 62
MOST_CHUNKS = 1000  # of a wav before its sound
STREAM_BYTES = 0x7FFF0000  # of a wav whose length was not known: programs write this and more
CUT_SECONDS = 0.1  # old programs counted the header in
MOST_TAGS = 1 << 14  # bytes that titles and the like may take at the end of an mp3
# How much shorter than asked a segment may come out. Durations in corpora are rounded, and mp3
# encoders pad, so clips end up to some tenths of a second from where their tables say.
END_TOLERANCE_SECONDS = 0.25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file holds: seconds of sound, samples a second, channels."""

    duration: float
    rate: int
    channels: int


def check_audio(path: str | Path, part: Part | None = None, exact: bool = False) -> AudioInfo:
    """Opens a file, decodes one frame, and says what the file holds, as `audio_info` would: a
    UserError if it is absent, empty or not audio.

    A fraction of a millisecond, whatever the length; damage further on passes, but not a wav whose
    end is missing.
    """
    name = source_name(path, part)
    with _open(path, part) as sound:
        first = len(_read_frames(sound, name, 0, 1))
        if first == 0:
            raise UserError(_no_samples(name))
        info = _info(sound, name, exact, first)
    if part is None and not is_url(path):
        _refuse_cut_wav(path, info.duration)
    return info


def _refuse_cut_wav(path: str | Path, seconds: float) -> None:
    """libsndfile takes what is there for all that there was; a stream's size is no promise."""
    with open(path, "rb") as file:
        riff = file.read(12)
        chunk = file.read(8) if riff[:4] == b"RIFF" and riff[8:] == b"WAVE" else b""
        for _ in range(MOST_CHUNKS):
            size = int.from_bytes(chunk[4:], "little")
            if len(chunk) < 8 or chunk.startswith(b"data"):
                break
            file.seek(size + size % 2, os.SEEK_CUR)
            chunk = file.read(8)
        there = os.fstat(file.fileno()).st_size - file.tell()
    if chunk.startswith(b"data") and 0 < there < size < STREAM_BYTES:
        promised = seconds * size / there
        if promised - seconds > CUT_SECONDS:
            raise UserError(
                f"{path}: the file is cut off: its header promises {promised:.2f} s, but "
                f"{seconds:.2f} s are there; copy it again."
            )


def audio_info(path: str | Path, exact: bool = True, part: Part | None = None) -> AudioInfo:
    """Length and shape of a file, from its header where the header can be trusted.

    The length in an mp3 is a claim by its encoder (or a guess from the bit rate), so mp3 is decoded
    and counted, a second for an hour; unless `exact` is False, when the claim is taken.
    """
    name = source_name(path, part)
    with _open(path, part) as sound:
        return _info(sound, name, exact)


def _info(sound: Any, name: str, exact: bool, decoded: int = 0) -> AudioInfo:
    """Of an open file, of which so many frames are decoded."""
    frames = sound.frames
    if sound.format in ("MP3", "SHORTEN") and exact:
        frames = decoded
        while frames < sound.frames:  # libsndfile gives no more than it says
            count = min(sound.frames - frames, BLOCK_FRAMES)
            more = len(_guarded(sound.read, name, count, "float32", True))
            if more == 0:
                break
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

    `channel` picks one channel, counted from 0; None averages all of them. `part` is a stretch of
    bytes of the file that is a whole sound (a member of a shard). The file may end `tolerance`
    seconds before the end of the segment. The segment is cut at the file's own rate and then
    resampled. mp3 is decoded from its beginning whatever `start` is: decoders disagree on where a
    seek lands.
    """
    wave_S, rate = read_native(path, start, duration, channel, part, tolerance)
    wave_S = resample(wave_S, rate, SAMPLE_RATE)
    if len(wave_S) == 0:
        raise UserError(_no_samples(source_name(path, part)))
    return wave_S


def read_native(
    path: str | Path,
    start: float = 0.0,
    duration: float | None = None,
    channel: int | None = None,
    part: Part | None = None,
    tolerance: float = END_TOLERANCE_SECONDS,
) -> tuple[np.ndarray, int]:
    """`read_audio` before its last step: (S,) float32 and the file's own sample rate."""
    name = source_name(path, part)
    if start < 0 or (duration is not None and duration <= 0):
        raise ValueError(f"start {start} must be >= 0 and duration {duration} > 0, in seconds")
    with _open(path, part) as sound:
        rate = sound.samplerate
        first, wanted = _place(start, duration, rate)
        wave_SC = _read_frames(sound, name, first, wanted)
    return _one_channel(wave_SC, rate, start, duration, channel, name, tolerance), rate


def read_segments(
    path: str | Path, segments: Iterable[tuple[float, float | None, int | None]]
) -> Iterator[np.ndarray | UserError]:
    """`read_audio` of each start, duration and channel, in the order of their starts; a `UserError`
    in the place of a segment that cannot be read.

    The file is opened once and decoded once. In memory is one segment, with what overlaps it.
    """
    name = str(path)
    with _open(path) as sound:
        rate = sound.samplerate
        kept_SC, end = np.zeros((0, sound.channels), np.float32), 0  # decoded last, until there
        damage: UserError | None = None
        for start, duration, channel in segments:
            first, wanted = _place(start, duration, rate)
            kept_SC = kept_SC[max(0, len(kept_SC) - max(0, end - first)) :]
            if damage is None and (wanted is None or len(kept_SC) < wanted):
                begin = max(first, end)
                more = None if wanted is None else wanted - len(kept_SC)
                try:
                    more_SC = _read_frames(sound, name, begin, more, end)
                except UserError as error:
                    damage = error  # and where the decoder is now, nobody knows
                else:
                    kept_SC, end = np.concatenate((kept_SC, more_SC)), begin + len(more_SC)
            try:
                if damage is not None:
                    raise damage
                wave_S = _one_channel(kept_SC[:wanted], rate, start, duration, channel, name)
                wave_S = resample(wave_S, rate, SAMPLE_RATE)
                yield wave_S if len(wave_S) else UserError(_no_samples(name))
            except UserError as error:
                yield error


def _place(start: float, duration: float | None, rate: int) -> tuple[int, int | None]:
    """The first frame of a segment, and how many it has."""
    return round(start * rate), None if duration is None else max(1, round(duration * rate))


def _one_channel(
    wave_SC: np.ndarray,
    rate: int,
    start: float,
    duration: float | None,
    channel: int | None,
    name: str,
    tolerance: float = END_TOLERANCE_SECONDS,
) -> np.ndarray:
    """The segment (S,) of what was read for it, or what is wrong with that."""
    first, wanted = _place(start, duration, rate)
    channels = wave_SC.shape[1]
    if channel is not None and not 0 <= channel < channels:
        raise UserError(
            f"{name}: channel {channel} was asked for, but the file has {channels} "
            f"(0 to {channels - 1})."
        )
    if len(wave_SC) == 0:
        if first == 0:
            raise UserError(_no_samples(name))
        raise UserError(f"{name}: the segment starts at {start:g} s, after the end of the file.")
    if wanted is not None and len(wave_SC) < wanted - tolerance * rate:
        raise UserError(
            f"{name}: a segment of {duration:g} s from {start:g} s was asked for, but the file "
            f"ends at {(first + len(wave_SC)) / rate:.3f} s."
        )
    wave_S = wave_SC[:, channel] if channel is not None else _mixdown(wave_SC)
    # One pass over the samples finds NaN and infinity; the square of a huge number is no proof.
    if not math.isfinite(np.dot(wave_S, wave_S)) and not np.isfinite(wave_S).all():
        bad = int((~np.isfinite(wave_S)).sum())
        raise UserError(f"{name}: {bad} of {len(wave_S)} samples are not finite numbers.")
    return wave_S


def resample(wave_S: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Band-limited change of sample rate; the same samples when the rates are equal."""
    if rate == new_rate:
        return np.ascontiguousarray(wave_S)
    import soxr

    return soxr.resample(np.ascontiguousarray(wave_S), rate, new_rate).astype(
        np.float32, copy=False
    )


def write_flac(path: str | Path, wave_S: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Writes 16-bit mono FLAC; values beyond ±1 are clipped. Never leaves half a file."""
    path = Path(path)
    if wave_S.ndim != 1 or len(wave_S) == 0:
        raise ValueError(f"a non-empty (S,) wave is expected, not shape {wave_S.shape}")
    coded = io.BytesIO()  # libsndfile would not say that a disk is full
    soundfile.write(coded, wave_S, rate, format="FLAC", subtype="PCM_16")
    with whole_file(path) as new:
        new.write_bytes(coded.getbuffer())


@contextmanager
def _open(path: str | Path, part: Part | None = None) -> Iterator[Any]:
    """An open SoundFile, or a UserError that says what the file is instead of sound.

    A file on disk is opened once, for a look at its first bytes and for libsndfile: with short
    clips that is what the speed of the bare library needs.
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
    """What libsndfile or sphere.py makes of it; `local` is the file that ffmpeg may try instead."""
    if not head:
        raise UserError(f"{name}: the file is empty (0 bytes); audio was expected.")
    if head.startswith(SPHERE):
        if isinstance(file, int):
            with io.BufferedReader(io.FileIO(file, closefd=False)) as buffered:
                yield SphereSound(buffered, name)
        else:
            yield SphereSound(file, name)
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
                f"{name}: its header does not say how long it is (written as a stream); "
                "rewrite it with: ffmpeg -i IN OUT.wav"
            )
        if sound.format == "MP3":
            # After each read soundfile seeks to where it is, and the decoder may then lose a frame.
            # (In other formats that seek finds headers that claim more than there is.)
            sound.seekable = lambda: False
        yield sound
        if sound.format == "MP3" and isinstance(file, int) and sound.tell() == sound.frames:
            _refuse_cut(file, name, sound.frames / sound.samplerate)


def _refuse_cut(file: int, name: str, seconds: float) -> None:
    """libsndfile ends where the header says or, without one, where the bit rate of the first frame
    would end: a file of variable rate may go on for much longer."""
    behind = os.fstat(file).st_size - os.lseek(file, 0, os.SEEK_CUR)
    if behind > MOST_TAGS:
        raise UserError(
            f"{name}: an mp3 that seems to end at {seconds:.2f} s, but {behind} bytes come after; "
            "give it a header that tells its length: ffmpeg -i IN.mp3 -c copy OUT.mp3"
        )


@contextmanager
def _through_ffmpeg(path: Path) -> Iterator[Any]:
    """The file decoded by ffmpeg into a temporary wav, at its own rate and channels."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError(
            f"{path}: {path.suffix} needs the ffmpeg program, which is not installed; install it, "
            f"or convert the file elsewhere with: ffmpeg -i IN{path.suffix} OUT.wav"
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
    """Frames first .. first+wanted as (S, C); fewer, or none, where the file ends before. `at` is
    the frame that comes next without a seek.

    One read of exactly these frames. The header only bounds it, in pieces of `BLOCK_FRAMES`, so
    that a header that claims hours costs nothing.
    """
    there = max(0, sound.frames - first)
    left = there if wanted is None else min(wanted, there)
    skipped = first - _seek(sound, name, first, at) if left else 0
    left += skipped
    kept: list[np.ndarray] = []
    while left > 0:
        block_SC = _guarded(sound.read, name, min(left, BLOCK_FRAMES), "float32", True)
        if len(block_SC) == 0:
            break
        left -= len(block_SC)
        kept.append(block_SC[skipped:])
        skipped = max(0, skipped - len(block_SC))
    if len(kept) == 1:
        return kept[0]
    return np.concatenate(kept) if kept else np.zeros((0, sound.channels), np.float32)


def _seek(sound: Any, name: str, first: int, at: int) -> int:
    """Where reading goes on in order to come to `first`, from `at`."""
    if sound.format == "MP3":
        return at
    vorbis = sound.format == "OGG" and sound.subtype == "VORBIS"
    begin = max(at, first - VORBIS_FRAMES) if vorbis else first
    if begin != at:
        _guarded(sound.seek, name, begin)
    return begin


def _guarded(call: Callable[..., T], name: str, *arguments: Any) -> T:
    """The call, with damage in the coded sound as a UserError."""
    try:
        return call(*arguments)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{name}: the audio is damaged and cannot be decoded.") from error


def _mixdown(wave_SC: np.ndarray) -> np.ndarray:
    return (
        wave_SC[:, 0]
        if wave_SC.shape[1] == 1
        else wave_SC @ np.full(wave_SC.shape[1], 1 / wave_SC.shape[1], np.float32)
    )


def _no_samples(path: str | Path) -> str:
    return f"{path}: the file holds no audio samples."
