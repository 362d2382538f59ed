"""Utterances that stay in their manifest until they are asked for.

Of JSON lines the offsets are kept, and a line is parsed again; of Parquet the columns of what is
heard. Both are shared by the workers that are forked, and small enough to be sent to others.

    N utterances · P packed sounds
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from speechx.data import parquet
from speechx.data.columns import Columns
from speechx.data.exclusion import Exclusions
from speechx.data.manifest import EMPTY, UNIQUE, Line, parse_line, read_lines, repeated_id
from speechx.data.utterance import HEARD, LONGEST_SECONDS, Utterance, from_record
from speechx.errors import UserError

Source = Sequence[Utterance]
_KINDS = {
    "duration": "number", "start": "number", "bytes": "place",
    "language": "name", "speaker": "name", "corpus": "name",
}  # fmt: skip


def read_sources(
    paths: Sequence[Path], columns: Columns, exclusions: Exclusions
) -> tuple[Source, np.ndarray]:
    """The utterances of the manifests one after the other, and which of them are not excluded;
    the `columns` grow by those."""
    sources: list[Source] = []
    rows, before = [], 0
    for path in map(Path, paths):
        read = _read_parquet if parquet.is_parquet(path) else _read_json_lines
        source, row_N = read(path, columns, exclusions)
        sources.append(source)
        rows.append(row_N + before)
        before += len(source)
    return sources[0] if len(sources) == 1 else Several(sources), np.concatenate(rows)


class JsonLines(Source):
    """The lines of a file that does not change."""

    def __init__(self, path: Path, size_and_time: tuple[int, int], offsets: np.ndarray) -> None:
        self.path = Path(os.path.abspath(path))
        self.size_and_time, self.offsets = size_and_time, offsets

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, row: int) -> Utterance:  # type: ignore[override]
        try:
            # Opened each time: workers share no place in a file, and there is nothing to close.
            with self.path.open("rb", buffering=4096) as file:
                same = _size_and_time(file.fileno()) == self.size_and_time
                file.seek(int(self.offsets[row]))
                found = parse_line(file.readline(), self.path.parent, HEARD) if same else ""
        except OSError as error:
            raise UserError(f"{self.path}: cannot read the manifest: {error.strerror}.") from error
        if isinstance(found, str):
            raise UserError(
                f"{self.path} has changed since it was read; resume the run to read it again"
            )
        return found


class Table(Source):
    """The columns of a Parquet file that are heard."""

    def __init__(self, folder: Path, batches: Sequence[Any]) -> None:
        self.folder, self.batches = folder, batches
        self.ends = np.cumsum([len(batch) for batch in batches]).tolist()

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row: int) -> Utterance:  # type: ignore[override]
        number = bisect_right(self.ends, row)
        batch = self.batches[number]
        row -= self.ends[number] - len(batch)
        record = {key: batch.column(place)[row].as_py() for place, key in enumerate(HEARD)}
        found = from_record(record, self.folder)
        assert isinstance(found, Utterance), found
        return found


class Several(Source):
    """One source after another."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.ends = np.cumsum([len(source) for source in sources]).tolist()

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row: int) -> Utterance:  # type: ignore[override]
        number = bisect_right(self.ends, row)
        source = self.sources[number]
        return source[row - self.ends[number] + len(source)]


def _read_json_lines(
    path: Path, columns: Columns, exclusions: Exclusions
) -> tuple[Source, np.ndarray]:
    offsets, hashes, kept = array("q"), array("q"), array("q")
    for line in read_lines(path, HEARD):
        u = line.found
        if isinstance(u, str):
            raise UserError(f"{path}:{line.number}: {u}")
        if not exclusions.leave_out(u):
            kept.append(len(offsets))
            columns.add(u)
        offsets.append(line.offset)
        hashes.append(hash(u.id))
    _check_ids(path, hashes, lambda: _ids(read_lines(path, HEARD)))
    source = JsonLines(path, _size_and_time(path), np.frombuffer(offsets, dtype=np.int64))
    return source, np.frombuffer(kept, dtype=np.int64)


