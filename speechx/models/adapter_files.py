"""Adapters on disk: two files for each language in the folder `adapters` of a model folder.

    adapters/yor.safetensors    encoder.context.layers.N.adapter.*, objectives.NAME.*
    adapters/yor.json           the tokens of its head, as in vocabulary.json

The pair may be copied into another folder with the same encoder. A mark of the encoder stands in
the tensors' file, so that an adapter is not used on another encoder.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechx.errors import UserError
from speechx.models.adapters import is_adapter
from speechx.text.vocabulary import Vocabulary, load_vocabularies, save_vocabularies

FOLDER, SUFFIX, MARK = "adapters", ".safetensors", "encoder"
MARKED = 64
"""Numbers of each tensor that enter the mark."""


@dataclass(frozen=True, slots=True)
class SavedAdapter:
    """What fits an encoder to one language."""

    language: str
    weights: Mapping[str, Tensor]
    """Of the adapters and of the head, under the names that they have in the whole model."""
    vocabularies: Mapping[str, Vocabulary]
    """Tokens of its head, by name."""
    label: str = ""
    """The file, and the beginning of its SHA-256."""
    mark: str | None = None
    """Of the encoder that it was trained on, if that is known."""
    notes: tuple[str, ...] = ()


def head_of(head: str, language: str | None) -> str:
    """The name of a head in the files of a model folder: an adapter has a head of its own."""
    return head if language is None else f"{head}_{language}"


def adapters_in(folder: Path) -> dict[str, Path]:
    """Languages and files of the adapters of a model folder."""
    files = sorted((folder / FOLDER).glob(f"*{SUFFIX}"))
    return {file.name.removesuffix(SUFFIX): file for file in files if file.name[0] != "."}


def read_adapter(file: Path) -> SavedAdapter:
    """An adapter of a model folder."""
    try:
        with safe_open(file, "pt") as tensors:
            mark = (tensors.metadata() or {}).get(MARK)
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"adapter {file} cannot be read: {error}") from None
    vocabulary = file.with_suffix(".json")
    if not vocabulary.is_file():
        raise UserError(f"{vocabulary} is not there: it has the tokens of the adapter {file.name}")
    language = file.name.removesuffix(SUFFIX)
    return SavedAdapter(language, weights, load_vocabularies(vocabulary), file_label(file), mark)


def write_adapters(
    folder: Path, adapters: Iterable[SavedAdapter], encoder: Mapping[str, Tensor]
) -> list[str]:
    """Writes adapters one by one into a model folder whose weights are `encoder`; returns their
    languages."""
    mark, languages = encoder_mark(encoder), []
    for adapter in adapters:
        (folder / FOLDER).mkdir(exist_ok=True)
        file = folder / FOLDER / f"{adapter.language}{SUFFIX}"
        tensors = {name: t.detach().cpu().contiguous() for name, t in adapter.weights.items()}
        save_file(tensors, file, metadata={"format": "pt", MARK: mark})
        save_vocabularies(file.with_suffix(".json"), adapter.vocabularies)
        languages.append(adapter.language)
    return languages


def encoder_mark(weights: Mapping[str, Tensor]) -> str:
    """16 digits that change with the encoder: from the beginnings of its tensors, without the mask
    embedding, which an encoder may lack."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        if not name.startswith("encoder.") or is_adapter(name) or "mask_embedding" in name:
            continue
        tensor = weights[name]
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        some = tensor.detach().flatten()[:MARKED].to("cpu", torch.float32)
        digest.update(some.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def tensors_label(name: str, tensors: Mapping[str, Tensor]) -> str:
    """The name of a file with the beginning of the SHA-256 of some of its tensors."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].contiguous().view(torch.uint8).numpy().tobytes())
    return f"{name} (sha256 of its adapter {digest.hexdigest()[:8]})"


def file_label(file: Path) -> str:
    """The name of a file with the beginning of its SHA-256."""
    return f"{file.name} (sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:8]})"
