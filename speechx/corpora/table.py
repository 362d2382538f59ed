"""Any corpus that is a table: one utterance a row, columns by their names.

    speechx data prepare table utterances.tsv --language ru -o DIR
    speechx data prepare table all.jsonl --column text=transcription --root /data/audio -o DIR

Tabs without quoting (.tsv), commas or semicolons with quoting (.csv), or a JSON object a line
(.jsonl); gzipped if the name ends in .gz. Columns: `path` (or `audio`, `audio_filepath`); `id` (or
`utt_id`), `split`, `start` (or `offset`), `duration` and `end` in seconds, `text` (or `sentence`,
`transcription`), `phones` (separated by spaces), `speaker` (or `speaker_id`) and `language` where
they are there; a table's own names are mapped to these. Other columns are left out, and named. An
`end` is measured from the start of the file, and gives the duration.
Audio is below `root`, the table's own folder unless given: nothing outside of it is read.

Splits are as everywhere: `Training` is train, `valid` and `validation` are dev, `testing` is test,
in capitals or not. Rows without a split are train, and rows of train without text or phones are
`unlabelled`, for pretraining.
"""

import csv
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from speechx.corpora.engine import tables
from speechx.corpora.engine.rows import Listing, OwnData, renamed
from speechx.corpora.engine.tables import json_lines, open_text, shown, text_lines
from speechx.corpora.engine.write import Counts, Output
from speechx.errors import UserError
from speechx.log import logger


def prepare(table: Path, out: Output, own: OwnData) -> Counts:
    """The audio is in the folder of the table unless `own` names another."""
    folder = table.parent.absolute()
    listing = Listing(own.corpus or folder.name or "table", own, base=folder)
    ours_of: dict[str, str | None] = {}
    for place, found in _rows(table, listing):
        if found.keys() - ours_of.keys():
            names = list(dict.fromkeys([*ours_of, *found]))
            is_json = _is_json(table)
            ours_of = renamed(names, own.columns, table, all_known=not is_json, header=not is_json)
        row = {ours: found[name] for name, ours in ours_of.items() if ours and name in found}
        path = row.get("path")
        if isinstance(path, str) and path:
            listing.add(row, place)
        else:
            listing.refuse(place, f"path must be text, not {str(path)[:60]!r}")
    if ours_of:
        renamed(list(ours_of), own.columns, table)
    if unused := [name for name, ours in ours_of.items() if not ours]:
        logger.info(f"{table}: columns not used: {shown(unused)}")
    source = f"the table {table.absolute().parent.name}/{table.name}"
    return listing.finish(out, source)


def _rows(table: Path, listing: Listing) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Places and rows under the table's own names; broken ones are listed."""
    if _is_json(table):
        yield from json_lines(table, listing.broken)
        return
    by_tabs = ((number, line.split("\t")) for number, line in text_lines(table))
    cells = _csv(table) if _suffix(table) == ".csv" else by_tabs
    header = [name.strip() for name in next(cells, (0, []))[1]]
    if len(set(header)) < len(header):
        raise UserError(f"table {table} names a column twice: {shown(header)}")
    empty = True
    for number, row in cells:
        empty = False
        if len(row) == len(header):
            yield f"{table}:{number}", dict(zip(header, row, strict=True))
        else:
            listing.refuse(f"{table}:{number}", f"{len(row)} cells, but {len(header)} column names")
    if empty:
        raise UserError(f"table {table} needs a line of column names and at least one row")


def _suffix(table: Path) -> str:
    return Path(table.name.removesuffix(".gz")).suffix


def _is_json(table: Path) -> bool:
    return _suffix(table) in (".jsonl", ".json")


def _csv(table: Path) -> Iterator[tuple[int, list[str]]]:
    with open_text(table, newline="") as file:
        rest = tables.bounded_lines(file, table)
        header = next(rest, "")
        between = ";" if header.count(";") > header.count(",") else ","
        length = 0  # of the row so far: a quoted cell may hold line breaks

        def counted() -> Iterator[str]:
            nonlocal length
            for line in chain([header], rest):
                length += len(line)
                if length > tables.LONGEST_LINE:
                    row = f"a row of more than {tables.LONGEST_LINE} letters"
                    raise UserError(f"{table}:{reader.line_num + 1}: {row}")
                yield line

        reader = csv.reader(counted(), delimiter=between)
        try:
            for row in reader:
                length = 0
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise UserError(f"{table}:{reader.line_num}: not CSV: {error}") from None
