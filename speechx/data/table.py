"""Any corpus that is a table: one utterance a row, columns by header name.

    speechx data prepare table utterances.tsv --language ru -o DIR

Tab-separated without quoting (.tsv), or comma-separated with it (.csv). Columns: `path` (or
`audio`), relative to the table; `id` (or `utt_id`), `split`, `duration`, `start`, `text`,
`phones` (separated by spaces), `speaker` and `language` where they are there. Other columns are
left out, and named.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from speechx.audio.files import audio_info
from speechx.data.manifest import Utterance, write_manifest
from speechx.errors import UserError

NAMES = {"audio": "path", "utt_id": "id"}
KNOWN = ("id", "path", "split", "duration", "start", "text", "phones", "speaker", "language")


def prepare(
    table: Path, language: str | None, out: Path, log: Callable[[str], object] = print
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl` (`train` without a split column); counts by both."""
    made: dict[str, dict[str, list[Utterance]]] = {}
    for number, row in _read(table, log):
        where = f"{table}:{number}"
        spoken = row.get("language") or language
        if not spoken:
            raise UserError(f"{where}: no language column, so give one with --language")
        try:
            start, length = float(row.get("start") or 0), float(row.get("duration") or 0)
        except ValueError as error:
            raise UserError(f"{where}: start and duration are seconds: {error}") from None
        audio = table.parent.absolute() / row["path"]
        utterance = Utterance(
            id=row.get("id") or f"{Path(row['path']).stem}",
            audio=audio,
            start=start,
            duration=length or audio_info(audio).duration - start,
            language=spoken,
            text=row.get("text") or None,
            phones=tuple(row.get("phones", "").split()) or None,
            speaker=row.get("speaker") or None,
        )
        if not audio.is_file():
            raise UserError(f"{where}: audio file {audio} does not exist")
        made.setdefault(spoken, {}).setdefault(row.get("split") or "train", []).append(utterance)
    for spoken, splits in made.items():
        for split, utterances in splits.items():
            write_manifest(out / spoken / f"{split}.jsonl", utterances)
    return {spoken: {s: len(u) for s, u in splits.items()} for spoken, splits in made.items()}


def _read(table: Path, log: Callable[[str], object]) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows, columns under their standard names."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"table {table} cannot be read: {error}") from None
    if table.suffix == ".csv":
        cells = list(csv.reader(lines))
    else:
        cells = [line.split("\t") for line in lines]
    if len(cells) < 2:
        raise UserError(f"table {table} needs a line of column names and at least one row")
    header = [NAMES.get(name.strip(), name.strip()) for name in cells[0]]
    if "path" not in header:
        raise UserError(f"table {table} has no column `path`; it has {', '.join(header)}")
    if unused := [name for name in header if name not in KNOWN]:
        log(f"{table}: columns not used: {', '.join(unused)}")
    rows = []
    for number, row in enumerate(cells[1:], start=2):
        if len(row) != len(header):
            raise UserError(f"{table}:{number}: {len(row)} cells, but {len(header)} column names")
        rows.append((number, dict(zip(header, row, strict=True))))
    return rows
