"""From a waveform to frames through a log-mel filterbank: the cheap feature extractor.

25 ms windows every 10 ms, log-mel energies normalised per bin over the utterance, then strided
convolutions down to 50 frames a second. It has the interface of the convolutional
extractor, at a tenth of its cost on a CPU, and is the front end that BEST-RQ, w2v-BERT and Whistle
use.

    B utterances · S samples · T frames · F mel bins · C channels · W samples of a window
    · K frequency bins of a window
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.audio.files import SAMPLE_RATE
from speechx.config import config, require_positive
from speechx.models.features.convolutional import Convolution, scale_gradient
from speechx.models.lengths import frame_mask

WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms, and the transform they are padded to
FLOOR = 1e-6  # energy below which a mel bin counts as silent: about -60 dB of a full-scale sine


@config
class FilterbankConfig:
    kind: Literal["filterbank"] = "filterbank"
    bins: int = 80
    layers: tuple[Convolution, ...] = (
        Convolution(channels=128, kernel=3, stride=2),
        Convolution(channels=128, kernel=3, stride=1),
    )
    gradient_scale: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "bins")
        if not self.layers:
            raise ValueError("layers must hold at least one convolution")

    def frames(self, samples: int) -> int:
        """Exact number of frames of `samples` samples; 0 below the receptive field."""
        frames = (samples - WINDOW) // HOP + 1
        for layer in self.layers:
            frames = (frames - layer.kernel) // layer.stride + 1
        return max(frames, 0)

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return HOP * math.prod(layer.stride for layer in self.layers)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees."""
        samples, stride = WINDOW, HOP
        for layer in self.layers:
            samples += (layer.kernel - 1) * stride
            stride *= layer.stride
        return samples

    @property
    def dim(self) -> int:
        """Channels of a frame."""
        return self.layers[-1].channels


class FilterbankExtractor(nn.Module):
    """`forward(wave (B, S), lengths (B,) or None) -> (features (B, T, C), frames (B,) or None)`."""

    mel_FK: Tensor
    window_W: Tensor

    def __init__(self, config: FilterbankConfig) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        self.config = config
        convs, norms, previous = [], [], config.bins
        for layer in config.layers:
            conv = nn.Conv1d(previous, layer.channels, layer.kernel, layer.stride)
            nn.init.kaiming_normal_(conv.weight)
            convs.append(conv)
            norms.append(nn.LayerNorm(layer.channels))
            previous = layer.channels
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)
        mel_KF = melscale_fbanks(FFT // 2 + 1, 20.0, SAMPLE_RATE / 2, config.bins, SAMPLE_RATE)
        self.register_buffer("mel_FK", mel_KF.T.contiguous(), persistent=False)
        self.register_buffer("window_W", torch.hann_window(WINDOW), persistent=False)

    def forward(
        self, wave_BS: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        with torch.no_grad(), torch.autocast(wave_BS.device.type, enabled=False):
            x_BCT, lengths_B = self.log_mel(wave_BS.float(), lengths_B)
        for conv, norm, layer in zip(self.convs, self.norms, self.config.layers, strict=True):
            x_BTC = norm(conv(x_BCT).transpose(1, 2))
            x_BCT = F.gelu(x_BTC).transpose(1, 2)
            if lengths_B is not None:
                lengths_B = (lengths_B - layer.kernel).div(layer.stride, rounding_mode="floor") + 1
                lengths_B = lengths_B.clamp(min=0)
        return scale_gradient(x_BCT.transpose(1, 2), self.config.gradient_scale), lengths_B

    def log_mel(self, wave_BS: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Log-mel energies (B, F, T), each bin with mean 0 and variance 1 over the true frames."""
        windows_BTW = wave_BS.unfold(1, WINDOW, HOP) * self.window_W
        power_BTK = torch.fft.rfft(windows_BTW, FFT).abs().square()
        x_BFT = (self.mel_FK @ power_BTK.transpose(1, 2)).clamp(min=FLOOR).log()
        frames = x_BFT.shape[2]
        if lengths_B is None:
            true_B1T = torch.ones(len(x_BFT), 1, frames, device=x_BFT.device)
        else:
            lengths_B = ((lengths_B - WINDOW).div(HOP, rounding_mode="floor") + 1).clamp(min=0)
            true_B1T = frame_mask(lengths_B, frames)[:, None].float()
        count_B11 = true_B1T.sum(2, keepdim=True).clamp(min=1)
        mean_BF1 = (x_BFT * true_B1T).sum(2, keepdim=True) / count_B11
        centred_BFT = (x_BFT - mean_BF1) * true_B1T
        deviation_BF1 = (centred_BFT.square().sum(2, keepdim=True) / count_B11).sqrt()
        # A bin that never moves is digital silence: what is left of it is the rounding of its mean.
        moves_BF1 = deviation_BF1 > 1e-4
        return moves_BF1 * centred_BFT / (deviation_BF1 + 0.1), lengths_B
