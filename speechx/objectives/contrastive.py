"""The contrastive loss of wav2vec 2.0 (section 3.2): which of K+1 quantized latents was hidden
here?

    L = sum over masked frames of  -log( exp(cos(c, q) / kappa) / sum_q~ exp(cos(c, q~) / kappa) )
        + diversity * N * (G*V - perplexity) / (G*V)  +  penalty * N * mean square of the latents

q~ runs over the true target and K negatives from other masked frames of the same utterance. All
terms are sums over the N masked frames, so that shards and micro-batches add up; the loop divides
once by the global N. Chance is ln(K+1): 4.615 nats, 6.658 bits, for K = 100.

    B utterances · M masked frames · K negatives · Q quantized width · G groups
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from speechx.config import config, require_not_negative, require_positive
from speechx.models.wav2vec2 import Predictions


@config
class ContrastiveConfig:
    negatives: int = 100
    temperature: float = 0.1
    diversity: float = 0.1
    penalty: float = 10.0
    """Weight of the feature penalty: 10 for base, 0 for large and XLSR."""

    def __post_init__(self) -> None:
        require_positive(self, "negatives", "temperature")
        require_not_negative(self, "diversity", "penalty")


@dataclass(frozen=True, slots=True)
class Contrastive:
    """Sums over the masked frames of a batch."""

    loss: Tensor
    """All terms, in nats; what is differentiated."""
    contrastive: Tensor
    """The contrastive term alone, in nats."""
    correct: Tensor
    """Frames whose true target scores highest; frames where all candidates tie are not counted."""
    negatives_equal_positive: Tensor
    """Share of negatives with the code of the positive, summed over frames: rises in a collapse."""
    chance_bits: Tensor
    """Bits of a guess among the candidates that are left: log2(1 + K(1 - share)) of each frame.
    Less than the same of the mean share, where it is silence that shares a code."""


def sample_negatives(rows: int, masked: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Indices (rows, masked, count) into the masked frames of the same row, never a frame's own."""
    if masked < 2:
        raise ValueError(
            f"negatives need at least 2 masked frames per utterance, but there are {masked}"
        )
    drawn = random.integers(0, masked - 1, (rows, masked, count))
    own = np.arange(masked)[None, :, None]
    return drawn + (drawn >= own)


def contrastive(
    predicted_BMQ: Tensor,
    targets_BMQ: Tensor,
    codes_BMG: Tensor,
    negatives_BMK: Tensor,
    temperature: float,
) -> Contrastive:
    """The contrastive term alone; a negative with the codes of the positive gets the logit -inf."""
    rows, masked, count = negatives_BMK.shape
    with torch.autocast(predicted_BMQ.device.type, enabled=False):
        predicted_BMQ = F.normalize(predicted_BMQ.float(), dim=2)
        targets_BMQ = F.normalize(targets_BMQ.float(), dim=2)
        # All pairs of one utterance cost less than copying K candidate vectors for every frame.
        similarity_BMM = predicted_BMQ @ targets_BMQ.transpose(1, 2) / temperature
    positive_BM1 = similarity_BMM.diagonal(dim1=1, dim2=2)[:, :, None]
    negative_BMK = similarity_BMM.gather(2, negatives_BMK)
    equal_BMK = torch.ones_like(negatives_BMK, dtype=torch.bool)
    for codes_BM in codes_BMG.unbind(2):
        others_BMK = codes_BM.gather(1, negatives_BMK.flatten(1)).view(rows, masked, count)
        equal_BMK &= others_BMK == codes_BM[:, :, None]
    logits_BMN = torch.cat([positive_BM1, negative_BMK.masked_fill(equal_BMK, -torch.inf)], 2)
    truth = torch.zeros(rows * masked, dtype=torch.long, device=logits_BMN.device)
    loss = F.cross_entropy(logits_BMN.flatten(0, 1), truth, reduction="sum")
    best_BM, worst_BM = logits_BMN.argmax(2), logits_BMN.argmin(2)
    return Contrastive(
        loss=loss,
        contrastive=loss.detach(),
        correct=((best_BM == 0) & (worst_BM != 0)).sum(),
        negatives_equal_positive=equal_BMK.float().mean(2).sum(),
        chance_bits=(~equal_BMK).sum(2).add(1).float().log2().sum(),
    )


def pretraining_loss(
    predictions: Predictions, negatives_BMK: Tensor, possible_codes: int, config: ContrastiveConfig
) -> Contrastive:
    """The contrastive term plus diversity and feature penalty, each times the number of frames."""
    term = contrastive(
        predictions.predicted_BMQ,
        predictions.targets_BMQ,
        predictions.quantized.codes_BMG,
        negatives_BMK,
        config.temperature,
    )
    frames = negatives_BMK.shape[0] * negatives_BMK.shape[1]
    unused = (possible_codes - predictions.quantized.soft_perplexity) / possible_codes
    penalties = config.diversity * unused + config.penalty * predictions.energy
    return replace(term, loss=term.loss + frames * penalties)
