"""The product quantizer that all languages share (wav2vec 2.0, section 2, 'Quantization module').

G codebooks of V entries each: a latent frame picks one entry from every codebook, the picks are
concatenated. In training the pick is a Gumbel-softmax sample, hard forward and soft backward.

    B utterances · M masked frames · C latent channels · G groups · V entries · Q quantized width
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_positive


@config
class QuantizerConfig:
    groups: int = 2
    entries: int = 320
    width: int = 256

    def __post_init__(self) -> None:
        require_positive(self, "groups", "entries", "width")
        if self.width % self.groups:
            raise ValueError(f"width {self.width} must be a multiple of groups {self.groups}")


@config
class Temperature:
    """Gumbel temperature as a function of the optimiser step: max(start * decay^step, floor)."""

    start: float = 2.0
    floor: float = 0.5
    decay: float = 0.999995

    def __post_init__(self) -> None:
        if not (self.start >= self.floor > 0 and 0 < self.decay <= 1):
            raise ValueError("must have start >= floor > 0 and 0 < decay <= 1")

    def __call__(self, step: int) -> float:
        return max(self.start * self.decay**step, self.floor)


@dataclass(frozen=True, slots=True)
class Quantized:
    vectors_BMQ: Tensor
    codes_BMG: Tensor
    soft_perplexity: Tensor
    """Sum over groups of exp(entropy) of the mean softmax, from G (collapsed) to G*V."""
    code_perplexity: Tensor
    """The same for the codes really picked."""


class ProductQuantizer(nn.Module):
    def __init__(self, channels: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.logits = nn.Linear(channels, config.groups * config.entries)
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)
        self.codebook_GVQ = nn.Parameter(
            torch.rand(config.groups, config.entries, config.width // config.groups)
        )

    def forward(self, features_BMC: Tensor, temperature: float | None) -> Quantized:
        """`temperature` None picks the best entry without noise (evaluation)."""
        groups, entries = self.config.groups, self.config.entries
        # Perplexity and sampling need float32: a bfloat16 softmax over 320 entries loses codes.
        with torch.autocast(features_BMC.device.type, enabled=False):
            logits_BMGV = self.logits(features_BMC.float()).unflatten(2, (groups, entries))
            picked_BMGV = F.one_hot(logits_BMGV.argmax(3), entries).float()
            if temperature is None:
                chosen_BMGV = picked_BMGV
            else:
                chosen_BMGV = F.gumbel_softmax(logits_BMGV, tau=temperature, hard=True)
            vectors = torch.einsum("bmgv,gvq->bmgq", chosen_BMGV, self.codebook_GVQ.float())
            return Quantized(
                vectors_BMQ=vectors.flatten(2),
                codes_BMG=chosen_BMGV.argmax(3),
                soft_perplexity=perplexity(logits_BMGV.softmax(3).mean((0, 1))),
                code_perplexity=perplexity(picked_BMGV.mean((0, 1))),
            )


def perplexity(mean_GV: Tensor) -> Tensor:
    """Sum over groups of exp(entropy): G for one code per group, G*V for uniform use."""
    return (-(mean_GV * (mean_GV + 1e-7).log()).sum(1)).exp().sum()
