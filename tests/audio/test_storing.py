"""Stored samples keep 90 dB between signal and error, at any level, or the caller is told."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.audio.files import read_audio, write_wave
from speechx.audio.storing import LEAST_DB, coded, coded_16_bit

RATE = 16_000


def speech(level: float) -> np.ndarray:
    """Syllables whose loudest sample is `level`."""
    random = np.random.default_rng(0)
    wave_S = random.standard_normal(2 * RATE) * np.sin(np.arange(2 * RATE) / 900) ** 4
    return (level * wave_S / np.abs(wave_S).max()).astype(np.float32)


def distance(wave_S: np.ndarray, data: bytes) -> float:
    stored_S, _ = soundfile.read(io.BytesIO(data), dtype="float64")
    error = float(np.square(stored_S - wave_S).sum())
    return 10 * math.log10(float(np.square(wave_S, dtype=np.float64).sum()) / max(error, 1e-300))


@pytest.mark.parametrize("level", [1e-6, 1e-4, 0.02, 0.05, 0.5, 0.999, 1.0, 1.001, 2.7, 300.0])
def test_any_level_is_kept(tmp_path: Path, level: float) -> None:
    wave_S = speech(level)
    suffix, data = coded(wave_S, RATE)
    assert distance(wave_S, data) >= LEAST_DB
    assert suffix == ("flac" if 0.02 <= level < 1.001 else "wav")
    path = write_wave(tmp_path / "a.b", wave_S)
    assert path == tmp_path / f"a.b.{suffix}"
    assert distance(wave_S, path.read_bytes()) >= LEAST_DB
    assert len(read_audio(path)) == len(wave_S)


def test_sound_of_16_bits_stays_as_it_is_and_as_small() -> None:
    samples_S = np.rint(speech(0.3) * 32768).astype(np.int16)
    wave_S = samples_S / np.float32(32768)
    for suffix, data in (coded(wave_S, RATE), ("wav", coded_16_bit(wave_S, RATE)[0])):
        stored_S, _ = soundfile.read(io.BytesIO(data), dtype="int16")
        np.testing.assert_array_equal(stored_S, samples_S)
        info = soundfile.info(io.BytesIO(data))
        assert (info.format, info.subtype) == (suffix.upper(), "PCM_16")
    assert coded_16_bit(wave_S, RATE)[1] == math.inf
    few, many = (len(coded(wave, RATE)[1]) for wave in (wave_S, speech(0.3)))
    assert many < 1.5 * few  # no more bits than needed


@pytest.mark.parametrize("wave_S", [np.zeros(100, np.float32), np.full(100, 3e38, np.float32)])
def test_silence_and_noise_beyond_any_limit(wave_S: np.ndarray) -> None:
    stored_S, _ = soundfile.read(io.BytesIO(coded(wave_S, RATE)[1]), dtype="float32")
    np.testing.assert_array_equal(stored_S, wave_S)


def test_16_bits_are_measured_and_given_up_where_they_are_far_too_few() -> None:
    data, found = coded_16_bit(speech(0.05), RATE)
    assert found < LEAST_DB
    assert found == pytest.approx(distance(speech(0.05), data), abs=0.1)
    for level in (1e-4, 2.7):
        data, found = coded_16_bit(speech(level), RATE)
        assert found == math.inf
        assert distance(speech(level), data) > 120
    with pytest.raises(ValueError, match="non-empty"):
        coded(np.zeros(0, np.float32), RATE)
