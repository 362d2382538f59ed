"""Lists and tables that people write: UTF-8 or UTF-16, with tabs between the cells of a table. What
went through a spreadsheet may have commas or semicolons there, and quotes."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechx.errors import UserError
from speechx.text_encoding import decoded


def read_lines(path: Path, what: str, holds: str) -> list[str]:
    """The lines of a file. `what` it is called in messages, and what it `holds`."""
    try:
        return decoded(path.read_bytes()).removesuffix("\n").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read {what}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path}: cannot read {what}: {error}; it holds {holds}.") from error


def read_table(
    path: Path, what: str, needed: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers, and cells by the names in the first line, which has those that are `needed`.
    Blank lines are left out, and so are cells that a short line lacks."""
    header, *lines = read_lines(path, what, "a table")
    names = header.split("\t")
    if not set(needed) <= set(names):
        raise UserError(
            f"{path}: the first line of {what} names its columns, with tabs between: "
            f"{', '.join(needed)}; found {header[:60]!r}"
        )
    for number, line in enumerate(lines, start=2):
        if line.strip():
            yield number, dict(zip(names, line.split("\t"), strict=False))


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line, without the spaces around them."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def delimiter_of(line: str) -> str:
    """What separates the cells of a first line: the most frequent of comma, semicolon and tab."""
    return max(",;\t", key=line.count)


def read_sheet(lines: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers, and cells by the names in the first line, of a table that a spreadsheet may
    have written. Lines without any content are left out."""
    delimiter = delimiter_of(lines[0])
    names = cells_of(lines[0], delimiter)
    for number, line in enumerate(lines[1:], start=2):
        cells = cells_of(line, delimiter)
        if any(cells):
            yield number, dict(zip(names, cells, strict=False))
