"""Language identification: which language is this utterance in?

The mean of the context vectors over the real frames, a linear layer, cross-entropy: the head of
the SUPERB benchmark (Yang et al. 2021) for utterance classification, without its projection.

    B utterances · S samples · T frames · D = embed_dim · L layers · U = 1 label
    · V = blank and languages
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from speechx.config import config
from speechx.data.batches import Batch
from speechx.errors import UserError
from speechx.models.encoder import Encoder, EncoderConfig, EncoderOutput
from speechx.models.lengths import frame_mask
from speechx.objectives.head import Head, HeadConfig
from speechx.objectives.masking import Masking
from speechx.objectives.objective import Loss, Term
from speechx.text.vocabulary import Vocabulary


@config
class LanguageIDConfig(HeadConfig):
    kind: Literal["language_id"] = "language_id"
    time_masking: Masking = Masking(probability=0.65, span=10, min_spans=0)

    @property
    def token_type(self) -> Literal["languages"]:
        return "languages"

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> LanguageID:
        assert vocabulary is not None
        if len(vocabulary.tokens) < 2:
            raise UserError(
                f"language identification needs at least 2 languages, but the training data has "
                f"{', '.join(vocabulary.tokens)} alone"
            )
        return LanguageID(self, encoder, vocabulary)

    def frames_needed(self, labels: Sequence[object]) -> int:
        return 1


class LanguageID(Head):
    windowed: ClassVar[bool] = False

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        assert batch.labels_BU is not None
        output = self.encode(encoder, batch, layer_keep_L)
        log_probabilities_BV = self._classify(output)
        truth_B = batch.labels_BU[:, 0]
        loss = F.nll_loss(log_probabilities_BV, truth_B, reduction="sum")
        totals = {
            "loss": loss.detach(),
            "correct": (log_probabilities_BV.argmax(1) == truth_B).sum(),
            "utterances": torch.tensor(float(len(truth_B))),
        }
        return Loss((Term(loss, "utterances"),), totals)

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Nats per utterance, and the share of utterances whose language is right."""
        utterances = totals["utterances"]
        return {"loss": totals["loss"] / utterances, "accuracy": totals["correct"] / utterances}

    def log_probabilities(
        self, encoder: Encoder, wave_BS: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One frame (B, 1, V) for the whole utterance; none for audio too short for a frame."""
        output = encoder(wave_BS, lengths_B)
        assert output.frames_B is not None
        return self._classify(output)[:, None], output.frames_B.clamp(max=1)

    def _classify(self, output: EncoderOutput) -> Tensor:
        """(B, V) in float32; the blank, which is no language, has no probability."""
        context_BTD, frames_B = output.context_BTD, output.frames_B
        assert frames_B is not None
        real_BT1 = frame_mask(frames_B, context_BTD.shape[1])[:, :, None]
        sum_BD = context_BTD.masked_fill(~real_BT1, 0).sum(1)
        mean_BD = sum_BD / frames_B.clamp(min=1)[:, None]
        logits_BV = self.head(self.dropout(mean_BD)).float()
        blank_V = torch.arange(logits_BV.shape[1], device=logits_BV.device) == 0
        return logits_BV.masked_fill(blank_V, -torch.inf).log_softmax(1)
