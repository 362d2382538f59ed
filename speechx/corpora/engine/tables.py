"""Tables of corpora as lines of text: UTF-8, perhaps gzipped, with or without column names.

Tab-separated tables have no quoting: a text may hold a lone `"`. A file that cannot be read is a
`UserError` that names it; a bad line is a `Problem` for the caller to list.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from speechx.corpora.engine.paths import inside
from speechx.corpora.engine.problems import Problem
from speechx.errors import UserError

LONGEST_LIST = 300  # characters of a message
LONGEST_LINE = 1 << 24  # characters: a file of zeros, or a small .gz of them, must not fill memory


def table_in(folder: Path, name: str) -> Path | None:
    """The table `name` of a corpus, in its language's folder; None where there is none."""
    path = folder / name
    or_else = " (the whole folder of a language may be a link)"
    return inside(folder, name, str(path), or_else) if path.is_file() else None


@contextmanager
def open_text(path: Path, newline: str = "\n") -> Iterator[TextIO]:
    """A text file for reading, unpacked if its name ends with .gz; errors name it."""
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise UserError(f"{path} is not a file; a table was expected")
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline=newline)
        ) as file:
            yield file
    except UnicodeDecodeError:
        remedy = "if it is Latin-1, convert it: iconv -f latin1 -t utf-8 OLD > NEW"
        raise UserError(f"{path} is not UTF-8 text; {remedy}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a complete gzip file: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


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
    """The place of each line of a JSONL file, and its object; bad lines go to `broken`."""
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no text
        except (ValueError, RecursionError):
            broken.append(Problem(str(path), f"line {number} is not JSON"))
            continue
        if isinstance(record, dict):
            yield f"{path}:{number}", record
        else:
            broken.append(Problem(str(path), f"line {number} is not a JSON object"))
