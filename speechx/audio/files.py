"""Any sound file to mono float32 at 16 kHz.

Models hear one thing only: a vector of samples at 16 kHz. Everything that can differ between
recordings (container, rate, channels, coding) ends here, and so does everything that can be wrong
with one. libsndfile reads wav, flac, mp3, ogg, opus and NIST SPHERE (pcm, u-law, A-law); containers
it does not know (m4a, webm, ...) go through the `ffmpeg` program when there is one.

    wave_S = read_audio("talk.mp3", start=60.0, duration=10.0)     # 160,000 samples

Legend: S samples · C channels. Times are seconds. What is wrong with a file is a `UserError` that
names it.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechx.errors import UserError

SAMPLE_RATE = 16_000

READABLE = "wav, flac, mp3, ogg, opus or NIST SPHERE"
FFMPEG_SUFFIXES = frozenset(
    (".m4a", ".mp4", ".m4b", ".aac", ".webm", ".mkv", ".mka", ".mov", ".wma", ".amr", ".3gp")
)
BLOCK_FRAMES = 1 << 18
UNKNOWN_FRAMES = 1 << 62
# How much shorter than asked a segment may come out. Durations in corpora are rounded, and mp3
# encoders pad, so clips end up to some tenths of a second from where their tables say.
END_TOLERANCE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file holds: seconds of sound, samples a second, channels."""

    duration: float
    rate: int
    channels: int


def check_audio(path: str | Path) -> None:
    """Opens a file and decodes one frame: a UserError if it is absent, empty or not audio.

    A fraction of a millisecond, whatever the length; damage further on passes.
    """
    with _open(Path(path)) as sound:
        if next(_blocks(sound, Path(path), 1), None) is None:
            raise UserError(_no_samples(path))


def audio_info(path: str | Path, exact: bool = True) -> AudioInfo:
    """Length and shape of a file, from its header where the header can be trusted.

    The length in an mp3 is a claim by its encoder (or a guess from the bit rate), so mp3 is decoded
    and counted, a second for an hour; unless `exact` is False, when the claim is taken.
    """
    with _open(Path(path)) as sound:
        if sound.format != "MP3" or not exact:
            frames = sound.frames
        else:
            frames = sum(len(block_SC) for block_SC in _blocks(sound, Path(path)))
        if frames == 0:
            raise UserError(_no_samples(path))
        return AudioInfo(frames / sound.samplerate, sound.samplerate, sound.channels)


def read_audio(
    path: str | Path,
    start: float = 0.0,
    duration: float | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """The samples of a file, or of `duration` seconds from `start`: (S,) float32, 16 kHz, mono.

    `channel` picks one channel, counted from 0; None averages all of them. The segment is cut at
    the file's own rate and then resampled. mp3 is decoded from its beginning whatever `start` is:
    decoders disagree on where a seek lands.
    """
    path = Path(path)
    if start < 0 or (duration is not None and duration <= 0):
        raise ValueError(f"start {start} must be >= 0 and duration {duration} > 0, in seconds")
    with _open(path) as sound:
        rate, channels = sound.samplerate, sound.channels
        if channel is not None and not 0 <= channel < channels:
            raise UserError(
                f"{path}: channel {channel} was asked for, but the file has {channels} "
                f"(0 to {channels - 1})."
            )
        first = round(start * rate)
        wanted = None if duration is None else max(1, round(duration * rate))
        wave_SC = _read_frames(sound, path, first, wanted)
    if len(wave_SC) == 0:
        if first == 0:
            raise UserError(_no_samples(path))
        raise UserError(f"{path}: the segment starts at {start:g} s, after the end of the file.")
    if wanted is not None and len(wave_SC) < wanted - END_TOLERANCE_SECONDS * rate:
        raise UserError(
            f"{path}: a segment of {duration:g} s from {start:g} s was asked for, but the file "
            f"ends at {(first + len(wave_SC)) / rate:.3f} s."
        )
    wave_S = wave_SC[:, channel] if channel is not None else _mixdown(wave_SC)
    if not np.isfinite(wave_S).all():
        bad = int((~np.isfinite(wave_S)).sum())
        raise UserError(f"{path}: {bad} of {len(wave_S)} samples are not finite numbers.")
    wave_S = resample(wave_S, rate, SAMPLE_RATE)
    if len(wave_S) == 0:
        raise UserError(_no_samples(path))
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
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            soundfile.write(file, wave_S, rate, format="FLAC", subtype="PCM_16")
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """An open SoundFile, or a UserError that says what the file is instead of sound."""
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as audio: {error.strerror}.") from error
    if not head:
        raise UserError(f"{path}: the file is empty (0 bytes); audio was expected.")
    _refuse_compressed_sphere(path, head)
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:
        if path.suffix.lower() in FFMPEG_SUFFIXES:
            with _through_ffmpeg(path) as sound:
                yield sound
            return
        raise UserError(f"{path}: not audio that can be read (expected {READABLE}).") from error
    with sound:
        if sound.frames >= UNKNOWN_FRAMES:
            raise UserError(
                f"{path}: its header does not say how long it is (written as a stream); "
                f"rewrite it with: ffmpeg -i IN{path.suffix} OUT.wav"
            )
        yield sound


def _refuse_compressed_sphere(path: Path, head: bytes) -> None:
    """SPHERE names its coding in plain text; libsndfile reads no compressed one."""
    if not head.startswith(b"NIST_1A"):
        return
    for line in head.decode("latin-1").splitlines():
        words = line.split()
        if words and words[0] == "sample_coding" and "," in words[-1]:
            raise UserError(
                f"{path}: SPHERE with compressed samples ({words[-1]}) cannot be read; "
                "unpack it with: sph2pipe -f wav IN.sph OUT.wav"
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


def _read_frames(sound: Any, path: Path, first: int, wanted: int | None) -> np.ndarray:
    """Frames first .. first+wanted as (S, C); fewer, or none, where the file ends before."""
    if first and sound.format != "MP3":
        if first >= sound.frames:
            return np.zeros((0, sound.channels), np.float32)
        sound.seek(first)
        first = 0
    kept, have = [], 0
    for block_SC in _blocks(sound, path):
        skipped = min(first, len(block_SC))
        first -= skipped
        block_SC = block_SC[skipped:]
        if wanted is not None:
            block_SC = block_SC[: wanted - have]
        kept.append(block_SC)
        have += len(block_SC)
        if have == wanted:
            break
    return np.concatenate(kept) if kept else np.zeros((0, sound.channels), np.float32)


def _blocks(sound: Any, path: Path, frames: int = BLOCK_FRAMES) -> Iterator[np.ndarray]:
    """The rest of the file in (S, C) pieces of `frames`: as much as can be decoded."""
    buffer_SC = np.empty((frames, sound.channels), np.float32)
    while True:
        try:
            block_SC = sound.read(out=buffer_SC)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{path}: the audio is damaged and cannot be decoded.") from error
        if len(block_SC) == 0:
            return
        yield block_SC.copy()


def _mixdown(wave_SC: np.ndarray) -> np.ndarray:
    return wave_SC[:, 0] if wave_SC.shape[1] == 1 else wave_SC.mean(axis=1, dtype=np.float32)


def _no_samples(path: str | Path) -> str:
    return f"{path}: the file holds no audio samples."
