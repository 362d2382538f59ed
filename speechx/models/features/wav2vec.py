"""From a waveform to frames: the encoder network of wav2vec (Schneider et al. 2019, section 3.1).

Convolutions without padding turn 16 kHz samples into one vector every 160 samples (10 ms), which
sees 465 samples (29 ms). Each is followed by a group norm over the channels and the frames of the
recording, and ReLU; the last output is compressed to log(1 + |x|). The statistics run over the real
frames only, so padding never changes a result.

    B utterances · S samples · T frames · C channels
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config
from speechx.models.features.convolutional import Convolution, StridedConfig, scale_gradient
from speechx.models.lengths import recording_norm, window_count


def wav2vec_convolutions(channels: int = 512) -> tuple[Convolution, ...]:
    """The stack of wav2vec large: strides 5 4 2 2 2 1 1, kernels 10 8 4 4 4 1 1."""
    shapes = [(10, 5), (8, 4), (4, 2), (4, 2), (4, 2), (1, 1), (1, 1)]
    return tuple(Convolution(channels=channels, kernel=k, stride=s) for k, s in shapes)


@config
class Wav2VecFeaturesConfig(StridedConfig):
    kind: Literal["wav2vec"] = "wav2vec"
    layers: tuple[Convolution, ...] = wav2vec_convolutions()
    gradient_scale: float = 1.0


class Wav2VecFeatures(nn.Module):
    """`forward(wave (B, S), lengths (B,) or None) -> (features (B, T, C), frames (B,) or None)`."""

    def __init__(self, config: Wav2VecFeaturesConfig) -> None:
        super().__init__()
        self.config = config
        self.convs, self.norms, inputs = nn.ModuleList(), nn.ModuleList(), 1
        for layer in config.layers:
            self.convs.append(
                nn.Conv1d(inputs, layer.channels, layer.kernel, layer.stride, bias=False)
            )
            self.norms.append(nn.GroupNorm(1, layer.channels))
            inputs = layer.channels

    def forward(
        self, wave_BS: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        x_BCT = wave_BS[:, None].to(next(self.parameters()).dtype)
        for conv, norm, layer in zip(self.convs, self.norms, self.config.layers, strict=True):
            if lengths_B is not None:
                lengths_B = window_count(lengths_B, layer.kernel, layer.stride)
            assert isinstance(norm, nn.GroupNorm)
            x_BCT = F.relu(recording_norm(conv(x_BCT), lengths_B, norm))
        x_BCT = x_BCT.log1p()  # of an absolute value: nothing is negative after ReLU
        return scale_gradient(x_BCT.transpose(1, 2), self.config.gradient_scale), lengths_B
