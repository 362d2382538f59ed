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

from speechx.data.manifest import Utterance, first_few, stream_manifest, write_manifest
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


class Spellings:
    """What the texts of one language are put through; knows which of its rules met something."""

    def __init__(self, new_of: dict[str, str]) -> None:
        self.new_of = new_of
        self.met: set[str] = set()
        self.letters = {old: new for old, new in new_of.items() if len(old) == 1}
        words = sorted((old for old in new_of if len(old) > 1), key=len, reverse=True)
        either = "|".join(map(re.escape, words))
        self.pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)") if words else None
        self.table = str.maketrans(self.letters)

    def __call__(self, text: str) -> str:
        if self.pattern is not None:
            text = self.pattern.sub(self._word, text)
        self.met.update(self.letters.keys() & set(text))
        return text.translate(self.table)

    def _word(self, match: re.Match[str]) -> str:
        self.met.add(match[0])
        return self.new_of[match[0]]

    @property
    def unmet(self) -> list[str]:
        """What was to be replaced and stood nowhere."""
        return [old for old in self.new_of if old not in self.met]


def read_respellings(path: Path) -> dict[str, Spellings]:
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
    return {language: Spellings(spellings) for language, spellings in table.items()}


def respell(
    utterances: Iterable[Utterance], spellings: dict[str, Spellings]
) -> Iterator[Utterance]:
    """The utterances with their texts put through the table of their language."""
    for u in utterances:
        change = spellings.get(u.language)
        yield u if u.text is None or change is None else replace(u, text=change(u.text))


def respell_manifest(
    manifest: Path, table: Path, output: Path, log: Callable[[str], object]
) -> None:
    """Writes a manifest with its texts put through a table, and says what came of it."""
    if output.resolve() == manifest.resolve():
        raise UserError(f"-o {output} is the manifest itself: give another file")
    spellings = read_respellings(table)
    texts = changed = 0

    def counted() -> Iterator[Utterance]:
        nonlocal texts, changed
        for u in stream_manifest(manifest):
            (new,) = respell([u], spellings)
            texts += u.text is not None
            changed += new.text != u.text
            yield new

    count = write_manifest(output, counted())
    log(f"{count} utterances, {changed} of {texts} texts changed: {output}")
    unmet = [f"{_escaped(old)} ({of})" for of, some in spellings.items() for old in some.unmet]
    if unmet:
        rules = sum(len(some.new_of) for some in spellings.values())
        log(f"{len(unmet)} of the {rules} rules of {table} met nothing: {first_few(unmet)}")


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
