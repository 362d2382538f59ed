"""Proposed spellings: a table that the doctor writes, a person corrects, and texts are put through.

    language   from     to       utterances   code points           why
    ru         Pоссия   Россия   3            U+0050 > U+0420 ...   mixed_word

A letter is replaced wherever it stands, a word only where it stands alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechx.data.manifest import Utterance
from speechx.errors import UserError

HEADER = ("language", "from", "to", "utterances", "code points", "why")


@dataclass(frozen=True, slots=True)
class Respelling:
    """A proposal: write `new` for `old`, a character or a whole word, in one language."""

    language: str
    old: str
    new: str
    utterances: int
    why: str


def write_respellings(path: Path, respellings: Sequence[Respelling]) -> None:
    """The table; characters that cannot be seen are escaped as \\u200b."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
        writer.writerow(HEADER)
        for r in respellings:
            points = f"{_points(r.old)} > {_points(r.new) or 'nothing'}"
            cells = (r.language, _escaped(r.old), _escaped(r.new), r.utterances, points, r.why)
            writer.writerow(cells)


def read_respellings(path: Path) -> dict[str, Callable[[str], str]]:
    """What each language's texts are put through."""
    table: dict[str, dict[str, str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the table of spellings: {error}") from None
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if number == 1 and tuple(cells[:3]) != HEADER[:3]:
            raise UserError(
                f"{path}: a table with the columns {', '.join(HEADER[:3])} was expected, "
                f"as `speechx data doctor` writes respell.tsv; its first line is {line[:60]!r}"
            )
        if number == 1 or not line.strip():
            continue
        if len(cells) < 3 or not cells[1]:
            raise UserError(f"{path}:{number}: language, from and to were expected, by tabs")
        table.setdefault(cells[0], {})[_plain(cells[1])] = _plain(cells[2])
    return {language: _replacer(spellings) for language, spellings in table.items()}


def respell(
    utterances: Iterable[Utterance], spellings: dict[str, Callable[[str], str]]
) -> Iterator[Utterance]:
    """The utterances with their texts put through the table of their language."""
    for u in utterances:
        change = spellings.get(u.language)
        yield u if u.text is None or change is None else replace(u, text=change(u.text))


def _replacer(spellings: dict[str, str]) -> Callable[[str], str]:
    letters = {old: new for old, new in spellings.items() if len(old) == 1}
    words = sorted((old for old in spellings if len(old) > 1), key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)") if words else None
    table = str.maketrans(letters)

    def change(text: str) -> str:
        if pattern is not None:
            text = pattern.sub(lambda match: spellings[match[0]], text)
        return text.translate(table)

    return change


def _points(text: str) -> str:
    return " ".join(f"U+{ord(c):04X}" for c in text) if len(text) < 4 else ""


def _escaped(text: str) -> str:
    return "".join(
        c
        if c.isprintable() and c != "\\"
        else f"\\u{ord(c):04x}"
        if ord(c) < 1 << 16
        else f"\\U{ord(c):08x}"
        for c in text
    )


def _plain(text: str) -> str:
    return re.sub(
        r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})", lambda m: chr(int(m[1] or m[2], 16)), text
    )
