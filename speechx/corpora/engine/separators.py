"""How the cells of a table are divided, and whether its first line names the columns.

    layout = find_layout(table, known=lambda name: name in ("path", "text"), holds_file=...)

Tabs and bars divide cells as they are: a text may hold a lone `"`. Commas and semicolons stand in
quoted cells too, as CSV has it, and so does any separator where all column names are quoted. A cell
in quotes is unquoted in any table if it holds doubled quotes, or if the table is UTF-16: a
spreadsheet wrote it.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from speechx.corpora.engine import tables
from speechx.corpora.engine.tables import open_text, text_lines
from speechx.errors import UserError

SEPARATORS = "\t|;,"  # the first ones stand less often in texts
FIRST_LINES = 30  # to find the separator by
EXCEL = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # a first line that only Excel reads
Row = tuple[int, list[str]]
"""Its line, the last one if it has several, and its cells."""


class Layout(NamedTuple):
    """How a table is read."""

    separator: str
    quoted: bool
    """Whether a cell in quotes may hold separators and line ends."""
    skip: int
    """The number of the last line before the rows, or before the column names."""
    header: bool
    """Whether the first row has the names of the columns."""
    first: list[str]
    """Its cells."""


def find_layout(
    table: Path,
    known: Callable[[str], bool],
    holds_file: Callable[[str], bool],
    default: str = "\t",
) -> Layout | None:
    """None for an empty table. The first line is a row, and no line of column names, if a cell of
    it `holds_file` and is not a name that is `known`."""
    lines = list(islice(((n, line) for n, line in text_lines(table) if line.strip()), FIRST_LINES))
    skip, forced = 0, ""
    if lines and (excel := EXCEL.fullmatch(lines[0][1].strip())):
        (skip, _), forced = lines.pop(0), excel[1]
    if not lines:
        return None
    split = {separator: _split(lines[0][1], separator) for separator in forced or SEPARATORS}
    names = {separator: sum(map(known, cells)) for separator, cells in split.items()}
    most = max(names.values())
    if forced:
        separator = forced
    elif most:
        best = [separator for separator in SEPARATORS if names[separator] == most]
        separator = default if default in best else best[0]
    else:
        separator = _most_regular([line for _, line in lines], default)
    first = split[separator]
    header = not any(holds_file(cell) and not known(cell) for cell in first)
    return Layout(separator, _quotes(lines[0][1], separator), skip, header, first)


def _quotes(line: str, separator: str) -> bool:
    """Whether quotes mean what they mean in CSV, by the first line."""
    cells = [cell.strip() for cell in line.split(separator) if cell.strip()]
    return separator in ",;" or all(len(c) > 1 and c[0] == c[-1] == '"' for c in cells)


def _split(line: str, separator: str) -> list[str]:
    if _quotes(line, separator):
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
        except csv.Error:  # a cell that is too long
            pass
    return [cell.strip() for cell in line.split(separator)]


def _most_regular(lines: Sequence[str], default: str) -> str:
    """The separator of which all lines have as many, or else of which the first has most."""
    widths = {c: {len(_split(line, c)) for line in lines} for c in SEPARATORS}
    regular = [c for c in SEPARATORS if len(widths[c]) == 1 and widths[c] != {1}]
    if regular:
        return default if default in regular and default == "\t" else regular[0]
    if default == ",":
        return ";" if lines[0].count(";") > lines[0].count(",") else ","
    return default


def rows_of(table: Path, layout: Layout) -> Iterator[Row]:
    """The rows of a table with its column names, if it has them; rows without a cell are left
    out."""
    rows = _quoted(table, layout) if layout.quoted else _plain(table, layout)
    return ((number, cells) for number, cells in rows if any(cell.strip() for cell in cells))


def _plain(table: Path, layout: Layout) -> Iterator[Row]:
    with open_text(table) as file:
        spreadsheet = file.encoding.startswith("utf-16")
    for number, line in text_lines(table):
        if number > layout.skip:
            yield number, [_unquoted(cell, spreadsheet) for cell in line.split(layout.separator)]


def _unquoted(cell: str, spreadsheet: bool) -> str:
    if cell[:1] == cell[-1:] == '"' and (spreadsheet or '""' in cell[1:-1]):
        inner = cell[1:-1].replace('""', "\0")
        if '"' not in inner:
            return inner.replace("\0", '"')
    return cell


def _quoted(table: Path, layout: Layout) -> Iterator[Row]:
    with open_text(table, newline="") as file:
        rest = tables.bounded_lines(file, table)
        for _ in range(layout.skip):
            next(rest)
        row: list[str] = []  # its lines so far: a quoted cell may hold line ends

        def counted() -> Iterator[str]:
            length = 0
            for line in rest:
                length = length + len(line) if row else len(line)
                if length > tables.LONGEST_LINE:
                    what = f"a row of more than {tables.LONGEST_LINE} letters"
                    raise UserError(f"{table}:{layout.skip + reader.line_num + 1}: {what}")
                row.append(line)
                yield line

        reader = csv.reader(counted(), delimiter=layout.separator)
        try:
            for cells in reader:
                if len(row) > 1 and sum(line.count('"') for line in row) % 2:
                    first = layout.skip + reader.line_num - len(row) + 1
                    raise UserError(f"{table}:{first}: a quoted cell begins here and is not closed")
                row.clear()
                if cells:
                    yield layout.skip + reader.line_num, cells
        except csv.Error as error:
            number = layout.skip + reader.line_num
            raise UserError(f"{table}:{number}: not CSV: {error}") from None
