"""The context network: positional convolution and transformer blocks (wav2vec 2.0, section 2).

    B utterances · T frames · D width · H heads · L blocks

"post" norm (base): a layer norm after every sum, one before the first block. "pre" norm (large,
XLSR): a layer norm at the entrance of every branch, one after the last block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_positive
from speechx.models.waveform import frame_mask


@config
class TransformerConfig:
    blocks: int = 12
    width: int = 768
    inner: int = 3072
    heads: int = 12
    norm: Literal["post", "pre"] = "post"
    position_kernel: int = 128
    position_groups: int = 16
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layer_drop: float = 0.05

    def __post_init__(self) -> None:
        require_positive(
            self, "blocks", "width", "inner", "heads", "position_kernel", "position_groups"
        )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.width % self.position_groups:
            raise ValueError(
                f"width {self.width} must be a multiple of position_groups {self.position_groups}"
            )
        for name in ("dropout", "attention_dropout", "activation_dropout", "layer_drop"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 0 and below 1, but is {getattr(self, name)}"
                )


@dataclass(frozen=True, slots=True)
class Context:
    output_BTD: Tensor
    hidden: tuple[Tensor, ...]
    """The input of the first block and the output of every block, each (B, T, D)."""


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.position = PositionalConvolution(config)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))

    def forward(
        self, x_BTD: Tensor, lengths_B: Tensor | None = None, keep_L: Sequence[bool] | None = None
    ) -> Context:
        """`lengths_B` true frames per row, None when all are; `keep_L` blocks LayerDrop keeps."""
        attend = None
        if lengths_B is not None:
            true_BT = frame_mask(lengths_B, x_BTD.shape[1])
            x_BTD = x_BTD * true_BT[:, :, None]
            # Rows without any frame attend to themselves, so that their softmax is finite.
            attend = (true_BT | (lengths_B == 0)[:, None])[:, None, None]
        x_BTD = x_BTD + self.position(x_BTD)
        if self.config.norm == "post":
            x_BTD = self.norm(x_BTD)
        x_BTD = self.dropout(x_BTD)
        hidden = [x_BTD]
        for index, block in enumerate(self.blocks):
            y_BTD = block(x_BTD, attend)
            # A dropped block is multiplied by 0 and not left out: every rank has the same graph
            # and every parameter a gradient.
            x_BTD = y_BTD if keep_L is None or keep_L[index] else x_BTD + 0 * y_BTD
            hidden.append(x_BTD)
        if self.config.norm == "pre":
            x_BTD = self.norm(x_BTD)
        return Context(x_BTD, tuple(hidden))


class PositionalConvolution(nn.Module):
    """A grouped convolution over time whose weight is a direction times one gain per tap."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        kernel, groups, width = config.position_kernel, config.position_groups, config.width
        self.padding, self.groups, self.even = kernel // 2, groups, kernel % 2 == 0
        self.direction = nn.Parameter(torch.empty(width, width // groups, kernel))
        nn.init.normal_(self.direction, std=math.sqrt(4 / (kernel * width)))
        self.gain = nn.Parameter(self.direction.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        weight = self.gain * self.direction / self.direction.norm(dim=(0, 1), keepdim=True)
        y_BDT = F.conv1d(
            x_BTD.transpose(1, 2), weight, self.bias, padding=self.padding, groups=self.groups
        )
        # An even kernel with symmetric padding gives one frame too many.
        return F.gelu(y_BDT[:, :, :-1] if self.even else y_BDT).transpose(1, 2)


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, each with a residual connection."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.inner)
        self.down = nn.Linear(config.inner, config.width)
        self.feed_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        for linear in (self.up, self.down):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BTD: Tensor, attend: Tensor | None) -> Tensor:
        if self.pre:
            x_BTD = x_BTD + self.dropout(self.attention(self.attention_norm(x_BTD), attend))
            return x_BTD + self.dropout(self.feed(self.feed_norm(x_BTD)))
        x_BTD = self.attention_norm(x_BTD + self.dropout(self.attention(x_BTD, attend)))
        return self.feed_norm(x_BTD + self.dropout(self.feed(x_BTD)))

    def feed(self, x_BTD: Tensor) -> Tensor:
        return self.down(self.activation_dropout(F.gelu(self.up(x_BTD))))


class Attention(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.attention_dropout
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BTD: Tensor, attend: Tensor | None) -> Tensor:
        def split(y_BTD: Tensor) -> Tensor:
            return y_BTD.unflatten(2, (self.heads, -1)).transpose(1, 2)

        y = F.scaled_dot_product_attention(
            split(self.query(x_BTD)),
            split(self.key(x_BTD)),
            split(self.value(x_BTD)),
            attn_mask=attend,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(y.transpose(1, 2).flatten(2))
