"""The encoder that every objective trains: a feature extractor and a context network (wav2vec 2.0,
Baevski et al. 2020, section 2).

    waveform --feature extractor, norm--> features --projection, mask--> context network --> context

`extract` and `contextualize` are its two halves. Objectives that change what lies between them, or
need only one of them, call them one by one.

    B utterances · S samples · T frames · C feature channels · D = embed_dim · L layers
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from speechx.config import config, require_fraction, require_positive
from speechx.models.context.causal_convolutions import (
    CausalConvolutions,
    CausalConvolutionsConfig,
)
from speechx.models.context.conformer import Conformer, ConformerConfig
from speechx.models.context.layers import AfterLayer
from speechx.models.context.lstm import LSTM, LSTMConfig
from speechx.models.context.transformer import Transformer, TransformerConfig
from speechx.models.features.convolutional import ConvolutionalConfig, ConvolutionalExtractor
from speechx.models.features.cpc import CPCFeatures, CPCFeaturesConfig
from speechx.models.features.filterbank import FilterbankConfig, FilterbankExtractor
from speechx.models.features.wav2vec import Wav2VecFeatures, Wav2VecFeaturesConfig
from speechx.models.lengths import frame_mask

FeaturesConfig: TypeAlias = (
    ConvolutionalConfig | FilterbankConfig | CPCFeaturesConfig | Wav2VecFeaturesConfig
)
ContextConfig: TypeAlias = (
    TransformerConfig | ConformerConfig | LSTMConfig | CausalConvolutionsConfig
)
EXTRACTORS: Mapping[str, Callable[[Any], nn.Module]] = {
    "convolutional": ConvolutionalExtractor,
    "filterbank": FilterbankExtractor,
    "cpc": CPCFeatures,
    "wav2vec": Wav2VecFeatures,
}
CONTEXTS: Mapping[str, Callable[[Any], nn.Module]] = {
    "transformer": Transformer,
    "conformer": Conformer,
    "lstm": LSTM,
    "causal_convolutions": CausalConvolutions,
}


@config
class EncoderConfig:
    features: FeaturesConfig = ConvolutionalConfig()
    context: ContextConfig = TransformerConfig()
    project_features: bool = True
    """A layer norm and a linear map between the two, as in wav2vec 2.0. CPC and wav2vec (2019) have
    neither: the context network then gets the features as they are."""
    normalize: bool = False
    """Bring each recording to mean 0 and variance 1 before it enters (large, XLSR, XLS-R: true)."""
    normalize_epsilon: float = 1e-5
    """Added to the variance for that: 1e-5 in fairseq, 1e-7 in transformers."""
    input_dropout: float = 0.1

    def __post_init__(self) -> None:
        require_fraction(self, "input_dropout")
        require_positive(self, "normalize_epsilon")
        if not self.project_features and self.features.dim != self.context.embed_dim:
            raise ValueError(
                f"without project_features, context.embed_dim ({self.context.embed_dim}) must be "
                f"the channels of the last layer of features ({self.features.dim})"
            )


def with_adapters(encoder: EncoderConfig, dim: int | None) -> EncoderConfig:
    """The same encoder with adapters of this width behind its layers; None: without any."""
    return replace(encoder, context=replace(encoder.context, adapter_dim=dim))


@dataclass(frozen=True, slots=True)
class Features:
    """What the feature extractor makes of a batch."""

    features_BTC: Tensor
    """Layer-normed (without `project_features`: as they are), before masking: the input of a
    quantizer."""
    frames_B: Tensor | None
    """Real frames per row; None if there is no padding."""
    raw_BTC: Tensor
    """Before the layer norm: the input of the feature penalty."""


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """What the encoder computes from a batch."""

    context_BTD: Tensor
    frames_B: Tensor | None
    features: Features
    hidden: tuple[Tensor, ...]
    """The input of the first context layer and the output of every layer, each (B, T, D)."""


class Encoder(nn.Module):
    """Waveforms (B, S) in, context vectors (B, T, D) out."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_dim = config.context.embed_dim
        self.feature_extractor = EXTRACTORS[config.features.kind](config.features)
        self.feature_norm: nn.Module = nn.Identity()
        self.post_extract_proj: nn.Module = nn.Identity()
        if config.project_features:
            self.feature_norm = nn.LayerNorm(config.features.dim)
            self.post_extract_proj = nn.Linear(config.features.dim, self.embed_dim)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.mask_embedding = nn.Parameter(torch.rand(self.embed_dim))
        self.context = CONTEXTS[config.context.kind](config.context)

    def forward(
        self,
        wave_BS: Tensor,
        lengths_B: Tensor | None = None,
        mask_BT: Tensor | None = None,
        channel_mask_BD: Tensor | None = None,
        layer_keep_L: Sequence[bool] | None = None,
        after_layer: AfterLayer | None = None,
    ) -> EncoderOutput:
        """`extract`, then `contextualize`."""
        features = self.extract(wave_BS, lengths_B)
        return self.contextualize(features, mask_BT, channel_mask_BD, layer_keep_L, after_layer)

    def extract(self, wave_BS: Tensor, lengths_B: Tensor | None = None) -> Features:
        """Features of `wave_BS`, 16 kHz; `lengths_B` real samples per row (None: no padding)."""
        short = self.config.features.receptive_field - wave_BS.shape[1]
        if short > 0:  # less than one frame: its frame count is 0, but the convolutions need input
            if lengths_B is None:
                lengths_B = torch.full((len(wave_BS),), wave_BS.shape[1], device=wave_BS.device)
            wave_BS = nn.functional.pad(wave_BS, (0, short))
        if lengths_B is not None:
            # Zero the padding: multiplying NaN by 0 would keep NaN.
            wave_BS = wave_BS.masked_fill(~frame_mask(lengths_B, wave_BS.shape[1]), 0)
        wave_BS = wave_BS.to(self.mask_embedding.dtype)
        raw_BTC, frames_B = self.feature_extractor(wave_BS, lengths_B)
        return Features(self.feature_norm(raw_BTC), frames_B, raw_BTC)

    def contextualize(
        self,
        features: Features,
        mask_BT: Tensor | None = None,
        channel_mask_BD: Tensor | None = None,
        layer_keep_L: Sequence[bool] | None = None,
        after_layer: AfterLayer | None = None,
    ) -> EncoderOutput:
        """Context of the features. Masked frames become one learned vector, masked channels 0, both
        before positions are added; `layer_keep_L` are the layers that LayerDrop keeps.
        `after_layer` may change the output of a layer."""
        x_BTD = self.input_dropout(self.post_extract_proj(features.features_BTC))
        mask_embedding = self.mask_embedding.to(x_BTD.dtype)
        if mask_BT is not None:
            x_BTD = torch.where(mask_BT[:, :, None], mask_embedding, x_BTD)
        elif self.training:
            # Adds zero so that the parameter gets a gradient; DDP waits for one from every
            # parameter.
            x_BTD = x_BTD + 0 * mask_embedding
        if channel_mask_BD is not None:
            x_BTD = x_BTD.masked_fill(channel_mask_BD[:, None], 0)
        given = (x_BTD, features.frames_B, layer_keep_L, after_layer)
        context_BTD, hidden = self.context(*given)
        return EncoderOutput(context_BTD, features.frames_B, features, hidden)


def mean_square(x_BTC: Tensor, frames_B: Tensor | None) -> Tensor:
    """Mean over channels of the squares, summed over the real frames, in float32."""
    square_BT = x_BTC.float().square().mean(2)
    if frames_B is not None:
        square_BT = square_BT * frame_mask(frames_B, square_BT.shape[1])
    return square_BT.sum()
