"""Phone inventories in PHOIBLE's table (Moran and McCloy 2019, phoible.csv).

The table has one row per phoneme. `InventoryID` says which rows belong together: the phonemes of
one description of a language, a doculect. A language may have several. They are joined only where
this is asked for: `1+423`. A table that has only `Phoneme` is one inventory. Where PHOIBLE leaves
the place open ("t̪|t"), the last spelling counts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechx.errors import UserError
from speechx.log import logger
from speechx.text.user_files import cells_of, delimiter_of, read_sheet

COLUMN = "Phoneme"
CODES = ("InventoryID", "Glottocode", "ISO6393", "LanguageName")
NOTHING = ("", "NA")
JOIN = "+"
LISTED = 12  # inventories in a message
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Doculect:
    """The phonemes of one description of a language. `allophones` are those of each phoneme, empty
    where the table has none; `marginal` are the phonemes that stand in few or borrowed words."""

    key: str
    """Its InventoryID; empty in a table without them."""
    name: str
    """For people: the InventoryID, the codes of the language, the dialect, the source."""
    language: str
    words: frozenset[str]
    """What it can be chosen by, besides the InventoryID, in lower case."""
    phonemes: tuple[str, ...]
    allophones: tuple[tuple[str, ...], ...]
    marginal: tuple[str, ...]


def is_table(first_line: str) -> bool:
    """Whether a file with this first line is a table in PHOIBLE's shape."""
    return COLUMN in cells_of(_header(first_line), delimiter_of(first_line))


def _header(first_line: str) -> str:
    """The line with the names that are used here as PHOIBLE spells them, and not `phoneme`."""
    for name in (COLUMN, *CODES, "Allophones", "Marginal", "SpecificDialect", "Source"):
        first_line = re.sub(rf"\b{name}\b", name, first_line, flags=re.IGNORECASE)
    return first_line


def read_doculects(path: Path, lines: Sequence[str]) -> dict[str, Doculect]:
    """All inventories of the table by InventoryID, in its order."""
    rows: dict[str, list[Row]] = {}
    for number, row in read_sheet([_header(lines[0]), *lines[1:]]):
        if not row.get(COLUMN, ""):
            raise UserError(f"{path}: row {number} has no {COLUMN}.")
        rows.setdefault(row.get("InventoryID", ""), []).append(row)
    if not rows:
        raise UserError(f"{path}: no phones found, expected at least one row.")
    return {key: _doculect(key, each) for key, each in rows.items()}


def matching(doculects: Mapping[str, Doculect], choice: str) -> list[Doculect]:
    """The inventories that a choice may mean: an InventoryID, a Glottocode, an ISO 639-3 code, a
    name of a language, or nothing for all."""
    if choice in doculects:
        return [doculects[choice]]
    wanted = choice.casefold()
    return [d for d in doculects.values() if not choice or wanted in d.words]


def chosen(path: Path, doculects: Mapping[str, Doculect], choice: str) -> list[Doculect]:
    """The one inventory that a choice means, or each that `1+423` names."""
    parts = choice.split(JOIN)
    if len(parts) > 1 and not matching(doculects, choice):
        return [each for part in parts for each in chosen(path, doculects, part.strip())]
    found = matching(doculects, choice)
    if len(found) == 1:
        if either := [phone for phone in found[0].phonemes if "|" in phone]:
            logger.info(f"{path}: of two spellings the last is used: {' '.join(either)}")
        return found
    which = f"{len(found) or 'no'} inventories for {choice!r}"
    if not choice:
        which = f"{len(found)} inventories"
    shown = found or list(doculects.values())
    listed = "; ".join(each.name for each in shown[:LISTED])
    raise UserError(
        f"{path} holds {which}: expected {path}#ID, where ID is an InventoryID (or, where it is "
        "the only one, a Glottocode or an ISO 639-3 code; ID+ID joins two) of: "
        f"{listed}{'; ...' * (len(shown) > LISTED)}"
    )


def one_spelling(phone: str) -> str:
    """The last of the spellings between which PHOIBLE does not decide."""
    return phone.rpartition("|")[2]


def _doculect(key: str, rows: Sequence[Row]) -> Doculect:
    first = rows[0]
    languages = (first.get(name, "") for name in ("ISO6393", "Glottocode"))
    about = (first.get(name, "") for name in (*CODES[1:], "SpecificDialect", "Source"))
    named = f"({', '.join(word for word in about if word not in NOTHING)})"
    return Doculect(
        key=key,
        name=f"{key} {named}" if key else "",
        language=next((code for code in languages if code not in NOTHING), "und"),
        words=frozenset(
            row[name].casefold()
            for row in rows
            for name in CODES[1:]
            if row.get(name, "") not in NOTHING
        ),
        phonemes=tuple(row[COLUMN] for row in rows),
        allophones=tuple(_allophones(row) for row in rows),
        marginal=tuple(row[COLUMN] for row in rows if row.get("Marginal", "").upper() == "TRUE"),
    )


def _allophones(row: Row) -> tuple[str, ...]:
    return tuple(each for each in row.get("Allophones", "").split() if each not in NOTHING)
