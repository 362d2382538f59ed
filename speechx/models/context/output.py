"""What every context network returns.

B utterances · T frames · D = embed_dim
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ContextOutput:
    context_BTD: Tensor
    hidden: tuple[Tensor, ...]
    """The input of the first layer and the output of every layer, each (B, T, D)."""
