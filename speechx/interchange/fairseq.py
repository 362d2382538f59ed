"""Checkpoints of fairseq: `wav2vec2` (pretraining) and `wav2vec_ctc`.

A `.pt` holds the tensors in `model` and the settings in `cfg`, or in `args` before 2021. A CTC
model keeps the settings of its encoder in `w2v_args` and some of its own that replace them. Its
dictionary is in `task_state` where the checkpoint is recent, else in a file beside it: `dict.*.txt`
lists the tokens after `<s> <pad> </s> <unk>`, a JSON dictionary of UniSpeech before them.

A written file holds plain data only, with `args` None and `cfg` as nested dictionaries, as fairseq
itself has saved since 2021.
"""

import ast
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE
from speechx.errors import UserError
from speechx.interchange import names, settings
from speechx.interchange.vocabulary_rows import SPECIALS, VocabularyRows, to_rows
from speechx.models.folder import SavedModel
from speechx.text.vocabulary import TokenType

WORDS = settings.SettingNames(
    {
        "conv_feature_layers": "encoder.features.layers",
        "conv_bias": "encoder.features.bias",
        "extractor_mode": "encoder.features.norm",
        "feature_grad_mult": "encoder.features.gradient_scale",
        "encoder_layers": "encoder.context.num_layers",
        "encoder_embed_dim": "encoder.context.embed_dim",
        "encoder_ffn_embed_dim": "encoder.context.ffn_dim",
        "encoder_attention_heads": "encoder.context.num_heads",
        "layer_norm_first": "encoder.context.norm",
        "conv_pos": "encoder.context.position_kernel",
        "conv_pos_groups": "encoder.context.position_groups",
        "dropout": "encoder.context.dropout",
        "attention_dropout": "encoder.context.attention_dropout",
        "activation_dropout": "encoder.context.activation_dropout",
        "encoder_layerdrop": "encoder.context.layer_drop",
        "dropout_input": "encoder.input_dropout",
        "dropout_features": "objective.target_dropout",
        "latent_groups": "objective.quantizer.num_groups",
        "latent_vars": "objective.quantizer.num_entries",
        "logit_temp": "objective.logit_temperature",
    },
    {
        "encoder.features.norm": {"default": "group", "layer_norm": "layer"},
        "encoder.context.norm": {False: "post", True: "pre"},
    },
)
DEFAULTS = {
    "encoder.features.norm": "group",
    "encoder.features.gradient_scale": 1.0,
    "encoder.context.norm": "post",
    "encoder.context.layer_drop": 0.0,
    "encoder.input_dropout": 0.0,
    "objective.target_dropout": 0.0,
}
"""The values of fairseq for settings that a checkpoint does not have."""
SUPPORTED_VALUES: settings.Settings = {
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "target_glu": False,
}
"""Settings that speechx supports with one value only."""
HEAD_OVERRIDES = {
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "dropout_input",
    "layerdrop": "encoder_layerdrop",
    "feature_grad_mult": "feature_grad_mult",
}
"""Settings of a CTC model that replace settings of its encoder."""
MOST_LAYERS = 300
"""Convolutions that a file can ask for by multiplying."""


def read(path: Path, content: Any) -> SavedModel:
    """The model in a file that holds `content`."""
    source = str(path)
    given = {name: t for name, t in content["model"].items() if isinstance(t, Tensor)}
    head = any(name.startswith("w2v_encoder.") for name in given)
    table = names.any_norm(names.fairseq, head)
    weights = settings.identity_added(names.to_ours(given, table, source))
    measured = settings.measure(weights, source)
    model, task = _sections(content, head, source)
    settings.require(model, SUPPORTED_VALUES, source)
    layers = _rows_of_text(model.get("conv_feature_layers"), source)
    stated = {**DEFAULTS, **WORDS.ours({**model, "conv_feature_layers": layers}, source)}
    widths = [model.get(key) or 0 for key in ("latent_dim", "final_dim", "encoder_embed_dim")]
    if width := next((w for w in widths if w > 0), None):
        stated["objective.quantizer.dim"] = width
    settings.require(task, {"sample_rate": SAMPLE_RATE}, source)
    stated["encoder.normalize"] = _normalize(model, task)
    rows = find_rows(path, content) if head else None
    languages = (content.get("extra_state") or {}).get("languages")
    return settings.build(path.parent, source, stated, measured, WORDS, weights, rows, languages)


def write(saved: SavedModel, folder: Path) -> tuple[str, ...]:
    """Fills the empty `folder`; returns notes on what had no place in it."""
    normalize, vocabulary = saved.encoder.normalize, saved.vocabularies.get("ctc")
    words = WORDS.theirs(saved)
    weights = settings.identity_removed(saved.weights, "fairseq")
    encoder: dict[str, Any] = {
        "_name": "wav2vec2",
        **words,
        "conv_feature_layers": str([tuple(row) for row in words["conv_feature_layers"]]),
        "activation_fn": "gelu",
    }
    task = {"_name": "audio_pretraining", "data": "", "normalize": normalize}
    cfg: dict[str, Any] = {"model": encoder, "task": task}
    if vocabulary is None:
        dim = len(weights[f"{names.QUANTIZER}project_q.bias"])
        encoder |= {"final_dim": dim, "latent_dim": 0, "quantize_targets": True}
    else:
        symbols, weights = to_rows(weights, vocabulary, SPECIALS, "fairseq")
        labels = "ltr" if vocabulary.token_type == "characters" else "phn"
        lines = "".join(f"{symbol} 1\n" for symbol in symbols[len(SPECIALS) :])
        (folder / f"dict.{labels}.txt").write_text(lines, encoding="utf-8")
        model = {"_name": "wav2vec_ctc", "w2v_path": "", "w2v_args": cfg, "normalize": normalize}
        model |= {mine: encoder[theirs] for mine, theirs in HEAD_OVERRIDES.items()}
        cfg = {"model": model, "task": {**task, "_name": "audio_finetuning", "labels": labels}}
    content = {
        "args": None,
        "cfg": cfg,
        "model": names.to_theirs(weights, names.fairseq(saved.encoder, vocabulary is not None)),
        "optimizer_history": [{"criterion_name": "", "optimizer_name": "", "num_updates": 0,
                               "lr_scheduler_state": {}}],
        "extra_state": {"languages": list(saved.languages)},
        "last_optimizer_state": None,
    }  # fmt: skip
    torch.save(content, folder / "model.pt")
    return ()


