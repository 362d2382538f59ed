"""Checkpoints of fairseq: `wav2vec2` (pretraining) and `wav2vec_ctc`.

A `.pt` holds the tensors in `model` and the settings in `cfg`, or in `args` before 2021. A CTC
model keeps the settings of its encoder in `w2v_args` and some of its own that replace them. Its
dictionary is in `task_state` where the checkpoint is recent, else in a file beside it: `dict.*.txt`
lists the units after `<s> <pad> </s> <unk>`, a JSON dictionary of UniSpeech before them.

What is written holds plain data only, `args` None and `cfg` as nested dictionaries, which is what
fairseq itself saves since 2021.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechx.errors import UserError
from speechx.interchange import names, settings, units
from speechx.interchange.pickles import checkpoint_file, read_pickle
from speechx.models.presets import base, large
from speechx.text.vocabulary import Kind
from speechx.training.checkpoint import SavedModel

WORDS = settings.Words(
    {
        "conv_feature_layers": "encoder.layers",
        "conv_bias": "encoder.bias",
        "extractor_mode": "encoder.norm",
        "feature_grad_mult": "encoder.gradient_scale",
        "encoder_layers": "transformer.blocks",
        "encoder_embed_dim": "transformer.width",
        "encoder_ffn_embed_dim": "transformer.inner",
        "encoder_attention_heads": "transformer.heads",
        "layer_norm_first": "transformer.norm",
        "conv_pos": "transformer.position_kernel",
        "conv_pos_groups": "transformer.position_groups",
        "dropout": "transformer.dropout",
        "attention_dropout": "transformer.attention_dropout",
        "activation_dropout": "transformer.activation_dropout",
        "encoder_layerdrop": "transformer.layer_drop",
        "dropout_input": "input_dropout",
        "dropout_features": "target_dropout",
        "latent_groups": "quantizer.groups",
        "latent_vars": "quantizer.entries",
    },
    {
        "encoder.norm": {"default": "group", "layer_norm": "layer"},
        "transformer.norm": {False: "post", True: "pre"},
    },
)
DEFAULTS = {
    "encoder.norm": "group",
    "encoder.gradient_scale": 1.0,
    "transformer.norm": "post",
    "transformer.layer_drop": 0.0,
    "input_dropout": 0.0,
    "target_dropout": 0.0,
}
"""What fairseq assumes where a checkpoint is silent."""
ONLY: settings.Settings = {
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "target_glu": False,
    "logit_temp": 0.1,
}
"""What speechx has in one way only."""
OF_THE_HEAD = {
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "dropout_input",
    "layerdrop": "encoder_layerdrop",
    "feature_grad_mult": "feature_grad_mult",
}
"""Settings of a CTC model that replace those of its encoder."""
MOST_LAYERS = 300
"""Convolutions that a file can ask for by multiplying."""


def read(path: Path, content: Any = None) -> SavedModel:
    """`content` of the file if it has been read already."""
    path = checkpoint_file(path)
    source = str(path)
    content = read_pickle(path) if content is None else content
    given = {name: t for name, t in content["model"].items() if isinstance(t, Tensor)}
    kind = "ctc" if any(name.startswith("w2v_encoder.") for name in given) else "pretraining"
    # Both kinds of norm, so that one that contradicts the settings is said to.
    table = {**names.fairseq(base(), kind), **names.fairseq(large(), kind)}
    weights = settings.identity_added(names.to_ours(given, table, source))
    measured = settings.measure(weights, source)
    model, task = _sections(content, kind, source)
    settings.require(model, ONLY, source)
    layers: Any = settings.stack(_rows_of_text(model.get("conv_feature_layers"), source), source)
    said = {**DEFAULTS, **WORDS.ours({**model, "conv_feature_layers": layers}, source)}
    widths = [model.get(key) or 0 for key in ("latent_dim", "final_dim", "encoder_embed_dim")]
    said["quantizer.width"] = next((w for w in widths if w > 0), measured.get("quantizer.width"))
    notes: tuple[str, ...] = ()
    normalize = next((s["normalize"] for s in (task, model) if "normalize" in s), None)
    if normalize is None:
        normalize, note = settings.assumed_normalize(said)
        notes = (note,)
    config = settings.configure({**said, "normalize": bool(normalize)}, measured, WORDS, source)
    vocabulary = None
    if kind == "ctc":
        rows, where = find_rows(path, content)
        vocabulary, weights, more = units.from_rows(weights, rows, where)
        notes += more
    extra: Any = content.get("extra_state") or {}
    return units.saved(path.parent, config, weights, vocabulary, extra.get("languages"), notes)


def write(saved: SavedModel, folder: Path) -> tuple[str, ...]:
    """Fills the empty `folder`; returns what had no place in it."""
    config = saved.config
    layers = settings.rows(settings.convolutions(config, "fairseq"))
    weights = settings.identity_removed(saved.weights, "fairseq")
    encoder: dict[str, Any] = {
        "_name": "wav2vec2",
        **WORDS.theirs(config),
        "conv_feature_layers": str([tuple(row) for row in layers]),
        "final_dim": config.quantizer.width,
        "latent_dim": 0,
        "quantize_targets": True,
        "activation_fn": "gelu",
    }
    task = {"_name": "audio_pretraining", "data": "", "normalize": config.normalize}
    cfg: dict[str, Any] = {"model": encoder, "task": task}
    if saved.vocabulary is not None:
        symbols, weights = units.to_rows(weights, saved.vocabulary, units.SPECIALS, "fairseq")
        labels = "ltr" if saved.vocabulary.kind == "characters" else "phn"
        lines = "".join(f"{symbol} 1\n" for symbol in symbols[len(units.SPECIALS) :])
        (folder / f"dict.{labels}.txt").write_text(lines, encoding="utf-8")
        head = {mine: encoder[theirs] for mine, theirs in OF_THE_HEAD.items()}
        cfg = {
            "model": {
                "_name": "wav2vec_ctc",
                "w2v_path": "",
                "w2v_args": cfg,
                "normalize": config.normalize,
                **head,
            },
            "task": {**task, "_name": "audio_finetuning", "labels": labels},
        }
    content = {
        "args": None,
        "cfg": cfg,
        "model": names.to_theirs(weights, names.fairseq(config, saved.kind)),
        "optimizer_history": [{"criterion_name": "", "optimizer_name": "", "num_updates": 0,
                               "lr_scheduler_state": {}}],
        "extra_state": {"languages": list(saved.languages)},
        "last_optimizer_state": None,
    }  # fmt: skip
    torch.save(content, folder / "model.pt")
    return ()


def _sections(content: Any, kind: str, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the encoder and of the task, as plain as an old `args` is."""
    given = content.get("cfg") or content.get("args")
    if not isinstance(given, dict):
        raise UserError(f"{source} has neither cfg nor args: its settings are unknown")
    model, task = _section(given, "model"), _section(given, "task")
    if kind == "ctc":
        inner = given.get("w2v_args") or model.get("w2v_args")
        if not isinstance(inner, dict):
            raise UserError(
                f"{source} has no w2v_args: the settings of its encoder are in the file it was "
                f"trained from ({model.get('w2v_path')}), which is not here"
            )
        task = {**_section(inner, "task"), **task}
        head = {theirs: model[mine] for mine, theirs in OF_THE_HEAD.items() if mine in model}
        model = {**_section(inner, "model"), **head}
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
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [row(item) for item in items]
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
        raise ValueError

    def row(node: ast.AST) -> list[int]:
        match node:
            case ast.Tuple(elts=items) | ast.List(elts=items):
                values = [
                    item.value
                    for item in items
                    if isinstance(item, ast.Constant) and isinstance(item.value, int)
                ]
                if len(values) == len(items):
                    return values
        raise ValueError

    try:
        return rows(ast.parse(str(text), mode="eval").body)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise UserError(
            f"{source}: conv_feature_layers is {str(text)[:200]!r}; expected a list such as "
            "[(512, 10, 5)] + [(512, 3, 2)] * 4"
        ) from None


