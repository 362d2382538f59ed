"""Checkpoints of fairseq2 (0.7): the families `wav2vec2` and `wav2vec2_asr`.

A `.pt` with the tensors in `model`, beside it an asset card: YAML with the settings in
`model_config` and the path of the `.pt`. A card that only names an architecture, or no card, leaves
the sizes to the tensors and the number of heads to the published widths. `normalize_audio`, which
fairseq2 keeps with its recipes, is written to the card, which may hold it.

The symbols of a CTC head are those of the SentencePiece model beside the file. It is written where
every unit is one character; the card has them in any case, as `labels`. Without both a `dict.txt`
has the units after the four symbols of fairseq.

The quantizer there counts its updates to find its temperature. The count written is that of the
end of the decay, so that pretraining continued there keeps the temperature at its floor.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from speechx.errors import UserError
from speechx.interchange import names, settings, units
from speechx.interchange.pickles import checkpoint_file, read_pickle
from speechx.interchange.sentencepiece import SPACE, read_pieces, write_characters
from speechx.models.presets import base, large
from speechx.training.checkpoint import SavedModel

ENCODER = settings.Words(
    {
        "feature_extractor_layer_descs": "encoder.layers",
        "feature_extractor_bias": "encoder.bias",
        "feature_extractor_layer_norm_convs": "encoder.norm",
        "feature_grad_scale": "encoder.gradient_scale",
        "num_encoder_layers": "transformer.blocks",
        "model_dim": "transformer.width",
        "ffn_inner_dim": "transformer.inner",
        "num_encoder_attn_heads": "transformer.heads",
        "norm_order": "transformer.norm",
        "pos_conv_kernel_size": "transformer.position_kernel",
        "num_pos_conv_groups": "transformer.position_groups",
        "dropout_p": "transformer.dropout",
        "attn_dropout_p": "transformer.attention_dropout",
        "ffn_inner_dropout_p": "transformer.activation_dropout",
        "layer_drop_p": "transformer.layer_drop",
        "first_pass_dropout_p": "input_dropout",
    },
    {
        "encoder.norm": {False: "group", True: "layer"},
        "transformer.norm": {"POST": "post", "PRE": "pre"},
    },
)
QUANTIZER = settings.Words(
    {
        "num_codebooks": "quantizer.groups",
        "num_codebook_entries": "quantizer.entries",
        "quantized_dim": "quantizer.width",
    }
)
ALL = settings.Words({**ENCODER.names, **QUANTIZER.names}, ENCODER.values)
ONLY: settings.Settings = {
    "use_fbank": False,
    "use_conformer": False,
    "pos_encoder_type": "conv",
    "pos_encoder_depth": 1,
}
"""What speechx has in one way only."""


def read(path: Path, content: Any = None) -> SavedModel:
    """`content` of the file if it has been read already."""
    path = checkpoint_file(path)
    source = str(path)
    content = read_pickle(path) if content is None else content
    given = _tensors(content)
    # An encoder alone has neither projection.
    head = "final_proj.weight" in given and "final_target_proj.weight" not in given
    kind = "ctc" if head else "pretraining"
    # Both kinds of norm, so that one that contradicts the settings is said to.
    table = {**names.fairseq2(base(), kind), **names.fairseq2(large(), kind)}
    pre = "encoder.layer_norm.weight" in given
    weights = settings.identity_added(names.to_ours(given, table, source))
    measured = {
        **settings.measure(weights, source),
        "transformer.norm": "pre" if pre else "post",
    }
    card, where = find_card(path)
    about = card.get("model_config") or {}
    encoder = about.get("encoder_config") or {}
    settings.require(encoder, ONLY, where)
    norm_order = encoder.get("norm_order")
    if norm_order is not None:
        encoder = {**encoder, "norm_order": str(norm_order).upper()}
    said = {**ENCODER.ours(encoder, where), **QUANTIZER.ours(about, where)}
    if "encoder.layers" in said:
        said["encoder.layers"] = settings.stack(said["encoder.layers"], where)
    notes: tuple[str, ...] = ()
    if not encoder:
        said, note = settings.assumed_dropouts(measured)
        notes = (f"no model_config: sizes are those of the tensors, {note}",)
    if "encoder.layers" not in said:
        said["encoder.layers"] = settings.strides_of(measured["encoder.layers"], where)
    if "transformer.heads" not in said and "transformer.width" in measured:
        said["transformer.heads"] = settings.heads_of(measured["transformer.width"], where)
    said["normalize"] = card.get("normalize_audio")
    if said["normalize"] is None:
        said["normalize"], note = settings.assumed_normalize(measured)
        notes += (note,)
    said.setdefault("input_dropout", 0.0)
    said["target_dropout"] = float(card.get("target_dropout", 0.0))
    config = settings.configure(said, measured, ALL, where)
    vocabulary = None
    if kind == "ctc":
        rows, beside = find_rows(path, card, where)
        vocabulary, weights, more = units.from_rows(weights, rows, beside)
        notes += more
    return units.saved(path.parent, config, weights, vocabulary, card.get("languages"), notes)


def write(saved: SavedModel, folder: Path) -> tuple[str, ...]:
    """Fills the empty `folder`; returns what had no place in it."""
    config = saved.config
    layers = settings.rows(settings.convolutions(config, "fairseq2"))
    weights = settings.identity_removed(saved.weights, "fairseq2")
    if config.encoder.gradient_scale == 0:
        raise UserError(
            "fairseq2 has no feature_grad_scale of 0 (model.encoder.gradient_scale): set it to 1"
        )
    post = config.transformer.norm == "post"
    about: dict[str, Any] = {
        "encoder_config": {
            **ENCODER.theirs(config),
            "feature_extractor_layer_descs": layers,
            "feature_dim": layers[-1][0],
            "layer_norm_features": post,
            **ONLY,
        }
    }
    card: dict[str, Any] = {
        "name": "speechx_model",
        "model_family": "wav2vec2" if saved.kind == "pretraining" else "wav2vec2_asr",
        "model_arch": "base" if saved.kind == "pretraining" else "base_10h",
        "model_config": about,
        "checkpoint": "model.pt",
        "normalize_audio": config.normalize,
        "target_dropout": config.target_dropout,
        "languages": list(saved.languages),
    }
    if saved.vocabulary is None:
        floor = 0.5 if post else 0.1
        about |= {
            **QUANTIZER.theirs(config),
            "final_dim": config.quantizer.width,
            "codebook_sampling_temperature": [2.0, floor, DECAY],
        }
    else:
        symbols, weights = units.to_rows(weights, saved.vocabulary, units.SPECIALS, "fairseq2")
        about["target_vocab_size"] = len(symbols)
        card |= {"labels": symbols, "units": saved.vocabulary.kind}
        if all(len(unit) == 1 for unit in saved.vocabulary.units):
            write_characters(folder / "tokenizer.model", symbols)
            card["tokenizer_ref"] = TOKENIZER["name"]
    theirs = names.to_theirs(weights, names.fairseq2(config, saved.kind))
    if saved.vocabulary is None:
        updates = math.ceil(math.log(floor / 2.0) / math.log(DECAY))
        theirs["quantizer.num_updates"] = torch.tensor(updates)
    torch.save({"model": theirs}, folder / "model.pt")
    cards = [card, TOKENIZER] if "tokenizer_ref" in card else [card]
    text = yaml.safe_dump_all(cards, sort_keys=False, allow_unicode=True)
    (folder / "card.yaml").write_text(text, encoding="utf-8")
    return ()


TOKENIZER = {
    "name": "speechx_tokenizer",
    "tokenizer_family": "char_tokenizer",
    "tokenizer": "tokenizer.model",
}
DECAY = 0.999995
"""Of the Gumbel temperature, at every update; it starts at 2."""


def _tensors(content: Any) -> dict[str, Tensor]:
    inner = content.get("model", content)
    return {
        name.removeprefix("module."): tensor
        for name, tensor in inner.items()
        if isinstance(tensor, Tensor) and not name.endswith("quantizer.num_updates")
    }


def find_card(path: Path) -> tuple[dict[str, Any], str]:
    """The asset card of a checkpoint, from the YAML files beside it, and its place; where there is
    none, nothing and the checkpoint's own place."""
    for file in sorted(path.parent.glob("*.yaml")):
        try:
            cards = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"{file} cannot be read as an asset card: {error}") from None
        cards = [card for card in cards if isinstance(card, dict) and
                 str(card.get("model_family")).startswith("wav2vec2")]  # fmt: skip
        names_it = [c for c in cards if str(c.get("checkpoint")).rsplit("/", 1)[-1] == path.name]
        for card in names_it or (cards if len(cards) == 1 else []):
            return card, str(file)
    return {}, str(path)


def find_rows(path: Path, card: dict[str, Any], where: str) -> tuple[units.Rows, str]:
    """The symbols of a head, and where they were found."""
    if card.get("labels"):
        symbols = tuple(str(symbol) for symbol in card["labels"])
        return units.Rows(symbols, 0, kind=card.get("units")), where
    if len(models := sorted(path.parent.glob("*.model"))) == 1:
        pieces, others = read_pieces(models[0])
        return units.Rows(pieces, 0, others | {*units.SPECIALS}, SPACE), str(models[0])
    file = path.parent / "dict.txt"
    if not file.is_file():
        raise UserError(
            f"{path} is a CTC model without its symbols: put its tokenizer (.model) beside it, or "
            "`labels: [<s>, <pad>, ...]`, one for each row, into its asset card, or its units into "
            "dict.txt"
        )
    lines = [line.rsplit(" ", 1)[0] for line in file.read_text(encoding="utf-8").splitlines()]
    return units.Rows((*units.SPECIALS, *filter(None, lines)), 0), str(file)
