"""Checkpoints of fairseq2 (0.7): the families `wav2vec2` and `wav2vec2_asr`.

A `.pt` with the tensors in `model`, beside it an asset card: YAML with the settings in
`model_config` and the path of the `.pt`. A card that only names an architecture, or no card, leaves
the sizes to the tensors and the number of heads to the published widths. `normalize_audio`, which
fairseq2 keeps with its recipes, is written to the card, which may hold it.

The symbols of a CTC head are in the SentencePiece model beside the file. It is written if every
token is one character; the card has the symbols in any case, as `labels`. Without both a `dict.txt`
has the tokens after the four symbols of fairseq.

The quantizer there counts its updates to find its temperature. The count written is the one at
which the decay ends, so pretraining that is continued there keeps the temperature at its floor.
"""

import math
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from speechx.errors import UserError
from speechx.interchange import names, settings
from speechx.interchange.fairseq import listed_symbols
from speechx.interchange.sentencepiece import SPACE, read_pieces, write_characters
from speechx.interchange.vocabulary_rows import SPECIALS, VocabularyRows, to_rows
from speechx.models.folder import SavedModel

WORDS = settings.SettingNames(
    {
        "feature_extractor_layer_descs": "encoder.features.layers",
        "feature_extractor_bias": "encoder.features.bias",
        "feature_extractor_layer_norm_convs": "encoder.features.norm",
        "feature_grad_scale": "encoder.features.gradient_scale",
        "num_encoder_layers": "encoder.context.num_layers",
        "model_dim": "encoder.context.embed_dim",
        "ffn_inner_dim": "encoder.context.ffn_dim",
        "num_encoder_attn_heads": "encoder.context.num_heads",
        "norm_order": "encoder.context.norm",
        "pos_conv_kernel_size": "encoder.context.position_kernel",
        "num_pos_conv_groups": "encoder.context.position_groups",
        "dropout_p": "encoder.context.dropout",
        "attn_dropout_p": "encoder.context.attention_dropout",
        "ffn_inner_dropout_p": "encoder.context.activation_dropout",
        "layer_drop_p": "encoder.context.layer_drop",
        "first_pass_dropout_p": "encoder.input_dropout",
        "num_codebooks": "objective.quantizer.num_groups",
        "num_codebook_entries": "objective.quantizer.num_entries",
        "quantized_dim": "objective.quantizer.dim",
        "logit_temp": "objective.logit_temperature",
    },
    {
        "encoder.features.norm": {False: "group", True: "layer"},
        "encoder.context.norm": {"POST": "post", "PRE": "pre"},
    },
)
QUANTIZER = ("num_codebooks", "num_codebook_entries", "quantized_dim", "logit_temp")
"""Settings that stand beside `encoder_config`, which has all others."""
SUPPORTED_VALUES: settings.Settings = {
    "use_fbank": False,
    "use_conformer": False,
    "pos_encoder_type": "conv",
    "pos_encoder_depth": 1,
}
"""Settings that speechx supports with one value only."""


def read(path: Path, content: Any) -> SavedModel:
    """The model in a file that holds `content`."""
    source = str(path)
    given = {
        name.removeprefix("module."): tensor
        for name, tensor in content.get("model", content).items()
        if isinstance(tensor, Tensor) and not name.endswith("quantizer.num_updates")
    }
    # An encoder alone has neither projection.
    head = "final_proj.weight" in given and "final_target_proj.weight" not in given
    table = names.any_norm(names.fairseq2, head)
    pre = "encoder.layer_norm.weight" in given
    weights = settings.identity_added(names.to_ours(given, table, source))
    measured = {
        **settings.measure(weights, source),
        "encoder.context.norm": "pre" if pre else "post",
    }
    card, where = find_card(path)
    about = card.get("model_config") or {}
    theirs = about.get("encoder_config") or {}
    settings.require(theirs, SUPPORTED_VALUES, where)
    if theirs.get("norm_order") is not None:
        theirs = {**theirs, "norm_order": str(theirs["norm_order"]).upper()}
    stated = WORDS.ours({**about, **theirs}, where)
    notes: tuple[str, ...] = ()
    if not theirs:
        stated, note = settings.assumed_dropouts(measured)
        notes = (f"no model_config: sizes as the tensors show, {note}",)
    width = measured.get("encoder.context.embed_dim")
    if width is not None and "encoder.context.num_heads" not in stated:
        stated["encoder.context.num_heads"] = settings.heads_of(width, where)
    stated["encoder.normalize"] = card.get("normalize_audio")
    stated.setdefault("encoder.input_dropout", 0.0)
    stated["objective.target_dropout"] = float(card.get("target_dropout", 0.0))
    rows, languages = None, card.get("languages")
    if head:
        rows = find_rows(path, card, where, head_rows(content))
    return settings.build(
        path.parent, where, stated, measured, WORDS, weights, rows, languages, notes
    )