def find_rows(path: Path, content: Any) -> tuple[units.Rows, str]:
    """The dictionary, and where it was found."""
    inside = (content.get("task_state") or {}).get("target_dictionary")
    if isinstance(inside, dict) and inside.get("symbols"):
        symbols = tuple(inside["symbols"])
        return units.Rows(symbols, _blank(symbols, str(path))), f"{path} (target_dictionary)"
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
    specials = frozenset(units.SPECIALS)
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            rows = json.loads(text)
            own = sorted(rows, key=lambda symbol: rows[symbol])
            if [rows[symbol] for symbol in own] != list(range(len(own))):
                raise ValueError("rows are not numbered from 0, each once")
            symbols = (*own, *units.SPECIALS) if "<s>" not in rows else tuple(own)
            specials |= {""}  # UniSpeech has a phone without a name
        else:
            lines = [line.rsplit(" ", 1)[0] for line in text.splitlines() if line.strip()]
            symbols = (*units.SPECIALS, *(line for line in lines if line not in units.SPECIALS))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read as a dictionary: {error}") from None
    kinds: dict[str, Kind] = {"ltr": "characters", "phn": "phonemes"}
    kind = next((kinds[part] for part in file.name.split(".") if part in kinds), None)
    return units.Rows(symbols, _blank(symbols, str(file)), specials, kind=kind), str(file)


def _blank(symbols: tuple[str, ...], source: str) -> int:
    for symbol in ("<ctc_blank>", "<s>"):
        if symbol in symbols:
            return symbols.index(symbol)
    raise UserError(f"{source}: the dictionary has neither <s> nor <ctc_blank>, so no blank")
