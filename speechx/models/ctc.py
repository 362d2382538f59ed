"""The trunk with a CTC head: one linear layer to blank and units.

B utterances · S samples · T frames · D width · V = 1 + units, the blank first
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechx.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from speechx.models.waveform import frame_mask

BLANK = 0


@dataclass(frozen=True, slots=True)
class Emissions:
    logits_BTV: Tensor
    """Float32; padded frames are -inf except for the blank: they can only be read as blank."""
    frames_B: Tensor


class CTC(nn.Module):
    def __init__(self, config: Wav2Vec2Config, outputs: int, dropout: float = 0.0) -> None:
        """`outputs` counts the blank."""
        super().__init__()
        self.trunk = Wav2Vec2(config)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.trunk.width, outputs)
        start_near_constant(self.head)

    def forward(
        self,
        wave_BS: Tensor,
        lengths_B: Tensor,
        mask_BT: Tensor | None = None,
        channel_mask_BD: Tensor | None = None,
        keep_L: Sequence[bool] | None = None,
    ) -> Emissions:
        """`lengths_B` true samples per row; masks as in the trunk."""
        trunk = self.trunk(wave_BS, lengths_B, mask_BT, channel_mask_BD, keep_L)
        logits_BTV = self.head(self.dropout(trunk.context_BTD)).float()
        frames_B = trunk.frames_B
        assert frames_B is not None
        padded_BT = ~frame_mask(frames_B, logits_BTV.shape[1])
        logits_BTV = logits_BTV.masked_fill(padded_BT[:, :, None], -torch.inf)
        blank_V = torch.arange(logits_BTV.shape[2], device=logits_BTV.device) == BLANK
        return Emissions(logits_BTV.masked_fill(padded_BT[:, :, None] & blank_V, 0.0), frames_B)


def start_near_constant(head: nn.Linear) -> None:
    """Small weights and a blank as likely as three times all units together.

    A head that starts with an even distribution falls into a state without blanks and stays there
    for hundreds of updates; near the constant predictor it learns at once.
    """
    with torch.no_grad():
        head.weight.mul_(0.1)
        head.bias.zero_()
        head.bias[BLANK] = math.log(3 * head.out_features)
