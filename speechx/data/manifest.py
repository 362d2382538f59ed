"""The manifest: one utterance a line, the only form of a corpus that the rest of speechx reads.

A line is a JSON object; `data_manifests/manifest.schema.json` says the same for machines:

    {"id": "cv_es_1", "audio": "clips/cv_es_1.mp3", "duration": 4.32, "language": "es",
     "text": "buenos días", "phones": ["b", "w"], "speaker": "a81f"}

`id`, `audio`, `duration` and `language` are needed, the rest is optional; `start` cuts a segment
out of a longer recording, `bytes` is the place of a sound within a shard. Times are seconds. Keys
that speechx does not know are kept. Audio paths are relative to the manifest's own folder, or
absolute, or URLs. A file whose name ends in .parquet holds the same as a table.

Files are read and written line by line: a manifest may be larger than the memory.

    N utterances
"""

import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechx.data import parquet
from speechx.data.utterance import KNOWN, Utterance, from_record, to_record
from speechx.errors import UserError
from speechx.whole_file import whole_file

LONGEST_LINE = 1 << 24  # bytes; more is not a manifest
SUFFIXES = (".jsonl", ".parquet")
BOM = b"\xef\xbb\xbf"
EMPTY = "the manifest is empty; one JSON object a line was expected."
UNIQUE = "ids must be unique in a manifest."
SOURCE = "source.txt"  # in a folder of manifests: what they are of
FEW = 5  # ids that a message names


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a manifest: its number, where it is in the file, and what it says."""

    number: int
    offset: int
    """In bytes; of Parquet the row."""
    found: Utterance | str
    """The utterance, or what is wrong with the line."""


def read_manifest(path: str | Path) -> list[Utterance]:
    """All utterances, with absolute audio paths. A `UserError` names the file and the line."""
    return list(_good(path, _unique(read_lines(path))))


def stream_manifest(path: str | Path) -> Iterator[Utterance]:
    """As `read_manifest`, one after the other. An id that is there twice is an error at the end."""
    hashes = array("q")
    for utterance in _good(path, read_lines(path)):
        hashes.append(hash(utterance.id))
        yield utterance
    if (name := repeated_id(hashes, lambda: _ids(path))) is not None:
        raise UserError(f"{path}: two utterances have the id {name!r}; {UNIQUE}")


def read_manifest_in_part(path: str | Path) -> tuple[list[Utterance], list[str]]:
    """The lines that can be read, and what is wrong with each of the others."""
    utterances, problems = [], []
    for line in _unique(read_lines(path)):
        if isinstance(line.found, str):
            problems.append(f"{path}:{line.number}: {line.found}")
        else:
            utterances.append(line.found)
    if not utterances and not problems:
        problems.append(f"{path}: {EMPTY}")
    return utterances, problems


def read_lines(path: str | Path, keys: Sequence[str] | None = None) -> Iterator[Line]:
    """Each line; with `keys` an utterance is made of those keys only."""
    path = Path(path)
    folder = Path(os.path.abspath(path)).parent
    if parquet.is_parquet(path):
        for row, record in enumerate(parquet.read_records(path)):
            yield Line(
                row + 1, row, record if isinstance(record, str) else from_record(record, folder)
            )
        return
    offset = 0
    try:
        with path.open("rb") as file:
            for number, data in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
                if len(data) == LONGEST_LINE:
                    raise UserError(
                        f"{path}:{number}: longer than {LONGEST_LINE >> 20} MB; "
                        "a manifest holds one JSON object a line."
                    )
                if data.strip() not in (b"", BOM):
                    yield Line(number, offset, parse_line(data, folder, keys))
                offset += len(data)
    except OSError as error:
        hint = "; name a manifest in it" if Path(path).is_dir() else ""
        raise UserError(f"{path}: cannot read the manifest: {error.strerror}{hint}.") from error


def parse_line(data: bytes, folder: Path, keys: Sequence[str] | None = None) -> Utterance | str:
    """The utterance of a JSON line, or what is wrong with it. `folder` is that of the manifest."""
    try:
        record = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "not UTF-8 text; a manifest holds JSON lines."
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg} at column {error.colno})."
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, deep nesting
        return f"not JSON that can be read ({error})."
    if not isinstance(record, dict):
        return f"a JSON object was expected, not {json.dumps(record)[:60]}."
    if keys is not None:
        record = {key: record[key] for key in keys if key in record}
    return from_record(record, folder)


def _good(path: str | Path, lines: Iterable[Line]) -> Iterator[Utterance]:
    """The utterances of a file that has some, and in which nothing is wrong."""
    number = 0
    for line in lines:
        number = line.number
        if isinstance(line.found, str):
            raise UserError(f"{path}:{number}: {line.found}")
        yield line.found
    if not number:
        raise UserError(f"{path}: {EMPTY}")


def _unique(lines: Iterable[Line]) -> Iterator[Line]:
    line_of: dict[str, int] = {}
    for line in lines:
        if isinstance(line.found, Utterance):
            first = line_of.setdefault(line.found.id, line.number)
            if first != line.number:
                problem = f"id {line.found.id!r} is already on line {first}; {UNIQUE}"
                line = Line(line.number, line.offset, problem)
        yield line


def _ids(path: str | Path) -> Iterator[str]:
    return (utterance.id for utterance in _good(path, read_lines(path)))


def repeated_id(hashes: "array[int]", ids: Callable[[], Iterable[str]]) -> str | None:
    """An id that is there twice, if any. Of millions only the hashes are held; where two are equal
    the ids themselves are gone through once more."""
    hashes_N = np.sort(np.frombuffer(hashes, dtype=np.int64))
    suspects = set(hashes_N[1:][hashes_N[1:] == hashes_N[:-1]].tolist())
    seen: set[str] = set()
    for name in ids() if suspects else ():
        if hash(name) in suspects:
            if name in seen:
                return name
            seen.add(name)
    return None


def convert_manifest(source: str | Path, target: str | Path) -> int:
    """Copies a manifest, to the other form if the suffix says so; returns how many lines."""
    if Path(target).suffix.lower() not in SUFFIXES:
        raise UserError(f"{target}: a manifest ends in {' or '.join(SUFFIXES)}")
    return write_manifest(target, stream_manifest(source))


def is_manifest(path: Path) -> bool:
    """By its name, which begins with a dot while it is being written."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def claim(folder: Path, source: str) -> None:
    """Says that the manifests in `folder` are those of `source`, so that preparing another corpus
    there is an error and does not mix the two. The same one may be prepared again."""
    note = folder / SOURCE
    before = note.read_text(encoding="utf-8").strip() if note.is_file() else "an unknown source"
    if note.is_file() and before == source:
        return
    if note.is_file() or (folder.is_dir() and any(map(is_manifest, folder.iterdir()))):
        raise UserError(
            f"{folder} holds the manifests of {before}; give {source} another -o, "
            f"or remove {folder}"
        )
    with whole_file(note) as new:
        new.write_text(source + "\n", encoding="utf-8")


