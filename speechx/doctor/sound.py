"""The audio of an utterance, and what is wrong with it: by its length, its header and its samples.

`read_header`, `hash_bytes` and `measure` run in worker processes.

S samples · K bins · B bands · levels in dB of full scale (dBFS), shares of samples
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from speechx.audio.files import (
    END_TOLERANCE_SECONDS,
    OPPOSITE_PHASE,
    SAMPLE_RATE,
    audio_info,
    cut_message,
    read_native,
)
from speechx.audio.sources import is_url, read_bytes
from speechx.corpora.engine.problems import Problem
from speechx.data.manifest import Utterance
from speechx.doctor.checks import CLIPPED_SHARE, FAINT_DB, HIGH_BAND_DB, OFFSET, SILENT_DB
from speechx.doctor.workers import PATIENCE_SECONDS
from speechx.errors import UserError

PIECE_SECONDS = 300.0  # of audio in memory at a time
FINGERPRINT_BYTES = 4096
WINDOW_SECONDS = 0.032
BANDS = ((300.0, 3400.0), (4400.0, 7200.0))  # Hz, with a gap for the filters between them
FULL_SCALE = 0.99
FLAT, LOUD_ENOUGH_TO_CLIP = 0.995, 0.3  # of the peak; quieter peaks are not clipping
NOTHING_DB = -200.0
Findings = Iterator[tuple[str, str]]
"""Names of checks and details."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file. `fingerprint` is a hash of the size and 4 KB from the middle: files
    with different fingerprints are different. 0 for a URL."""

    seconds: float
    rate: int
    fingerprint: int
    cut: str = ""
    """The message if the file is cut off, else empty."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Measurements of the decoded audio. `samples` is a hash of all samples as 16-bit numbers:
    recordings with equal hashes are the same, whatever their files."""

    seconds: float
    promised: float  # seconds of the whole file, according to its header
    rate: int
    loudest: float  # dBFS of the loudest tenth of a second, without its mean
    offset: float
    clipped: float
    high_band: float | None  # dB relative to the low band; None if the rate is too low for it
    samples: int
    opposite: bool = False  # channels, which cancel in their mean


def patience(u: Utterance, per_file: float) -> float:
    """Seconds after which reading it is taken to hang: one per MB is added to `per_file`."""
    if is_url(u.audio):
        return PATIENCE_SECONDS
    try:
        size = u.bytes[1] if u.bytes else os.stat(u.audio).st_size
    except (OSError, ValueError):
        size = 0
    return per_file + size / 1e6


def read_header(u: Utterance) -> Header | Problem:
    return _header(u.audio, u.bytes)


@lru_cache(maxsize=256)  # neighbours in a manifest are often segments of one recording
def _header(audio: Path | str, part: tuple[int, int] | None) -> Header | Problem:
    try:
        info = audio_info(audio, exact=False, part=part)
        return Header(info.duration, info.rate, _fingerprint(audio, part), info.cut)
    except (UserError, OSError, ValueError) as error:
        return _unreadable(audio, error)


def _unreadable(audio: Path | str, error: Exception) -> Problem:
    why = str(error).removeprefix(f"{audio}: ").removeprefix("cannot be read as audio: ")
    return Problem(str(audio), why)


def _fingerprint(audio: Path | str, part: tuple[int, int] | None) -> int:
    if is_url(audio):
        return 0
    with open(audio, "rb", buffering=0) as file:
        offset, size = part or (0, os.fstat(file.fileno()).st_size)
        file.seek(offset + max(0, size - FINGERPRINT_BYTES) // 2)
        return _number(size.to_bytes(8, "little") + file.read(min(FINGERPRINT_BYTES, size)))


def hash_bytes(u: Utterance) -> int:
    """A hash of every byte of the file or part; 0 if it cannot be read."""
    try:
        return _number(read_bytes(u.audio, u.bytes))
    except UserError:
        return 0


def measure(u: Utterance) -> Sound | Problem:
    """Decodes and measures the utterance, to the end of its file if that is within a second."""
    try:
        promised = audio_info(u.audio, exact=False, part=u.bytes).duration
        notes: list[str] = []
        found = measured(_pieces(u, promised, notes), promised)
        return replace(found, opposite=OPPOSITE_PHASE in notes)
    except (UserError, OSError, ValueError) as error:
        return _unreadable(u.audio, error)


def _pieces(u: Utterance, whole: float, notes: list[str]) -> Iterator[tuple[np.ndarray, int]]:
    """Samples (S,) at the file's own rate, a few minutes at a time."""
    end = u.start + u.duration
    if end >= whole - 1:
        end = math.inf
    at = u.start
    while at < end:
        length = min(PIECE_SECONDS, end - at)
        wave_S, rate = read_native(
            u.audio, at, length, part=u.bytes, tolerance=math.inf, notes=notes
        )
        yield wave_S, rate
        at += length
        if len(wave_S) < round(length * rate) or abs(at - whole) * rate < 1:
            return


def measured(pieces: Iterable[tuple[np.ndarray, int]], promised: float) -> Sound:
    """Measures a recording that is read in pieces."""
    count, clipped, rate, total, loudest = 0, 0, 1, 0.0, NOTHING_DB
    band_B = np.zeros(2)
    digest = hashlib.blake2b(digest_size=8)
    for wave_S, rate in pieces:
        count += len(wave_S)
        digest.update((wave_S * 32767).round().astype("<i4").tobytes())
        mean = float(wave_S.mean(dtype=np.float64))
        total += mean * len(wave_S)
        loudest = max(loudest, _loudest(wave_S - np.float32(mean), rate))
        clipped += _clipped(wave_S)
        if rate / 2 > BANDS[1][1]:
            band_B += _bands(wave_S, rate)
    if count == 0:
        raise UserError("the file holds no audio samples")
    high_band = _db(band_B[1] / band_B[0]) if band_B[0] > 0 else None
    samples = int.from_bytes(digest.digest(), "little", signed=True)
    return Sound(count / rate, promised, rate, loudest, total / count, clipped / count, high_band,
                 samples)  # fmt: skip


