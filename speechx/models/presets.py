"""Model sizes, and what their papers set for the objective. Each is a diff of the one before: a
reader sees what changes between papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from speechx.config import merge, to_dict
from speechx.errors import UserError
from speechx.models.context.causal_convolutions import CausalConvolutionsConfig
from speechx.models.context.conformer import ConformerConfig
from speechx.models.context.lstm import LSTMConfig
from speechx.models.context.transformer import TransformerConfig
from speechx.models.encoder import EncoderConfig
from speechx.models.features.convolutional import Convolution, ConvolutionalConfig
from speechx.models.features.cpc import CPCFeaturesConfig, five_convolutions
from speechx.models.features.filterbank import FilterbankConfig
from speechx.models.features.wav2vec import Wav2VecFeaturesConfig, wav2vec_convolutions


@dataclass(frozen=True, slots=True)
class Preset:
    encoder: EncoderConfig
    objectives: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of an objective, by its kind, as in a YAML file."""

    def with_objective(self, kind: str, **settings: Any) -> Preset:
        """Changes of the settings of one objective."""
        changed = merge(self.objectives.get(kind, {}), settings)
        return replace(self, objectives={**self.objectives, kind: changed})

    def with_context(self, **settings: Any) -> Preset:
        """Changes of the context network."""
        context = replace(self.encoder.context, **settings)
        return replace(self, encoder=replace(self.encoder, context=context))


def base() -> Preset:
    """wav2vec 2.0 Base (12 layers, 768 wide): group norm, post-norm, raw waveform as it is."""
    return Preset(EncoderConfig())


def large() -> Preset:
    """wav2vec 2.0 Large, LV-60 (24 layers, 1024 wide): layer norm, pre-norm, normalised input."""
    encoder = EncoderConfig(
        features=ConvolutionalConfig(norm="layer", bias=True, gradient_scale=1.0),
        context=TransformerConfig(
            num_layers=24, embed_dim=1024, ffn_dim=4096, num_heads=16, norm="pre", layer_drop=0.0,
            dropout=0.0, attention_dropout=0.0,
        ),
        normalize=True,
        input_dropout=0.0,
    )  # fmt: skip
    usual = usual_settings(to_dict(encoder))["wav2vec2"]
    return Preset(encoder).with_objective(
        "wav2vec2", **usual, quantizer={"dim": 768}, target_dropout=0.0
    )


def xlsr_300m() -> Preset:
    """XLSR-53 and XLS-R 0.3B: `large` with dropout."""
    preset = large().with_context(dropout=0.1, attention_dropout=0.1)
    preset = replace(preset, encoder=replace(preset.encoder, input_dropout=0.1))
    return preset.with_objective("wav2vec2", target_dropout=0.1)


def xls_r_1b() -> Preset:
    """XLS-R 1B: twice the layers of `xlsr_300m`, 1280 wide, a wider codebook."""
    preset = xlsr_300m().with_context(num_layers=48, embed_dim=1280, ffn_dim=5120)
    return preset.with_objective("wav2vec2", quantizer={"dim": 1024})


def xls_r_2b() -> Preset:
    """XLS-R 2B: `xls_r_1b`, 1920 wide."""
    return xls_r_1b().with_context(embed_dim=1920, ffn_dim=7680)


def tiny() -> Preset:
    """Trains on two CPU cores: filterbank front end, 4 layers, 192 wide, 2 million parameters."""
    encoder = EncoderConfig(
        features=FilterbankConfig(),
        context=TransformerConfig(
            num_layers=4, embed_dim=192, ffn_dim=768, num_heads=4, norm="pre", layer_drop=0.0,
            position_kernel=31, position_groups=16, dropout=0.05, attention_dropout=0.0,
        ),
        normalize=True,
        input_dropout=0.0,
    )  # fmt: skip
    return _tiny_objectives(Preset(encoder))