def first_few(ids: Sequence[str]) -> str:
    """Ids for a message: which utterances it is about."""
    return ", ".join(ids[:FEW]) + (", ..." if len(ids) > FEW else "")


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> int:
    """Writes the lines in the order given and returns how many; the file appears whole or not at
    all. An iterator is gone through without holding what it gives.

    Audio under the manifest's folder is written relative to it, so that the folder can be moved;
    other audio is written with its absolute path, so that the manifest can be moved.
    """
    path = Path(path)
    folder = Path(os.path.abspath(path)).parent
    hashes = array("q")

    def records() -> Iterator[dict[str, Any]]:
        for utterance in utterances:
            hashes.append(hash(utterance.id))
            yield to_record(utterance, folder)

    with whole_file(path) as new:
        if parquet.is_parquet(path):
            parquet.write_records(new, records(), KNOWN)
        else:
            with new.open("wb") as file:
                file.writelines(map(json_line, records()))
        if not hashes:
            raise ValueError(f"{path}: an empty manifest would not be read back")
        if (name := repeated_id(hashes, lambda: _ids(new))) is not None:
            raise ValueError(f"two utterances have the id {name!r}")
    return len(hashes)


def json_line(record: dict[str, Any]) -> bytes:
    """The line of a manifest, with its end."""
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a character in a key that is not ours
        return (json.dumps(record) + "\n").encode()
