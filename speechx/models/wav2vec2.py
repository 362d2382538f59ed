"""wav2vec 2.0 (Baevski et al. 2020), the trunk of XLSR and XLS-R, and its pretraining heads.

waveform --encoder--> latents --norm--> features ----------- quantizer --> targets
                                           |                                  | project_targets
                                        project, mask --> transformer --> context
                                                                  project_context --> predictions

B utterances · S samples · T frames · C latent channels · D width · M masked frames · K negatives
· Q quantized width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechx.config import config
from speechx.models.filterbank import FilterbankConfig, FilterbankEncoder
from speechx.models.quantizer import ProductQuantizer, Quantized, QuantizerConfig
from speechx.models.transformer import Transformer, TransformerConfig
from speechx.models.waveform import ConvolutionalConfig, ConvolutionalEncoder, frame_mask


@config
class Wav2Vec2Config:
    encoder: ConvolutionalConfig | FilterbankConfig = ConvolutionalConfig()
    transformer: TransformerConfig = TransformerConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    normalize: bool = False
    """Bring each recording to mean 0 and variance 1 before it enters (large, XLSR, XLS-R: true)."""
    input_dropout: float = 0.1
    target_dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("input_dropout", "target_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 0 and below 1, but is {getattr(self, name)}"
                )


@dataclass(frozen=True, slots=True)
class Trunk:
    """What the trunk computes from a batch."""

    context_BTD: Tensor
    frames_B: Tensor | None
    features_BTC: Tensor
    """Layer-normed latents before masking: what the quantizer sees."""
    energy: Tensor
    """Mean square of the latents of true frames, the feature penalty of the base model."""
    hidden: tuple[Tensor, ...]


class Wav2Vec2(nn.Module):
    """The trunk: waveform in, context vectors out."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder)
        self.width = config.transformer.width
        self.feature_norm = nn.LayerNorm(self.encoder.width)
        self.project = nn.Linear(self.encoder.width, self.width)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.mask_vector = nn.Parameter(torch.rand(self.width))
        self.transformer = Transformer(config.transformer)

    def forward(
        self,
        wave_BS: Tensor,
        lengths_B: Tensor | None = None,
        mask_BT: Tensor | None = None,
        channel_mask_BD: Tensor | None = None,
        keep_L: Sequence[bool] | None = None,
    ) -> Trunk:
        """`lengths_B` true samples per row (None: no padding). Masked frames are replaced by one
        learned vector, masked channels by 0, both before the positional convolution."""
        short = self.config.encoder.field - wave_BS.shape[1]
        if (
            short > 0
        ):  # too short for one frame: its frame count is 0, but the convolutions need input
            if lengths_B is None:
                lengths_B = torch.full((len(wave_BS),), wave_BS.shape[1], device=wave_BS.device)
            wave_BS = nn.functional.pad(wave_BS, (0, short))
        if lengths_B is not None:
            # Whatever stands behind the end of a recording, it is never read: times 0 it could
            # still be NaN.
            wave_BS = wave_BS.masked_fill(~frame_mask(lengths_B, wave_BS.shape[1]), 0)
        latents_BTC, frames_B = self.encoder(wave_BS, lengths_B)
        energy = mean_square(latents_BTC, frames_B)
        features_BTC = self.feature_norm(latents_BTC)
        x_BTD = self.input_dropout(self.project(features_BTC))
        if mask_BT is not None:
            x_BTD = torch.where(mask_BT[:, :, None], self.mask_vector.to(x_BTD.dtype), x_BTD)
        if channel_mask_BD is not None:
            x_BTD = x_BTD.masked_fill(channel_mask_BD[:, None], 0)
        context = self.transformer(x_BTD, frames_B, keep_L)
        return Trunk(context.output_BTD, frames_B, features_BTC, energy, context.hidden)


def mean_square(x_BTC: Tensor, frames_B: Tensor | None) -> Tensor:
    """The mean of the squares over the true frames, in float32."""
    square_BTC = x_BTC.float().square()
    if frames_B is None:
        return square_BTC.mean()
    true_BT = frame_mask(frames_B, square_BTC.shape[1])
    return (square_BTC.mean(2) * true_BT).sum() / frames_B.sum().clamp(min=1)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Inputs of the contrastive loss."""

    predicted_BMQ: Tensor
    targets_BMQ: Tensor
    quantized: Quantized
    energy: Tensor
    variance: Tensor
    """Of the features over the masked frames, mean over channels: 0 where they are constant."""


class Wav2Vec2Pretraining(nn.Module):
    """The trunk with the shared quantizer and the two projections of the contrastive loss."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.trunk = Wav2Vec2(config)
        self.target_dropout = nn.Dropout(config.target_dropout)
        self.quantizer = ProductQuantizer(self.trunk.encoder.width, config.quantizer)
        self.project_targets = nn.Linear(config.quantizer.width, config.quantizer.width)
        self.project_context = nn.Linear(self.trunk.width, config.quantizer.width)

    def forward(
        self,
        wave_BS: Tensor,
        mask_BT: Tensor,
        temperature: float | None,
        keep_L: Sequence[bool] | None = None,
        lengths_B: Tensor | None = None,
    ) -> Predictions:
        """`mask_BT` hides equally many frames in every row; `temperature` None is evaluation."""
        trunk = self.trunk(wave_BS, lengths_B, mask_BT, keep_L=keep_L)
        rows = len(wave_BS)
        # (B, T, ...) -> (B, M, ...): equal counts per row make this a plain reshape.
        masked_BMC = self.target_dropout(trunk.features_BTC)[mask_BT].unflatten(0, (rows, -1))
        quantized = self.quantizer(masked_BMC, temperature)
        context_BMD = trunk.context_BTD[mask_BT].unflatten(0, (rows, -1))
        return Predictions(
            predicted_BMQ=self.project_context(context_BMD),
            targets_BMQ=self.project_targets(quantized.vectors_BMQ),
            quantized=quantized,
            energy=trunk.energy,
            variance=trunk.features_BTC.detach()[mask_BT].float().var(0, correction=0).mean(),
        )


def build_encoder(
    config: ConvolutionalConfig | FilterbankConfig,
) -> ConvolutionalEncoder | FilterbankEncoder:
    match config:
        case FilterbankConfig():
            return FilterbankEncoder(config)
        case ConvolutionalConfig():
            return ConvolutionalEncoder(config)
