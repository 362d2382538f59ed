"""Tables of corpora as lines of text: UTF-8 or UTF-16, perhaps gzipped, with or without names.

Tab-separated tables have no quoting: a text may hold a lone `"`. A file that cannot be read is a
`UserError` that names it; a bad line is a `Problem` for the caller to list.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from speechx.corpora.engine.paths import inside
from speechx.corpora.engine.problems import Problem
from speechx.errors import UserError
from speechx.text_encoding import (
    HEAD_BYTES,
    MOST_BYTES,
    encoding_of,
    foreign,
    why_not_text,
)

LONGEST_LIST = 300  # characters of a message
LONGEST_LINE = 1 << 24  # characters: a file of zeros, or a small .gz of them, must not fill memory
LONGEST_DOCUMENT = 1 << 28  # characters of JSON that is not divided into lines
GZIP = b"\x1f\x8b"
NO_SPACE = re.compile(r"\S|\Z")
BROKEN = object()  # in the place of what is no JSON


def table_in(folder: Path, name: str) -> Path | None:
    """The table `name` of a corpus, in its language's folder; None where there is none."""
    path = folder / name
    or_else = " (the whole folder of a language may be a link)"
    return inside(folder, name, str(path), or_else) if path.is_file() else None


@contextmanager
def open_text(path: Path, newline: str = "\n") -> Iterator[TextIO]:
    """A text file for reading, unpacked if it is gzipped; errors name it. Lines end as `newline`
    says, or by `\\r` alone where a file has no other ends (old Macs)."""
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise UserError(f"{path} is not a file; a table was expected")
    try:
        with _unpacked(path) as file:
            head = file.peek(HEAD_BYTES)[:HEAD_BYTES]
            if what := foreign(head):
                raise UserError(f"{path} is {what}")
            encoding = encoding_of(head)
            start = head.decode(encoding, errors="replace")
            ends = "\r" if newline == "\n" and "\r" in start and "\n" not in start else newline
            with io.TextIOWrapper(file, encoding, newline=ends) as text:
                yield text
    except UnicodeDecodeError:
        with _unpacked(path) as file:
            raise UserError(f"{path} is {why_not_text(file.read(MOST_BYTES))}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a complete gzip file: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


@contextmanager
def _unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file; what is gzipped is known by its first bytes, or by its name."""
    with path.open("rb", buffering=HEAD_BYTES) as opened:
        file = cast(io.BufferedReader, opened)
        if path.suffix == ".gz" or file.peek(2)[:2] == GZIP:
            with gzip.GzipFile(fileobj=file) as packed:
                yield io.BufferedReader(cast(io.RawIOBase, packed), HEAD_BYTES)
        else:
            yield file


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and lines without their ends; empty lines are left out.

    Not `str.splitlines`, which would also split at rare separators inside a text.
    """
    with open_text(path) as file:
        for number, line in enumerate(bounded_lines(file, path), start=1):
            if line := line.rstrip("\r\n"):
                yield number, line


def bounded_lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file with their ends; a `UserError` instead of one that fills the memory."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), ""), start=1):
        if len(line) == LONGEST_LINE:
            raise UserError(f"{path}:{number}: a line of more than {LONGEST_LINE} letters")
        yield line


def shown(names: Sequence[str]) -> str:
    """Names of columns for a message, shortened if there are many."""
    text = ", ".join(names)
    return text if len(text) <= LONGEST_LIST else text[:LONGEST_LIST] + "..."


def read_rows(
    path: Path,
    needed: Sequence[str],
    broken: list[Problem],
    columns: Sequence[str] | None = None,
    delimiter: str = "\t",
) -> Iterator[tuple[str, dict[str, str]]]:
    """The place of a row (train.tsv:3), and the row by column names; rows of another width than the
    header go to `broken`.

    `columns` name the columns of a table without a header.
    """
    lines = text_lines(path)
    header = "its columns" if columns else "the header"
    if columns is None:
        columns = next(lines, (1, ""))[1].split(delimiter)
        if absent := [column for column in needed if column not in columns]:
            raise UserError(
                f"{path}: needs the column {' and '.join(absent)}; "
                f"its columns are {shown(columns) if any(columns) else 'none'}."
            )
    for number, line in lines:
        values = line.split(delimiter)
        if len(values) == len(columns):
            yield f"{path}:{number}", dict(zip(columns, values, strict=True))
        else:
            why = f"line {number} has {len(values)} fields, {header} {len(columns)}"
            broken.append(Problem(str(path), why))


def rows_in(
    folder: Path,
    name: str,
    needed: Sequence[str],
    broken: list[Problem],
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[str, dict[str, str]]]:
    """`read_rows` of the table `name` in the folder of a language; nothing where there is none."""
    if table := table_in(folder, name):
        yield from read_rows(table, needed, broken, columns)


def json_lines(path: Path, broken: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place of each line of a JSONL file, and its object; bad lines go to `broken`.

    Objects of several lines are read too, and so are a list of objects and an object that has them
    by their ids; their places are numbers of entries.
    """
    document = _document(path)
    records = _json_by_line(path) if document is None else enumerate(document, start=1)
    for number, record in records:
        place = f"line {number}" if document is None else f"entry {number}"
        if isinstance(record, dict):
            yield f"{path}:{number}" if document is None else f"{path}: {place}", record
        else:
            wanted = "JSON" if record is BROKEN else "a JSON object"
            broken.append(Problem(str(path), f"{place} is not {wanted}"))


def _json_by_line(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in text_lines(path):
        if line.strip():
            yield number, _json(line)


def _json(text: str) -> Any:
    """The value of a text, or `BROKEN`."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return BROKEN
    return value


def _document(path: Path) -> list[Any] | None:
    """The records of a file that is one JSON value, or several of more than a line; None if it has
    one a line, or is no JSON."""
    lines = (line.strip() for _, line in text_lines(path) if line.strip())
    first, second = next(lines, ""), next(lines, "")
    value = _json(first)
    if value is not BROKEN:
        entries = [value] if second else _entries(value)
        return None if entries == [value] else entries
    if first[:1] not in ("[", "{"):
        return None
    with open_text(path) as file:
        text = file.read(LONGEST_DOCUMENT)
        if len(text) == LONGEST_DOCUMENT:
            if first[:1] == "{":
                return None
            raise UserError(
                f"{path} is one JSON list of more than {LONGEST_DOCUMENT} letters; write "
                "one entry per line: jq -c '.[]' OLD > NEW.jsonl"
            )
    values: list[Any] = []
    try:
        at = len(text) - len(text.lstrip())
        while at < len(text):
            value, at = json.JSONDecoder().raw_decode(text, at)
            values.append(value)
            at = NO_SPACE.search(text, at).start()  # type: ignore[union-attr]
        json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return values if len(values) > 1 else _entries(values[0])


def _entries(value: Any) -> list[Any]:
    """The records in a JSON value: of a list, of an object that has them by their ids, or of the
    only key of an object."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and len(value) == 1:
        (inner,) = value.values()
        if isinstance(inner, list | dict) and inner and all(isinstance(v, dict) for v in (
            inner.values() if isinstance(inner, dict) else inner
        )):  # fmt: skip
            return _entries(inner)
    if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
        return [{"id": id, **record} for id, record in value.items()]
    return [value]
