"""The product quantizer that all languages share (wav2vec 2.0, section 2, 'Quantization module').

Each of G codebooks has V entries: a frame picks one entry from every codebook, the picks are
concatenated. In training the pick is a Gumbel-softmax sample, hard forward and soft backward.

    B utterances · M masked frames · C feature channels · G groups · V entries of a group
    · E = Q / G, the width of an entry · Q quantized width
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_multiple, require_positive


@config
class QuantizerConfig:
    num_groups: int = 2
    num_entries: int = 320
    """Entries of each group."""
    dim: int = 256
    """Width of a quantized frame, over all groups."""

    def __post_init__(self) -> None:
        require_positive(self, "num_groups", "num_entries", "dim")
        require_multiple(self, "dim", "num_groups")

    @property
    def num_codes(self) -> int:
        """Entries of all groups."""
        return self.num_groups * self.num_entries


@config
class GumbelTemperature:
    """A function of the optimiser step: max(start * decay^step, floor)."""

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
        self.weight_proj = nn.Linear(channels, config.num_codes)
        nn.init.normal_(self.weight_proj.weight)
        nn.init.zeros_(self.weight_proj.bias)
        self.codebook = nn.Parameter(  # (G, V, E)
            torch.rand(config.num_groups, config.num_entries, config.dim // config.num_groups)
        )

    def forward(self, features_BMC: Tensor, temperature: float | None) -> Quantized:
        """`temperature` None picks the best entry without noise (evaluation)."""
        groups, entries = self.config.num_groups, self.config.num_entries
        # Perplexity and sampling need float32: a bfloat16 softmax over 320 entries loses codes.
        with torch.autocast(features_BMC.device.type, enabled=False):
            logits_BMGV = self.weight_proj(features_BMC.float()).unflatten(2, (groups, entries))
            picked_BMGV = F.one_hot(logits_BMGV.argmax(3), entries).float()
            if temperature is None:
                chosen_BMGV = picked_BMGV
            else:
                chosen_BMGV = F.gumbel_softmax(logits_BMGV, tau=temperature, hard=True)
            vectors = torch.einsum("bmgv,gve->bmge", chosen_BMGV, self.codebook.float())
            return Quantized(
                vectors_BMQ=vectors.flatten(2),
                codes_BMG=chosen_BMGV.argmax(3),
                soft_perplexity=perplexity(logits_BMGV.softmax(3).mean((0, 1))),
                code_perplexity=perplexity(picked_BMGV.mean((0, 1))),
            )


def perplexity(mean_GV: Tensor) -> Tensor:
    """Sum over groups of exp(entropy): G for one code per group, G*V for uniform use."""
    return (-(mean_GV * (mean_GV + 1e-7).log()).sum(1)).exp().sum()
