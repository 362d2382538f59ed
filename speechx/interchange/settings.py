"""The settings of a model in another toolkit's words, and what its tensors say about them.

Each format has `Words`: a table from its settings to ours (dotted, as in a YAML file), and the
values that are spelt differently. What a tensor's shape shows is measured and compared with what
the file says, so that a configuration of another model is found here and not as noise later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from speechx.config import flat, merge, parse, to_dict
from speechx.errors import UserError
from speechx.interchange.names import POSITION
from speechx.models.presets import base, large
from speechx.models.wav2vec2 import Wav2Vec2Config
from speechx.models.waveform import Convolution, ConvolutionalConfig

Settings = dict[str, Any]
"""Ours, with dotted names."""

HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16, 2048: 16}
"""Attention heads of the published widths, which no tensor shows."""


@dataclass(frozen=True, slots=True)
class Words:
    names: Mapping[str, str]
    """Their setting -> ours."""
    values: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    """Our setting -> their value -> ours; other settings have the same values on both sides."""

    def ours(self, theirs: Mapping[str, Any], source: str) -> Settings:
        """Those of `theirs` that we have; an unset one (None) counts as not given."""
        settings: Settings = {}
        for their_name, name in self.names.items():
            value = theirs.get(their_name)
            if value is None:
                continue
            if name in self.values:
                known = self.values[name]
                if isinstance(value, (list, dict)) or value not in known:
                    raise UserError(
                        f"{source}: {their_name} is {value!r}, which speechx does not have; "
                        f"expected one of {', '.join(map(repr, known))}"
                    )
                value = known[value]
            settings[name] = value
        return settings

    def theirs(self, config: Wav2Vec2Config) -> dict[str, Any]:
        settings, result = flat(to_dict(config)), {}
        for their_name, name in self.names.items():
            value = settings[name]
            back = {ours: theirs for theirs, ours in self.values.get(name, {}).items()}
            result[their_name] = back[value] if back else value
        return result

    def name_of(self, ours: str) -> str:
        return next((theirs for theirs, name in self.names.items() if name == ours), ours)


def require(theirs: Mapping[str, Any], only: Mapping[str, Any], source: str) -> None:
    """What speechx has in one way only must be that way, or not be said."""
    for name, value in only.items():
        if theirs.get(name, value) != value:
            raise UserError(f"{source}: {name} is {theirs[name]!r}; speechx has {value!r} only")


def stack(layers: Any, source: str) -> list[dict[str, int]]:
    """Rows of (channels, kernel, stride) as settings of the convolutions."""
    try:
        return [{"channels": int(c), "kernel": int(k), "stride": int(s)} for c, k, s in layers]
    except (TypeError, ValueError):
        raise UserError(
            f"{source}: the convolutions are {layers!r}; expected rows of channels, kernel, stride"
        ) from None


def rows(layers: Sequence[Convolution]) -> list[list[int]]:
    """The way back."""
    return [[layer.channels, layer.kernel, layer.stride] for layer in layers]


def convolutions(config: Wav2Vec2Config, format: str) -> tuple[Convolution, ...]:
    """The stack of the waveform encoder, which all other formats have."""
    if not isinstance(config.encoder, ConvolutionalConfig):
        raise UserError(
            f"this model hears through a {config.encoder.kind} encoder, which {format} does not "
            "have: only models on the raw waveform can be written in this format"
        )
    return config.encoder.layers


def measure(weights: Mapping[str, Tensor], source: str) -> Settings:
    """What the shapes of our tensors show: all sizes but the strides and the number of heads."""
    found: Settings = {}
    convs: list[dict[str, int]] = []
    while (conv := weights.get(f"trunk.encoder.blocks.{len(convs)}.conv.weight")) is not None:
        convs.append({"channels": conv.shape[0], "kernel": conv.shape[2]})
    found["encoder.layers"] = convs
    found["encoder.bias"] = "trunk.encoder.blocks.0.conv.bias" in weights
    if len(convs) > 1:
        layer = "trunk.encoder.blocks.1.norm.weight" in weights
        found["encoder.norm"] = "layer" if layer else "group"
    position = weights.get(f"{POSITION}.direction")
    if position is not None and position.ndim == 3:
        found["transformer.width"] = position.shape[0]
        found["transformer.position_groups"] = position.shape[0] // max(position.shape[1], 1)
        found["transformer.position_kernel"] = position.shape[2]
    blocks = {n.split(".")[3] for n in weights if n.startswith("trunk.transformer.blocks.")}
    found["transformer.blocks"] = len(blocks)
    up = weights.get("trunk.transformer.blocks.0.up.weight")
    if up is not None:
        found["transformer.inner"] = up.shape[0]
    book = weights.get("quantizer.codebook_GVQ")
    if book is not None and book.ndim == 3:
        found["quantizer.groups"], found["quantizer.entries"] = book.shape[0], book.shape[1]
        found["quantizer.width"] = book.shape[0] * book.shape[2]
        for name in ("project_targets", "project_context"):
            projection = weights.get(f"{name}.weight")
            if projection is not None and projection.shape[0] != found["quantizer.width"]:
                raise UserError(
                    f"{source}: quantized vectors of width {found['quantizer.width']} are compared "
                    f"in {projection.shape[0]} dimensions; speechx compares them in their own"
                )
    return found


def configure(given: Settings, measured: Settings, words: Words, source: str) -> Wav2Vec2Config:
    """The configuration that the file gives, completed by what its tensors show.

    A setting that contradicts the tensors is an error. What neither knows is that of `base`.
    """
    for name, value in measured.items():
        said: Any = given.get(name, value)
        if name == "encoder.layers":
            said = [{k: layer[k] for k in ("channels", "kernel")} for layer in said]
        if said != value:
            raise UserError(
                f"{source}: {words.name_of(name)} is {_short(said)}, but the tensors have "
                f"{_short(value)}: these settings are of another model"
            )
    return parse(Wav2Vec2Config, _nest({**measured, **given}), source)


def assumed_normalize(settings: Settings) -> tuple[bool, str]:
    """Whether recordings are normalised, where the file does not say, and a note about it: as the
    published models do, with layer norm in the encoder yes, with group norm no."""
    answer = settings.get("encoder.norm") == "layer"
    return answer, f"assumed normalize: {str(answer).lower()}, as of this kind of encoder"


def assumed_dropouts(measured: Settings) -> tuple[Settings, str]:
    """The settings of the published model with this kind of encoder that no tensor shows, and a
    note about them."""
    name, preset = ("large", large()) if measured.get("encoder.norm") == "layer" else (
        "base", base())  # fmt: skip
    settings = flat(to_dict(preset))
    kept = ("dropout", "layer_drop", "gradient_scale")
    return {n: v for n, v in settings.items() if n.endswith(kept)}, f"dropouts those of {name}"


def heads_of(width: int, source: str) -> int:
    """The number of attention heads of a published width."""
    if width not in HEADS:
        raise UserError(
            f"{source}: the tensors do not show the number of attention heads, and {width} is none "
            f"of the published widths ({', '.join(map(str, HEADS))}): give it in a file beside"
        )
    return HEADS[width]


def strides_of(layers: list[dict[str, int]], source: str) -> list[dict[str, int]]:
    """The convolutions with the strides of the published stack, if they have its kernels."""
    kernels = [layer["kernel"] for layer in layers]
    if kernels != [10, 3, 3, 3, 3, 2, 2]:
        raise UserError(
            f"{source}: the tensors do not show the strides of the convolutions, and the kernels "
            f"{kernels} are not those of wav2vec 2.0: give them in a file beside"
        )
    return [
        {**layer, "stride": stride}
        for layer, stride in zip(layers, (5, 2, 2, 2, 2, 2, 2), strict=True)
    ]


def identity_added(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """fairseq and fairseq2 have no projection where the widths agree; ours is then the identity."""
    norm, position = weights.get("trunk.feature_norm.weight"), weights.get(f"{POSITION}.bias")
    if "trunk.project.weight" in weights or norm is None or position is None:
        return weights
    if len(norm) != len(position):
        return weights
    return {
        **weights,
        "trunk.project.weight": torch.eye(len(norm)),
        "trunk.project.bias": torch.zeros(len(norm)),
    }


def identity_removed(weights: dict[str, Tensor], format: str) -> dict[str, Tensor]:
    """The way back, for which the projection must still be the identity."""
    matrix, bias = weights["trunk.project.weight"], weights["trunk.project.bias"]
    if matrix.shape[0] != matrix.shape[1]:
        return weights
    if not torch.equal(matrix, torch.eye(len(matrix))) or bias.any():
        raise UserError(
            f"{format} has no projection of features where both widths are {len(matrix)}, but this "
            "model has learned one: it cannot be written in this format"
        )
    return {n: t for n, t in weights.items() if not n.startswith("trunk.project.")}


def _nest(settings: Settings) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        nested = merge(nested, value)
    nested.setdefault("encoder", {})["kind"] = "convolutional"
    return nested


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{layer['channels']}x{layer['kernel']}" for layer in value)
    return str(value)
