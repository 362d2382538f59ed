"""Reads manifests into columns of numbers for planning; an utterance stays in its manifest until it
is needed.

For JSON lines, memory holds only the offsets, and a line is parsed again when needed. For Parquet
it holds the columns of AUDIO_KEYS. Forked workers share both, and both are small enough to pickle.

    N utterances · P packed utterances
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechx.data import parquet
from speechx.data.exclusion import Exclusions
from speechx.data.manifest import check_ids, parse_line, parse_row, read_lines
from speechx.data.utterance import (
    AUDIO_KEYS,
    LONGEST_SECONDS,
    NEEDED,
    RecordError,
    Utterance,
    audio_source,
    from_record,
)
from speechx.errors import UserError

Source = Sequence[Utterance]
_KINDS = {
    "duration": "number", "start": "number", "bytes": "integers",
    "language": "name", "speaker": "name", "corpus": "name",
}  # fmt: skip


def read_sources(
    paths: Sequence[Path], columns: Columns, exclusions: Exclusions
) -> tuple[Source, np.ndarray]:
    """All utterances of the manifests, and the indices of the kept ones, which are added to
    `columns`."""
    sources: list[Source] = []
    rows, before = [], 0
    for path in map(Path, paths):
        read = _read_parquet if parquet.is_parquet(path) else _read_json_lines
        parts, row_N = read(path, columns, exclusions)
        sources += parts
        rows.append(row_N + before)
        before += sum(map(len, parts))
    return Concatenated(sources), np.concatenate(rows)


class Codes:
    """Integer codes of names, numbered in order of appearance; -1 for no name."""

    def __init__(self) -> None:
        self.code_of: dict[str, int] = {}
        self.codes = array("i")

    def add(self, name: str | None) -> None:
        self.codes.append(-1 if name is None else self.code_of.setdefault(name, len(self.code_of)))

    def add_column(self, encoded: Any, rename: Callable[[str], str] = str) -> None:
        """Adds a dictionary-encoded Arrow array, with names changed by `rename`."""
        names = encoded.dictionary.to_pylist()
        index_N = encoded.indices.fill_null(len(names)).to_numpy()
        code_of = np.full(len(names) + 1, -1, dtype=self.codes.typecode)  # the last is for no name
        for index in np.unique(index_N[index_N < len(names)]).tolist():  # some may not occur
            code_of[index] = self.code_of.setdefault(rename(names[index]), len(self.code_of))
        self.codes.frombytes(code_of[index_N].tobytes())

    def sorted(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """The names in alphabetical order, and codes that are their indices."""
        names = sorted(self.code_of)
        new = np.empty(len(names), dtype=self.codes.typecode)
        new[[self.code_of[name] for name in names]] = np.arange(len(names))
        return new[self.array()], tuple(names)

    def array(self) -> np.ndarray:
        return np.frombuffer(self.codes, dtype=self.codes.typecode)


class Columns:
    """The columns of a corpus."""

    def __init__(self) -> None:
        self.seconds = array("f")
        self.language, self.corpora, self.speaker, self.shard = (Codes() for _ in range(4))

    def add(self, u: Utterance) -> None:
        self.seconds.append(u.duration)
        self.language.add(u.language)
        self.corpora.add(u.corpus or "")
        self.speaker.add(u.speaker)
        self.shard.add(None if u.bytes is None else str(u.audio))

    def add_batch(self, pc: Any, batch: Any, folder: Path) -> None:
        """Adds an Arrow batch with the columns of AUDIO_KEYS."""
        self.seconds.frombytes(batch.column("duration").to_numpy().astype(np.float32).tobytes())
        self.language.add_column(batch.column("language"))
        self.corpora.add_column(batch.column("corpus").fill_null(""))
        self.speaker.add_column(batch.column("speaker"))
        audio, packed = batch.column("audio"), batch.column("bytes").is_valid()
        shard = pc.if_else(packed, audio, None).dictionary_encode()
        self.shard.add_column(shard, lambda name: str(audio_source(name, folder)))


class JsonLines(Source):
    """The lines of a file, which must not change."""

    def __init__(self, path: Path, offsets: np.ndarray) -> None:
        self.path, self.offsets = Path(os.path.abspath(path)), offsets
        self.size_and_time = _size_and_time(path)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, row: int) -> Utterance:  # type: ignore[override]
        try:
            # Opened each time: workers share no file position, and nothing needs closing.
            with self.path.open("rb", buffering=4096) as file:
                if _size_and_time(file.fileno()) != self.size_and_time:
                    raise RecordError("the size or time differs")
                file.seek(int(self.offsets[row]))
                return parse_line(file.readline(), self.path.parent, AUDIO_KEYS)
        except OSError as error:
            raise UserError(f"{self.path}: cannot read the manifest: {error.strerror}.") from error
        except RecordError:
            raise UserError(
                f"{self.path} has changed since it was read; resume the run to read it again"
            ) from None


class TableBatch(Source):
    """A batch of rows of a Parquet file, with the columns of AUDIO_KEYS."""

    def __init__(self, folder: Path, batch: Any) -> None:
        self.folder, self.batch = folder, batch

    def __len__(self) -> int:
        return len(self.batch)

    def __getitem__(self, row: int) -> Utterance:  # type: ignore[override]
        values = (column[row].as_py() for column in self.batch.columns)
        return from_record(dict(zip(AUDIO_KEYS, values, strict=True)), self.folder)


class Concatenated(Source):
    """Several sources as one."""

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
) -> tuple[list[Source], np.ndarray]:
    offsets, hashes, kept = array("q"), array("q"), array("q")
    for line in read_lines(path, AUDIO_KEYS):
        u = line.utterance(path)
        if not exclusions.leave_out(u):
            kept.append(len(offsets))
            columns.add(u)
        offsets.append(line.offset)
        hashes.append(hash(u.id))
    check_ids(path, hashes)
    source = JsonLines(path, np.frombuffer(offsets, dtype=np.int64))
    return [source], np.frombuffer(kept, dtype=np.int64)


def _read_parquet(
    path: Path, columns: Columns, exclusions: Exclusions
) -> tuple[list[Source], np.ndarray]:
    pa = parquet.pyarrow()
    folder = Path(os.path.abspath(path)).parent
    kept: list[np.ndarray] = []
    batches: list[Any] = []
    hashes = array("q")
    for batch in parquet.record_batches(path, AUDIO_KEYS):
        batch = _checked(pa, path, batch, len(hashes), folder)
        ids = batch.column("id").to_pylist()
        wanted_N = np.ones(len(ids), dtype=bool)
        if exclusions:
            names = ("corpus", "language", "id", "duration")
            excluded = map(exclusions.excludes, *(batch.column(name).to_pylist() for name in names))
            wanted_N = ~np.fromiter(excluded, dtype=bool)
        kept.append(len(hashes) + np.flatnonzero(wanted_N))
        hashes.extend(map(hash, ids))
        columns.add_batch(pa.compute, batch.filter(pa.array(wanted_N)), folder)
        batches.append(batch)
    check_ids(path, hashes)
    return [TableBatch(folder, batch) for batch in batches], np.concatenate(kept)


def _checked(pa: Any, path: Path, batch: Any, before: int, folder: Path) -> Any:
    """The batch with all columns of AUDIO_KEYS; a UserError names the first bad row."""
    try:
        whole = pa.RecordBatch.from_arrays(
            [_column(pa, batch, key) for key in AUDIO_KEYS], names=list(AUDIO_KEYS)
        )
        whole.validate(full=True)
        if _good(pa.compute, whole):
            return whole
    except (pa.ArrowException, TypeError):
        pass
    for number, row in enumerate(batch.to_pylist(), start=before + 1):
        try:
            parse_row(row, folder)
        except RecordError as error:
            raise UserError(f"{path}:{number}: {error}") from None
    types = ", ".join(f"{field.name} {field.type}" for field in batch.schema)
    raise UserError(f"{path}: these column types do not fit a manifest: {types}")


def _column(pa: Any, batch: Any, key: str) -> Any:
    """One column in its final type; a TypeError where a cast would change the meaning."""
    kind, index = _KINDS.get(key, "text"), batch.schema.get_field_index(key)
    column = pa.nulls(len(batch)) if index < 0 else batch.column(index)
    found = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = pa.types.is_string(found) or pa.types.is_large_string(found)
    if kind in ("text", "name") and not is_text and not pa.types.is_null(found):
        raise TypeError("text was expected")
    if pa.types.is_boolean(found):
        raise TypeError("a truth value is not a number")
    if kind == "name":
        return column.cast(pa.string()).dictionary_encode()
    types = {"text": pa.string(), "number": pa.float64(), "integers": pa.list_(pa.int64())}
    return column.cast(types[kind])


def _good(pc: Any, batch: Any) -> bool:
    """Whether `from_record` would accept all rows."""
    if any(batch.column(key).null_count for key in NEEDED):
        return False
    texts = [batch.column("id"), batch.column("audio"), batch.column("language").dictionary]
    if any(pc.any(pc.equal(pc.utf8_trim_whitespace(text), "")).as_py() for text in texts):
        return False
    if pc.any(pc.match_substring(texts[1], "\0")).as_py():
        return False
    ranges = batch.column("bytes")
    if pc.all(pc.equal(pc.list_value_length(ranges), 2)).as_py() is False:
        return False
    offset_P, size_P = ranges.flatten().to_numpy(zero_copy_only=False).reshape(-1, 2).T
    duration_N = batch.column("duration").to_numpy()
    start_N = batch.column("start").fill_null(0).to_numpy(zero_copy_only=False)
    return bool(
        ((duration_N > 0) & (duration_N < LONGEST_SECONDS)).all()
        and ((start_N >= 0) & (start_N < LONGEST_SECONDS)).all()
        and ((offset_P >= 0) & (size_P > 0)).all()
    )


def _size_and_time(file: Path | int) -> tuple[int, int]:
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns
