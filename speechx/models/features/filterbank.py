"""From a waveform to frames through a log-mel filterbank: the cheap feature extractor.

25 ms windows every 10 ms, log-mel energies normalised per bin over the utterance, then strided
convolutions down to 50 frames a second. It has the interface of the convolutional
extractor, at a tenth of its cost on a CPU, and is the front end that BEST-RQ, w2v-BERT and Whistle
use.

    B utterances · S samples · T frames · F mel bins · C channels · W samples of a window
    · K frequency bins of a window
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.audio.files import SAMPLE_RATE
from speechx.config import config, require_positive
from speechx.models.features.convolutional import Convolution, StridedConfig, scale_gradient
from speechx.models.lengths import frame_mask, real_statistics, window_count

WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms, and the transform they are padded to
FLOOR = 1e-6  # energy below which a mel bin counts as silent: about -60 dB of a full-scale sine


@config
class FilterbankConfig(StridedConfig):
    kind: Literal["filterbank"] = "filterbank"
    num_mel_bins: int = 80
    layers: tuple[Convolution, ...] = (
        Convolution(channels=128, kernel=3, stride=2),
        Convolution(channels=128, kernel=3, stride=1),
    )
    gradient_scale: float = 1.0
    window, hop = WINDOW, HOP

    def __post_init__(self) -> None:
        StridedConfig.__post_init__(self)  # super() does not work in a class with slots
        require_positive(self, "num_mel_bins")


class FilterbankExtractor(nn.Module):
    """`forward(wave (B, S), lengths (B,) or None) -> (features (B, T, C), frames (B,) or None)`."""

    mel_FK: Tensor
    window_W: Tensor

    def __init__(self, config: FilterbankConfig) -> None:
        super().__init__()
        self.config = config
        self.convs, self.norms, previous = nn.ModuleList(), nn.ModuleList(), config.num_mel_bins
        for layer in config.layers:
            conv = nn.Conv1d(previous, layer.channels, layer.kernel, layer.stride)
            nn.init.kaiming_normal_(conv.weight)
            self.convs.append(conv)
            self.norms.append(nn.LayerNorm(layer.channels))
            previous = layer.channels
        self._make_tables()

    def _make_tables(self) -> None:
        from torchaudio.functional import melscale_fbanks

        mels = self.config.num_mel_bins
        mel_KF = melscale_fbanks(FFT // 2 + 1, 20.0, SAMPLE_RATE / 2, mels, SAMPLE_RATE)
        self.register_buffer("mel_FK", mel_KF.T.contiguous(), persistent=False)
        self.register_buffer("window_W", torch.hann_window(WINDOW), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FilterbankExtractor:
        """Keeps the tables in float32 where `to(torch.bfloat16)` changes the weights."""
        super()._apply(fn, recurse)
        if self.window_W.dtype != torch.float32:
            device = self.window_W.device
            self._make_tables()
            self.mel_FK, self.window_W = self.mel_FK.to(device), self.window_W.to(device)
        return self

    def forward(
        self, wave_BS: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        return self.convolve(*self.log_mel(wave_BS, lengths_B))

    def convolve(self, mel_BFT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features (B, T, C) of mel frames, of which `lengths_B` are real in each row."""
        x_BCT = mel_BFT.to(next(self.norms.parameters()).dtype)
        for conv, norm, layer in zip(self.convs, self.norms, self.config.layers, strict=True):
            x_BTC = norm(conv(x_BCT).transpose(1, 2))
            x_BCT = F.gelu(x_BTC).transpose(1, 2)
            if lengths_B is not None:
                lengths_B = window_count(lengths_B, layer.kernel, layer.stride)
        return scale_gradient(x_BCT.transpose(1, 2), self.config.gradient_scale), lengths_B

    def log_mel(self, wave_BS: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Log-mel energies (B, F, T), each bin with mean 0 and variance 1 over the real frames, and
        the number of these. Without gradient, in float32."""
        with torch.no_grad(), torch.autocast(wave_BS.device.type, enabled=False):
            return self._log_mel(wave_BS.float(), lengths_B)

    def _log_mel(self, wave_BS: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        windows_BTW = wave_BS.unfold(1, WINDOW, HOP) * self.window_W
        power_BTK = torch.fft.rfft(windows_BTW, FFT).abs().square()
        x_BFT = (self.mel_FK @ power_BTK.transpose(1, 2)).clamp(min=FLOOR).log()
        frames = x_BFT.shape[2]
        if lengths_B is None:
            real_B1T = torch.ones(len(x_BFT), 1, frames, device=x_BFT.device)
        else:
            lengths_B = window_count(lengths_B, WINDOW, HOP)
            real_B1T = frame_mask(lengths_B, frames)[:, None].float()
        count_B11, _, centred_BFT, square_BF1 = real_statistics(x_BFT, real_B1T, (2,))
        deviation_BF1 = (square_BF1 / count_B11.clamp(min=1)).sqrt()
        # A constant bin (digital silence) would leave only rounding noise; it is set to 0.
        moves_BF1 = deviation_BF1 > 1e-4
        return moves_BF1 * centred_BFT / (deviation_BF1 + 0.1), lengths_B
