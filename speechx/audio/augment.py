"""Rooms, microphones, noise and speed: audio augmentation that keeps the words.

Clean synthetic speech is too easy to learn: all copies of a phone are nearly equal. These functions
change the spectrum, the room and the noise, but a listener still hears the same phones. All
randomness comes from the generator argument.

    S samples · R samples of an impulse response · F frequency bins of the real Fourier transform
"""

from dataclasses import dataclass

import numpy as np

from speechx.audio.files import SAMPLE_RATE, resample

TELEPHONE_RATE = 8_000
MU = 255  # of the mu-law, G.711


@dataclass(frozen=True, slots=True)
class Channel:
    """Ranges for `random_channel`; each pair is (lowest, highest)."""

    snr_db: tuple[float, float] = (20.0, 40.0)
    tilt_db_per_octave: tuple[float, float] = (-2.0, 2.0)
    telephone_share: float = 0.1  # of utterances, band-passed to about 300-3400 Hz
    room_share: float = 0.3  # of utterances, with reverberation
    room_rt60: tuple[float, float] = (0.05, 0.25)  # seconds in which the echo decays by 60 dB
    room_level: tuple[float, float] = (0.05, 0.2)  # energy of the echo relative to the direct sound


def random_channel(
    wave_S: np.ndarray, rate: int, rng: np.random.Generator, channel: Channel
) -> np.ndarray:
    """`wave_S` through a random room, microphone and noise; float32 with a peak of 0.1 to 0.9."""
    if rng.random() < channel.room_share:
        rt60, level = rng.uniform(*channel.room_rt60), rng.uniform(*channel.room_level)
        wave_S = reverberate(wave_S, rate, rt60, level, rng)
    frequency_F = frequencies(len(wave_S), rate)
    gain_F = tilt(frequency_F, rng.uniform(*channel.tilt_db_per_octave))
    if rng.random() < channel.telephone_share:
        gain_F = gain_F * band(frequency_F, rng.uniform(200, 350), rng.uniform(3000, 3600))
    wave_S = shape(wave_S, gain_F)
    kind = ("white", "pink", "babble")[rng.integers(3)]
    wave_S = add_noise(wave_S, noise(kind, len(wave_S), rate, rng), rng.uniform(*channel.snr_db))
    peak = float(np.exp(rng.uniform(np.log(0.1), np.log(0.9))))
    return (wave_S * (peak / np.abs(wave_S).max())).astype(np.float32)


def frequencies(samples: int, rate: int) -> np.ndarray:
    """Frequencies in Hz of the gain that `shape` expects."""
    return np.fft.rfftfreq(_fast_size(samples), 1 / rate)


def shape(wave_S: np.ndarray, gain_F: np.ndarray) -> np.ndarray:
    """Multiplies the spectrum by `gain_F`, one value for each of `frequencies`."""
    size = _fast_size(len(wave_S))
    return np.fft.irfft(np.fft.rfft(wave_S, size) * gain_F, size)[: len(wave_S)]


