"""The pronunciations of a BABEL language pack: conversational/reference_materials/lexicon.txt.

    word<TAB>pronunciation<TAB>another                      plain
    word<TAB>romanisation<TAB>pronunciation<TAB>another     of ROMANISED languages

Phones are X-SAMPA, separated by spaces, and stay as they are written: packs differ in what they
write for the same sound, so one table to IPA would be wrong for some. ` . ` and ` # ` separate
syllables and the parts of compounds. Tone and stress belong to a syllable, and as in Kaldi every
phone of it gets them: `g 6 t _1` is g_1 6_1 t_1, and `" a b` is a_" b_".

    lexicon = read_lexicon(Path("lexicon.txt"))
    lexicon.phones("gat")              # ("g_1", "6_1", "t_1"), the first pronunciation
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.tables import text_lines
from speechx.errors import UserError
from speechx.text.languages import languages

Spelling = Literal["plain", "roman"]

ROMANISED = frozenset(["101", "102", "103", "104", "203", "204", "302", "303", "307", "401", "404"])
"""Codes of the languages whose packs spell every word in Latin letters too."""

_BOUNDARY = frozenset((".", "#"))
_STRESS = frozenset(('"', "%"))
_PITCH_ACCENT = re.compile(r"(.+)(_[FR])$")  # of Lithuanian: written on one phone of the syllable


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Pronunciations by spelling; the first is the one to take without further knowledge."""

    pronunciations: dict[str, tuple[tuple[str, ...], ...]]
    problems: tuple[Problem, ...] = ()
    """Lines that were not read."""

    def phones(self, text: str) -> tuple[str, ...] | None:
        """The phones of a text, None if one of its words is not in the lexicon."""
        found = [self._of(word) for word in text.split()]
        return (
            tuple(phone for known in found if known for phone in known[0]) if all(found) else None
        )

    def missing(self, text: str) -> list[str]:
        """The words of a text that are not in the lexicon."""
        return [word for word in text.split() if self._of(word) is None]

    def _of(self, word: str) -> tuple[tuple[str, ...], ...] | None:
        return self.pronunciations.get(word) or self.pronunciations.get(word.lower())


def read_lexicon(path: Path, spelling: Spelling = "plain", code: str = "") -> Lexicon:
    """All words, spelled as in `transcription` ("plain") or in `transcript_roman` ("roman").

    The code of the language decides whether there is a column of romanisations. For an unknown code
    the majority of lines decides: three columns, the second without a space.
    """
    rows = [(number, line.split("\t")) for number, line in text_lines(path) if line.strip()]
    if not rows:
        raise UserError(f"{path}: the lexicon is empty")
    if any(language.babel == code for language in languages() if code):
        romanised = code in ROMANISED
    else:
        with_three = sum(len(row) > 2 and " " not in row[1].strip() for _, row in rows)
        romanised = 2 * with_three > len(rows)
    if spelling == "roman" and not romanised:
        raise UserError(
            f"{path}: has no column of romanisations, so there are no phones for transcript_roman"
        )
    columns = "a word, its romanisation" if romanised else "a word"
    found: dict[str, dict[tuple[str, ...], None]] = {}
    problems = []
    for line, row in rows:
        tag = row[0].startswith("<") and len(row) == 2  # spelled alike in any letters
        first = 2 if romanised and not tag else 1
        if len(row) <= first:
            why = f"{columns} and tab-separated pronunciations were expected, not "
            problems.append(Problem(f"{path}:{line}", f"{why}{' '.join(row)[:60]!r}"))
            continue
        word = row[first - 1 if spelling == "roman" else 0].strip()
        phones = [spread_tags(pronunciation) for pronunciation in row[first:]]
        entry = found.setdefault(word, {})
        entry.update(dict.fromkeys(p for p in phones if p))
    if not found:
        raise UserError(f"{problems[0].where}: {problems[0].why}")
    pronunciations = {word: tuple(entry) for word, entry in found.items() if entry}
    for word in list(pronunciations):  # i_b_m also as the text policy joins it
        pronunciations.setdefault(word.replace("_", ""), pronunciations[word])
    return Lexicon(pronunciations, tuple(problems))


def spread_tags(pronunciation: str) -> tuple[str, ...]:
    """The phones of a pronunciation, each with the tags of its syllable."""
    spread: list[str] = []
    phones: list[str] = []
    tags = ""
    for token in [*pronunciation.split(), "."]:
        accented = _PITCH_ACCENT.match(token)
        if token in _BOUNDARY:
            spread += [phone + tags for phone in phones]
            phones, tags = [], ""
        elif token in _STRESS:
            tags += f"_{token}"
        elif token.startswith("_"):
            tags += token
        elif accented:
            phones.append(accented[1])
            tags += accented[2]
        else:
            phones.append(token)
    return tuple(spread)
