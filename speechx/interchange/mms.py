"""Folders of MMS (transformers): one encoder, and an adapter, a head and a vocabulary for each
language.

    adapter.yor.safetensors    wav2vec2.encoder.layers.N.adapter_layer.*, lm_head.*; or .bin
    vocab.json                 {"yor": {"<pad>": 0, ...}, ...}
    model.safetensors          the encoder; often one language too, which target_lang of the
                               tokenizer names

A folder that was fine-tuned for one language may have its adapter in the weights of the model only,
and a vocabulary without its name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechx.errors import UserError
from speechx.interchange import names
from speechx.interchange.json_objects import read_json
from speechx.interchange.stored_tensors import WEIGHTS, read_file, read_folder
from speechx.interchange.tokenizer import VOCABULARY, languages_of, read_rows
from speechx.interchange.vocabulary_rows import from_rows
from speechx.models.adapter_files import SavedAdapter, file_label, tensors_label

UNNAMED = "und"
"""The code of ISO 639 for an unknown language: of an adapter that no file names."""
CONFIG = "config.json"


def of_language(name: str) -> bool:
    """Whether a tensor of a folder fits the encoder to a language."""
    return ".adapter_layer." in name or name.startswith("lm_head.")


def adapter_languages(
    folder: Path, about: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> tuple[tuple[str, ...], str | None]:
    """The languages whose adapters are in a folder with these weights, and the one in the weights
    themselves; none and None for a folder without adapters."""
    files, inside = adapter_files(folder), any(".adapter_layer." in name for name in weights)
    if not (files or inside or about.get("adapter_attn_dim") is not None):
        return (), None
    usual = None
    if inside and "lm_head.weight" in weights:
        vocabularies, target = languages_of(folder, about)
        named = [*dict.fromkeys((*vocabularies, *files))]
        alone = named[0] if len(named) == 1 else UNNAMED if not vocabularies else None
        usual = target or alone
    found = {*files, *filter(None, [usual])}
    if not found:
        raise UserError(
            f"{folder / CONFIG}: adapter_attn_dim is {about.get('adapter_attn_dim')}, but there "
            "is no adapter: expected adapter.LANGUAGE.safetensors or adapter.LANGUAGE.bin beside it"
        )
    return tuple(sorted(found)), usual


def adapter_files(folder: Path) -> dict[str, Path]:
    """Languages and files; of two files for a language the one that transformers takes."""
    return {
        file.name.removeprefix("adapter.").removesuffix(suffix): file
        for suffix in (".bin", ".safetensors")
        for file in sorted(folder.glob(f"adapter.*{suffix}"))
    }


def without_file(folder: Path, languages: tuple[str, ...]) -> list[str]:
    """Languages that have a vocabulary in a folder, but none of its adapters, `languages`."""
    vocabularies, _ = languages_of(folder, read_json(folder / CONFIG))
    return [name for name in vocabularies if name not in languages]


def read_adapter(folder: Path, language: str, inside: bool = False) -> SavedAdapter:
    """The adapter for a language; with `inside` the one in the weights of the model."""
    about, file = read_json(folder / CONFIG), adapter_files(folder).get(language)
    if inside or file is None:
        given = read_folder(folder, of_language)
        source = next(name for name in WEIGHTS if [*folder.glob(f"{name}*")])
        label = tensors_label(source, given)
    else:
        given, label, source = read_file(file), file_label(file), file.name
    source = str(folder / source)
    if strange := [name for name in given if not of_language(name)] or not given:
        first = f" (first: {strange[0]})" if isinstance(strange, list) else ""
        raise UserError(f"{source} is no adapter of an MMS model: it has other tensors{first}")
    weights = names.to_ours(given, names.HUGGING_FACE, source)
    sizes = {len(weights.get(f"{names.HEAD}.{part}", ())) for part in ("weight", "bias")}
    count = max(sizes)
    if len(sizes) > 1 or not count:
        raise UserError(
            f"{source} has no whole head (lm_head) for its language: give the whole adapter"
        )
    vocabularies, _ = languages_of(folder, about)
    if vocabularies and language not in vocabularies:
        raise UserError(
            f"{folder / VOCABULARY} has no vocabulary for {language}, so the rows of the head in "
            f"{source} have no symbols: add it"
        )
    rows, notes = read_rows(folder, about, count, language)
    vocabulary, weights, more = from_rows(weights, rows, f"{folder / VOCABULARY} ({language})")
    notes = tuple(f"{language}: {note}" for note in (*notes, *more))
    return SavedAdapter(language, weights, {"ctc": vocabulary}, label, notes=notes)
