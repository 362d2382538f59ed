"""Any corpus that is a table: one utterance a row, columns by header name.

    speechx data prepare table utterances.tsv --language ru -o DIR

Tab-separated without quoting (.tsv), or comma-separated with it (.csv). Columns: `path` (or
`audio`), relative to the table; `id` (or `utt_id`), `split`, `duration`, `start`, `text`,
`phones` (separated by spaces), `speaker` and `language` where they are there. Other columns are
left out, and named.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

from speechx.audio.files import END_TOLERANCE_SECONDS, audio_info
from speechx.data.manifest import Utterance, claim, write_manifest
from speechx.errors import UserError

NAMES = {"audio": "path", "utt_id": "id", "sentence": "text"}
KNOWN = ("id", "path", "split", "duration", "start", "text", "phones", "speaker", "language")


def prepare(
    table: Path, language: str | None, out: Path, log: Callable[[str], object] = print
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl` (`train` without a split column); counts by both."""
    made: dict[str, dict[str, list[Utterance]]] = {}
    line_of: dict[tuple[str, str, str], int] = {}
    for number, row in _read(table, log):
        where = f"{table}:{number}"
        spoken = row.get("language") or language
        if not spoken:
            raise UserError(f"{where}: no language column, so give one with --language")
        audio = table.parent.absolute() / row["path"]
        if not audio.is_file():
            raise UserError(f"{where}: audio file {audio} does not exist")
        start = _seconds(row, "start", where) or 0.0
        duration = _seconds(row, "duration", where)
        if duration is None or start:  # without a start a duration is taken at its word: no header
            length = audio_info(audio).duration
            if start + (duration or 0) > length + END_TOLERANCE_SECONDS or start >= length:
                raise UserError(
                    f"{where}: the segment starts at {start:g} s and ends after the end of "
                    f"{audio}, which is {length:.2f} s long"
                )
            duration = duration or length - start
        utterance = Utterance(
            id=row.get("id") or Path(row["path"]).stem,
            audio=audio,
            start=start,
            duration=duration,
            language=spoken,
            text=row.get("text") or None,
            phones=tuple(row.get("phones", "").split()) or None,
            speaker=row.get("speaker") or None,
        )
        split = row.get("split") or "train"
        earlier = line_of.setdefault((spoken, split, utterance.id), number)
        if earlier != number:
            raise UserError(
                f"{where}: id {utterance.id!r} is already on line {earlier}; "
                "without an `id` column the name of the file is the id, and must be unique"
            )
        made.setdefault(spoken, {}).setdefault(split, []).append(utterance)
    for spoken in made:
        claim(out / spoken, f"the table {table.absolute().parent.name}/{table.name}")
    for spoken, splits in made.items():
        for split, utterances in splits.items():
            write_manifest(out / spoken / f"{split}.jsonl", utterances)
    return {spoken: {s: len(u) for s, u in splits.items()} for spoken, splits in made.items()}


def _seconds(row: dict[str, str], column: str, where: str) -> float | None:
    """A time of the row, None if the cell is empty or not there."""
    cell = row.get(column, "").strip()
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{where}: {column} must be seconds, not {cell!r}")
    return value


def _read(table: Path, log: Callable[[str], object]) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows, columns under their standard names."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"table {table} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"table {table} is not UTF-8 text") from None
    if table.suffix == ".csv":  # a quoted cell may hold line breaks, so its lines are counted
        reader = csv.reader(io.StringIO(text, newline=""))
        try:
            cells = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise UserError(f"{table}:{reader.line_num}: not CSV: {error}") from None
    else:  # not splitlines(), which would also split at rare separators inside a text
        lines = enumerate(text.split("\n"), start=1)
        cells = [(number, line.split("\t")) for number, line in lines if line]
    if len(cells) < 2:
        raise UserError(f"table {table} needs a line of column names and at least one row")
    header = [NAMES.get(name.strip(), name.strip()) for name in cells[0][1]]
    if len(set(header)) < len(header):
        raise UserError(f"table {table} names a column twice: {', '.join(header)}")
    if "path" not in header:
        raise UserError(f"table {table} has no column `path`; it has {', '.join(header)}")
    if unused := [name for name in header if name not in KNOWN]:
        log(f"{table}: columns not used: {', '.join(unused)}")
    rows = []
    for number, row in cells[1:]:
        if len(row) != len(header):
            raise UserError(f"{table}:{number}: {len(row)} cells, but {len(header)} column names")
        rows.append((number, dict(zip(header, row, strict=True))))
    return rows
