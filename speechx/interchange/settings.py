"""The settings of a model in another toolkit's words, checked against its tensors.

Each format has `SettingNames`: a table from its settings to ours (dotted, as in a YAML file), and
the values that are spelt differently. The sizes that tensors show are measured and compared with
the settings in the file, so that a configuration of another model is an error here and not noise
later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechx.config import flat, merge, parse, to_dict
from speechx.errors import UserError
from speechx.interchange.names import CODEBOOK, POSITION, PROJECTION, QUANTIZER
from speechx.interchange.vocabulary_rows import VocabularyRows, from_rows
from speechx.models.encoder import EncoderConfig
from speechx.models.features.convolutional import seven_convolutions
from speechx.models.folder import SavedModel
from speechx.models.presets import Preset, base, large
from speechx.objectives.wav2vec2 import Wav2Vec2Config

Settings = dict[str, Any]
"""Ours, with dotted names: `encoder.*` and, of the quantizer and its loss, `objective.*`."""

LAYERS, NORMALIZE = "encoder.features.layers", "encoder.normalize"
HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16, 2048: 16}
"""Attention heads of the published widths, which no tensor shows."""


@dataclass(frozen=True, slots=True)
class SettingNames:
    names: Mapping[str, str]
    """Their setting -> ours."""
    values: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    """Our setting -> their value -> ours; other settings have the same values on both sides."""

    def ours(self, theirs: Mapping[str, Any], source: str) -> Settings:
        """Our names and values of `theirs`; an unset one (None) counts as not given."""
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
            settings[name] = conv_layers(value, source) if name == LAYERS else value
        return settings

    def theirs(self, saved: SavedModel) -> dict[str, Any]:
        """The settings of a model in their words, with settings of a quantizer if it has one; rows
        of (channels, kernel, stride) for the convolutions."""
        settings, result = settings_of(saved), {}
        settings[LAYERS] = [list(layer.values()) for layer in settings[LAYERS]]
        for their_name, name in self.names.items():
            if name in settings:
                back = {ours: theirs for theirs, ours in self.values.get(name, {}).items()}
                result[their_name] = back[settings[name]] if back else settings[name]
        return result


def settings_of(saved: SavedModel) -> Settings:
    """All settings of the encoder, and of the quantizer and its loss if the model has one."""
    settings = {"encoder": to_dict(saved.encoder)}
    if (name := saved.of_kind("wav2vec2")) is not None:
        config = parse(Wav2Vec2Config, saved.objectives[name], str(saved.folder))
        settings["objective"] = to_dict(config)
    return flat(settings)


def require(theirs: Mapping[str, Any], only: Mapping[str, Any], source: str) -> None:
    """Refuses a setting that speechx does not support."""
    for name, value in only.items():
        if theirs.get(name, value) != value:
            raise UserError(f"{source}: {name} is {theirs[name]!r}; speechx has {value!r} only")


def conv_layers(layers: Any, source: str) -> list[dict[str, int]]:
    """Rows of (channels, kernel, stride) as settings of the convolutions."""
    try:
        return [{"channels": int(c), "kernel": int(k), "stride": int(s)} for c, k, s in layers]
    except (TypeError, ValueError):
        raise UserError(
            f"{source}: the convolutions are {layers!r}; expected rows of channels, kernel, stride"
        ) from None


def check_writable(encoder: EncoderConfig, format: str) -> None:
    """Refuses feature extractors and context networks that other formats do not hold."""
    features, context = encoder.features, encoder.context
    if (features.kind, context.kind) != ("convolutional", "transformer"):
        raise UserError(
            f"a model with {features.kind} features and a {context.kind} cannot be written as "
            f"{format}: expected encoder.features.kind convolutional and encoder.context.kind "
            "transformer"
        )
    if not encoder.project_features:
        raise UserError(
            f"a model without encoder.project_features cannot be written as {format}, which has a "
            "layer norm and a linear map there"
        )


def measure(weights: Mapping[str, Tensor], source: str) -> Settings:
    """What the shapes of our tensors show: all sizes but the strides and the number of heads."""
    found: Settings = {}
    convs: list[dict[str, int]] = []
    extractor, context = "encoder.feature_extractor.layers", "encoder.context.layers"
    while (conv := weights.get(f"{extractor}.{len(convs)}.conv.weight")) is not None:
        convs.append({"channels": conv.shape[0], "kernel": conv.shape[2]})
    found[LAYERS] = convs
    found["encoder.features.bias"] = f"{extractor}.0.conv.bias" in weights
    if len(convs) > 1:
        layer = f"{extractor}.1.norm.weight" in weights
        found["encoder.features.norm"] = "layer" if layer else "group"
    position = weights.get(f"{POSITION}.weight_v")
    if position is not None and position.ndim == 3:
        found["encoder.context.embed_dim"] = position.shape[0]
        found["encoder.context.position_groups"] = position.shape[0] // max(position.shape[1], 1)
        found["encoder.context.position_kernel"] = position.shape[2]
    layers = {n.split(".")[3] for n in weights if n.startswith(f"{context}.")}
    found["encoder.context.num_layers"] = len(layers)
    up = weights.get(f"{context}.0.up.weight")
    if up is not None:
        found["encoder.context.ffn_dim"] = up.shape[0]
    book = weights.get(CODEBOOK)
    if book is not None and book.ndim == 3:
        groups, entries, width = book.shape
        dim = groups * width
        sizes = {"num_groups": groups, "num_entries": entries, "dim": dim}
        found |= {f"objective.quantizer.{name}": size for name, size in sizes.items()}
        for name in ("project_q", "project_hid"):
            projection = weights.get(f"{QUANTIZER}{name}.weight")
            if projection is not None and projection.shape[0] != dim:
                raise UserError(
                    f"{source}: quantized vectors of width {dim} are compared in "
                    f"{projection.shape[0]} dimensions; speechx compares them in their own"
                )
    return found


def configure(
    given: Settings, measured: Settings, words: SettingNames, source: str
) -> tuple[EncoderConfig, dict[str, Any], tuple[str, ...]]:
    """The settings of the encoder and of the contrastive objective, and notes on assumptions: what
    the file gives, completed by what its tensors show.

    A setting that contradicts the tensors is an error. Settings that neither gives take published
    values: strides of the stack, normalisation and objective of the model with this norm, the rest
    from `base`.
    """
    notes: tuple[str, ...] = ()
    if LAYERS not in given:
        given = {**given, LAYERS: strides_of(measured[LAYERS], source)}
    name, published = _published({**measured, **given})
    if given.get(NORMALIZE) is None:
        given = {**given, NORMALIZE: published.encoder.normalize}
        notes = (f"assumed {NORMALIZE}: {str(given[NORMALIZE]).lower()}, as in {name}",)
    for name, value in measured.items():
        stated: Any = given.get(name, value)
        if name == LAYERS:
            stated = [{k: layer[k] for k in ("channels", "kernel")} for layer in stated]
        if stated != value:
            theirs = next((their for their, our in words.names.items() if our == name), name)
            raise UserError(
                f"{source}: {theirs} is {_short(stated)}, but the tensors have "
                f"{_short(value)}: these settings are of another model"
            )
    kinds = {"encoder.features.kind": "convolutional", "encoder.context.kind": "transformer"}
    nested = _nest({**kinds, **measured, **given})
    usual = dict(published.objectives.get("wav2vec2", {}))
    objective = {"kind": "wav2vec2", **merge(usual, nested.get("objective", {}))}
    return parse(EncoderConfig, nested["encoder"], source), objective, notes


def build(
    folder: Path,
    source: str,
    given: Settings,
    measured: Settings,
    words: SettingNames,
    weights: dict[str, Tensor],
    head: tuple[VocabularyRows, str] | None,
    languages: Any,
    notes: Sequence[str] = (),
) -> SavedModel:
    """What a reader found: a CTC model (`head`: its rows and where they were described), a
    pretrained model, or an encoder alone."""
    encoder, objective, assumed = configure(given, measured, words, source)
    objectives: dict[str, dict[str, Any]] = {}
    vocabularies, notes = {}, (*notes, *assumed)
    if head is not None:
        vocabulary, weights, more = from_rows(weights, *head)
        objectives["ctc"] = {"kind": "ctc", "tokens": vocabulary.token_type}
        vocabularies, notes = {"ctc": vocabulary}, (*notes, *more)
    elif any(name.startswith(QUANTIZER) for name in weights):
        objectives["wav2vec2"] = to_dict(parse(Wav2Vec2Config, objective, str(folder)))
    absent = {} if "wav2vec2" in objectives else {"wav2vec2": objective}
    return SavedModel(
        folder, encoder, weights, objectives, vocabularies, absent, tuple(languages or ()), notes
    )


def assumed_dropouts(measured: Settings) -> tuple[Settings, str]:
    """The settings of the published model with this norm that no tensor shows, and a note about
    them."""
    name, preset = _published(measured)
    settings = flat({"encoder": to_dict(preset.encoder)})
    shown = ("dropout", "layer_drop", "gradient_scale")
    kept = {n: v for n, v in settings.items() if n.endswith(shown)}
    return kept, f"dropouts of {name}"


def _published(settings: Settings) -> tuple[str, Preset]:
    """The name and the settings of the published models with this norm."""
    layer = settings.get("encoder.features.norm") == "layer"
    return ("large", large()) if layer else ("base", base())


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
    published = seven_convolutions()
    kernels = [layer["kernel"] for layer in layers]
    if kernels != [layer.kernel for layer in published]:
        raise UserError(
            f"{source}: the tensors do not show the strides of the convolutions, and the kernels "
            f"{kernels} are not the ones of wav2vec 2.0: give them in a file beside"
        )
    return [{**own, "stride": p.stride} for own, p in zip(layers, published, strict=True)]


def identity_added(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """fairseq and fairseq2 have no projection where the widths agree; ours is then the identity."""
    norm, position = weights.get("encoder.feature_norm.weight"), weights.get(f"{POSITION}.bias")
    if f"{PROJECTION}.weight" in weights or norm is None or position is None:
        return weights
    if len(norm) != len(position):
        return weights
    identity, zero = torch.eye(len(norm)), torch.zeros(len(norm))
    return {**weights, f"{PROJECTION}.weight": identity, f"{PROJECTION}.bias": zero}


def identity_removed(weights: dict[str, Tensor], format: str) -> dict[str, Tensor]:
    """Leaves out the projection, which must still be the identity."""
    matrix, bias = weights[f"{PROJECTION}.weight"], weights[f"{PROJECTION}.bias"]
    if matrix.shape[0] != matrix.shape[1]:
        return weights
    if not torch.equal(matrix, torch.eye(len(matrix))) or bias.any():
        raise UserError(
            f"{format} has no projection of features where both widths are {len(matrix)}, but this "
            "model has learned one: it cannot be written in this format"
        )
    return {n: t for n, t in weights.items() if not n.startswith(f"{PROJECTION}.")}


def _nest(settings: Settings) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{layer['channels']}x{layer['kernel']}" for layer in value)
    return str(value)
