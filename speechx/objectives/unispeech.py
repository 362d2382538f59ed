"""UniSpeech (Wang et al. 2021, section 3): CTC on phonemes and the contrastive objective of wav2vec
2.0 at once, on the same labelled speech.

    loss = ctc_weight * CTC + (1 - ctc_weight) * contrastive loss of wav2vec 2.0

The CTC layer gets, frame by frame, the context or, with the probability `replacement`, what the
quantizer makes of the features of this frame. So the codes must be good for phonemes too. Both
parts are divided by the global number of masked frames, as in the published code. A validation, and
what is written, use the context alone.

The stages of the paper are runs that start from one another: this objective on languages with
labels; if there is untranscribed speech of the target language, `wav2vec2` on it; then `ctc` with a
little labelled speech of the target language. A run takes the part of this objective that it needs.

    B utterances · S samples · T frames · L layers · C feature channels · D = embed_dim
    · M frames · Q quantized width · V = blank and tokens
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from speechx.config import config
from speechx.data.batches import Batch
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.models.features.convolutional import StridedConfig
from speechx.objectives.ctc import CTC, CTCConfig
from speechx.objectives.head import Head
from speechx.objectives.masking import Masking
from speechx.objectives.objective import (
    Loss,
    Objective,
    ObjectiveConfig,
    Panel,
    Signature,
    Term,
)
from speechx.objectives.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from speechx.text.vocabulary import TokenType, Vocabulary


@config
class UniSpeechConfig(ObjectiveConfig):
    kind: Literal["unispeech"] = "unispeech"
    ctc: CTCConfig = CTCConfig(tokens="phonemes")
    """Its masks are not used: the context is masked for the contrastive part."""
    contrastive: Wav2Vec2Config = Wav2Vec2Config(
        masking=Masking(probability=0.5), features_penalty=0.0
    )
    ctc_weight: float = 0.5
    replacement: float = 0.5
    """Probability of a frame to be replaced by its quantized features."""

    def __post_init__(self) -> None:
        if not (0 <= self.ctc_weight <= 1 and 0 <= self.replacement <= 1):
            raise ValueError("ctc_weight and replacement must be from 0 to 1")
        if self.ctc.adapter is not None or self.ctc.intermediate is not None:
            raise ValueError("ctc.adapter and ctc.intermediate are for the objective ctc")

    @property
    def token_type(self) -> TokenType | None:
        return self.ctc.token_type

    def frames_needed(self, labels: Sequence[object]) -> int:
        return max(self.ctc.frames_needed(labels), self.contrastive.masking.min_spans + 1)

    def draw(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        draws, counts = self.contrastive.draw(batch, random, encoder)
        replaced_BT = random.random(tuple(draws["mask_BT"].shape)) < self.replacement
        return {**draws, "replaced_BT": torch.from_numpy(replaced_BT)}, counts

    def require(self, encoder: EncoderConfig, least_seconds: float) -> None:
        self.ctc.require(encoder, least_seconds)

    def continued(self) -> UniSpeechConfig:
        return replace(self, contrastive=self.contrastive.continued())

    def signatures(self) -> tuple[Signature, ...]:
        return (*self.contrastive.signatures(), *self.ctc.signatures())

    def panels(self) -> tuple[Panel, ...]:
        return (*self.ctc.panels(), *self.contrastive.panels())

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> UniSpeech:
        assert vocabulary is not None
        return UniSpeech(self, encoder, vocabulary)


class UniSpeech(Head):
    """A CTC head, the parts of wav2vec 2.0, and a map from quantized frames to contexts."""

    def __init__(
        self, config: UniSpeechConfig, encoder: EncoderConfig, vocabulary: Vocabulary
    ) -> None:
        Objective.__init__(self)  # the linear layer of a head is that of `ctc`
        self.config, self.vocabulary, self.temperature = config, vocabulary, 1.0
        self.ctc = CTC(config.ctc, encoder, vocabulary)
        self.contrastive = Wav2Vec2(config.contrastive, encoder)
        self.project_back = nn.Linear(config.contrastive.quantizer.dim, encoder.context.embed_dim)

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        mask_BT, replaced_BT = batch.draws["mask_BT"], batch.draws["replaced_BT"]
        output = encoder(batch.wave_BS, batch.lengths_B, mask_BT, layer_keep_L=layer_keep_L)
        context_BTD, weight = output.context_BTD, self.config.ctc_weight
        lower, _ = self.contrastive.contrast(output, context_BTD, batch, step)
        if step is not None:
            latent_BTD = self.latents(output.features.features_BTC, step)
            context_BTD = torch.where(
                replaced_BT[:, :, None], latent_BTD.to(context_BTD.dtype), context_BTD
            )
        ctc, totals = self.ctc.loss(replace(output, context_BTD=context_BTD), batch)
        terms = [replace(term, sum=(1 - weight) * term.sum) for term in lower.terms]
        of_ctc = {f"ctc_{name}": total for name, total in totals.items()}
        return Loss((*terms, Term(weight * ctc, "masked frames")), {**lower.totals, **of_ctc})

    def latents(self, features_BTC: Tensor, step: int | None) -> Tensor:
        """Quantized features as contexts (B, T, D)."""
        temperature = None if step is None else self.config.contrastive.gumbel_temperature(step)
        vectors_BTQ = self.contrastive.quantizer(features_BTC, temperature).vectors_BMQ
        return self.project_back(self.contrastive.project_q(vectors_BTQ))

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """As of wav2vec 2.0, and as of CTC, whose `loss` it is."""
        of_ctc = {n.removeprefix("ctc_"): t for n, t in totals.items() if n.startswith("ctc_")}
        return {**self.contrastive.metrics(totals), **self.ctc.metrics(of_ctc)}

    def watched_gradients(self) -> dict[str, list[nn.Parameter]]:
        return self.contrastive.watched_gradients()

    def grid(self, features: StridedConfig) -> StridedConfig:
        return self.ctc.grid(features)

    def log_probabilities(
        self, encoder: Encoder, wave_BS: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.ctc.log_probabilities(encoder, wave_BS, lengths_B)

    def copy_rows(self, weights: Mapping[str, Tensor], vocabulary: Vocabulary) -> int:
        """As of a head, and all other parts, which depend on no token."""
        shared = {n: t for n, t in weights.items() if not n.startswith("ctc.")}
        self.load_state_dict({**self.state_dict(), **shared})
        of_ctc = {n.removeprefix("ctc."): t for n, t in weights.items() if n.startswith("ctc.")}
        return self.ctc.copy_rows(of_ctc, vocabulary)