def _read_parquet(
    path: Path, columns: Columns, exclusions: Exclusions
) -> tuple[Source, np.ndarray]:
    pa = parquet.pyarrow()
    folder = Path(os.path.abspath(path)).parent
    kept: list[np.ndarray] = []
    parts: list[Any] = []
    hashes = array("q")
    for batch in parquet.record_batches(path, HEARD):
        batch = _checked(pa, path, batch, len(hashes), folder)
        ids = batch.column("id").to_pylist()
        wanted_N = np.ones(len(ids), dtype=bool)
        if exclusions:
            keys = (batch.column(key).to_pylist() for key in ("corpus", "language", "duration"))
            named = (
                exclusions.names(c, lang, i, s) for i, c, lang, s in zip(ids, *keys, strict=True)
            )
            wanted_N = ~np.fromiter(named, dtype=bool)
        kept.append(len(hashes) + np.flatnonzero(wanted_N))
        hashes.extend(map(hash, ids))
        columns.add_batch(pa.compute, batch.filter(pa.array(wanted_N)), folder)
        parts.append(batch)
    _check_ids(path, hashes, lambda: chain.from_iterable(b.column("id").to_pylist() for b in parts))
    return Table(folder, parts), np.concatenate(kept)


def _checked(pa: Any, path: Path, batch: Any, before: int, folder: Path) -> Any:
    """The batch with all columns of an utterance that is heard; a UserError names the first row in
    which something is wrong."""
    try:
        whole = pa.RecordBatch.from_arrays(
            [_column(pa, batch, key) for key in HEARD], names=list(HEARD)
        )
        whole.validate(full=True)
        good = _good(pa.compute, whole)
    except (pa.ArrowException, TypeError):
        good = False
    if good:
        return whole
    for row, record in enumerate(parquet.batch_records(batch), start=before + 1):
        found = record if isinstance(record, str) else from_record(record, folder)
        if isinstance(found, str):
            raise UserError(f"{path}:{row}: {found}")
    types = ", ".join(f"{field.name} {field.type}" for field in batch.schema)
    raise UserError(f"{path}: columns of these types are no manifest: {types}")


def _column(pa: Any, batch: Any, key: str) -> Any:
    """One column as it is kept; a TypeError where other types would be taken for it."""
    kind, there = _KINDS.get(key, "text"), batch.schema.get_field_index(key)
    column = pa.nulls(len(batch)) if there < 0 else batch.column(there)
    found = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = pa.types.is_string(found) or pa.types.is_large_string(found)
    if kind in ("text", "name") and not texts and not pa.types.is_null(found):
        raise TypeError("text was expected")
    if pa.types.is_boolean(found):
        raise TypeError("a truth value is no number")
    if kind == "name":
        return column.cast(pa.string()).dictionary_encode()
    types = {"text": pa.string(), "number": pa.float64(), "place": pa.list_(pa.int64())}
    return column.cast(types[kind])


def _good(pc: Any, batch: Any) -> bool:
    """Whether all rows are as `from_record` wants them."""
    texts = [batch.column("id"), batch.column("audio"), batch.column("language")]
    if any(text.null_count for text in texts) or batch.column("duration").null_count:
        return False
    texts[2] = texts[2].dictionary
    if any(pc.any(pc.equal(pc.utf8_trim_whitespace(text), "")).as_py() for text in texts):
        return False
    if pc.any(pc.match_substring(texts[1], "\0")).as_py():
        return False
    places = batch.column("bytes")
    if pc.all(pc.equal(pc.list_value_length(places), 2)).as_py() is False:
        return False
    offset_P, size_P = places.flatten().to_numpy(zero_copy_only=False).reshape(-1, 2).T
    duration_N = batch.column("duration").to_numpy()
    start_N = batch.column("start").fill_null(0).to_numpy(zero_copy_only=False)
    return bool(
        ((duration_N > 0) & (duration_N < LONGEST_SECONDS)).all()
        and ((start_N >= 0) & (start_N < LONGEST_SECONDS)).all()
        and ((offset_P >= 0) & (size_P > 0)).all()
    )


def _ids(lines: Iterable[Line]) -> Iterator[str]:
    return (line.found.id for line in lines if isinstance(line.found, Utterance))


def _check_ids(path: Path, hashes: array[int], ids: Callable[[], Iterable[str]]) -> None:
    if not hashes:
        raise UserError(f"{path}: {EMPTY}")
    if (name := repeated_id(hashes, ids)) is not None:
        raise UserError(f"{path}: id {name!r} is on two lines; {UNIQUE}")


def _size_and_time(file: Path | int) -> tuple[int, int]:
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns
