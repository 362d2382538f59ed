"""Which frames (and, in fine-tuning, which channels) to mask.

wav2vec 2.0, section 3.1: floor(p * T / span + u) spans of `span` frames, u uniform in [0, 1), are
placed without replacement of their starts. They overlap: p = 0.65 with span 10 masks 49 %
of the frames, not 65 %. Masks are drawn outside the model, so that a step is a pure function of
its inputs and the number of targets is known before the backward pass.

    B utterances · T frames · D = embed_dim
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from speechx.config import config
from speechx.models.encoder import EncoderConfig


@config
class Masking:
    """`probability` of a frame to be covered if spans did not overlap, and the length of a span."""

    probability: float = 0.65
    span: int = 10
    min_spans: int = 2
    """Spans that even the shortest row gets; pretraining needs two, so that there are negatives."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.span < 1 or self.min_spans < 0:
            raise ValueError("needs 0 <= probability <= 1, span >= 1 and min_spans >= 0")


def span_mask(
    lengths: Sequence[int],
    width: int,
    masking: Masking,
    random: np.random.Generator,
    same_count: bool = False,
) -> np.ndarray:
    """Booleans (B, width), true where masked; row b is masked among its first `lengths[b]` only.

    `same_count` thins every row to the smallest count of the batch (pretraining: the targets form a
    rectangle). At least one position of every non-empty row stays visible.
    """
    mask_BT = np.zeros((len(lengths), width), dtype=bool)
    for row_T, length in zip(mask_BT, lengths, strict=True):
        row_T[_spans(length, masking, random)] = True
    if same_count:
        fewest = min(int(row_T.sum()) for row_T in mask_BT)
        for row_T in mask_BT:
            masked = np.flatnonzero(row_T)
            row_T[random.choice(masked, len(masked) - fewest, replace=False)] = False
    return mask_BT


def draw_masks(
    lengths_B: Tensor,
    encoder: EncoderConfig,
    time_masking: Masking,
    channel_masking: Masking,
    random: np.random.Generator,
) -> dict[str, Tensor]:
    """`mask_BT` and `channel_mask_BD` for rows of `lengths_B` samples; a mask whose probability is
    0 is left out."""
    frames = [encoder.features.frames(int(n)) for n in lengths_B]
    channels = encoder.context.embed_dim
    mask_BT = span_mask(frames, max(*frames, 1), time_masking, random)
    channel_mask_BD = span_mask([channels] * len(frames), channels, channel_masking, random)
    masks = {}
    if time_masking.probability:
        masks["mask_BT"] = torch.from_numpy(mask_BT)
    if channel_masking.probability:
        masks["channel_mask_BD"] = torch.from_numpy(channel_mask_BD)
    return masks


def _spans(length: int, masking: Masking, random: np.random.Generator) -> np.ndarray:
    """Positions masked in one row."""
    count = max(
        masking.min_spans, int(masking.probability * length / masking.span + random.random())
    )
    count = min(count, length - 1)
    if count <= 0:
        return np.empty(0, dtype=int)
    span = masking.span
    if length - span <= count:
        span = max(length - count - 1, 1)
    starts = random.choice(length - span, count, replace=False)
    return np.unique((starts[:, None] + np.arange(span)).ravel())
