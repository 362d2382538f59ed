"""Any corpus that is a table: one utterance a row, columns by their names.

    speechx data prepare table utterances.tsv --language ru -o DIR
    speechx data prepare table all.jsonl --column text=transcription --root /data/audio -o DIR

Cells are divided by tabs or bars without quoting, or by commas or semicolons with quoting; the
first lines show by which. JSON is an object a line, or a list of objects. Any of them may be UTF-8
or UTF-16, and gzipped. Columns: `path` (or `audio`, `audio_filepath`); `id` (or `utt_id`), `split`,
`start` (or `offset`), `duration` and `end` in seconds, `text` (or `sentence`, `transcription`),
`phones` (separated by spaces), `speaker` (or `speaker_id`) and `language` where they are there.
Other common names are in `engine/rows.py`; any name of a table can be mapped. Columns that are not
used are named. An `end` is measured from the start of the file, and gives the duration.

Without column names, a column is `path` if it has a file, and a second one is `text`. Of three, as
in LJSpeech, the third is the text if it is the second one in other words. Otherwise columns are
named by their numbers: `--column path=1 --column text=3`.

Audio is below `root`, the table's own folder unless given: nothing outside of it is read. A name
may lack its suffix, or the folder `wavs`, `wav`, `audio` or `clips`; without a column `path`, ids
are such names. See `AudioNames`.

Splits are as everywhere: `Training` is train, `valid` and `validation` are dev, `testing` is test,
in capitals or not. Rows without a split are train, and rows of train without text or phones are
`unlabelled`, for pretraining.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from typing import Any

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.corpora.engine.rows import Listing, OwnData, ours_of_name, renamed
from speechx.corpora.engine.separators import FIRST_LINES, Layout, find_layout, rows_of
from speechx.corpora.engine.tables import json_lines, shown, text_lines
from speechx.corpora.engine.write import Counts, Output
from speechx.errors import UserError
from speechx.log import logger

ALIKE = 0.5  # of two spellings of a text


def prepare(table: Path, out: Output, own: OwnData) -> Counts:
    """The audio is in the folder of the table unless `own` names another."""
    folder = table.parent.absolute()
    listing = Listing(own.corpus or folder.name or "table", own, base=folder)
    is_json = _is_json(table)
    columns = dict(own.columns)
    rows = json_lines(table, listing.broken) if is_json else _rows(table, listing, columns)
    ours_of: dict[str, str | None] = {}
    for place, found in rows:
        if found.keys() - ours_of.keys():
            names = list(dict.fromkeys([*ours_of, *found]))
            _let_ids_be_files(found, columns, listing)
            ours_of = renamed(names, columns, table, all_known=not is_json, header=not is_json)
        row = {ours: found[name] for name, ours in ours_of.items() if ours and name in found}
        path = row.get("path")
        if isinstance(path, str) and path:
            listing.add(row, place)
        else:
            listing.refuse(place, f"path must be text, not {str(path)[:60]!r}")
    if ours_of:
        renamed(list(ours_of), columns, table)
    if unused := [name for name, ours in ours_of.items() if not ours]:
        logger.info(f"{table}: columns not used: {shown(unused)}")
    source = f"the table {table.absolute().parent.name}/{table.name}"
    return listing.finish(out, source)


def _let_ids_be_files(found: Mapping[str, Any], columns: dict[str, str], listing: Listing) -> None:
    """Ids name the files if no column does, and the id of this row has a file."""
    if any(ours_of_name(name, columns) == "path" for name in (*found, *columns.values())):
        return
    ids = [name for name in found if ours_of_name(name, columns) == "id"]
    if ids and listing.has_file(str(found[ids[0]])):
        columns["path"] = ids[0]


def _rows(
    table: Path, listing: Listing, columns: dict[str, str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Places and rows under the table's own names; broken ones are listed. Columns without names,
    or which `columns` has by numbers, are named by these."""
    numbered = bool(columns) and all(name.isdecimal() for name in columns.values())
    layout = find_layout(
        table,
        lambda name: ours_of_name(name, {} if numbered else columns) is not None,
        lambda cell: _is_audio(cell, listing),
        "," if _suffix(table) == ".csv" else "\t",
    )
    if layout is None:
        raise UserError(f"table {table} needs a line of column names and at least one row")
    rows = rows_of(table, layout)
    header = next(rows)[1] if layout.header else layout.first
    names = [str(number) for number in range(1, len(header) + 1)]
    if layout.header and not numbered:
        names = _distinct([" ".join(name.split()) for name in header], columns, table)
    elif layout.header:
        logger.info(f"{table}: its first line is read as column names: {shown(header)}")
    else:
        columns.update(columns or _found_columns(table, layout, listing))
        meant = ", ".join(f"column {number} is {ours}" for ours, number in columns.items())
        logger.info(f"{table} has no line of column names: {meant}")
    empty = True
    for number, row in rows:
        empty = False
        if len(row) > len(names) and not any(cell.strip() for cell in row[len(names) :]):
            row = row[: len(names)]  # ends with separators
        if len(row) == len(names):
            yield f"{table}:{number}", dict(zip(names, row, strict=True))
        else:
            what = "column names" if layout.header else "columns in the first row"
            hint = f"; quote a cell that holds {layout.separator!r}" if layout.quoted else ""
            hint = hint if len(row) > len(names) else ""
            listing.refuse(f"{table}:{number}", f"{len(row)} cells, but {len(names)} {what}{hint}")
    if empty:
        raise UserError(f"table {table} needs a line of column names and at least one row")


