"""wav2vec (Schneider et al. 2019, section 3.2): is this the frame k steps later, or another one?

    loss = sum over contexts t and steps k of
        -log sigma(h_k(c_t) . z_t+k) - negative_weight * sum_z~ log sigma(-h_k(c_t) . z~)

z are the features, c the context of a causal encoder, and h_k is an affine map for each step. z~
are N other frames of the same utterance, drawn for each true frame. With the weight 1 of the paper,
whose lambda is the number of negatives, the sum over them counts as it is; fairseq's
`balanced_classes` is 1/N. The sum is divided by the global number of predictions. As in fairseq,
the first step lies so far ahead that its frame and the last one in the context share no samples: 3
frames.

    B utterances · S samples · T frames · L layers · N negatives · C feature channels
    · D = embed_dim
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_positive
from speechx.data.batches import Batch
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.objectives.future import FutureConfig, FutureObjective, future_loss
from speechx.objectives.negatives import sample_negatives
from speechx.objectives.objective import Loss
from speechx.text.vocabulary import Vocabulary


@config
class Wav2VecConfig(FutureConfig):
    kind: Literal["wav2vec"] = "wav2vec"
    num_negatives: int = 10
    negative_weight: float = 1.0
    """Weight of each negative; the true frame has 1."""

    def __post_init__(self) -> None:
        FutureConfig.__post_init__(self)
        require_positive(self, "num_negatives", "negative_weight")

    @property
    def chance_bits(self) -> float:
        """Bits of a prediction that knows how often a frame is the true one, and nothing else."""
        false = self.num_negatives * self.negative_weight
        return math.log2(1 + false) + false * math.log2(1 + 1 / false)

    def first_step(self, encoder: EncoderConfig) -> int:
        return math.ceil(encoder.features.receptive_field / encoder.features.stride)

    def draw(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Negatives of each frame as indices of other frames of its row."""
        rows, samples = batch.wave_BS.shape
        frames, first = encoder.features.frames(samples), self.first_step(encoder)
        negatives_BTN = sample_negatives(rows, frames, self.num_negatives, random)
        steps = range(first, min(first + self.num_steps, frames))
        counts = {"predictions": rows * sum(frames - step for step in steps)}
        return {"negatives_BTN": torch.from_numpy(negatives_BTN)}, counts

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> Wav2Vec:
        return Wav2Vec(self, encoder)


class Wav2Vec(FutureObjective):
    """An affine map for each step."""

    def __init__(self, config: Wav2VecConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config, self.first_step = config, config.first_step(encoder)
        channels = encoder.features.dim
        self.steps = nn.ModuleList(
            nn.Linear(encoder.context.embed_dim, channels) for _ in range(config.num_steps)
        )
        bound = 1 / math.sqrt(channels * config.num_steps)  # of fairseq's transposed convolution
        for parameter in self.steps.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        output = encoder(batch.wave_BS, layer_keep_L=layer_keep_L)
        predicted = [h(output.context_BTD) for h in self.steps]
        features_BTC = output.features.features_BTC
        scored = scores(predicted, features_BTC, batch.draws["negatives_BTN"], self.first_step)
        positive = torch.stack([F.softplus(-true_BT).sum() for true_BT, _ in scored])
        negative = torch.stack([F.softplus(false_BTN).sum() for _, false_BTN in scored])
        loss = positive.sum() + self.config.negative_weight * negative.sum()
        right = [true_BT > false_BTN.amax(2) for true_BT, false_BTN in scored]
        chance_bits = torch.tensor(self.config.chance_bits * sum(r.numel() for r in right))
        return future_loss(loss, right, chance_bits, features_BTC)


def scores(
    predicted: Sequence[Tensor], features_BTC: Tensor, negatives_BTN: Tensor, first_step: int
) -> list[tuple[Tensor, Tensor]]:
    """Products of the predictions (B, T, C) of each step with the true frame (B, T) and with its
    negatives (B, T, N), where T is without the contexts whose true frame lies behind the end."""
    rows, frames, _ = features_BTC.shape
    row_B11 = torch.arange(rows, device=features_BTC.device)[:, None, None]
    scored = []
    with torch.autocast(features_BTC.device.type, enabled=False):
        features_BTC = features_BTC.float()
        false_BTNC = features_BTC[row_B11, negatives_BTN]
        for ahead, predicted_BTC in enumerate(predicted, first_step):
            if ahead >= frames:
                continue
            predicted_BTC = predicted_BTC[:, : frames - ahead].float()
            true_BT = (predicted_BTC * features_BTC[:, ahead:]).sum(2)
            false_BTN = (false_BTNC[:, ahead:] @ predicted_BTC[..., None])[..., 0]
            scored.append((true_BT, false_BTN))
    return scored
