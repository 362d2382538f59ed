"""Phone inventories in PHOIBLE's table (Moran and McCloy 2019, phoible.csv).

The table has one row per phoneme. `InventoryID` says which rows belong together, and a language may
have several inventories. The column `Phoneme` is read, `Allophones` is not. A table that has only
`Phoneme` is one inventory. Where PHOIBLE leaves the place open ("t̪|t"), the last spelling counts.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from speechx.errors import UserError
from speechx.log import logger

COLUMN = "Phoneme"
CODES = ("InventoryID", "Glottocode", "ISO6393", "LanguageName")
LISTED = 12  # inventories in a message
Row = dict[str, str]


def is_table(path: Path, first_line: str) -> bool:
    """Whether a file with this first line is a table, and no plain list of phones."""
    return path.suffix in (".csv", ".tsv") or COLUMN in _cells(first_line)


def read_phoible(path: Path, lines: Sequence[str], choice: str) -> tuple[list[str], str, str]:
    """The phonemes of one inventory, the code of its language, and its source for people.

    `choice` is an InventoryID, a Glottocode, an ISO 639-3 code or a name of a language; it may be
    empty if the table has one inventory.
    """
    inventories: dict[str, list[Row]] = {}
    for row in _rows(path, lines):
        inventories.setdefault(row.get("InventoryID", ""), []).append(row)
    if not inventories:
        raise UserError(f"{path}: no phones found, expected at least one row.")
    key = _chosen(path, {key: rows[0] for key, rows in inventories.items()}, choice)
    first = inventories[key][0]
    given = [row[COLUMN].strip() for row in inventories[key]]
    if either := [phone for phone in given if "|" in phone]:
        logger.info(f"{path}: of two spellings the last is used: {' '.join(either)}")
    codes = (first.get(name, "NA") for name in ("ISO6393", "Glottocode"))
    language = next((code for code in codes if code not in ("", "NA")), "und")
    source = f"{path}#{_named(key, first)}" if key else str(path)
    return [phone.rpartition("|")[2] for phone in given], language, source


def _rows(path: Path, lines: Sequence[str]) -> list[Row]:
    names = _cells(lines[0])
    if COLUMN not in names:
        raise UserError(
            f"{path}: no column {COLUMN} in the first line, as PHOIBLE has it; found "
            f"{lines[0][:60]!r}. A plain list of phones goes into a .txt file."
        )
    rows = []
    for number, cells in enumerate(csv.reader(lines[1:], delimiter=_delimiter(lines[0])), start=2):
        row = dict(zip(names, cells, strict=False))
        if not any(cells):
            continue
        if not row.get(COLUMN, "").strip():
            raise UserError(f"{path}: row {number} has no {COLUMN}.")
        rows.append(row)
    return rows


def _chosen(path: Path, inventories: dict[str, Row], choice: str) -> str:
    """The key of the inventory that the choice names, or of the only one."""
    if not choice:
        found = list(inventories)
        which = f"holds {len(found)} inventories"
    elif choice in inventories:
        return choice
    else:
        wanted = choice.casefold()
        found = [
            key
            for key, row in inventories.items()
            if wanted in (row.get(name, "").casefold() for name in CODES)
        ]
        which = f"holds {len(found) or 'no'} inventories for {choice!r}"
    if len(found) == 1:
        return found[0]
    shown = found or list(inventories)
    listed = "; ".join(_named(key, inventories[key]) for key in shown[:LISTED])
    raise UserError(
        f"{path} {which}: expected {path}#ID, where ID is an InventoryID (or, where it is the only "
        f"one, a Glottocode or an ISO 639-3 code) of: {listed}{'; ...' * (len(shown) > LISTED)}"
    )


def _named(key: str, row: Row) -> str:
    about = (row.get(name, "") for name in (*CODES[1:], "SpecificDialect", "Source"))
    return f"{key} ({', '.join(word for word in about if word not in ('', 'NA'))})"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=_delimiter(line)), [])]


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)
