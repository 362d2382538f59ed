"""Samples as the bytes of a file that keeps them: the error lies 90 dB below the signal, or lower.

16 bits are enough for sound that was recorded with them at this rate, and for loud sound. Else FLAC
takes as many more bits as the sound needs, up to 24; its size grows only with these. Samples beyond
±1, and sound so faint that 24 bits are too few, are stored as 32-bit floats.

    suffix, data = coded(wave_S, 16_000)         # "flac" or "wav"

    S samples
"""

import io
import math

import numpy as np
import soundfile

LEAST_DB = 90.0
FLAC_BITS = (16, 18, 20, 22, 24)
LEAST_INT16_DB = 40.0  # below this a file of the 16-bit format holds floats


def coded(wave_S: np.ndarray, rate: int) -> tuple[str, bytes]:
    """The suffix and the bytes of a FLAC of 16 to 24 bits, or of a WAV of floats."""
    _check(wave_S)
    for bits in FLAC_BITS:
        samples_S = _integers(wave_S, bits)
        if signal_to_noise(wave_S, samples_S, bits) >= LEAST_DB:
            return "flac", _flac(samples_S, bits, rate)
    return "wav", _floats(wave_S, rate)


def coded_16_bit(wave_S: np.ndarray, rate: int) -> tuple[bytes, float]:
    """A WAV of 16 bits and how far its error is below the signal, in dB; where they are far too
    few, a WAV of floats."""
    _check(wave_S)
    samples_S = _integers(wave_S, 16)
    distance = signal_to_noise(wave_S, samples_S, 16)
    if distance < LEAST_INT16_DB:
        return _floats(wave_S, rate), math.inf
    file = io.BytesIO()
    soundfile.write(file, samples_S.astype(np.int16), rate, format="WAV", subtype="PCM_16")
    return file.getvalue(), distance


def signal_to_noise(wave_S: np.ndarray, samples_S: np.ndarray, bits: int) -> float:
    """The signal-to-noise ratio in dB of the wave in these integers."""
    exact_S = wave_S.astype(np.float64)
    error_S = np.ldexp(samples_S, 1 - bits) - exact_S
    signal, error = float(np.dot(exact_S, exact_S)), float(np.dot(error_S, error_S))
    return 10 * math.log10(signal / error) if error > 0 else math.inf


def _check(wave_S: np.ndarray) -> None:
    if wave_S.ndim != 1 or len(wave_S) == 0:
        raise ValueError(f"a non-empty (S,) wave is expected, not shape {wave_S.shape}")


def _integers(wave_S: np.ndarray, bits: int) -> np.ndarray:
    full = 2.0 ** (bits - 1)
    return np.clip(np.rint(wave_S.astype(np.float64) * full), -full, full - 1)


def _flac(samples_S: np.ndarray, bits: int, rate: int) -> bytes:
    """FLAC leaves out the lower bits that are 0 in all samples."""
    file = io.BytesIO()  # libsndfile would not report a full disk
    wide = bits > 16
    kind, subtype = (np.int32, "PCM_24") if wide else (np.int16, "PCM_16")
    shift = 32 - bits if wide else 0
    scaled_S = np.ldexp(samples_S, shift).astype(kind)
    soundfile.write(file, scaled_S, rate, format="FLAC", subtype=subtype)
    return file.getvalue()


def _floats(wave_S: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave_S.astype(np.float32), rate, format="WAV", subtype="FLOAT")
    return file.getvalue()