def _loudest(wave_S: np.ndarray, rate: int) -> float:
    length = min(len(wave_S), max(1, rate // 10))
    stretches = wave_S[: len(wave_S) // length * length].reshape(-1, length)
    return _db(float(np.square(stretches).mean(axis=1, dtype=np.float64).max()))


def _clipped(wave_S: np.ndarray) -> int:
    """Samples at full scale, or in a run of three or more equal ones near the peak."""
    size_S = np.abs(wave_S)
    peak = float(size_S.max())
    at_peak_S = size_S >= FLAT * peak
    if peak < LOUD_ENOUGH_TO_CLIP or at_peak_S.sum() < CLIPPED_SHARE * len(wave_S) / 4:
        return 0
    if FULL_SCALE <= peak <= 1:  # floats beyond 1 are clipped only where their tops are flat
        return int((size_S >= FULL_SCALE).sum())
    same_S = np.diff(wave_S) == 0
    return 3 * int((at_peak_S[1:-1] & same_S[:-1] & same_S[1:]).sum())


def _bands(wave_S: np.ndarray, rate: int) -> np.ndarray:
    """Power density (B,) in the bands, summed over windows."""
    length = round(WINDOW_SECONDS * rate)
    if len(wave_S) < length:
        return np.zeros(2)
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, length)[:: length // 2]
    window = np.hanning(length).astype(np.float32)
    power_K = np.zeros(length // 2 + 1)
    for at in range(0, len(frames), 1024):
        power_K += np.square(np.abs(np.fft.rfft(frames[at : at + 1024] * window))).sum(axis=0)
    hertz_K = np.fft.rfftfreq(length, 1 / rate)
    return np.array([power_K[(hertz_K > low) & (hertz_K < high)].mean() for low, high in BANDS])


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > 1e-20 else NOTHING_DB


def _number(data: bytes) -> int:
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def by_length(
    utterance: Utterance, frames: Callable[[int], int], least_seconds: float, most_seconds: float
) -> Findings:
    """What the manifest alone shows. `frames` is the model's number of frames for samples."""
    if frames(round(utterance.duration * SAMPLE_RATE)) < 1:
        yield "too_short", f"{utterance.duration:.3f} s"
    elif utterance.duration < least_seconds:
        yield "short", f"{utterance.duration:.3f} s"
    if utterance.labelled and utterance.duration > most_seconds:
        yield "too_long", f"{utterance.duration:.1f} s"


def by_header(utterance: Utterance, header: Header | Problem) -> Findings:
    """What the header shows. Segments of one file differ from its duration too: the caller must
    remove those cases."""
    if isinstance(header, Problem):
        absent = not is_url(utterance.audio) and not os.path.isfile(utterance.audio)
        yield "absent" if absent else "unreadable", f"{utterance.audio}: {header.why}"
        return
    end = utterance.start + utterance.duration
    if header.cut and end > header.seconds - END_TOLERANCE_SECONDS:
        yield "past_end", f"{utterance.audio}: {header.cut.rstrip('.')}"
    elif end > header.seconds + END_TOLERANCE_SECONDS:
        length = f"{utterance.audio} is {header.seconds:.3f} s long"
        yield "past_end", f"ends at {end:.3f} s, but {length}"
    elif utterance.start == 0 and header.seconds > end + END_TOLERANCE_SECONDS:
        yield "duration", f"{utterance.duration:.3f} s, but the file is {header.seconds:.3f} s long"


def by_sound(utterance: Utterance, sound: Sound | Problem) -> Findings:
    """What the decoded samples show."""
    if isinstance(sound, Problem):
        yield "unreadable", f"{utterance.audio}: {sound.why}"
        return
    if sound.seconds < utterance.duration - END_TOLERANCE_SECONDS:
        end = utterance.start + sound.seconds
        if utterance.start + utterance.duration <= sound.promised + END_TOLERANCE_SECONDS:
            words = cut_message(end, sound.promised) or f"the audio ends at {end:.3f} s"
            yield "past_end", f"{utterance.audio}: {words.rstrip('.')}"
    elif sound.seconds > max(utterance.duration, sound.promised) + END_TOLERANCE_SECONDS:
        yield "duration", f"{utterance.duration:.3f} s, but {sound.seconds:.3f} s can be decoded"
    if sound.opposite:
        yield "opposite_phase", "the first channel is used"
    if sound.loudest < SILENT_DB:
        constant = sound.loudest <= NOTHING_DB
        yield "silent", "all samples are equal" if constant else f"{sound.loudest:.0f} dB"
        return
    if sound.loudest < FAINT_DB:
        yield "faint", f"{sound.loudest:.0f} dB"
    elif sound.high_band is not None and sound.high_band < HIGH_BAND_DB:
        yield "band_limited", f"{sound.high_band:.0f} dB at {sound.rate / 1000:g} kHz"
    if sound.clipped > CLIPPED_SHARE:
        yield "clipped", f"{sound.clipped:.2%} of the samples"
    if abs(sound.offset) > OFFSET:
        yield "offset", f"the mean is {sound.offset:+.3f}"
