"""The CTC objective (Graves et al. 2006): a linear layer to the blank and the tokens.

wav2vec 2.0, section 4.3: the layer stands on the last context layer; masking of frames and of
channels stays on in fine-tuning. The loss is a sum over the utterances of a batch, in float32,
divided once by their global number.

    B utterances · S samples · T frames · D = embed_dim · L layers · U labels
    · V = blank and tokens · K = kernel
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_positive
from speechx.data.batches import Batch
from speechx.models.adapters import AdapterConfig
from speechx.models.context.layers import AfterLayer
from speechx.models.encoder import Encoder, EncoderConfig, EncoderOutput
from speechx.models.features.convolutional import Strided, StridedConfig
from speechx.models.lengths import frame_mask, window_count
from speechx.objectives.ctc_loss import CTCHeadConfig, ctc_loss, init_near_constant
from speechx.objectives.head import Head
from speechx.objectives.intermediate_ctc import IntermediateCTC, IntermediateHead
from speechx.objectives.nearest_phones import nearest_phones
from speechx.objectives.objective import Loss, Term
from speechx.text.vocabulary import BLANK, Vocabulary


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
    separate_languages: bool = False
    """Every language has phonemes of its own, as in `(es)a`, instead of one inventory for all
    (XLSR, Conneau et al. 2020)."""
    new_phones: Literal["random", "nearest"] = "random"
    """How a phone starts that the head in `init` lacks: from random weights, or from the weights of
    its nearest phone there, by articulatory features."""
    intermediate: IntermediateCTC | None = None
    """CTC at layers in between, also self-conditioned."""

    def __post_init__(self) -> None:
        CTCHeadConfig.__post_init__(self)
        require_positive(self, "kernel", "stride")
        if self.new_phones == "nearest" and self.tokens != "phonemes":
            raise ValueError("new_phones: nearest is for tokens: phonemes")
        if self.separate_languages and self.tokens != "phonemes":
            raise ValueError("separate_languages is for tokens: phonemes")

    @property
    def token_type(self) -> Literal["characters", "phonemes"]:
        return self.tokens

    @property
    def separate(self) -> bool:
        return self.separate_languages

    def frames_needed(self, labels: Sequence[object]) -> int:
        needed = CTCHeadConfig.frames_needed(self, labels)
        return (needed - 1) * self.stride + self.kernel if needed else 0

    def require(self, encoder: EncoderConfig, least_seconds: float) -> None:
        if self.intermediate is not None:
            self.intermediate.require(encoder, max(self.kernel, self.stride))

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> CTC:
        assert vocabulary is not None
        return CTC(self, encoder, vocabulary)


class CTC(Head):
    def __init__(
        self, config: CTCHeadConfig, encoder: EncoderConfig, vocabulary: Vocabulary
    ) -> None:
        super().__init__(config, encoder, vocabulary)
        self.kernel, self.stride = 1, 1
        self.intermediate: IntermediateHead | None = None
        self.nearest = isinstance(config, CTCConfig) and config.new_phones == "nearest"
        if isinstance(config, CTCConfig) and (config.kernel, config.stride) != (1, 1):
            self.kernel, self.stride = config.kernel, config.stride
            self.head = nn.Linear(self.kernel * encoder.context.embed_dim, len(vocabulary))
        init_near_constant(self.head)
        if isinstance(config, CTCConfig) and config.intermediate is not None:
            self.intermediate = IntermediateHead(config.intermediate, encoder, len(vocabulary))

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        between: list[Tensor] = []
        output = self.encode(encoder, batch, layer_keep_L, self.after_layer(between))
        loss, totals = self.loss(output, batch, between)
        return Loss((Term(loss, "utterances"),), totals)

    def loss(
        self, output: EncoderOutput, batch: Batch, between: Sequence[Tensor] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum over utterances, and sums for the log; `between`: scores (B, T, V) of the layers
        in between."""
        assert batch.labels_BU is not None
        assert batch.label_lengths_B is not None
        logits_BTV, frames_B = self.logits(output)
        labels = batch.labels_BU, batch.label_lengths_B
        losses_B, infeasible_B = ctc_loss(logits_BTV, frames_B, *labels)
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
        if self.intermediate is not None:
            lower = [ctc_loss(scores_BTV, frames_B, *labels)[0].sum() for scores_BTV in between]
            mean, weight = torch.stack(lower).mean(), self.intermediate.config.weight
            totals["intermediate"] = mean.detach()
            loss = (1 - weight) * loss + weight * mean
        return loss, totals

    def after_layer(self, between: list[Tensor] | None = None) -> AfterLayer | None:
        """What the encoder calls after its layers; `between` gets the scores of some of them."""
        return self.intermediate and self.intermediate.after_layer(self.scores, between)

    def substitutes(self, vocabulary: Vocabulary) -> list[tuple[int, int]]:
        if not self.nearest:
            return []
        theirs = {token: i for i, token in enumerate(vocabulary.tokens, start=1)}
        ours = {token: i for i, token in enumerate(self.vocabulary.tokens, start=1)}
        found = nearest_phones([token for token in ours if token not in theirs], list(theirs))
        return [(ours[new], theirs[old]) for new, old in found.items()]

    def copy_rows(self, weights: Mapping[str, Tensor], vocabulary: Vocabulary) -> int:
        if self.intermediate is not None:
            rows = [*self.shared_rows(vocabulary), *self.substitutes(vocabulary)]
            self.intermediate.copy(weights, rows)
        return super().copy_rows(weights, vocabulary)

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Nats per label, and the share of frames read as blank."""
        values = {
            "loss": totals["loss"] / totals["labels"],
            "blank_share": totals["blank"] / max(totals["frames"], 1),
        }
        if "intermediate" in totals:
            values["intermediate_loss"] = totals["intermediate"] / totals["labels"]
        return {**values, "infeasible": totals["infeasible"]} if totals["infeasible"] else values

    def log_probabilities(
        self, encoder: Encoder, wave_BS: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        output = encoder(wave_BS, lengths_B, after_layer=self.after_layer())
        logits_BTV, frames_B = self.logits(output)
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
