"""A phone mapping as a table that people edit: mapping.tsv.

    source   target   distance   match          tied   comment
    ɛ        e        0.0417     nearest        a
    θ        s        0.0833     by-hand               as the old speakers do
    ʔ                            left-out

A row says that the model's phone `source` stands for the phone `target` of the language. A phone of
the model may have several rows, and one target may have many. An empty cell leaves the phone of the
other cell out, as does a row that is missing: both are listed. `distance`, `match` and `tied` are
for people; a row whose target is not the one that they speak of counts as written by hand. Other
columns are kept as comments.

Reading takes what spreadsheets do: another order of rows and columns, commas or semicolons for
tabs, quotes, a byte order mark, other line ends, decimal commas.
"""

import csv
import difflib
import hashlib
import io
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from speechx.decoding.mapping import (
    BY_HAND,
    EXACT,
    REVERSE,
    STRENGTH,
    Mapping,
    MappingRow,
    mapping_of,
)
from speechx.errors import UserError
from speechx.text.articulation import distance, problem_without_features, weighted_distance
from speechx.text.ipa import normalize_ipa, problem_with
from speechx.text.user_files import cells_of, delimiter_of, read_lines, read_sheet

COLUMNS = ("source", "target", "distance", "match", "tied")
COMMENT = "comment"
LEFT_OUT = "left-out"
PRECISION = 5e-5  # of a distance in the table
SHOWN = 8  # phones in a message


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """A line of the table as it stands there; cells of `COLUMNS`, and comments."""

    line: int
    source: str
    target: str
    distance: str = ""
    match: str = ""
    tied: str = ""
    comment: str = ""


def write_mapping(mapping: Mapping, left_out: bool = False) -> str:
    """The table of a mapping. With `left_out` also a row for each phone that is left out."""
    comments = any(row.comment for row in mapping.rows)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow([*COLUMNS, COMMENT] if comments else COLUMNS)
    for row in mapping.rows:
        far = "" if row.distance is None else f"{row.distance:.4f}"
        cells = [row.source, row.target, far, row.match, " ".join(row.tied)]
        writer.writerow([*cells, row.comment] if comments else cells)
    if left_out:
        of_model, of_language = mapping.unmapped
        writer.writerows([phone, "", "", LEFT_OUT, ""] for phone in of_model)
        writer.writerows(["", phone, "", LEFT_OUT, ""] for phone in of_language)
    return text.getvalue()


def read_rows(path: Path) -> list[WrittenRow]:
    """The lines of the table. UserError if it is no table of a mapping; this needs no model."""
    lines = read_lines(path, "the mapping", "columns source and target")
    while len(lines) > 1 and not lines[0].strip():
        lines.pop(0)
    names = [name.lower() for name in cells_of(lines[0], delimiter_of(lines[0]))]
    if missing := [name for name in COLUMNS[:2] if name not in names]:
        raise UserError(
            f"{path}: the first line of a mapping names its columns, with tabs between, source and "
            f"target among them; found {lines[0][:60]!r}, without {' and '.join(missing)}. "
            "`speechx inventory map` writes such a table."
        )
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        raise UserError(f"{path}: the column {twice[0]} stands twice in the first line.")
    rows = []
    for line, cells in read_sheet([delimiter_of(lines[0]).join(names), *lines[1:]]):
        more = [cell for name, cell in cells.items() if name not in COLUMNS and cell]
        known = {name: cells.get(name, "") for name in COLUMNS}
        if known["source"] or known["target"]:
            rows.append(WrittenRow(line, **known, comment="; ".join(more)))
        elif known["distance"] or known["match"]:
            raise UserError(f"{path}:{line}: the row has neither a source nor a target.")
    if not any(row.source and row.target for row in rows):
        raise UserError(f"{path}: no row has a source and a target, so nothing would be written.")
    return _once(path, rows)


def _once(path: Path, rows: Sequence[WrittenRow]) -> list[WrittenRow]:
    """The rows, no pair twice. A row of the reverse pass gives way to another row of its pair: a
    person who moves a phone to a target makes that target reached."""
    by_pair: dict[tuple[str, str], list[WrittenRow]] = {}
    for row in rows:
        pair = unicodedata.normalize("NFC", row.source), normalize_ipa(row.target)
        by_pair.setdefault(pair, []).append(row)
    kept = []
    for same in by_pair.values():
        first, *more = [row for row in same if row.match != REVERSE] or same
        if more:
            raise UserError(
                f"{path}: lines {first.line} and {more[0].line} are the same pair, {first.source} "
                f"-> {first.target or 'nothing'}; remove one."
            )
        kept.append(first)
    return kept


