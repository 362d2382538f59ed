"""The CTC loss (Graves et al. 2006), summed over the sentences of a batch, in float32.

B utterances · T frames · V outputs · U units
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from speechx.models.ctc import BLANK, Emissions


@dataclass(frozen=True, slots=True)
class CTCLoss:
    loss: Tensor
    """Sum over sentences, in nats; sentences that no path can spell count 0."""
    infeasible: Tensor
    """How many those are."""


def ctc_loss(emissions: Emissions, targets_BU: Tensor, units_B: Tensor) -> CTCLoss:
    with torch.autocast(targets_BU.device.type, enabled=False):
        log_probabilities_TBV = emissions.logits_BTV.float().log_softmax(2).transpose(0, 1)
        # cuDNN's CTC gives other results for some lengths; the native one is exact everywhere.
        native = torch.backends.cudnn.flags(enabled=False) if targets_BU.is_cuda else nullcontext()
        with native:
            losses_B = F.ctc_loss(
                log_probabilities_TBV,
                targets_BU,
                emissions.frames_B,
                units_B,
                blank=BLANK,
                reduction="none",
                zero_infinity=True,
            )
    repeats_BU = (targets_BU[:, 1:] == targets_BU[:, :-1]) & (
        torch.arange(1, targets_BU.shape[1], device=targets_BU.device) < units_B[:, None]
    )
    infeasible_B = emissions.frames_B < units_B + repeats_BU.sum(1)
    return CTCLoss(losses_B.sum(), infeasible_B.sum())
