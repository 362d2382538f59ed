"""State dicts of torchaudio's `wav2vec2_model`: the encoder, and a head (`aux`) for CTC.

torchaudio has no file for settings, so one is written beside the `.pt`: `model.yaml`, where `model`
holds the arguments of `torchaudio.models.wav2vec2_model`,

    wav2vec2_model(**yaml.safe_load(open("model.yaml"))["model"]).load_state_dict(...)

and `labels` and `normalize_waveform` are what its bundles carry. A file without one, such as a file
that torchaudio downloads, is read with the sizes of its tensors and assumptions that hold for all
published models: the strides of the stack, heads by width, pre-norm with layer norm in the feature
extractor. A head needs its `labels`.

There is no mask embedding and no quantizer: they are left out, or must be allowed to start fresh.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE
from speechx.config import dump, read_yaml
from speechx.errors import UserError
from speechx.interchange import names, settings
from speechx.interchange.vocabulary_rows import VocabularyRows, to_rows
from speechx.models.folder import SavedModel

WORDS = settings.SettingNames(
    {
        "extractor_mode": "encoder.features.norm",
        "extractor_conv_layer_config": "encoder.features.layers",
        "extractor_conv_bias": "encoder.features.bias",
        "encoder_embed_dim": "encoder.context.embed_dim",
        "encoder_projection_dropout": "encoder.input_dropout",
        "encoder_pos_conv_kernel": "encoder.context.position_kernel",
        "encoder_pos_conv_groups": "encoder.context.position_groups",
        "encoder_num_layers": "encoder.context.num_layers",
        "encoder_num_heads": "encoder.context.num_heads",
        "encoder_attention_dropout": "encoder.context.attention_dropout",
        "encoder_ff_interm_features": "encoder.context.ffn_dim",
        "encoder_ff_interm_dropout": "encoder.context.activation_dropout",
        "encoder_dropout": "encoder.context.dropout",
        "encoder_layer_norm_first": "encoder.context.norm",
        "encoder_layer_drop": "encoder.context.layer_drop",
    },
    {
        "encoder.features.norm": {"group_norm": "group", "layer_norm": "layer"},
        "encoder.context.norm": {False: "post", True: "pre"},
    },
)


def read(path: Path, content: Any) -> SavedModel:
    """The model in a file that holds `content`."""
    source = str(path)
    given = {name: t for name, t in content.items() if isinstance(t, Tensor)}
    weights = names.to_ours(given, names.TORCHAUDIO, source)
    measured = settings.measure(weights, source)
    about, where = find_about(path)
    settings.require(about, {"sample_rate": SAMPLE_RATE}, where)
    stated = WORDS.ours(about.get("model") or {}, where)
    notes: tuple[str, ...] = ()
    if not stated:
        heads = settings.heads_of(measured.get("encoder.context.embed_dim", 0), source)
        norm = "pre" if measured.get("encoder.features.norm") == "layer" else "post"
        stated, note = settings.assumed_dropouts(measured)
        stated |= {"encoder.context.num_heads": heads, "encoder.context.norm": norm}
        notes = (
            f"no model.yaml: assumed {heads} heads, {norm}-norm and the strides of the published "
            f"models, {note}",
        )
    stated["encoder.normalize"] = about.get("normalize_waveform")
    rows, languages = None, about.get("languages")
    if f"{names.HEAD}.weight" in weights:
        labels = tuple(str(label) for label in about.get("labels") or ())
        if not labels:
            raise UserError(
                f"{path} is a CTC model without its symbols: put `labels: ['-', '|', ...]`, one "
                f"for each of its {len(weights[names.HEAD + '.weight'])} rows, into "
                f"{path.stem}.yaml"
            )
        rows = VocabularyRows(labels, 0, token_type=about.get("token_type")), where
    return settings.build(
        path.parent, where, stated, measured, WORDS, weights, rows, languages, notes
    )


def find_about(path: Path) -> tuple[dict[str, Any], str]:
    """The settings beside a `.pt`, and their place; where there are none, nothing and its own."""
    for file in (path.with_suffix(".yaml"), path.parent / "model.yaml"):
        if file.is_file():
            return read_yaml(file), str(file)
    return {}, str(path)


def write(saved: SavedModel, folder: Path) -> tuple[str, ...]:
    """Fills the empty `folder`; returns notes on what had no place in it."""
    vocabulary, kept = saved.vocabularies.get("ctc"), ("encoder.", f"{names.HEAD}.")
    weights = {n: t for n, t in saved.weights.items() if n.startswith(kept)}
    weights.pop("encoder.mask_embedding", None)
    about: dict[str, Any] = {
        "model": arguments(saved, None),
        "normalize_waveform": saved.encoder.normalize,
        "languages": list(saved.languages),
    }
    if vocabulary is not None:
        labels, weights = to_rows(weights, vocabulary, ("-",), "torchaudio")
        about["model"]["aux_num_out"] = len(labels)
        about |= {"labels": labels, "token_type": vocabulary.token_type}
    torch.save(names.to_theirs(weights, names.TORCHAUDIO), folder / "model.pt")
    (folder / "model.yaml").write_text(dump(about), encoding="utf-8")
    gone = [n for n in saved.weights if n not in weights]
    return (f"torchaudio has no place for {len(gone)} tensors: {', '.join(gone)}",) if gone else ()


def arguments(saved: SavedModel, outputs: int | None) -> dict[str, Any]:
    """The arguments of `wav2vec2_model` for a model with `outputs` rows in its head, if any."""
    return {**WORDS.theirs(saved), "aux_num_out": outputs}
