"""The CTC loss (Graves et al. 2006), the start of a head, and the failure that all heads with this
loss share: a plateau where every frame is read as blank.

    B utterances · T frames · U labels · V = blank and tokens
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config
from speechx.data.labels import frames_needed
from speechx.objectives.head import HeadConfig
from speechx.objectives.objective import LogLine, Panel, Signature
from speechx.text.vocabulary import BLANK


@config
class BlankLimits:
    """From which value on a number of the log is a signature."""

    blank: float = 0.995
    """E201: more than this share of the frames is read as blank ..."""
    at: float = 0.2
    """... at this share of the run."""

    def __post_init__(self) -> None:
        if not (0 <= self.blank <= 1 and 0 <= self.at <= 1):
            raise ValueError("blank and at are shares, 0 to 1")


@config
class CTCHeadConfig(HeadConfig):
    """What all heads with the CTC loss have."""

    limits: BlankLimits = BlankLimits()

    def frames_needed(self, labels: Sequence[object]) -> int:
        return frames_needed(labels)

    def signatures(self) -> tuple[Signature, ...]:
        advice = (
            "a higher rate for the head (optim.lr, optim.head_lr_scale); if that does not help, "
            "check the labels and encoder.normalize"
        )
        return (Signature("E201", "blank plateau", advice, self._blank, at=self.limits.at),)

    def panels(self) -> tuple[Panel, ...]:
        return (
            Panel("loss, nats per label", ("loss",), scale="from zero"),
            Panel("frames read as blank", ("blank_share",), self.limits.blank, "blank plateau"),
            Panel("error rate on dev", ("dev_*",), scale="from zero"),
        )

    def _blank(self, line: LogLine) -> str:
        share, loss = line.values["blank_share"], line.values["loss"]
        if share <= self.limits.blank:
            return ""
        labels = "labels that do not belong to the audio"
        rate = "a learning rate too low for the head (optim.lr, optim.head_lr_scale)"
        normal = "encoder.normalize not as in pretraining"
        still = 0 < line.before.get("loss", math.inf) < 1.02 * loss
        ranked = [labels, normal, rate] if still else [rate, normal, labels]
        if line.values.get("infeasible"):
            ranked = ["labels longer than their frames (too_long.tsv)", rate, normal]
        return (
            f"{share:.2%} of the frames are read as blank at {line.progress:.0%} of the run and "
            f"the loss {'stands still' if still else 'is'} at {loss:.3f} nats per label; in "
            "healthy runs of ours the share is lower after a tenth of the run. Likely causes, the "
            f"most likely first: {'; '.join(ranked)}"
        )


def ctc_loss(
    logits_BTV: Tensor, frames_B: Tensor, labels_BU: Tensor, label_lengths_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Nats of each utterance (B,), 0 for those that no path can spell, and which those are (B,)."""
    with torch.autocast(labels_BU.device.type, enabled=False):
        log_probabilities_TBV = logits_BTV.float().log_softmax(2).transpose(0, 1)
        # cuDNN's CTC gives other results for some lengths; the native one is exact everywhere.
        native = torch.backends.cudnn.flags(enabled=False) if labels_BU.is_cuda else nullcontext()
        with native:
            losses_B = F.ctc_loss(
                log_probabilities_TBV,
                labels_BU,
                frames_B,
                label_lengths_B,
                blank=BLANK,
                reduction="none",
                zero_infinity=True,
            )
    repeats_BU = (labels_BU[:, 1:] == labels_BU[:, :-1]) & (
        torch.arange(1, labels_BU.shape[1], device=labels_BU.device) < label_lengths_B[:, None]
    )
    return losses_B, frames_B < label_lengths_B + repeats_BU.sum(1)


def init_near_constant(head: nn.Linear) -> None:
    """Small weights and a blank as likely as three times all tokens together.

    A head that starts with an even distribution falls into a state without blanks and stays there
    for hundreds of updates; near the constant predictor it learns at once.
    """
    with torch.no_grad():
        head.weight.mul_(0.1)
        head.bias.zero_()
        head.bias[BLANK] = math.log(3 * head.out_features)
