"""From a waveform to frames: the encoder of modified CPC (Riviere et al. 2020, section 2.2).

Five convolutions turn 16 kHz samples into one vector every 160 samples (10 ms). Each is padded with
zeros, so that S samples give S / 160 frames, and is followed by channel norm and ReLU. Channel norm
brings the channels of each frame to mean 0 and variance 1; batch norm, which it replaces, would
see the recordings of the batch.

    B utterances · S samples · T frames · C channels
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config
from speechx.models.features.convolutional import Convolution, StridedConfig, scale_gradient
from speechx.models.lengths import Length, frame_mask, window_count


def five_convolutions(channels: int = 256) -> tuple[Convolution, ...]:
    """The stack of CPC: strides 5 4 2 2 2, kernels 10 8 4 4 4."""
    shapes = [(10, 5), (8, 4), (4, 2), (4, 2), (4, 2)]
    return tuple(Convolution(channels=channels, kernel=k, stride=s) for k, s in shapes)


def padding(layer: Convolution) -> int:
    """Zeros on either side of a convolution, so that its output has a frame per stride: 3 2 1 1 1
    in CPC."""
    return max(0, -((layer.stride - layer.kernel) // 2))


@config
class CPCFeaturesConfig(StridedConfig):
    kind: Literal["cpc"] = "cpc"
    layers: tuple[Convolution, ...] = five_convolutions()
    gradient_scale: float = 1.0

    def frames(self, samples: int) -> int:
        """Exact number of frames of `samples` samples."""
        frames = samples
        for layer in self.layers:
            frames = _frames(frames, layer)
        return frames

    @property
    def centre(self) -> float:
        """Samples from the beginning of a recording to the middle of frame 0, part of which sees
        the zeros before it: half a stride in CPC, less half a sample."""
        before, stride = 0, 1
        for layer in self.layers:
            before += padding(layer) * stride
            stride *= layer.stride
        return self.receptive_field / 2 - before


def _frames(length: Length, layer: Convolution) -> Length:
    return window_count(length + 2 * padding(layer), layer.kernel, layer.stride)


class CPCFeatures(nn.Module):
    """`forward(wave (B, S), lengths (B,) or None) -> (features (B, T, C), frames (B,) or None)`."""

    def __init__(self, config: CPCFeaturesConfig) -> None:
        super().__init__()
        self.config = config
        self.convs, self.norms, inputs = nn.ModuleList(), nn.ModuleList(), 1
        for layer in config.layers:
            self.convs.append(
                nn.Conv1d(inputs, layer.channels, layer.kernel, layer.stride, padding(layer))
            )
            self.norms.append(ChannelNorm(layer.channels))
            inputs = layer.channels

    def forward(
        self, wave_BS: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        x_BCT = wave_BS[:, None].to(next(self.parameters()).dtype)
        for conv, norm, layer in zip(self.convs, self.norms, self.config.layers, strict=True):
            if lengths_B is not None:  # a row sees zeros behind its end, as it does alone
                x_BCT = x_BCT.masked_fill(~frame_mask(lengths_B, x_BCT.shape[2])[:, None], 0)
                lengths_B = _frames(lengths_B, layer)
            x_BCT = F.relu(norm(conv(x_BCT)))
        return scale_gradient(x_BCT.transpose(1, 2), self.config.gradient_scale), lengths_B


class ChannelNorm(nn.Module):
    """Mean 0 and variance 1 over the channels of each frame, then a weight and a bias per channel.
    The variance is the unbiased one, which layer norm does not take. In float32."""

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCT: Tensor) -> Tensor:
        variance_B1T, mean_B1T = torch.var_mean(x_BCT.float(), 1, keepdim=True)
        x_BCT = (x_BCT.float() - mean_B1T) * torch.rsqrt(variance_B1T + self.epsilon)
        x_BCT = x_BCT * self.weight.float()[:, None] + self.bias.float()[:, None]
        return x_BCT.to(self.weight.dtype)
