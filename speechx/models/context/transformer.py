"""The transformer context network: a positional convolution and layers of self-attention (wav2vec
2.0, section 2).

    B utterances · T frames · D = embed_dim · H heads · L layers · K taps

"post" norm (base): a layer norm after every sum, one before the first layer. "pre" norm (large,
XLSR): a layer norm at the entrance of every branch, one after the last layer.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_fraction, require_multiple, require_positive
from speechx.models.adapters import make_adapter
from speechx.models.context.layers import AfterLayer, Attention, init_linear, run_layers
from speechx.models.lengths import frame_mask


@config
class TransformerConfig:
    kind: Literal["transformer"] = "transformer"
    num_layers: int = 12
    embed_dim: int = 768
    ffn_dim: int = 3072
    num_heads: int = 12
    norm: Literal["post", "pre"] = "post"
    position_kernel: int = 128
    position_groups: int = 16
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layer_drop: float = 0.05
    adapter_dim: int | None = None
    """Width of an adapter behind every layer; None: no adapters."""

    def __post_init__(self) -> None:
        require_positive(self, "num_layers", "embed_dim", "ffn_dim", "num_heads", "adapter_dim")
        require_positive(self, "position_kernel", "position_groups")
        require_multiple(self, "embed_dim", "num_heads", "position_groups")
        require_fraction(self, "dropout", "attention_dropout", "activation_dropout", "layer_drop")


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.position = PositionalConvolution(config)
        self.norm = nn.LayerNorm(config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.num_layers))
        self.keep_hidden = True

    def forward(
        self,
        x_BTD: Tensor,
        frames_B: Tensor | None = None,
        layer_keep_L: Sequence[bool] | None = None,
        after_layer: AfterLayer | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Context, and the input of the first layer and the output of every layer, each (B, T, D).
        `frames_B`: real frames per row, None if there is no padding. `layer_keep_L`: layers that
        LayerDrop keeps, None for all."""
        attention_mask = None
        if frames_B is not None:
            real_BT = frame_mask(frames_B, x_BTD.shape[1])
            x_BTD = x_BTD * real_BT[:, :, None]
            # Rows without any frame attend to themselves, so that their softmax is finite.
            attention_mask = (real_BT | (frames_B == 0)[:, None])[:, None, None]
        x_BTD = x_BTD + self.position(x_BTD)
        if self.config.norm == "post":
            x_BTD = self.norm(x_BTD)
        x_BTD = self.dropout(x_BTD)
        hidden = run_layers(
            self.layers,
            x_BTD,
            layer_keep_L,
            attention_mask,
            keep_hidden=self.keep_hidden,
            after_layer=after_layer,
        )
        return self.norm(hidden[-1]) if self.config.norm == "pre" else hidden[-1], hidden


class PositionalConvolution(nn.Module):
    """A grouped convolution over time, weight-normalised with one gain per tap (torch's weight norm
    with dim=2)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        kernel, groups, dim = config.position_kernel, config.position_groups, config.embed_dim
        self.padding, self.groups, self.even = kernel // 2, groups, kernel % 2 == 0
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        nn.init.normal_(self.weight_v, std=math.sqrt(4 / (kernel * dim)))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.folded: Tensor | None = None
        """The normalised weight where it no longer changes (`fold`)."""

    def fold(self, dtype: torch.dtype) -> None:
        """Normalises the weight once and for all, for inference."""
        self.folded = self.weight().detach().to(dtype)

    def weight(self) -> Tensor:
        """`weight_v` with the gains `weight_g`, in float32."""
        weight_v = self.weight_v.float()
        return self.weight_g * weight_v / weight_v.norm(dim=(0, 1), keepdim=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        weight = self.weight().to(self.bias.dtype) if self.folded is None else self.folded
        y_BDT = F.conv1d(
            x_BTD.transpose(1, 2), weight, self.bias, padding=self.padding, groups=self.groups
        )
        # An even kernel with symmetric padding gives one frame too many.
        return F.gelu(y_BDT[:, :, :-1] if self.even else y_BDT).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each with a residual connection."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.embed_dim)
        self.up = nn.Linear(config.embed_dim, config.ffn_dim)
        self.down = nn.Linear(config.ffn_dim, config.embed_dim)
        self.ffn_norm = nn.LayerNorm(config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.gelu: nn.Module = nn.GELU()
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        self.adapter = make_adapter(config.embed_dim, config.adapter_dim)
        init_linear(self.up, self.down)

    def forward(self, x_BTD: Tensor, attention_mask: Tensor | None) -> Tensor:
        if self.pre:
            x_BTD = x_BTD + self.dropout(self.attention(self.attention_norm(x_BTD), attention_mask))
            x_BTD = x_BTD + self.dropout(self.ffn(self.ffn_norm(x_BTD)))
        else:
            x_BTD = self.attention_norm(x_BTD + self.dropout(self.attention(x_BTD, attention_mask)))
            x_BTD = self.ffn_norm(x_BTD + self.dropout(self.ffn(x_BTD)))
        return x_BTD if self.adapter is None else self.adapter(x_BTD)

    def ffn(self, x_BTD: Tensor) -> Tensor:
        return self.down(self.activation_dropout(self.gelu(self.up(x_BTD))))


class SelfAttention(Attention):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config.embed_dim, config.num_heads, config.attention_dropout)
        init_linear(self.query, self.key, self.value, self.out)

    def forward(self, x_BTD: Tensor, attention_mask: Tensor | None) -> Tensor:
        return self.attend(self.split(self.query(x_BTD)), x_BTD, attention_mask)