def read_mapping(path: Path, source: Sequence[str], target: Sequence[str] | None = None) -> Mapping:
    """The mapping for a model that writes the phones `source`, to the phones `target`; by default
    these are all targets of the table. UserError names phones that the sides do not have."""
    rows = read_rows(path)
    given = rows if target is None else []
    phones = [phone for phone in dict.fromkeys(normalize_ipa(row.target) for row in given) if phone]
    targets = tuple(phones if target is None else dict.fromkeys(map(normalize_ipa, target)))
    if target is None:
        targets = tuple(sorted(targets))
    sources = _named(path, rows, source)
    _check_targets(path, rows, sources, targets, target is None)
    measured = find_spec("panphon") is not None
    pairs = [
        _checked_row(row, phone, goal, measured)
        for row, phone in zip(rows, sources, strict=True)
        if phone and (goal := normalize_ipa(row.target))
    ]
    mapped = {pair.source for pair in pairs}
    for row, phone in zip(rows, sources, strict=True):
        if phone in mapped and not row.target:
            raise UserError(
                f"{path}:{row.line}: {phone} is left out here, but has a target in another line; "
                "remove one of them."
            )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return mapping_of(source, targets, pairs, f"{path}, sha256 {digest}", from_file=True)


def _named(path: Path, rows: Sequence[WrittenRow], source: Sequence[str]) -> list[str]:
    """The model's own spelling of the source of each row."""
    spellings: dict[str, list[str]] = {}
    for phone in source:
        for spelling in {normalize_ipa(phone), unicodedata.normalize("NFC", phone)}:
            spellings.setdefault(spelling, []).append(phone)

    def own(given: str) -> str:
        if given in source or not given:
            return given
        for spelling in (unicodedata.normalize("NFC", given), normalize_ipa(given)):
            if len(spellings.get(spelling, ())) == 1:
                return spellings[spelling][0]
        return ""

    found = [own(row.source) for row in rows]
    own_of = zip(rows, found, strict=True)
    unknown = {row.source: row.line for row, phone in own_of if row.source and not phone}
    if unknown:
        raise UserError(
            f"{path}: the model does not write {_listed(unknown, source)}. Was the mapping made "
            "for another model?"
        )
    return found


def _check_targets(
    path: Path,
    rows: Sequence[WrittenRow],
    sources: Sequence[str],
    targets: Sequence[str],
    any_ipa: bool,
) -> None:
    """Refuses targets that the language does not have; where the table itself says what it has,
    those that are neither IPA nor the model's own phone."""
    unknown: dict[str, int] = {}
    for row, source in zip(rows, sources, strict=True):
        goal = normalize_ipa(row.target)
        if any_ipa:
            own = not source or goal == normalize_ipa(source)
            strange = not own and problem_with(row.target) is not None
        else:
            strange = goal not in targets
        if row.target and strange:
            unknown[row.target] = row.line
    if unknown:
        if any_ipa:
            known = [t for t in targets if t not in map(normalize_ipa, unknown)]
            raise UserError(f"{path}: targets that are not IPA: {_listed(unknown, known)}.")
        raise UserError(
            f"{path}: targets that the language does not have: {_listed(unknown, targets)}. Add "
            "them to the inventory, or leave it out: then all targets of the table are allowed."
        )


def _checked_row(row: WrittenRow, source: str, target: str, measured: bool) -> MappingRow:
    """The row with a distance that is right, by hand if what it states is not about its target."""
    if normalize_ipa(source) == target:
        return MappingRow(source, target, 0.0, EXACT, (), row.comment)
    stated, match, tied = _number(row.distance), row.match, tuple(row.tied.split())
    found = _distance(source, target, stated) if measured else stated
    changed = stated is None or found is None or abs(found - stated) > PRECISION
    if changed or match not in STRENGTH or match == EXACT or {source, target} & set(tied):
        match, tied = BY_HAND, ()
    return MappingRow(source, target, found, match, tied, row.comment)


def _distance(source: str, target: str, stated: float | None) -> float | None:
    """The one of both distances that is stated, else Hamming; None without features."""
    if problem_without_features(source) or problem_without_features(target):
        return None
    both = [distance(source, target), weighted_distance(source, target)]
    right = [far for far in both if stated is not None and abs(far - stated) <= PRECISION]
    return round((right or both)[0], 9)


def _number(cell: str) -> float | None:
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return None


def _listed(unknown: dict[str, int], known: Iterable[str]) -> str:
    """Phones with their lines, and with known ones that they may be meant for."""
    spelled = {normalize_ipa(phone): phone for phone in known}
    shown = []
    for phone, line in list(unknown.items())[:SHOWN]:
        own = normalize_ipa(phone)
        others = [each for each in spelled if each != own]
        near = difflib.get_close_matches(own, others, n=2, cutoff=0.5)
        hint = f", did you mean {' or '.join(spelled[n] for n in near)}?" if near else ""
        shown.append(f"{phone!r} (line {line}{hint})")
    more = f" and {len(unknown) - SHOWN} others" if len(unknown) > SHOWN else ""
    return ", ".join(shown) + more
