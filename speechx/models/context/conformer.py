"""The conformer context network (Gulati et al. 2020, section 2) with the relative positions of
Transformer-XL (Dai et al. 2019, section 3.3).

    B utterances · T frames · D width · H heads · C channels of a head · P distances · L layers

A layer is half a feed-forward, self-attention, convolution and the other half feed-forward, each
with a layer norm at its entrance and a residual connection, and a layer norm at the end. One more
layer norm follows the last layer.
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
from speechx.models.lengths import frame_mask, real_statistics, scaled

MOMENTUM = 0.1  # of the running statistics of batch norm


@config
class ConformerConfig:
    kind: Literal["conformer"] = "conformer"
    num_layers: int = 12
    embed_dim: int = 512
    ffn_dim: int = 2048
    num_heads: int = 8
    conv_kernel: int = 31
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layer_drop: float = 0.0
    adapter_dim: int | None = None
    """Width of an adapter behind every layer; None: no adapters."""

    def __post_init__(self) -> None:
        require_positive(self, "num_layers", "embed_dim", "ffn_dim", "num_heads", "conv_kernel")
        require_positive(self, "adapter_dim")
        require_multiple(self, "embed_dim", "num_heads")
        if self.embed_dim % 2:
            raise ValueError(f"embed_dim {self.embed_dim} must be even: a sine for every cosine")
        if self.conv_kernel % 2 == 0:
            raise ValueError(
                f"conv_kernel {self.conv_kernel} must be odd: as many taps either side"
            )
        require_fraction(self, "dropout", "attention_dropout", "activation_dropout", "layer_drop")


class Conformer(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_layers))
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
        rows, width, dim = x_BTD.shape
        if frames_B is None:
            frames_B = torch.full((rows,), width, device=x_BTD.device)
        real_BT = frame_mask(frames_B, width)
        # Rows without any frame attend to themselves, so that their softmax is finite.
        attention_mask_BT = real_BT | (frames_B == 0)[:, None]
        position_PD = relative_positions(width, dim, x_BTD.device).to(x_BTD.dtype)
        x_BTD = self.dropout(x_BTD.masked_fill(~real_BT[:, :, None], 0))
        given = (position_PD, attention_mask_BT, real_BT)
        hidden = run_layers(
            self.layers,
            x_BTD,
            layer_keep_L,
            *given,
            keep_hidden=self.keep_hidden,
            after_layer=after_layer,
        )
        return self.norm(hidden[-1]), hidden


def relative_positions(width: int, dim: int, device: torch.device) -> Tensor:
    """(P, D) interleaved sines and cosines of the distances from a frame back to another: from
    `width` - 1 down to -`width`, the last one only so that `align` can shift by a view."""
    distance_P = torch.arange(width - 1, -width - 1, -1, device=device, dtype=torch.float32)
    even = torch.arange(0, dim, 2, device=device, dtype=torch.float32)
    angle = distance_P[:, None] * torch.exp(even * (-math.log(10_000) / dim))
    return torch.stack((angle.sin(), angle.cos()), 2).flatten(1)


def align(score_BHTP: Tensor) -> Tensor:
    """Relative shift (Dai et al. 2019, app. B): scores by distance (B, H, T, P) become scores by
    key (B, H, T, T). Reading the flat scores with rows one shorter shifts each row by one."""
    width = score_BHTP.shape[2]
    flat = score_BHTP.flatten(2)[:, :, width - 1 : -1]
    return flat.unflatten(2, (width, 2 * width - 1))[..., :width]


class ConformerLayer(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.ffn1_norm = nn.LayerNorm(config.embed_dim)
        self.ffn1 = FeedForward(config)
        self.attention_norm = nn.LayerNorm(config.embed_dim)
        self.attention = RelativeAttention(config)
        self.convolution_norm = nn.LayerNorm(config.embed_dim)
        self.convolution = ConvolutionModule(config)
        self.ffn2_norm = nn.LayerNorm(config.embed_dim)
        self.ffn2 = FeedForward(config)
        self.norm = nn.LayerNorm(config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.adapter = make_adapter(config.embed_dim, config.adapter_dim)

    def forward(
        self, x_BTD: Tensor, position_PD: Tensor, attention_mask_BT: Tensor, real_BT: Tensor
    ) -> Tensor:
        x_BTD = x_BTD + 0.5 * self.dropout(self.ffn1(self.ffn1_norm(x_BTD)))
        y_BTD = self.attention(self.attention_norm(x_BTD), position_PD, attention_mask_BT)
        x_BTD = x_BTD + self.dropout(y_BTD)
        y_BTD = self.convolution(self.convolution_norm(x_BTD), real_BT)
        x_BTD = x_BTD + self.dropout(y_BTD)
        x_BTD = self.norm(x_BTD + 0.5 * self.dropout(self.ffn2(self.ffn2_norm(x_BTD))))
        return x_BTD if self.adapter is None else self.adapter(x_BTD)


class FeedForward(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.embed_dim, config.ffn_dim)
        self.down = nn.Linear(config.ffn_dim, config.embed_dim)
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        init_linear(self.up, self.down)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(self.activation_dropout(F.silu(self.up(x_BTD))))


class RelativeAttention(Attention):
    """Scores are (query + u) · key + (query + v) · position of the distance, with learned u and v
    (Dai et al. 2019, section 3.3)."""

    def __init__(self, config: ConformerConfig) -> None:
        dim = config.embed_dim
        super().__init__(dim, config.num_heads, config.attention_dropout)
        self.position = nn.Linear(dim, dim, bias=False)
        self.bias_u = nn.Parameter(torch.empty(self.heads, dim // self.heads))
        self.bias_v = nn.Parameter(torch.empty(self.heads, dim // self.heads))
        init_linear(self.query, self.key, self.value, self.out, self.position)
        for bias_HC in (self.bias_u, self.bias_v):
            nn.init.xavier_uniform_(bias_HC)

    def forward(self, x_BTD: Tensor, position_PD: Tensor, attention_mask_BT: Tensor) -> Tensor:
        query_BHTC = self.split(self.query(x_BTD))
        u_H1C = self.bias_u.to(query_BHTC.dtype)[:, None]
        v_H1C = self.bias_v.to(query_BHTC.dtype)[:, None]
        position_HPC = self.split(self.position(position_PD))
        score_BHTP = (query_BHTC + v_H1C) @ position_HPC.transpose(1, 2)
        score_BHTT = align(score_BHTP) / math.sqrt(query_BHTC.shape[3])
        score_BHTT = score_BHTT.masked_fill(~attention_mask_BT[:, None, None], -math.inf)
        return self.attend(query_BHTC + u_H1C, x_BTD, score_BHTT)


class ConvolutionModule(nn.Module):
    """Pointwise, GLU, depthwise, batch norm, swish, pointwise (Gulati et al. 2020, section 2.2)."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        dim, kernel = config.embed_dim, config.conv_kernel
        self.pointwise_in = nn.Conv1d(dim, 2 * dim, 1, bias=False)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
        self.batch_norm = nn.BatchNorm1d(dim, momentum=MOMENTUM)
        self.pointwise_out = nn.Conv1d(dim, dim, 1, bias=False)
        for conv in (self.pointwise_in, self.depthwise, self.pointwise_out):
            nn.init.kaiming_normal_(conv.weight)

    def forward(self, x_BTD: Tensor, real_BT: Tensor) -> Tensor:
        real_B1T = real_BT[:, None]
        x_BDT = F.glu(self.pointwise_in(x_BTD.transpose(1, 2)), dim=1).masked_fill(~real_B1T, 0)
        x_BDT = masked_batch_norm(self.depthwise(x_BDT).float(), real_B1T, self.batch_norm)
        x_BDT = x_BDT.to(self.batch_norm.weight.dtype)
        return self.pointwise_out(F.silu(x_BDT)).transpose(1, 2)


