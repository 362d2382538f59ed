"""The manifest: one utterance per line. Everything else in speechx reads corpora only in this form.

A line is a JSON object; `data_manifests/manifest.schema.json` is its JSON schema:

    {"id": "cv_es_1", "audio": "clips/cv_es_1.mp3", "duration": 4.32, "language": "es",
     "text": "buenos días", "phones": ["b", "w"], "speaker": "a81f"}

`id`, `audio`, `duration` and `language` are required, other keys are optional. `start` selects a
segment of a longer recording; `bytes` is the offset and size of the audio in a shard. Times are in
seconds. Unknown keys are kept. Audio paths are absolute, relative to the folder of the manifest, or
URLs. A file whose name ends in .parquet holds the same records as a table.

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
from speechx.data.utterance import (
    AUDIO_KEYS,
    KNOWN,
    Record,
    RecordError,
    Utterance,
    from_record,
    to_record,
)
from speechx.errors import UserError
from speechx.whole_file import whole_file

LONGEST_LINE = 1 << 24  # bytes; more is not a manifest
SUFFIXES = (".jsonl", ".parquet")
BOM = b"\xef\xbb\xbf"
EMPTY = "the manifest is empty; one JSON object per line was expected."
UNIQUE = "ids must be unique in a manifest."
SOURCE = "source.txt"  # in a folder of manifests: the corpus that they are made from
FEW = 5  # ids in a message


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a manifest: its number, its offset in bytes (in Parquet its row), its utterance."""

    number: int
    offset: int
    found: Utterance | RecordError

    def utterance(self, path: str | Path) -> Utterance:
        """The utterance; for a bad line a UserError with the path and the line number."""
        if isinstance(self.found, RecordError):
            raise UserError(f"{path}:{self.number}: {self.found}")
        return self.found


def read_manifest(path: str | Path) -> list[Utterance]:
    """All utterances, with absolute audio paths. A `UserError` names the file and the line."""
    utterances: list[Utterance] = []
    line_of: dict[str, int] = {}
    for line in read_lines(path):
        u = line.utterance(path)
        if (first := line_of.setdefault(u.id, line.number)) != line.number:
            why = f"id {u.id!r} is already on line {first}; {UNIQUE}"
            raise UserError(f"{path}:{line.number}: {why}")
        utterances.append(u)
    if not utterances:
        raise UserError(f"{path}: {EMPTY}")
    return utterances


def stream_manifest(path: str | Path) -> Iterator[Utterance]:
    """Like `read_manifest`, one by one; a repeated id is an error at the end of the file."""
    hashes = array("q")
    for line in read_lines(path):
        utterance = line.utterance(path)
        hashes.append(hash(utterance.id))
        yield utterance
    check_ids(path, hashes)


def read_lines(path: str | Path, keys: Sequence[str] | None = None) -> Iterator[Line]:
    """All lines. With `keys`, all other keys of JSON lines are ignored."""
    path = Path(path)
    folder = Path(os.path.abspath(path)).parent
    if parquet.is_parquet(path):
        rows = (row for batch in parquet.record_batches(path) for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            yield Line(number, number - 1, _found(parse_row, row, folder))
        return
    offset = 0
    try:
        with path.open("rb") as file:
            for number, data in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
                if len(data) == LONGEST_LINE:
                    raise UserError(
                        f"{path}:{number}: longer than {LONGEST_LINE >> 20} MB; "
                        "a manifest holds one JSON object per line."
                    )
                if data.strip() not in (b"", BOM):
                    yield Line(number, offset, _found(parse_line, data, folder, keys))
                offset += len(data)
    except OSError as error:
        hint = "; name a manifest in it" if Path(path).is_dir() else ""
        raise UserError(f"{path}: cannot read the manifest: {error.strerror}{hint}.") from error


def parse_line(data: bytes, folder: Path, keys: Sequence[str] | None = None) -> Utterance:
    """The utterance of a JSON line of a manifest in `folder`. Raises RecordError."""
    try:
        record = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise RecordError("not UTF-8 text; a manifest holds JSON lines.") from None
    except json.JSONDecodeError as error:
        raise RecordError(
            f"not JSON ({error.msg} at column {error.colno}); a manifest holds JSON lines."
        ) from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, deep nesting
        raise RecordError(f"not readable JSON ({error}).") from None
    if not isinstance(record, dict):
        raise RecordError(f"a JSON object was expected, not {json.dumps(record)[:60]}.")
    if keys is not None:
        record = {key: record[key] for key in keys if key in record}
    return from_record(record, folder)


def parse_row(row: Record, folder: Path) -> Utterance:
    """The utterance of a Parquet row of a manifest in `folder`. Raises RecordError."""
    return from_record(parquet.to_record(row), folder)


def _found(parse: Callable[..., Utterance], *arguments: Any) -> Utterance | RecordError:
    try:
        return parse(*arguments)
    except RecordError as error:
        return error


def check_ids(path: str | Path, hashes: "array[int]") -> None:
    """Raises a UserError if a manifest is empty or repeats an id; arguments as `repeated_id`."""
    if not hashes:
        raise UserError(f"{path}: {EMPTY}")
    if (name := repeated_id(path, hashes)) is not None:
        raise UserError(f"{path}: two utterances have the id {name!r}; {UNIQUE}")


def repeated_id(path: str | Path, hashes: "array[int]") -> str | None:
    """An id that a manifest without bad lines holds twice, or None. To save memory it compares the
    hashes of all ids; only if two are equal, the manifest is read again and the ids themselves are
    compared."""
    hashes_N = np.sort(np.frombuffer(hashes, dtype=np.int64))
    suspects = set(hashes_N[1:][hashes_N[1:] == hashes_N[:-1]].tolist())
    seen: set[str] = set()
    for line in read_lines(path, AUDIO_KEYS) if suspects else ():
        name = line.utterance(path).id
        if hash(name) in suspects:
            if name in seen:
                return name
            seen.add(name)
    return None


def convert_manifest(source: str | Path, target: str | Path) -> int:
    """Copies a manifest to a file of either suffix; returns the number of lines."""
    if Path(target).suffix.lower() not in SUFFIXES:
        raise UserError(f"{target}: the name of a manifest ends in {' or '.join(SUFFIXES)}")
    return write_manifest(target, stream_manifest(source))


def is_manifest(path: Path) -> bool:
    """Whether the name is that of a manifest; unfinished files begin with a dot."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def claim(folder: Path, source: str) -> None:
    """Marks `folder` for manifests of `source`. If it has manifests of another corpus, this is an
    error, so that corpora are not mixed. The same corpus may be prepared again."""
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
    """The first ids, for a message."""
    return ", ".join(ids[:FEW]) + (", ..." if len(ids) > FEW else "")


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> int:
    """Writes the lines in this order, atomically, and returns their number. An iterator is not held
    in memory.

    Audio paths inside the folder of the manifest become relative, so that the folder can be moved;
    other paths become absolute, so that the manifest can be moved.
    """
    path = Path(path)
    folder = Path(os.path.abspath(path)).parent
    hashes = array("q")

    def records() -> Iterator[Record]:
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
            raise ValueError(f"{path}: an empty manifest could not be read")
        if (name := repeated_id(new, hashes)) is not None:
            raise ValueError(f"two utterances have the id {name!r}")
    return len(hashes)


def json_line(record: Record) -> bytes:
    """The line of a record, with a newline."""
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a character in an unknown key
        return (json.dumps(record) + "\n").encode()