def normalizes(content: Any, head: bool, source: str) -> bool | None:
    """Whether recordings are normalised; None if the checkpoint has no such setting."""
    return _normalize(*_sections(content, head, source))


def _normalize(model: dict[str, Any], task: dict[str, Any]) -> bool | None:
    given = [section["normalize"] for section in (model, task) if "normalize" in section]
    return bool(given[-1]) if given else None


def _sections(content: Any, head: bool, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the encoder and of the task, as flat as in an old `args`."""
    given = content.get("cfg") or content.get("args")
    if not isinstance(given, dict):
        raise UserError(
            f"{source} has neither cfg nor args, which hold its settings: give a whole checkpoint"
        )
    model, task = _section(given, "model"), _section(given, "task")
    if head:
        inner = given.get("w2v_args") or model.get("w2v_args")
        if not isinstance(inner, dict):
            raise UserError(
                f"{source} has no w2v_args: the settings of its encoder are in the file it was "
                f"trained from ({model.get('w2v_path')}): save it again with `w2v_args` from there"
            )
        task = {**_section(inner, "task"), **task}
        own = {theirs: model[mine] for mine, theirs in HEAD_OVERRIDES.items() if mine in model}
        model = {**_section(inner, "model"), **own}
    return model, task


def _section(given: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of `cfg`, or all of a flat `args`; values that point elsewhere count as not given."""
    inner = given.get(name, given)
    if not isinstance(inner, dict):
        return {}
    return {k: v for k, v in inner.items() if v is not None and not str(v).startswith("${")}


def _rows_of_text(text: Any, source: str) -> list[list[int]]:
    """`[(512, 10, 5)] + [(512, 3, 2)] * 4` is written as a program; only + and * are understood."""

    def rows(node: ast.AST) -> list[list[int]]:
        match node:
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return rows(left) + rows(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int(times))):
                once = rows(left)
                if len(once) * times > MOST_LAYERS:
                    raise UserError(
                        f"{source}: conv_feature_layers has {len(once) * times} convolutions; "
                        f"expected {MOST_LAYERS} at most"
                    )
                return once * times
        once = [list(row) for row in ast.literal_eval(node)]
        if not all(isinstance(size, int) for row in once for size in row):
            raise ValueError
        return once

    try:
        return rows(ast.parse(str(text), mode="eval").body)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise UserError(
            f"{source}: conv_feature_layers is {str(text)[:200]!r}; expected a list such as "
            "[(512, 10, 5)] + [(512, 3, 2)] * 4"
        ) from None


def find_rows(path: Path, content: Any) -> tuple[VocabularyRows, str]:
    """The dictionary, and where it was found."""
    inside = (content.get("task_state") or {}).get("target_dictionary")
    if isinstance(inside, dict) and inside.get("symbols"):
        symbols = tuple(inside["symbols"])
        return VocabularyRows(symbols, _blank(symbols, str(path))), f"{path} (target_dictionary)"
    folder = path.parent
    patterns = ("dict*.txt", "*dict*.json", "vocab*.json")
    beside = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    beside = beside or sorted(folder.glob("*.json"))
    if len(beside) != 1:
        raise UserError(
            f"{path} is a CTC model without its dictionary: put dict.ltr.txt or dict.phn.txt of "
            f"its training data beside it (found {len(beside)} such files)"
        )
    file = beside[0]
    specials = frozenset(SPECIALS)
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            rows = json.loads(text)
            own = sorted(rows, key=lambda symbol: rows[symbol])
            if [rows[symbol] for symbol in own] != list(range(len(own))):
                raise ValueError("rows are not numbered from 0, each once")
            symbols = (*own, *SPECIALS) if "<s>" not in rows else tuple(own)
            specials |= {""}  # UniSpeech has a phone without a name
        else:
            symbols = (*SPECIALS, *(s for s in listed_symbols(text) if s not in SPECIALS))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read as a dictionary: {error}") from None
    types: dict[str, TokenType] = {"ltr": "characters", "phn": "phonemes"}
    token_type = next((types[part] for part in file.name.split(".") if part in types), None)
    blank = _blank(symbols, str(file))
    return VocabularyRows(symbols, blank, specials, token_type=token_type), str(file)


def listed_symbols(text: str) -> list[str]:
    """The symbols of a dictionary: on each line one with its count, and maybe with a flag."""
    lines = [line.removesuffix(" #fairseq:overwrite") for line in text.splitlines()]
    symbols = [line.rstrip().rsplit(" ", 1)[0] for line in lines if line.strip()]
    return [symbol.strip() or symbol for symbol in symbols]


def _blank(symbols: tuple[str, ...], source: str) -> int:
    for symbol in ("<ctc_blank>", "<s>"):
        if symbol in symbols:
            return symbols.index(symbol)
    raise UserError(f"{source}: the dictionary has neither <s> nor <ctc_blank>, so no blank")
