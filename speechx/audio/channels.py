"""One channel of many: their mean, or the first if they cancel.

S samples · C channels
"""

import numpy as np

# Channels whose mean has less than this share of their energy (for two: -20 dB) are in opposite
# phase. The mean of unrelated channels has 1 / C of it.
OPPOSITE = 0.02
OPPOSITE_PHASE = "its channels are in opposite phase and cancel in their mean; the first is used"


def mean(wave_SC: np.ndarray) -> tuple[np.ndarray, bool]:
    """The mean (S,) of the channels; if they are in opposite phase, the first and True."""
    channels = wave_SC.shape[1]
    mean_S = wave_SC @ np.full(channels, 1 / channels, np.float32)
    if _are_opposite(wave_SC, mean_S):
        return wave_SC[:, 0], True
    return mean_S, False


def _are_opposite(wave_SC: np.ndarray, mean_S: np.ndarray) -> bool:
    """Whether the channels cancel in their mean."""
    all_S, energy = wave_SC.ravel(), float(np.dot(mean_S, mean_S))
    if not energy < 0.5 * float(np.dot(all_S, all_S)) / wave_SC.shape[1] ** 2:
        return False
    # Rare: now without a constant offset, which does not cancel.
    varying = float(np.var(wave_SC, axis=0, dtype=np.float64).mean())
    return float(np.var(mean_S, dtype=np.float64)) < OPPOSITE / wave_SC.shape[1] * varying
