"""The CTC objective (Graves et al. 2006): a linear layer to the blank and the tokens.

wav2vec 2.0, section 4.3: the layer stands on the last context layer; masking of frames and of
channels stays on in fine-tuning. The loss is a sum over the utterances of a batch, in float32,
divided once by their global number.

    B utterances · S samples · T frames · D = embed_dim · L layers · U labels
    · V = blank and tokens · K = kernel
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_positive
from speechx.data.batches import Batch
from speechx.data.labels import frames_needed
from speechx.models.adapters import AdapterConfig
from speechx.models.encoder import Encoder, EncoderConfig, EncoderOutput
from speechx.models.features.convolutional import Strided, StridedConfig
from speechx.models.lengths import frame_mask, window_count
from speechx.objectives.head import Head, HeadConfig
from speechx.objectives.objective import LogLine, Loss, Panel, Signature, Term
from speechx.text.vocabulary import BLANK, Vocabulary


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


@config
class CTCConfig(CTCHeadConfig):
    kind: Literal["ctc"] = "ctc"
    tokens: Literal["characters", "phonemes"]
    adapter: AdapterConfig | None = None
    """Train an adapter for one language, and the head; the rest of the encoder stays as it is.
    `adapter: yor` is short for `adapter: {language: yor}`."""
    kernel: int = 1
    """Frames that an output sees ..."""
    stride: int = 1
    """... and frames from one output to the next. CPC, which has 100 frames a second, is read out
    with 8 and 4 (Riviere et al. 2020, section 3)."""

    def __post_init__(self) -> None:
        CTCHeadConfig.__post_init__(self)
        require_positive(self, "kernel", "stride")

    @property
    def token_type(self) -> Literal["characters", "phonemes"]:
        return self.tokens

    def frames_needed(self, labels: Sequence[object]) -> int:
        needed = CTCHeadConfig.frames_needed(self, labels)
        return (needed - 1) * self.stride + self.kernel if needed else 0

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> CTC:
        assert vocabulary is not None
        return CTC(self, encoder, vocabulary)


class CTC(Head):
    def __init__(
        self, config: CTCHeadConfig, encoder: EncoderConfig, vocabulary: Vocabulary
    ) -> None:
        super().__init__(config, encoder, vocabulary)
        self.kernel, self.stride = 1, 1
        if isinstance(config, CTCConfig) and (config.kernel, config.stride) != (1, 1):
            self.kernel, self.stride = config.kernel, config.stride
            self.head = nn.Linear(self.kernel * encoder.context.embed_dim, len(vocabulary))
        init_near_constant(self.head)

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        assert batch.labels_BU is not None
        assert batch.label_lengths_B is not None
        output = self.encode(encoder, batch, layer_keep_L)
        logits_BTV, frames_B = self.logits(output)
        losses_B, infeasible_B = ctc_loss(
            logits_BTV, frames_B, batch.labels_BU, batch.label_lengths_B
        )
        loss = losses_B.sum()
        best_BT, frames = logits_BTV.argmax(2), frames_B.sum()
        padding = best_BT.numel() - frames
        totals = {
            "loss": loss.detach(),
            "labels": batch.label_lengths_B.sum(),
            "infeasible": infeasible_B.sum(),
            "blank": (best_BT == BLANK).sum() - padding,
            "frames": frames,
        }
        return Loss((Term(loss, "utterances"),), totals)

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Nats per label, and the share of frames read as blank."""
        values = {
            "loss": totals["loss"] / totals["labels"],
            "blank_share": totals["blank"] / max(totals["frames"], 1),
        }
        return {**values, "infeasible": totals["infeasible"]} if totals["infeasible"] else values

    def log_probabilities(
        self, encoder: Encoder, wave_BS: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits_BTV, frames_B = self.logits(encoder(wave_BS, lengths_B))
        return logits_BTV.log_softmax(2), frames_B

    def grid(self, features: StridedConfig) -> StridedConfig:
        if self.kernel == self.stride == 1:
            return features
        return Strided(features, self.kernel, self.stride)

    def scores(self, context_BTD: Tensor) -> Tensor:
        """(B, T, V), before padding is masked."""
        if self.kernel == self.stride == 1:
            return self.head(context_BTD)
        short = max(0, self.kernel - context_BTD.shape[1])  # no output, but there must be a window
        windows_BTDK = F.pad(context_BTD, (0, 0, 0, short)).unfold(1, self.kernel, self.stride)
        return self.head(windows_BTDK.flatten(2))

    def logits(self, output: EncoderOutput) -> tuple[Tensor, Tensor]:
        """Logits (B, T, V) in float32 and real frames (B,). Padded frames are -inf except for the
        blank: they can only be read as blank."""
        logits_BTV = self.scores(self.dropout(output.context_BTD)).float()
        assert output.frames_B is not None
        frames_B = window_count(output.frames_B, self.kernel, self.stride)
        padded_BT = ~frame_mask(frames_B, logits_BTV.shape[1])
        logits_BTV = logits_BTV.masked_fill(padded_BT[:, :, None], -torch.inf)
        blank_V = torch.arange(logits_BTV.shape[2], device=logits_BTV.device) == BLANK
        return logits_BTV.masked_fill(padded_BT[:, :, None] & blank_V, 0.0), frames_B


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