def masked_batch_norm(x_BDT: Tensor, real_B1T: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Batch norm whose statistics see real frames only."""
    # The batch is one micro-batch of one process, so a step depends on how its audio is divided.
    # Running statistics move once per micro-batch, each process its own, and
    # DistributedDataParallel copies rank 0's to all when a step begins. They are not updated with
    # fewer than two real frames or with NaN: a refused step would not restore them.
    if not norm.training:
        mean_D, variance_D = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        weight_D, bias_D = norm.weight.float(), norm.bias.float()
        return F.batch_norm(
            x_BDT, mean_D.float(), variance_D.float(), weight_D, bias_D, eps=norm.eps
        )
    count_111, mean_1D1, centred_BDT, square_1D1 = real_statistics(x_BDT, real_B1T, (0, 2))
    with torch.no_grad():
        norm.get_buffer("num_batches_tracked").add_(1)
        unbiased_1D1 = square_1D1 / (count_111 - 1).clamp(min=1)
        for name, new_1D1 in (("running_mean", mean_1D1), ("running_var", unbiased_1D1)):
            running_D, new_D = norm.get_buffer(name), new_1D1.flatten()
            usable_D = new_D.isfinite() & (count_111.flatten() > 1)
            running_D.lerp_(torch.where(usable_D, new_D, running_D), MOMENTUM)
    return scaled(centred_BDT, square_1D1 / count_111.clamp(min=1), norm)