def _is_audio(cell: str, listing: Listing) -> bool:
    return Path(cell[-9:]).suffix.lower() in AUDIO_SUFFIXES or listing.has_file(cell)


def _distinct(header: list[str], columns: Mapping[str, str], table: Path) -> list[str]:
    """Names of all columns: numbers for those without one, or with one that another has and that
    is not used."""
    names: list[str] = []
    for number, name in enumerate(header, start=1):
        if name in names and ours_of_name(name, columns):
            raise UserError(f"table {table} names a column twice: {shown(header)}")
        names.append(name if name and name not in names else f"{name} (column {number})".lstrip())
    return names


def _found_columns(table: Path, layout: Layout, listing: Listing) -> dict[str, str]:
    """What the columns of a table without names are, by our names."""
    some = [row for _, row in islice(rows_of(table, layout), FIRST_LINES)]
    counts = [sum(_is_audio(c, listing) for c in cells) for cells in zip(*some, strict=False)]
    file = counts.index(max(counts))
    others = [at for at in range(len(layout.first)) if at != file]
    if len(others) == 2:
        pairs = [(row[others[0]], row[others[1]]) for row in some if len(row) == 3]
        filled = [(one, other) for one, other in pairs if other.strip()]
        if 2 * sum(_alike(*pair) for pair in filled) >= len(filled):
            others = others[-1:] if filled else others[:1]
    if len(others) > 1:
        longest = max(others, key=lambda at: sum(len(row[at]) for row in some if len(row) > at))
        numbers = f"--column path={file + 1} --column text={longest + 1}"
        raise UserError(
            f"table {table} has no line of column names; its first row is "
            f"{shown(layout.first)!r}. Name its columns by their numbers, as in {numbers}"
        )
    return dict(zip(("path", "text"), (str(at + 1) for at in (file, *others)), strict=False))


def _alike(one: str, other: str) -> bool:
    """Whether two cells are spellings of one text, as `in 1984` and `in nineteen eighty-four`."""
    words = [set(re.findall(r"\w\w+", text.lower())) for text in (one, other)]
    return bool(words[0] & words[1]) or SequenceMatcher(None, one, other).ratio() > ALIKE


def _suffix(table: Path) -> str:
    return Path(table.name.removesuffix(".gz")).suffix.lower()


def _is_json(table: Path) -> bool:
    """By the suffix, or by the first letter of a file of another one."""
    if _suffix(table) in (".jsonl", ".json", ".ndjson"):
        return True
    return next((line for _, line in text_lines(table)), "").lstrip()[:1] == "{"
