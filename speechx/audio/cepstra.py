"""Cepstra: the shape of the spectrum every 10 ms, in few numbers, for everything that must know
when a sound changes.

The encoder of a model sees 25 ms to seconds of sound for each of its frames, so its frames keep
time badly. Step n of the cepstra is the sound around (n + 0.5) * 10 ms and no other.

    S samples at 16 kHz · N steps of 10 ms · C = 13 cepstra · F = 39 values of a step
    · W samples of a window · K frequencies · M mel bins
"""

from functools import cache

import numpy as np

from speechx.audio.files import SAMPLE_RATE

HOP, WINDOW, FFT = 160, 400, 512  # samples: 10 ms, 25 ms, and the transform they are padded to
STEP = HOP / SAMPLE_RATE
CEPSTRA, MELS = 13, 40
VALUES = 3 * CEPSTRA
LEVEL = 0.1  # root mean square that every recording is brought to
FLOOR = 1e-8  # energy below which a mel bin counts as silent


def cepstra(wave_S: np.ndarray) -> np.ndarray:
    """(N, 13) float32, N = S // 160; the level of the recording has no influence."""
    steps = len(wave_S) // HOP
    if not steps:
        return np.zeros((0, CEPSTRA), np.float32)
    level = float(np.sqrt(np.mean(np.square(wave_S, dtype=np.float64))))
    side = (WINDOW - HOP) // 2
    padded_S = np.pad(wave_S.astype(np.float32) * (LEVEL / max(level, 1e-8)), side)
    windows_NW = np.lib.stride_tricks.sliding_window_view(padded_S, WINDOW)[::HOP][:steps]
    window_W, mel_KM, cosine_MC = _tables()
    parts = []
    for first in range(0, steps, 1000):  # bounds the memory
        spectrum_NK = np.fft.rfft(windows_NW[first : first + 1000] * window_W, FFT)
        mel_NM = np.square(np.abs(spectrum_NK)) @ mel_KM
        parts.append((np.log(np.maximum(mel_NM, FLOOR)) @ cosine_MC).astype(np.float32))
    return np.concatenate(parts)


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The window (W,), mel bins (frequencies, M), and the cosine transform (M, C)."""
    from torchaudio.functional import melscale_fbanks

    mel_KM = melscale_fbanks(FFT // 2 + 1, 20.0, SAMPLE_RATE / 2, MELS, SAMPLE_RATE).numpy()
    position_M = (np.arange(MELS) + 0.5) / MELS
    cosine_MC = np.cos(np.pi * position_M[:, None] * np.arange(CEPSTRA)) * np.sqrt(2 / MELS)
    cosine_MC[:, 0] /= np.sqrt(2)
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32), mel_KM, cosine_MC


def with_changes(cepstra_NC: np.ndarray, mean_C: np.ndarray) -> np.ndarray:
    """(N, 39): the cepstra less a mean, how they change, and how the change changes."""
    still_NC = cepstra_NC - mean_C
    change_NC = _slope(still_NC)
    return np.concatenate((still_NC, change_NC, _slope(change_NC)), 1)


def _slope(x_NC: np.ndarray) -> np.ndarray:
    """Of a line through five steps."""
    padded_NC, steps = np.pad(x_NC, ((2, 2), (0, 0)), mode="edge"), len(x_NC)
    shifted = [k * padded_NC[2 + k : 2 + k + steps] for k in (-2, -1, 1, 2)]
    return np.asarray(sum(shifted)) / 10
