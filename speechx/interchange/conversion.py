"""`speechx convert SRC DST`: models of five formats, opened by what they are, written as asked.

    speechx convert xlsr_53_56k.pt xlsr53                     fairseq to speechx
    speechx convert xlsr53 xlsr53_hf --to hugging_face        and on to transformers

Every target is a new folder. What was read is counted per part, what was assumed, left out or
starts fresh is said, and where a package that reads the other format is installed, its own code
runs on the file and must compute the same (`proof`). Only then does the target appear.

A missing quantizer is left out of a speechx folder, so that none at chance passes for a trained
one; formats that must have one are refused. A missing mask vector is drawn and written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechx.errors import UserError
from speechx.interchange import fairseq, fairseq2, hugging_face, settings, torchaudio
from speechx.interchange.pickles import SUFFIXES, checkpoint_file, read_pickle
from speechx.models.ctc import CTC
from speechx.models.wav2vec2 import Wav2Vec2, Wav2Vec2Pretraining
from speechx.training.checkpoint import (
    ModelKind,
    SavedModel,
    load_weights,
    open_model,
    save_model,
)
from speechx.training.progress import say

FORMATS = ("speechx", "fairseq", "hugging_face", "fairseq2", "torchaudio")
OPTIONAL = {
    "quantizer": (
        "quantizer.logits.weight", "quantizer.logits.bias", "quantizer.codebook_GVQ",
        "project_targets.weight", "project_targets.bias",
        "project_context.weight", "project_context.bias",
    ),
    "mask_vector": ("trunk.mask_vector",),
}  # fmt: skip
"""What may be missing if allowed by name, and the tensors that then start fresh."""
TRUNK_ALONE = ("speechx", "torchaudio")  # formats that need no quantizer


def detect(path: Path | str) -> str:
    """The format of a model file or folder."""
    return _identify(Path(path))[0]


def open_any(
    path: Path | str, kind: ModelKind | None = None, allow_missing: Sequence[str] = ()
) -> SavedModel:
    """A model of any format; `kind` says what is needed, `allow_missing` what need not be there.

    A pretraining model must have its quantizer and projections where `kind` asks for one; without
    `kind` a trunk alone will do. Tensors that were allowed to be missing are not in the result's
    weights: `load_weights(..., fresh=fresh(allow_missing))` leaves the model's own there. A CTC
    model may stand in for a pretraining model whose quantizer may be missing: it loses its head.
    """
    return _open(Path(path), kind, allow_missing, trunk_alone=kind is None)[1]


def fresh(allow_missing: Sequence[str]) -> tuple[str, ...]:
    """The beginnings of the names of tensors that may be missing; one part may stand by itself."""
    parts = (allow_missing,) if isinstance(allow_missing, str) else allow_missing
    if not isinstance(parts, (list, tuple)):
        raise UserError(f"allow_missing is {parts!r}: expected a list of {', '.join(OPTIONAL)}")
    for part in parts:
        if str(part) not in OPTIONAL:
            known = ", ".join(OPTIONAL)
            raise UserError(f"{part!r} cannot be missing; what may start fresh: {known}")
    return tuple(prefix for part in parts for prefix in OPTIONAL[part])


def convert(
    source: Path | str,
    target: Path | str,
    format: str = "speechx",
    allow_missing: Sequence[str] = (),
    prove: bool = False,
) -> None:
    """Writes `source` as a new folder `target`; `prove` insists on a proof for both sides."""
    from speechx.interchange import proof

    source, target, format = Path(source), Path(target), format.replace("-", "_")
    if format not in FORMATS:
        raise UserError(f"there is no format {format!r}: expected one of {', '.join(FORMATS)}")
    if target.exists():
        raise UserError(f"{target} is there already and is not overwritten: give a new folder")
    if target.suffix in SUFFIXES:
        raise UserError(
            f"{target} would be a file, but a model is written as a folder (its weights are named "
            f"model{SUFFIXES[0]} there): give a name such as {target.with_suffix('')}"
        )
    found, saved = _open(source, None, allow_missing, trunk_alone=format == "torchaudio")
    if format != "speechx":
        settings.convolutions(saved.config, format)  # a filterbank model is refused here
    for side, name in ((source, found), (target, format)):
        if prove and name != "speechx" and not proof.available(name):
            raise UserError(
                f"--prove: no package that reads {name} is installed, so {side} cannot be proved"
            )
    say(f"convert: {source} ({found}, {saved.kind}) to {target} ({format})")
    if saved.kind == "pretraining" and not saved.weights.keys() >= {*OPTIONAL["quantizer"]}:
        if format not in TRUNK_ALONE:
            raise UserError(
                f"{source} has no quantizer to write to {target}, and one at chance would pass for "
                f"a trained one there: expected --to {' or '.join(TRUNK_ALONE)}"
            )
        trunk = {n: t for n, t in saved.weights.items() if n.startswith("trunk.")}
        note = "no quantizer, so none is written: whoever continues must allow it to be missing"
        saved = replace(saved, weights=trunk, notes=(*saved.notes, note))
    model, report = _complete(saved, source, format, allow_missing)
    whole = replace(saved, weights=dict(model.state_dict()))
    say(f"convert: {report}")
    for note in saved.notes:
        say(f"convert: {note}")
    if found != "speechx" and proof.available(found):
        try:
            _say_proof(source, proof.prove(saved, source, found))
        except proof.Unproved as reason:
            # A file that others cannot read may be a good one; what was written below may not.
            if prove:
                raise
            say(f"convert: {reason}")
    if format == "speechx":
        save_model(target, saved.kind, model, saved.config, saved.languages, saved.vocabulary)
    else:
        new = target.with_name(f".{target.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            for note in _WRITE[format](whole, new):
                say(f"convert: {note}")
            if proof.available(format):
                _say_proof(target, proof.prove(whole, new, format))
            os.replace(new, target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    say(f"convert: wrote {target}")


def _open(
    path: Path, kind: ModelKind | None, allow_missing: Sequence[str], trunk_alone: bool
) -> tuple[str, SavedModel]:
    may_miss = fresh(allow_missing)
    format, content = _identify(path)
    try:
        if format == "speechx":
            saved = open_model(path if path.is_dir() else path.parent)
        elif format == "hugging_face":
            saved = hugging_face.read(path)
        else:
            saved = _READ[format](path, content)
    except UserError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        # Settings of other types than any version of the toolkit writes.
        raise UserError(
            f"{path} is damaged, or no {format} model as speechx knows them "
            f"({type(error).__name__}: {error})"
        ) from error
    if kind == "pretraining" and saved.kind == "ctc" and "quantizer" in allow_missing:
        trunk = {n: t for n, t in saved.weights.items() if n.startswith("trunk.")}
        notes = (*saved.notes, "the CTC head is left out")
        saved = replace(saved, kind="pretraining", weights=trunk, vocabulary=None, notes=notes)
    if kind is not None and saved.kind != kind:
        advice = {
            "ctc": "a fine-tuned model is needed: run `speechx finetune` with init= this model",
            "pretraining": "a pretrained model with its quantizer is needed (allowed to be missing,"
            " it starts fresh: quantizer)",
        }
        raise UserError(f"{path} holds a {saved.kind} model, but {advice[kind]}")
    may_miss = (*may_miss, *OPTIONAL["quantizer"]) if trunk_alone else may_miss
    _check(saved, path, may_miss, ours=format == "speechx")
    return format, saved


def _check(saved: SavedModel, path: Path, may_miss: Sequence[str], ours: bool) -> None:
    """All tensors of the model that the settings describe are there, in their shapes. Of ours only
    a quantizer can be missing; the rest is left to `load_weights`."""
    there = {name: t.shape for name, t in saved.weights.items()}
    if ours:
        needed = OPTIONAL["quantizer"] if saved.kind == "pretraining" else ()
        expected = {**dict.fromkeys(needed, torch.Size()), **there}
    else:
        with torch.device("meta"):
            expected = {name: t.shape for name, t in _model(saved).state_dict().items()}
    missing = [n for n in expected if n not in there and not n.startswith(tuple(may_miss))]
    optional = {part for part, names in OPTIONAL.items() for n in missing if n.startswith(names)}
    if missing and all(n.startswith(fresh(sorted(optional))) for n in missing):
        parts = sorted(optional)
        options = " ".join(f"--allow-missing {part}" for part in parts)
        raise UserError(
            f"{path} has no {' and no '.join(parts)} ({len(missing)} tensors, first {missing[0]}): "
            f"to let them start fresh say {options}, or in a configuration "
            f"allow_missing: [{', '.join(parts)}]"
        )
    if missing:
        raise UserError(f"{path} lacks {len(missing)} tensors of a {saved.kind} model of its "
                        f"settings (first: {missing[0]})")  # fmt: skip
    for name, shape in there.items():
        if expected.get(name) != shape:
            wanted = tuple(expected[name]) if name in expected else "nothing"
            raise UserError(
                f"{path}: {name} is {tuple(shape)}, but a model of its settings has {wanted} there"
            )


def _complete(
    saved: SavedModel, source: Path, format: str, allow_missing: Sequence[str]
) -> tuple[nn.Module, str]:
    """The model, or its trunk if there is no quantizer, and the report; the mask vector may be
    drawn, torchaudio has no place for one."""
    trunk_alone = saved.kind == "pretraining" and "quantizer.logits.weight" not in saved.weights
    config = saved.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.ModuleDict({"trunk": Wav2Vec2(config)}) if trunk_alone else _model(saved)
    may_miss = fresh(["mask_vector"] if format == "torchaudio" else allow_missing)
    return model, load_weights(model, saved.weights, str(source), may_miss)


def _model(saved: SavedModel) -> nn.Module:
    if saved.vocabulary is None:
        return Wav2Vec2Pretraining(saved.config)
    return CTC(saved.config, len(saved.vocabulary))


def _identify(path: Path) -> tuple[str, Any]:
    """The format, and the content of a `.pt`, which is read only once."""
    if not path.exists():
        raise UserError(f"model {path} does not exist")
    if path.is_file() and path.name in IN_FOLDERS:
        path = path.parent
    if path.is_dir():
        inside = {p.name for p in path.iterdir()}
        if {"config.yaml", "model.safetensors"} <= inside:
            return "speechx", None
        if "config.json" in inside:
            return "hugging_face", None
        if not any(Path(name).suffix in SUFFIXES for name in inside):
            models = sorted(p for p in path.iterdir() if (p / "model.safetensors").is_file())
            hint = f"; did you mean {models[0]}?" if models else ""
            raise UserError(
                f"{path} holds no model: expected config.yaml with model.safetensors (speechx), "
                f"config.json with weights (Hugging Face), or a .pt file{hint}"
            )
    elif path.suffix == ".safetensors":
        raise UserError(f"{path} has no settings in it: give the folder with its config.json")
    path = checkpoint_file(path)
    content = read_pickle(path)
    inner = content.get("model", content) if isinstance(content, dict) else None
    tensors = [n for n, t in inner.items() if isinstance(t, Tensor)] if isinstance(
        inner, dict
    ) else []  # fmt: skip
    for start, format in MARKS.items():
        if any(f".{name}".find(f".{start}") >= 0 for name in tensors):
            if format == "fairseq" and inner is content:
                break
            if format == "hugging_face":
                raise UserError(
                    f"{path} has tensors of Hugging Face but no settings: give the folder with its "
                    "config.json"
                )
            return format, content
    first = f"its first tensor is {tensors[0]}" if tensors else "it has no tensors by name"
    raise UserError(
        f"{path} holds no wav2vec 2.0 model of fairseq, fairseq2 or torchaudio: {first}"
    )


IN_FOLDERS = ("config.yaml", "config.json", "model.safetensors", "pytorch_model.bin")
MARKS = {
    "encoder_frontend.": "fairseq2",
    "encoder.transformer.": "torchaudio",
    "feature_projection.": "hugging_face",
    "encoder.pos_conv.": "fairseq",
}
"""What a tensor's name holds in one format only; the first that is found counts."""
_READ = {"fairseq": fairseq.read, "fairseq2": fairseq2.read, "torchaudio": torchaudio.read}
_WRITE = {
    "fairseq": fairseq.write,
    "fairseq2": fairseq2.write,
    "hugging_face": hugging_face.write,
    "torchaudio": torchaudio.write,
}


def _say_proof(path: Path, proof: Any) -> None:
    for line in str(proof).splitlines():
        say(f"convert: proof of {path}: {line}")
