"""Manifests as Parquet: the same records as JSON lines, read in a tenth of the time.

Known keys are columns. All other keys are in the column `extra` as a JSON object, so that rows can
be written one by one and come back unchanged. Other columns in files of other programs are read as
keys. pyarrow is an optional dependency and is only imported here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from speechx.data.utterance import Record, RecordError
from speechx.errors import UserError

ROWS = 1 << 16  # rows of a row group; also the most rows in memory


def is_parquet(path: str | Path) -> bool:
    """Whether the suffix is .parquet."""
    return Path(path).suffix.lower() == ".parquet"


def pyarrow() -> Any:
    """The package; a UserError with the command to install it if it is missing."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "Parquet manifests need pyarrow: pip install 'speechx[tables]', or use .jsonl"
        ) from None
    return pyarrow


def record_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The rows in Arrow batches, with those of `columns` that exist."""
    pa = pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            found = file.schema_arrow.names
            if len(set(found)) < len(found):
                raise UserError(f"{path}: two columns have the same name; names must be unique")
            names = None if columns is None else [name for name in columns if name in found]
            yield from file.iter_batches(ROWS, columns=names)
    except OSError as error:
        raise UserError(f"{path}: cannot read the manifest: {_first_line(error)}") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {_first_line(error)}") from error


def to_record(row: Record) -> Record:
    """The record of a row, as in a JSON line. Raises RecordError."""
    record = {key: value for key, value in row.items() if value is not None}
    if (text := record.pop("extra", None)) is None:
        return record
    try:
        extra = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise RecordError("the column `extra` must hold a JSON object.")
    if clash := set(extra) & set(record):
        raise RecordError(f"`extra` holds keys that are columns: {', '.join(sorted(clash))}.")
    return record | extra


def write_records(path: Path, records: Iterable[Record], known: Sequence[str]) -> None:
    """Writes the records; keys that are not `known` go into `extra`."""
    pa = pyarrow()
    types = {
        "duration": pa.float64(),
        "start": pa.float64(),
        "phones": pa.list_(pa.string()),
        "bytes": pa.list_(pa.int64()),
    }
    schema = pa.schema([(name, types.get(name, pa.string())) for name in (*known, "extra")])
    remaining = iter(records)
    with pa.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(remaining, ROWS)):
            rows = []
            for record in group:
                extra = {key: value for key, value in record.items() if key not in known}
                rows.append({**record, "extra": json.dumps(extra) if extra else None})
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema), ROWS)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