def write(saved: SavedModel, folder: Path) -> tuple[str, ...]:
    """Fills the empty `folder`; returns notes on what had no place in it."""
    ours, vocabulary = settings.settings_of(saved), saved.vocabularies.get("ctc")
    weights = settings.identity_removed(saved.weights, "fairseq2")
    if ours["encoder.features.gradient_scale"] == 0:
        raise UserError(
            "fairseq2 has no feature_grad_scale of 0 (encoder.features.gradient_scale): set it to 1"
        )
    if vocabulary is not None:
        symbols, weights = to_rows(weights, vocabulary, SPECIALS, "fairseq2")
    card: dict[str, Any] = {
        "name": "speechx_model",
        **family(saved, None if vocabulary is None else len(symbols)),
        "checkpoint": "model.pt",
        "normalize_audio": saved.encoder.normalize,
        "languages": list(saved.languages),
    }
    if vocabulary is None:
        start, floor, decay = (
            ours[f"objective.gumbel_temperature.{name}"] for name in ("start", "floor", "decay")
        )
        card["model_config"]["codebook_sampling_temperature"] = [start, floor, decay]
        card["target_dropout"] = ours["objective.target_dropout"]
    else:
        card |= {"labels": symbols, "token_type": vocabulary.token_type}
        if all(len(token) == 1 for token in vocabulary.tokens):
            write_characters(folder / "tokenizer.model", symbols)
            card["tokenizer_ref"] = TOKENIZER["name"]
    theirs = names.to_theirs(weights, names.fairseq2(saved.encoder, vocabulary is not None))
    if vocabulary is None:
        updates = math.log(floor / start) / math.log(decay) if decay < 1 else 0
        theirs["quantizer.num_updates"] = torch.tensor(math.ceil(updates))
    torch.save({"model": theirs}, folder / "model.pt")
    cards = [card, TOKENIZER] if "tokenizer_ref" in card else [card]
    text = yaml.safe_dump_all(cards, sort_keys=False, allow_unicode=True)
    (folder / "card.yaml").write_text(text, encoding="utf-8")
    return ()


def family(saved: SavedModel, outputs: int | None) -> dict[str, Any]:
    """Family and settings of a model with `outputs` rows in its head; None: with a quantizer."""
    words = WORDS.theirs(saved)
    quantizer = {name: words.pop(name) for name in QUANTIZER if name in words}
    encoder = {
        **words,
        "feature_dim": saved.encoder.features.dim,
        "layer_norm_features": words["norm_order"] == "POST",
        **SUPPORTED_VALUES,
    }
    if outputs is not None:
        config = {"encoder_config": encoder, "target_vocab_size": outputs}
        return {"model_family": "wav2vec2_asr", "model_arch": "base_10h", "model_config": config}
    if not quantizer:
        raise ValueError("it has neither a quantizer nor a head")
    config = {"encoder_config": encoder, **quantizer, "final_dim": quantizer["quantized_dim"]}
    return {"model_family": "wav2vec2", "model_arch": "base", "model_config": config}


TOKENIZER = {
    "name": "speechx_tokenizer",
    "tokenizer_family": "char_tokenizer",
    "tokenizer": "tokenizer.model",
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


def head_rows(content: Any) -> int:
    """The number of rows of the head in a file that holds `content`."""
    tensors = content.get("model", content)
    return next(len(t) for n, t in tensors.items() if n.endswith("final_proj.weight"))


def find_rows(
    path: Path, card: dict[str, Any], where: str, count: int
) -> tuple[VocabularyRows, str]:
    """The symbols of a head with `count` rows, and where they were found; of several tokenizers
    beside it the one with as many symbols counts."""
    if card.get("labels"):
        symbols = tuple(str(symbol) for symbol in card["labels"])
        return VocabularyRows(symbols, 0, token_type=card.get("token_type")), where
    models = [(file, *read_pieces(file)) for file in sorted(path.parent.glob("*.model"))]
    fitting = [model for model in models if len(model[1]) == count] if len(models) > 1 else models
    if len(fitting) == 1:
        file, pieces, others = fitting[0]
        return VocabularyRows(pieces, 0, others | {*SPECIALS}, SPACE), str(file)
    if models:
        raise UserError(
            f"{path} has {len(models)} tokenizers (.model) beside it, and {len(fitting)} of them "
            f"have as many symbols as its head has rows, {count}: leave only its own there"
        )
    file = path.parent / "dict.txt"
    if not file.is_file():
        raise UserError(
            f"{path} is a CTC model without its symbols: put its tokenizer (.model) beside it, or "
            "`labels: [<s>, <pad>, ...]`, one for each row, into its asset card, or its tokens "
            "into dict.txt"
        )
    listed = listed_symbols(file.read_text(encoding="utf-8"))
    return VocabularyRows((*SPECIALS, *listed), 0), str(file)