def _tiny_objectives(preset: Preset) -> Preset:
    """Settings for four layers of frames of 20 ms."""
    masking = {"probability": 0.4, "span": 20}
    small = {"num_entries": 64, "dim": 64}
    preset = preset.with_objective("wav2vec2", quantizer=small, target_dropout=0.0)
    preset = preset.with_objective(
        "w2v_bert", quantizer=small, target_dropout=0.0, contrastive_layer=2
    )
    contrastive = {"quantizer": small, "target_dropout": 0.0}
    preset = preset.with_objective("unispeech", contrastive=contrastive)
    preset = preset.with_objective("best_rq", num_codes=256, masking=masking)
    return preset.with_objective("masked_autoencoding", masking=masking, decoder_dim=96)


def tiny_conformer() -> Preset:
    """`tiny` with a conformer, 144 wide: 2 million parameters."""
    encoder = replace(
        tiny().encoder,
        context=ConformerConfig(
            num_layers=4, embed_dim=144, ffn_dim=576, num_heads=4, conv_kernel=15, dropout=0.05,
            attention_dropout=0.0,
        ),
    )  # fmt: skip
    return _tiny_objectives(Preset(encoder))


def conformer_600m() -> Preset:
    """The conformer of mSLAM 0.6B (24 layers, 1024 wide), for BEST-RQ and w2v-BERT: log-mel frames,
    one frame every 40 ms."""
    subsampling = tuple(Convolution(channels=1024, kernel=3, stride=2) for _ in range(2))
    encoder = EncoderConfig(
        features=FilterbankConfig(layers=subsampling),
        context=ConformerConfig(num_layers=24, embed_dim=1024, ffn_dim=4096, num_heads=8),
        input_dropout=0.1,
    )
    return Preset(encoder).with_objective("w2v_bert", contrastive_layer=8)


def cpc() -> Preset:
    """Modified CPC (Riviere et al. 2020): five convolutions and an LSTM, 256 wide."""
    encoder = EncoderConfig(
        features=CPCFeaturesConfig(), context=LSTMConfig(), project_features=False,
        input_dropout=0.0,
    )  # fmt: skip
    return Preset(encoder)


def tiny_cpc() -> Preset:
    """`cpc`, 64 wide, with predictors to match: half a million parameters."""
    encoder = replace(
        cpc().encoder,
        features=CPCFeaturesConfig(layers=five_convolutions(64)),
        context=LSTMConfig(embed_dim=64),
        normalize=True,
    )
    return Preset(encoder).with_objective("cpc", num_heads=4, ffn_dim=128, dropout=0.0)


def wav2vec() -> Preset:
    """wav2vec large (Schneider et al. 2019): seven convolutions, twelve causal ones, 512 wide."""
    encoder = EncoderConfig(
        features=Wav2VecFeaturesConfig(), context=CausalConvolutionsConfig(),
        project_features=False, input_dropout=0.0,
    )  # fmt: skip
    return Preset(encoder)


def tiny_wav2vec() -> Preset:
    """`wav2vec`, 64 wide, with six causal convolutions: 0.3 million parameters."""
    encoder = replace(
        wav2vec().encoder,
        features=Wav2VecFeaturesConfig(layers=wav2vec_convolutions(64)),
        context=CausalConvolutionsConfig(kernels=tuple(range(2, 8)), embed_dim=64),
        normalize=True,
    )
    return Preset(encoder)


PRESETS: Mapping[str, Callable[[], Preset]] = {
    preset.__name__: preset
    for preset in (
        tiny,
        base,
        large,
        xlsr_300m,
        xls_r_1b,
        xls_r_2b,
        tiny_conformer,
        conformer_600m,
        tiny_cpc,
        cpc,
        tiny_wav2vec,
        wav2vec,
    )
}


def usual_settings(encoder: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of objectives in published models with this encoder (plain data), by kind: LV-60,
    XLSR and XLS-R, which have layer norms in the extractor, differ from Base."""
    features = encoder.get("features")
    if not isinstance(features, dict) or features.get("norm") != "layer":
        return {}
    return {"wav2vec2": {"features_penalty": 0.0, "gumbel_temperature": {"floor": 0.1}}}


def preset(name: Any) -> Preset:
    """The preset of that name."""
    if not isinstance(name, str) or name not in PRESETS:
        raise UserError(f"preset is {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()
