"""The conformer context network (Gulati et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from speechx.config import config
from speechx.models.context.output import ContextOutput


@config
class ConformerConfig:
    kind: Literal["conformer"] = "conformer"
    num_layers: int = 12
    embed_dim: int = 512
    layer_drop: float = 0.0


class Conformer(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self,
        x_BTD: Tensor,
        frames_B: Tensor | None = None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> ContextOutput:
        return ContextOutput(x_BTD, ())
