"""Distractors of a contrastive loss: other frames of the same utterance (wav2vec 2.0, section 3.2),
or of the same speaker (modified CPC).

    B utterances · M frames, of which wav2vec 2.0 counts the masked ones · K negatives
    · R rows · W windows of a row · P contexts of a window · N negatives
"""

from collections.abc import Hashable, Sequence

import numpy as np


def sample_negatives(rows: int, masked: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Indices (B, M, K) into the masked frames of the same row, never a frame's own index."""
    if masked < 2:
        raise ValueError(
            f"negatives need at least 2 masked frames per utterance, but there are {masked}"
        )
    drawn_BMK = random.integers(0, masked - 1, (rows, masked, count))
    own_1M1 = np.arange(masked)[None, :, None]
    return drawn_BMK + (drawn_BMK >= own_1M1)


def sample_of_speakers(
    speakers: Sequence[Hashable | None],
    windows: int,
    frames: int,
    contexts: int,
    count: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Indices (R, W, P, N) of all frames of all windows: of any window of the same speaker, at any
    time but that of the context. A row without a speaker stands for itself."""
    own_WPN, size = np.arange(contexts)[None, :, None], (windows, contexts, count)
    drawn = []
    for row, speaker in enumerate(speakers):
        same = [row] if speaker is None else [r for r, s in enumerate(speakers) if s == speaker]
        row_WPN = np.array(same)[random.integers(0, len(same), size)]
        window_WPN = row_WPN * windows + random.integers(0, windows, size)
        frame_WPN = (own_WPN + random.integers(1, frames, size)) % frames
        drawn.append(window_WPN * frames + frame_WPN)
    return np.stack(drawn)
