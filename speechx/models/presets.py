"""Model sizes. Each is a diff of the one before: a reader sees what changes between papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from speechx.config import merge, to_dict
from speechx.errors import UserError
from speechx.models.filterbank import FilterbankConfig
from speechx.models.quantizer import QuantizerConfig
from speechx.models.transformer import TransformerConfig
from speechx.models.wav2vec2 import Wav2Vec2Config
from speechx.models.waveform import ConvolutionalConfig


def base() -> Wav2Vec2Config:
    """wav2vec 2.0 Base (12 blocks, 768 wide): group norm, post-norm, raw waveform as it is."""
    return Wav2Vec2Config()


def large() -> Wav2Vec2Config:
    """wav2vec 2.0 Large, LV-60 (24 blocks, 1024 wide): layer norm, pre-norm, normalised input."""
    return Wav2Vec2Config(
        encoder=ConvolutionalConfig(norm="layer", bias=True, gradient_scale=1.0),
        transformer=TransformerConfig(
            blocks=24, width=1024, inner=4096, heads=16, norm="pre", layer_drop=0.0,
            dropout=0.0, attention_dropout=0.0,
        ),
        quantizer=QuantizerConfig(width=768),
        normalize=True,
        input_dropout=0.0,
        target_dropout=0.0,
    )  # fmt: skip


def xlsr_300m() -> Wav2Vec2Config:
    """XLSR-53 and XLS-R 0.3B: `large` with dropout."""
    config = large()
    return replace(
        config,
        transformer=replace(config.transformer, dropout=0.1, attention_dropout=0.1),
        input_dropout=0.1,
        target_dropout=0.1,
    )


def xls_r_1b() -> Wav2Vec2Config:
    """XLS-R 1B: twice the blocks of `xlsr_300m`, 1280 wide, a wider codebook."""
    config = xlsr_300m()
    return replace(
        config,
        transformer=replace(config.transformer, blocks=48, width=1280, inner=5120),
        quantizer=replace(config.quantizer, width=1024),
    )


def xls_r_2b() -> Wav2Vec2Config:
    """XLS-R 2B: `xls_r_1b`, 1920 wide."""
    config = xls_r_1b()
    return replace(config, transformer=replace(config.transformer, width=1920, inner=7680))


def tiny() -> Wav2Vec2Config:
    """Trains on two CPU cores: filterbank front end, 4 blocks, 192 wide, 2 million parameters."""
    return Wav2Vec2Config(
        encoder=FilterbankConfig(),
        transformer=TransformerConfig(
            blocks=4, width=192, inner=768, heads=4, norm="pre", layer_drop=0.0,
            position_kernel=31, position_groups=16, dropout=0.05, attention_dropout=0.0,
        ),
        quantizer=QuantizerConfig(entries=64, width=64),
        normalize=True,
        input_dropout=0.0,
        target_dropout=0.0,
    )  # fmt: skip


PRESETS: Mapping[str, Callable[[], Wav2Vec2Config]] = {
    "tiny": tiny, "base": base, "large": large, "xlsr_300m": xlsr_300m,
    "xls_r_1b": xls_r_1b, "xls_r_2b": xls_r_2b,
}  # fmt: skip


def expand(model: Any) -> Any:
    """The `model:` of a YAML file with its preset written out: `model: tiny`, or a mapping with
    `preset: tiny` and what differs from it. Without a preset it starts from `base`."""
    if isinstance(model, str):
        model = {"preset": model}
    if not isinstance(model, dict):
        return model
    name = model.get("preset", "base")
    if not isinstance(name, str) or name not in PRESETS:
        raise UserError(f"model.preset is {name!r}; expected one of {', '.join(PRESETS)}")
    changes = {key: value for key, value in model.items() if key != "preset"}
    return merge(to_dict(PRESETS[name]()), changes)


def continued(model: Any, saved: Wav2Vec2Config) -> tuple[dict[str, Any], str]:
    """The model of `init` with the changes of `model:`; its preset does not count there, and the
    second value says so where it names another model."""
    named = (
        {"preset": model} if isinstance(model, str) else model if isinstance(model, dict) else {}
    )
    changes = {key: value for key, value in named.items() if key != "preset"}
    note = ""
    if "preset" in named and expand(named["preset"]) != to_dict(saved):
        note = f"the model is that of init, which is not exactly the preset {named['preset']!r}"
    return merge(to_dict(saved), changes), note
