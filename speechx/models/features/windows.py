"""The convolutional extractor for inference: matrix products over windows of frames, a stretch of
frames at a time.

With channels last, the window of a frame lies in one piece of memory, so a convolution is a linear
map of windows. A stretch of two seconds goes through all convolutions before the next one begins,
so that what lies between them stays in the cache of the processor, and memory does not grow with
the recording.

Only the group norm of base models needs more than a stretch. Its statistics follow from the
waveform alone: an output channel is a weighted sum of the K samples of a window, so its mean and
its variance come from the mean and the covariance (K, K) of windows, and the norm becomes part of
the weight.

    B utterances · S samples · T frames · C channels · K taps of a convolution
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.models.features.convolutional import (
    ConvolutionalExtractor,
    ConvolutionLayer,
    channel_norm,
)
from speechx.models.packed import Activation, Int8Linear, PackedLinear, linear

Linear = PackedLinear | Int8Linear
Pack = Callable[[Tensor, Tensor | None, Activation], Linear]
"""Makes the linear map of a weight (outputs, inputs), a bias and an activation."""
STRETCH = 100  # frames: the output of the first convolution has 13 MB in float32


class WindowExtractor(nn.Module):
    """`forward(wave (B, S)) -> (features (B, T, C), None)`: as the extractor that it is made
    from, in the type of the linear maps, for rows without padding."""

    def __init__(self, extractor: ConvolutionalExtractor, pack: Pack, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.dtype = extractor.config, dtype
        first, *others = (
            layer for layer in extractor.layers if isinstance(layer, ConvolutionLayer)
        )
        self.first = FirstConvolution(first)
        self.others = nn.ModuleList(WindowConvolution(layer, pack) for layer in others)

    def forward(self, wave_BS: Tensor, lengths_B: None = None) -> tuple[Tensor, None]:
        frames, stride = self.config.frames(wave_BS.shape[1]), self.config.stride
        features_BTC = wave_BS.new_empty((len(wave_BS), frames, self.config.dim), dtype=self.dtype)
        for wave_S, features_TC in zip(wave_BS.float(), features_BTC, strict=True):
            wave_S, weight_CK, bias_C = self.first.normalized(wave_S)
            for begin in range(0, frames, STRETCH):
                end = min(begin + STRETCH, frames)
                last = (end - 1) * stride + self.config.receptive_field
                x_TC = self.first(wave_S[begin * stride : last], weight_CK, bias_C)
                x_TC = x_TC.to(self.dtype)
                for layer in self.others:
                    x_TC = layer(x_TC)
                features_TC[begin:end] = x_TC
        return features_BTC, None


class FirstConvolution(nn.Module):
    """From samples to channels, in float32."""

    def __init__(self, layer: ConvolutionLayer) -> None:
        super().__init__()
        (self.kernel,), (self.stride,) = layer.conv.kernel_size, layer.conv.stride
        self.weight_CK = layer.conv.weight.detach().float()[:, 0].contiguous()
        bias = layer.conv.bias
        self.bias_C = self.weight_CK.new_zeros(len(self.weight_CK))
        if bias is not None:
            self.bias_C = bias.detach().float()
        self.norm = layer.norm

    def normalized(self, wave_S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The samples, the weight and the bias to use for this recording."""
        norm = self.norm
        if not isinstance(norm, nn.GroupNorm):
            return wave_S, self.weight_CK, self.bias_C
        wave_S = wave_S - wave_S.mean()  # an offset adds a constant, which the norm takes away
        window_TK = wave_S.unfold(0, self.kernel, self.stride).double()
        mean_K = window_TK.mean(0)
        centred_TK = window_TK - mean_K
        covariance_KK = centred_TK.T @ centred_TK / len(window_TK)
        weight_CK = self.weight_CK.double()
        variance_C = (weight_CK @ covariance_KK * weight_CK).sum(1).clamp(min=0)
        scale_C = norm.weight.double() * torch.rsqrt(variance_C + norm.eps)
        bias_C = norm.bias.double() - (weight_CK @ mean_K) * scale_C
        return wave_S, (weight_CK * scale_C[:, None]).float(), bias_C.float()

    def forward(self, wave_S: Tensor, weight_CK: Tensor, bias_C: Tensor) -> Tensor:
        """(T, C)"""
        window_TK = wave_S.unfold(0, self.kernel, self.stride)
        if isinstance(self.norm, nn.LayerNorm):
            x_TC = linear(window_TK, weight_CK, bias_C, "none")
            return F.gelu(channel_norm(x_TC, self.norm))
        return linear(window_TK, weight_CK, bias_C, "gelu")


class WindowConvolution(nn.Module):
    """Convolution, layer norm (in float32) if the extractor has it, GELU."""

    def __init__(self, layer: ConvolutionLayer, pack: Pack) -> None:
        super().__init__()
        (self.kernel,), (self.stride,) = layer.conv.kernel_size, layer.conv.stride
        self.norm = layer.norm
        weight = layer.conv.weight.transpose(1, 2).flatten(1)  # inputs of a tap stand together
        self.linear = pack(weight, layer.conv.bias, "none" if self.norm else "gelu")

    def forward(self, x_TC: Tensor) -> Tensor:
        if isinstance(self.linear, Int8Linear):
            bytes_TC, scale, zero = self.linear.encode(x_TC)
            y_TC = self.linear.multiply(self.windows(bytes_TC), scale, zero)
        else:
            y_TC = self.linear.multiply(self.windows(x_TC))
        if isinstance(self.norm, nn.LayerNorm):
            y_TC = F.gelu(channel_norm(y_TC, self.norm)).to(y_TC.dtype)
        return y_TC

    def windows(self, x_TC: Tensor) -> Tensor:
        """The windows of all outputs, each the channels of `kernel` inputs in one row."""
        frames, channels = x_TC.shape
        count = (frames - self.kernel) // self.stride + 1
        return x_TC.contiguous().as_strided(
            (count, self.kernel * channels), (self.stride * channels, 1)
        )
