"""Datasets that the Hugging Face library saved to disk, to manifests, without that library.

    SAVED/dataset_dict.json, SAVED/{split}/...               several splits
    SAVED/dataset_info.json, state.json, data-*.arrow        or one

The rows lie in Arrow files. An audio column holds the bytes of a sound file, which are written to
`out/<language>/unpacked` as they are, or the path of one below the dataset's folder. Text is in a
column `text`, `sentence` or `transcription`; other names are mapped with `--column` as for tables.
A validation split becomes dev.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from speechx.corpora.engine.paths import inside, safe_name
from speechx.corpora.engine.preparation import Preparation
from speechx.corpora.engine.rows import ALSO, Listing, OwnData, given, renamed, split_named
from speechx.corpora.engine.tables import shown
from speechx.corpora.engine.write import Counts, Output
from speechx.data.manifest import claim
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import language_code

# By the first bytes. libsndfile ignores the suffix, people do not.
MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff": ".mp3"}


def prepare(root: Path, out: Output, own: OwnData) -> Counts:
    """`root` is a folder that `save_to_disk` wrote; `own.audio_root` holds files whose bytes are
    not inside."""
    name = own.corpus or root.resolve().name
    listing = Listing(name, own, base=root.absolute())
    source = f"the Hugging Face dataset {name}"
    files = _Unpacked(out.folder, source)
    unused: set[str] = set()
    for split, folder in _splits(root).items():
        for place, number, found in _rows(folder, own.columns, unused):
            row = found if given(found.get("split")) else {**found, "split": split}
            audio, find = row["path"], None
            if isinstance(row.get("language"), str):
                row["language"] = language_code(row["language"])
            path = audio.get("path") if isinstance(audio, dict) else audio
            row["path"] = path = path if isinstance(path, str) else ""
            if sound := audio.get("bytes") if isinstance(audio, dict) else None:
                if not given(row.get("id")):
                    row["id"] = Path(path).stem or f"{split}-{number:07d}"
                find = partial(files.write, id=str(row["id"]), data=sound)
            listing.add(row, place, find=find)
    if unused:
        logger.info(f"{root}: columns not used: {shown(sorted(unused))}")
    return listing.finish(out, source)


def _splits(root: Path) -> dict[str, Path]:
    """The datasets of a dictionary by our names of the splits, or `root` if it is one dataset."""
    dictionary = root / "dataset_dict.json"
    if dictionary.is_file():
        names = _object(dictionary).get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{dictionary}: no list of splits is in it.")
        named: dict[str, str] = {}
        for name in names:
            if (earlier := named.setdefault(split_named(name), name)) != name:
                raise UserError(
                    f"{dictionary}: the splits {earlier} and {name} are both {split_named(name)} "
                    "here; rename one, or prepare their folders apart, each to another -o"
                )
        return {ours: inside(root, name, str(dictionary)) for ours, name in named.items()}
    if (root / "state.json").is_file():
        name = _object(root / "state.json").get("_split")
        return {split_named(name) if isinstance(name, str) and name else "train": root}
    raise UserError(
        f"{root}: neither dataset_dict.json nor state.json is in it; a folder that save_to_disk of "
        "the datasets library wrote was expected."
    )


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: a JSON object was expected")
    return found


def _data_files(folder: Path) -> list[Path]:
    where = str(folder / "state.json")
    state = _object(folder / "state.json")
    if state.get("_indices_data_files"):
        raise UserError(f"{where}: rows are picked by an index; save flatten_indices() of it")
    names = [f.get("filename") for f in state.get("_data_files") or () if isinstance(f, dict)]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: no list of data files is in it")
    return [inside(folder, str(name), where) for name in names]


def _rows(
    folder: Path, columns: Mapping[str, str], unused: set[str]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Place, number and row under our names; one row at a time is in memory, with its sound."""
    features = _object(folder / "dataset_info.json").get("features")
    files = _data_files(folder)
    try:
        import pyarrow.ipc
    except ImportError:
        raise UserError(
            "datasets of Hugging Face are Arrow files, which need pyarrow: "
            "pip install 'speechx[tables]'"
        ) from None
    number = 0
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file, but {folder / 'state.json'} lists it")
        try:
            with pyarrow.memory_map(str(file)) as mapped, pyarrow.ipc.open_stream(mapped) as stream:
                types = _features_in(stream.schema)
                types |= features if isinstance(features, dict) else {}
                audio = _audio_column(stream.schema, types)
                columns_here = dict(columns)
                if audio and not any(ALSO.get(ours, ours) == "path" for ours in columns_here):
                    columns_here["path"] = audio
                ours_of = renamed(stream.schema.names, columns_here, file)
                unused |= {name for name, ours in ours_of.items() if not ours}
                for batch in stream:
                    batch.validate(full=True)  # offsets that lie would be read as they are
                    for at in range(batch.num_rows):
                        row = {
                            ours: _value(batch.column(name)[at].as_py(), types.get(name))
                            for name, ours in ours_of.items()
                            if ours
                        }
                        yield f"{file}:{number + 1}", number, row
                        number += 1
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise UserError(f"{file} is no Arrow file that can be read: {why}") from None


def _features_in(schema: Any) -> dict[str, Any]:
    try:
        found = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _audio_column(schema: Any, features: Mapping[str, Any]) -> str | None:
    """Returns the first column of type Audio, or else the first with bytes and path, which may be
    images."""
    for name in schema.names:
        feature = features.get(name)
        if isinstance(feature, dict) and feature.get("_type") == "Audio":
            return str(name)
    for field in schema:
        names = {field.type.field(i).name for i in range(field.type.num_fields)}
        if {"bytes", "path"} <= names:
            return str(field.name)
    return None


def _value(value: Any, feature: Any) -> Any:
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, list) and type(value) is int and 0 <= value < len(names):
        return names[value]
    return value


class _Unpacked:
    def __init__(self, out: Path, source: str) -> None:
        self.out = out
        self.claim_once = cache(partial(claim, source=source))
        self.written: set[Path] = set()

    def write(self, some: Preparation, id: str, data: bytes) -> Path:
        self.claim_once(self.out / some.language)
        suffix = next((s for magic, s in MAGIC.items() if data.startswith(magic)), ".bin")
        folder, name = self.out.absolute() / some.language / "unpacked", safe_name(id)
        path, copies = folder / f"{name}{suffix}", 1
        while path in self.written:
            copies += 1
            path = folder / f"{name}.{copies}{suffix}"
        self.written.add(path)
        if not (path.is_file() and path.read_bytes() == data):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return path
