"""State dicts of torchaudio's `wav2vec2_model`: the trunk, and a head (`aux`) for CTC.

torchaudio has no file for settings, so one is written beside the `.pt`: `model.yaml`, where `model`
holds the arguments of `torchaudio.models.wav2vec2_model`,

    wav2vec2_model(**yaml.safe_load(open("model.yaml"))["model"]).load_state_dict(...)

and `labels`, `normalize_waveform` what its bundles carry. A file without one, such as those that
torchaudio downloads, is read with the sizes of its tensors and assumptions that hold for all
published models: the strides of the stack, heads by width, pre-norm with layer norm in the encoder.
A head needs its `labels`.

There is no mask vector and no quantizer: they are left out, or must be allowed to start fresh.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from speechx.config import read_yaml
from speechx.errors import UserError
from speechx.interchange import names, settings, units
from speechx.interchange.pickles import checkpoint_file, read_pickle
from speechx.training.checkpoint import SavedModel

WORDS = settings.Words(
    {
        "extractor_mode": "encoder.norm",
        "extractor_conv_layer_config": "encoder.layers",
        "extractor_conv_bias": "encoder.bias",
        "encoder_embed_dim": "transformer.width",
        "encoder_projection_dropout": "input_dropout",
        "encoder_pos_conv_kernel": "transformer.position_kernel",
        "encoder_pos_conv_groups": "transformer.position_groups",
        "encoder_num_layers": "transformer.blocks",
        "encoder_num_heads": "transformer.heads",
        "encoder_attention_dropout": "transformer.attention_dropout",
        "encoder_ff_interm_features": "transformer.inner",
        "encoder_ff_interm_dropout": "transformer.activation_dropout",
        "encoder_dropout": "transformer.dropout",
        "encoder_layer_norm_first": "transformer.norm",
        "encoder_layer_drop": "transformer.layer_drop",
    },
    {
        "encoder.norm": {"group_norm": "group", "layer_norm": "layer"},
        "transformer.norm": {False: "post", True: "pre"},
    },
)
KEPT = ("trunk.", "head.")


def read(path: Path, content: Any = None) -> SavedModel:
    """`content` of the file if it has been read already."""
    path = checkpoint_file(path)
    source = str(path)
    content = read_pickle(path) if content is None else content
    given = {name: t for name, t in content.items() if isinstance(t, Tensor)}
    weights = names.to_ours(given, names.TORCHAUDIO, source)
    measured = settings.measure(weights, source)
    beside = [f for f in (path.with_suffix(".yaml"), path.parent / "model.yaml") if f.is_file()]
    about = read_yaml(beside[0]) if beside else {}
    where = str(beside[0]) if beside else source
    said = WORDS.ours(about.get("model") or {}, where)
    notes: tuple[str, ...] = ()
    if said:
        if "encoder.layers" in said:
            said["encoder.layers"] = settings.stack(said["encoder.layers"], where)
    else:
        pre = measured.get("encoder.norm") == "layer"
        dropouts, note = settings.assumed_dropouts(measured)
        said = {
            **dropouts,
            "transformer.heads": settings.heads_of(measured.get("transformer.width", 0), source),
            "transformer.norm": "pre" if pre else "post",
        }
        notes = (
            f"no model.yaml: assumed {said['transformer.heads']} heads, {said['transformer.norm']}"
            f"-norm and the strides of the published models, {note}",
        )
    if "encoder.layers" not in said:
        said["encoder.layers"] = settings.strides_of(measured["encoder.layers"], where)
    said["normalize"] = about.get("normalize_waveform")
    if said["normalize"] is None:
        said["normalize"], note = settings.assumed_normalize(measured)
        notes += (note,)
    config = settings.configure(said, measured, WORDS, where)
    vocabulary = None
    if "head.weight" in weights:
        labels = tuple(str(label) for label in about.get("labels") or ())
        if not labels:
            raise UserError(
                f"{path} is a CTC model without its symbols: put `labels: ['-', '|', ...]`, one "
                f"for each of its {len(weights['head.weight'])} rows, into {path.stem}.yaml"
            )
        rows = units.Rows(labels, 0, kind=about.get("units"))
        vocabulary, weights, more = units.from_rows(weights, rows, where)
        notes += more
    return units.saved(path.parent, config, weights, vocabulary, about.get("languages"), notes)


def write(saved: SavedModel, folder: Path) -> tuple[str, ...]:
    """Fills the empty `folder`; returns what had no place in it."""
    layers = settings.rows(settings.convolutions(saved.config, "torchaudio"))
    weights = {n: t for n, t in saved.weights.items() if n.startswith(KEPT)}
    weights.pop("trunk.mask_vector", None)
    arguments = {
        **WORDS.theirs(saved.config),
        "extractor_conv_layer_config": layers,
        "aux_num_out": None,
    }
    about = {
        "model": arguments,
        "normalize_waveform": saved.config.normalize,
        "languages": list(saved.languages),
    }
    if saved.vocabulary is not None:
        labels, weights = units.to_rows(weights, saved.vocabulary, ("-",), "torchaudio")
        arguments["aux_num_out"] = len(labels)
        about |= {"labels": labels, "units": saved.vocabulary.kind}
    torch.save(names.to_theirs(weights, names.TORCHAUDIO), folder / "model.pt")
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    gone = [n for n in saved.weights if n not in weights]
    return (f"torchaudio has no place for {len(gone)} tensors: {', '.join(gone)}",) if gone else ()
