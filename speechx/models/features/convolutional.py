"""From a waveform to frames: the convolutional feature extractor of wav2vec 2.0 (section 2,
'Feature encoder').

Seven convolutions without padding turn 16 kHz samples into one 512-wide vector every 320 samples
(20 ms), each of which sees 400 samples (25 ms). `frames` is the exact number of vectors:
samples / 320 is not exact.

    B utterances · S samples · T frames · C channels

Two normalisations exist. "group" (base models): one group norm after the first convolution, whose
statistics run over all frames of an utterance; they are computed over its real frames only, so
padding never changes a result. "layer" (large, XLSR, XLS-R): a layer norm after every
convolution.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_positive
from speechx.models.lengths import frame_mask, real_statistics, scaled, window_count


@config
class Convolution:
    channels: int
    kernel: int
    stride: int

    def __post_init__(self) -> None:
        require_positive(self, "channels", "kernel", "stride")


def seven_convolutions(channels: int = 512) -> tuple[Convolution, ...]:
    """The stack of wav2vec 2.0: strides 5 2 2 2 2 2 2, kernels 10 3 3 3 3 2 2."""
    shapes = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
    return tuple(Convolution(channels=channels, kernel=k, stride=s) for k, s in shapes)


class StridedConfig:
    """What the configs of the extractors share: convolutions over windows of the waveform."""

    __slots__ = ()
    layers: tuple[Convolution, ...]
    window, hop = 1, 1
    """Samples of the windows that the first convolution sees, and from one to the next."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("layers must hold at least one convolution")

    def frames(self, samples: int) -> int:
        """Exact number of frames of `samples` samples; 0 below the receptive field."""
        frames = window_count(samples, self.window, self.hop)
        for layer in self.layers:
            frames = window_count(frames, layer.kernel, layer.stride)
        return frames

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return self.hop * math.prod(layer.stride for layer in self.layers)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees."""
        samples, stride = self.window, self.hop
        for layer in self.layers:
            samples += (layer.kernel - 1) * stride
            stride *= layer.stride
        return samples

    @property
    def centre(self) -> float:
        """Samples from the beginning of a recording to the middle of what frame 0 sees."""
        return self.receptive_field / 2

    @property
    def dim(self) -> int:
        """Channels of a frame."""
        return self.layers[-1].channels


class Strided(StridedConfig):
    """Windows of frames of an extractor, as its frames are windows of samples."""

    def __init__(self, features: StridedConfig, kernel: int, stride: int) -> None:
        self.features, self.kernel, self.step = features, kernel, stride

    def frames(self, samples: int) -> int:
        return window_count(self.features.frames(samples), self.kernel, self.step)

    @property
    def stride(self) -> int:
        return self.features.stride * self.step

    @property
    def receptive_field(self) -> int:
        return self.features.receptive_field + (self.kernel - 1) * self.features.stride

    @property
    def centre(self) -> float:
        return self.features.centre + (self.kernel - 1) * self.features.stride / 2


@config
class ConvolutionalConfig(StridedConfig):
    kind: Literal["convolutional"] = "convolutional"
    layers: tuple[Convolution, ...] = seven_convolutions()
    norm: Literal["group", "layer"] = "group"
    bias: bool = False
    gradient_scale: float = 0.1
    """Factor of the gradient that enters this extractor (fairseq's `feature_grad_mult`). 0 freezes
    it."""


class ConvolutionalExtractor(nn.Module):
    """`forward(wave (B, S), lengths (B,) or None) -> (features (B, T, C), frames (B,) or None)`."""

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList()
        inputs = 1
        for index, layer in enumerate(config.layers):
            norm = config.norm if config.norm == "layer" or index == 0 else None
            self.layers.append(ConvolutionLayer(inputs, layer, config.bias, norm))
            inputs = layer.channels

    def forward(
        self, wave_BS: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        x_BCT = wave_BS[:, None]
        for layer in self.layers:
            x_BCT, lengths_B = layer(x_BCT, lengths_B)
        return scale_gradient(x_BCT.transpose(1, 2), self.config.gradient_scale), lengths_B


class ConvolutionLayer(nn.Module):
    """Convolution, normalisation over frames or over channels (in float32), GELU."""

    def __init__(self, inputs: int, layer: Convolution, bias: bool, norm: str | None) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, layer.channels, layer.kernel, layer.stride, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm: nn.Module | None = None
        if norm == "group":
            self.norm = nn.GroupNorm(layer.channels, layer.channels)
        elif norm == "layer":
            self.norm = nn.LayerNorm(layer.channels)

    def forward(self, x_BCT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x_BCT = self.conv(x_BCT)
        if lengths_B is not None:
            lengths_B = window_count(lengths_B, self.conv.kernel_size[0], self.conv.stride[0])
        match self.norm:
            case nn.LayerNorm():
                x_BTC = channel_norm(x_BCT.transpose(1, 2), self.norm)
                x_BCT = x_BTC.transpose(1, 2).to(self.conv.weight.dtype)
            case nn.GroupNorm():
                x_BCT = masked_channel_norm(x_BCT.float(), lengths_B, self.norm)
                x_BCT = x_BCT.to(self.conv.weight.dtype)
        return F.gelu(x_BCT), lengths_B


def channel_norm(x_BTC: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer norm over the channels, in float32."""
    weight_C, bias_C = norm.weight.float(), norm.bias.float()
    return F.layer_norm(x_BTC.float(), norm.normalized_shape, weight_C, bias_C, norm.eps)


def masked_channel_norm(x_BCT: Tensor, lengths_B: Tensor | None, norm: nn.GroupNorm) -> Tensor:
    """Group norm with one group per channel whose statistics see real frames only."""
    if lengths_B is None:
        weight_C, bias_C = norm.weight.float(), norm.bias.float()
        return F.group_norm(x_BCT, norm.num_groups, weight_C, bias_C, norm.eps)
    real_B1T = frame_mask(lengths_B, x_BCT.shape[2])[:, None]
    count_B11, _, centred_BCT, square_BC1 = real_statistics(x_BCT, real_B1T, (2,))
    return scaled(centred_BCT, square_BC1 / count_B11.clamp(min=1), norm)


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:  # type: ignore[override]
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[override]
        return gradient * ctx.scale, None


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """The identity whose gradient is multiplied by `scale`; 0 cuts the graph."""
    if scale == 0:
        return x.detach()
    return x if scale == 1 else _ScaleGradient.apply(x, scale)  # type: ignore[no-any-return]
