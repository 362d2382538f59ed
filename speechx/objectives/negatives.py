"""Distractors of a contrastive loss: other masked frames of the same utterance (wav2vec 2.0,
section 3.2).

    B utterances · M masked frames · K negatives
"""

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