def _fast_size(samples: int) -> int:
    """A length with small prime factors; the transform of a prime length is ten times slower."""
    return -(-samples // 4000) * 4000


def tilt(frequency_F: np.ndarray, db_per_octave: float) -> np.ndarray:
    """Gain of a spectral tilt: 1 at 1 kHz, constant below 100 Hz."""
    octaves_F = np.log2(np.maximum(frequency_F, 100.0) / 1000.0)
    return 10.0 ** (db_per_octave * octaves_F / 20.0)


def band(frequency_F: np.ndarray, low: float, high: float) -> np.ndarray:
    """Gain of a fourth-order Butterworth band-pass, without its phase."""
    frequency_F = np.maximum(frequency_F, 1.0)
    return 1.0 / np.sqrt((1.0 + (low / frequency_F) ** 8) * (1.0 + (frequency_F / high) ** 8))


def reverberate(
    wave_S: np.ndarray, rate: int, rt60: float, level: float, rng: np.random.Generator
) -> np.ndarray:
    """Adds an echo: noise of energy `level` that decays by 60 dB in `rt60` seconds."""
    length = max(int(rt60 * rate), 1)
    echo = rng.standard_normal(length) * 10.0 ** (-3.0 * np.arange(length) / length)
    echo[: int(0.002 * rate)] = 0.0  # no wall is nearer than a third of a metre
    echo *= np.sqrt(level / max(float((echo**2).sum()), 1e-12))
    echo[0] = 1.0
    return _convolved(wave_S, echo)[: len(wave_S)]


def in_room(wave_S: np.ndarray, response_R: np.ndarray) -> np.ndarray:
    """Applies the impulse response of a measured room.

    The highest peak of the response is the direct sound. It keeps its level and time, so the length
    and the times of the words do not change.
    """
    direct = int(np.abs(response_R).argmax())
    echoing_S = _convolved(wave_S, response_R / response_R[direct])
    return echoing_S[direct : direct + len(wave_S)]


def _convolved(wave_S: np.ndarray, response_R: np.ndarray) -> np.ndarray:
    size = _fast_size(len(wave_S) + len(response_R))
    return np.fft.irfft(np.fft.rfft(wave_S, size) * np.fft.rfft(response_R, size), size)


def telephone(wave_S: np.ndarray) -> np.ndarray:
    """Simulates a telephone line for 16 kHz audio: 300 to 3400 Hz, 8 kHz, 8-bit mu-law."""
    narrow_S = resample(wave_S.astype(np.float32), SAMPLE_RATE, TELEPHONE_RATE)
    frequency_F = frequencies(len(narrow_S), TELEPHONE_RATE)
    narrow_S = shape(narrow_S, _ramp(frequency_F, 200, 300) * _ramp(frequency_F, 3700, 3400))
    loud = max(1.0, float(np.abs(narrow_S).max(initial=0.0)))
    coded_S = np.log1p(MU * np.abs(narrow_S / loud)) / np.log1p(MU)
    coded_S = np.round(coded_S * 127) / 127
    narrow_S = loud * np.sign(narrow_S) * np.expm1(coded_S * np.log1p(MU)) / MU
    wide_S = resample(narrow_S.astype(np.float32), TELEPHONE_RATE, SAMPLE_RATE)[: len(wave_S)]
    return np.pad(wide_S, (0, len(wave_S) - len(wide_S)))


def _ramp(frequency_F: np.ndarray, stopped: float, passed: float) -> np.ndarray:
    """Gain that rises from 0 at one frequency to 1 at the other along half a cosine."""
    return np.sin(np.pi / 2 * np.clip((frequency_F - stopped) / (passed - stopped), 0, 1)) ** 2


def noise(kind: str, samples: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """White, pink (1/f power) or babble noise (spectrum and rhythm of speech)."""
    white_S = rng.standard_normal(samples)
    if kind == "white":
        return white_S
    frequency_F = frequencies(samples, rate)
    if kind == "pink":
        return shape(white_S, 1.0 / np.sqrt(np.maximum(frequency_F, 20.0)))
    if kind != "babble":
        raise ValueError(f"noise kind must be white, pink or babble, not {kind!r}")
    gain_F = 1.0 / (1.0 + (frequency_F / 500.0) ** 2) * (frequency_F > 80.0)
    speech_S = shape(white_S, gain_F)
    time_S = np.arange(samples) / rate
    beat_S = np.ones(samples)
    for _ in range(3):
        beat_S += 0.3 * np.sin(2 * np.pi * (rng.uniform(2, 6) * time_S + rng.random()))
    return speech_S * beat_S


def add_noise(wave_S: np.ndarray, noise_S: np.ndarray, snr_db: float) -> np.ndarray:
    """Adds noise at a signal-to-noise ratio of `snr_db`."""
    power = float(np.mean(np.square(wave_S)))
    noise_power = max(float(np.mean(np.square(noise_S))), 1e-20)
    return wave_S + noise_S * np.sqrt(power / noise_power / 10.0 ** (snr_db / 10.0))


def change_speed(wave_S: np.ndarray, factor: float) -> np.ndarray:
    """Changes tempo and pitch by `factor` (Ko et al. 2015): (S,) to (S / factor,)."""
    return resample(wave_S, round(SAMPLE_RATE * factor), SAMPLE_RATE)
