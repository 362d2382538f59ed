"""Base class of the heads: objectives with labels that can be read out.

B utterances · S samples · T frames · V = blank and tokens · L layers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from speechx.config import config, require_fraction
from speechx.data.batches import Batch
from speechx.errors import UserError
from speechx.models.context.layers import AfterLayer
from speechx.models.encoder import Encoder, EncoderConfig, EncoderOutput
from speechx.models.features.convolutional import StridedConfig
from speechx.objectives.masking import Masking, draw_masks
from speechx.objectives.objective import Objective, ObjectiveConfig
from speechx.text.vocabulary import BLANK, Vocabulary


@config
class HeadConfig(ObjectiveConfig):
    """Masking and dropout of fine-tuning (wav2vec 2.0, section 4.3)."""

    time_masking: Masking = Masking(probability=0.65, span=10)
    channel_masking: Masking = Masking(probability=0.25, span=64, min_spans=0)
    dropout: float = 0.0
    """Dropout before the linear layer."""

    def __post_init__(self) -> None:
        require_fraction(self, "dropout")

    def draw(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Masks of frames and of channels; the loss is a sum over utterances."""
        draws = draw_masks(
            batch.lengths_B, encoder, self.time_masking, self.channel_masking, random
        )
        return draws, {"utterances": len(batch.ids)}


class Head(Objective):
    """A linear layer to the blank and the tokens: gives probabilities of tokens."""

    windowed: ClassVar[bool] = True
    """Whether a long recording may be cut into windows whose frames are put together again."""

    def __init__(self, config: HeadConfig, encoder: EncoderConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.temperature = 1.0
        """Of its probabilities, fitted on dev (decoding/calibration); 1 changes nothing."""
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(encoder.context.embed_dim, len(vocabulary))

    def grid(self, features: StridedConfig) -> StridedConfig:
        """Which samples each of its outputs sees, on an encoder with these features."""
        return features

    def encode(
        self,
        encoder: Encoder,
        batch: Batch,
        layer_keep_L: Sequence[bool] | None,
        after_layer: AfterLayer | None = None,
    ) -> EncoderOutput:
        """The encoder's output for a batch, masked as drawn."""
        masks = batch.draws.get("mask_BT"), batch.draws.get("channel_mask_BD")
        return encoder(batch.wave_BS, batch.lengths_B, *masks, layer_keep_L, after_layer)

    def copy_rows(self, weights: Mapping[str, Tensor], vocabulary: Vocabulary) -> int:
        """Copies the rows of tokens that another head of this kind has too, if only as capitals,
        and of the blank; returns the number of tokens."""
        rows = self.shared_rows(vocabulary)
        copied = [(BLANK, BLANK), *rows, *self.substitutes(vocabulary)]
        if weights["head.weight"].shape[1:] != self.head.weight.shape[1:]:
            raise UserError(
                "the head of the model in init sees another number of frames or channels at once; "
                "leave objective.kernel as it is there, or give a model without this head"
            )
        with torch.no_grad():
            for name, parameter in self.head.named_parameters(prefix="head"):
                for new, old in copied:
                    parameter[new] = weights[name][old]
        return len(rows)

    def substitutes(self, vocabulary: Vocabulary) -> list[tuple[int, int]]:
        """Our row and theirs for tokens that the other vocabulary lacks, and that start from
        another token; by default none."""
        return []

    def shared_rows(self, vocabulary: Vocabulary) -> list[tuple[int, int]]:
        """Our row and theirs of each token that another vocabulary has too."""
        theirs = {token: i for i, token in enumerate(vocabulary.tokens, start=1)}
        if vocabulary.token_type == "characters":
            theirs = {token.lower(): i for token, i in theirs.items()} | theirs
        ours = enumerate(self.vocabulary.tokens, start=1)
        return [(i, theirs[token]) for i, token in ours if token in theirs]

    def log_probabilities(
        self, encoder: Encoder, wave_BS: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T, V) in float32, the blank first, and real frames (B,)."""
        raise TypeError(f"{type(self).__name__} cannot be read out")
