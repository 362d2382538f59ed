"""Opens a model of five formats, detected by content: ours, fairseq, Hugging Face, fairseq2 and
torchaudio. A model of the Hugging Face Hub is opened by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from speechx.config import parse
from speechx.errors import UserError
from speechx.interchange import fairseq, fairseq2, hugging_face, torchaudio
from speechx.interchange.hub import local_path, published_name
from speechx.interchange.names import QUANTIZER
from speechx.interchange.pickles import SUFFIXES, checkpoint_file, read_pickle
from speechx.models.folder import SavedModel, is_model_folder, open_folder
from speechx.objectives import AnyObjective
from speechx.objectives.model import SpeechModel, missing_part

KINDS = tuple(get_args(get_type_hints(config)["kind"])[0] for config in get_args(AnyObjective))
PARTS = ("mask_embedding", "quantizer", *KINDS)
"""What may be missing if it is allowed by name."""
IN_FOLDERS = ("config.yaml", "config.json", "model.safetensors", "pytorch_model.bin")
TENSOR_MARKERS = {
    "encoder_frontend.": "fairseq2",
    "encoder.transformer.": "torchaudio",
    "feature_projection.": "hugging_face",
    "encoder.pos_conv.": "fairseq",
}
"""What a tensor's name holds in one format only; the first that is found counts."""
FOREIGN: Mapping[str, Any] = {
    "fairseq": fairseq,
    "hugging_face": hugging_face,
    "fairseq2": fairseq2,
    "torchaudio": torchaudio,
}
"""The modules that read and write the formats of others."""


def open_model(path: Path | str, allow_missing: Sequence[str] = ()) -> SavedModel:
    """Reads a model: a folder of ours, a file or folder of another toolkit, or `owner/name` of the
    Hugging Face Hub.

    A foreign file must hold the whole model that its settings describe, but for the parts that
    `allow_missing` names. An encoder alone is a whole model too, and has no objectives.
    """
    return open_as(path, allow_missing)[1]


def open_as(path: Path | str, allow_missing: Sequence[str] = ()) -> tuple[str, SavedModel]:
    """The format of a model, and the model."""
    path, allowed = local_path(path), known_parts(allow_missing)
    format, place, content = _identify(path)
    try:
        if format == "speechx":
            saved = open_folder(place)
        else:
            saved = _checked(FOREIGN[format].read(place, content), path, allowed)
    except UserError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        # Settings of other types than any version of the toolkit writes.
        raise UserError(
            f"{path} is damaged, or no {format} model that speechx knows "
            f"({type(error).__name__}: {error})"
        ) from error
    if (name := published_name(path)) != str(path):
        saved = replace(saved, notes=(f"read from {name}", *saved.notes))
    return format, saved


def known_parts(allow_missing: Sequence[str]) -> tuple[str, ...]:
    """The names of parts that may be missing, one of which may stand by itself."""
    parts = (allow_missing,) if isinstance(allow_missing, str) else allow_missing
    if not isinstance(parts, (list, tuple)):
        raise UserError(f"allow_missing is {parts!r}: expected a list of {', '.join(PARTS)}")
    for part in parts:
        if part not in PARTS:
            raise UserError(f"{part!r} cannot be missing; what may be missing: {', '.join(PARTS)}")
    return tuple(parts)


def without_weights(saved: SavedModel) -> SpeechModel:
    """The model that the settings describe, on the meta device."""
    objectives = parse(dict[str, AnyObjective], dict(saved.objectives), str(saved.folder))
    with torch.device("meta"):
        return SpeechModel(saved.encoder, objectives, saved.vocabularies)


def _checked(saved: SavedModel, path: Path, allowed: Sequence[str]) -> SavedModel:
    """The model, without an incomplete quantizer if that is allowed. All tensors of the model that
    the settings describe must be there, in their shapes."""
    expected = {name: t.shape for name, t in without_weights(saved).state_dict().items()}
    missing = [name for name in expected if name not in saved.weights]
    if other := [n for n in missing if not n.startswith(("encoder.mask_embedding", QUANTIZER))]:
        raise UserError(
            f"{path} lacks {len(other)} tensors of a model of its settings (first: {other[0]}): "
            "give the whole checkpoint, with the settings that it was saved with"
        )
    no_quantizer = any(name.startswith(QUANTIZER) for name in missing)
    parts = {"mask_embedding": "encoder.mask_embedding" in missing, "quantizer": no_quantizer}
    if refused := [part for part, gone in parts.items() if gone and part not in allowed]:
        raise missing_part(str(path), *refused)
    if no_quantizer:
        weights = {n: t for n, t in saved.weights.items() if not n.startswith(QUANTIZER)}
        notes = (*saved.notes, "the quantizer is incomplete and left out")
        absent = {config["kind"]: config for config in saved.objectives.values()}
        saved = replace(saved, weights=weights, objectives={}, absent=absent, notes=notes)
    for name, tensor in saved.weights.items():
        if expected.get(name) != tensor.shape:
            wanted = tuple(expected[name]) if name in expected else "nothing"
            raise UserError(
                f"{path}: {name} is {tuple(tensor.shape)}, but a model of its settings has "
                f"{wanted} there"
            )
    return saved


def _identify(path: Path) -> tuple[str, Path, Any]:
    """The format, its folder or its `.pt`, and the content of that, which is read only once."""
    if not path.exists():
        raise UserError(
            f"model {path} does not exist: expected a folder, a file, or OWNER/NAME of a model "
            "of the Hugging Face Hub"
        )
    if path.is_file() and path.name in IN_FOLDERS:
        path = path.parent
    if path.is_dir():
        if is_model_folder(path):
            return "speechx", path, None
        inside = {p.name for p in path.iterdir()}
        if "config.json" in inside:
            return "hugging_face", path, None
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
    named = inner.items() if isinstance(inner, dict) else ()
    tensors = [name for name, tensor in named if isinstance(tensor, Tensor)]
    for start, format in TENSOR_MARKERS.items():
        if any(f".{start}" in f".{name}" for name in tensors):
            if format == "fairseq" and inner is content:
                break
            if format == "hugging_face":
                raise UserError(
                    f"{path} has tensors of Hugging Face but no settings: give the folder with its "
                    "config.json"
                )
            return format, path, content
    first = f"its first tensor is {tensors[0]}" if tensors else "it has no tensors by name"
    raise UserError(
        f"{path} holds no wav2vec 2.0 model of fairseq, fairseq2 or torchaudio: {first}"
    )
