"""The phones of a pronunciation lexicon: a line `word<TAB>phones` for each word.

Phones have spaces between. Further cells are further pronunciations, and numbers (probabilities)
are left out, so the dictionaries of WikiPron, MFA and most G2P tools are read as they are.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from speechx.errors import UserError
from speechx.log import logger
from speechx.text.ipa import normalize_ipa, problem_with

BOUNDARIES = frozenset((".", "#", "|", "‖", "+", "-", "_", "‿", "/", "[", "]"))
_DIVIDERS = re.compile(r"[\s,;\"]+")
_NUMBER = re.compile(r"[-+]?\d*[.,]?\d+(e[-+]?\d+)?", re.IGNORECASE)
SHOWN = 6  # words in a message
SHORT = 2  # letters of a phone, beside its diacritics


def is_lexicon(lines: Sequence[str]) -> bool:
    """Whether each line has a word and, behind a tab, phones; some word has several phones."""
    rows = _rows(lines)
    several = any(" " in cell for row in rows for cell in row[1:])
    return several and all(len(row) > 1 for row in rows)


def seems_lexicon(lines: Sequence[str]) -> str | None:
    """What is wrong with lines that are no lexicon but seem meant as one; None for other text."""
    rows = _rows(lines)
    divided = sum(len(row) > 1 for row in rows)
    if 2 * divided > len(rows):
        bare = next((row[0] for row in rows if len(row) == 1), None)
        return f"{bare!r} has no tab" if bare else "no spaces divide the phones of its words"
    cells = [[cell for cell in _DIVIDERS.split(row[0]) if cell] for row in rows]
    spelled = sum(len(word) > 2 and all(map(_is_short, word[1:])) for word in cells)
    if 2 * spelled > len(rows):
        return f"no tab stands behind the word, as in {rows[0][0]!r}"
    return None


def count_phones(path: Path, lines: Sequence[str]) -> Counter[str]:
    """How often each phone stands in the pronunciations. Logs symbols that are not IPA and words
    in another script than most words, with examples: both may bring phones of other languages."""
    counts: Counter[str] = Counter()
    strange: dict[str, str] = {}
    words: list[tuple[str, set[str]]] = []
    silent, boundaries = [], 0
    for word, *cells in _rows(lines):
        symbols = [s for cell in cells if not _NUMBER.fullmatch(cell) for s in cell.split()]
        phones = [symbol for symbol in symbols if symbol not in BOUNDARIES]
        boundaries += len(symbols) - len(phones)
        if not phones:
            silent.append(word)
        counts.update(phones)
        words.append((word, set(phones)))
        for phone in set(phones) - strange.keys():
            if problem_with(phone):
                strange[phone] = word
    if not counts:
        raise UserError(f"{path}: no phones found, expected lines of a word, a tab and its phones.")
    if boundaries:
        logger.info(f"{path}: {boundaries} boundaries of syllables and words left out")
    if silent:
        logger.warning(f"{path}: {len(silent)} words without phones: {_first(silent)}")
    if strange:
        some = [f"{phone!r} (in {word!r})" for phone, word in sorted(strange.items())]
        found = ", ".join(some[:SHOWN]) + " ..." * (len(some) > SHOWN)
        logger.warning(f"{path}: {len(strange)} symbols that are not IPA: {found}")
    _log_other_scripts(path, words)
    return counts


def pronunciations(lines: Sequence[str]) -> dict[str, list[tuple[str, ...]]]:
    """The words, each with its pronunciations in one spelling of IPA. A word without phones is left
    out (`count_phones` logs it)."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for word, *cells in _rows(lines):
        for cell in cells:
            if _NUMBER.fullmatch(cell):
                continue
            phones = tuple(
                phone
                for symbol in cell.split()
                if symbol not in BOUNDARIES and (phone := normalize_ipa(symbol))
            )
            if phones and phones not in found.setdefault(word, []):
                found[word].append(phones)
    return {word: each for word, each in found.items() if each}


def _rows(lines: Sequence[str]) -> list[list[str]]:
    """The cells of each line, but for blank lines and comments."""
    comment = (line.startswith("#") and "\t" not in line for line in lines)
    whole = [line for line, left_out in zip(lines, comment, strict=True) if not left_out]
    return [[_bare(cell) for cell in line.split("\t")] for line in whole if line.strip()]


def _bare(cell: str) -> str:
    """Without the quotes of a table, and without the slashes or brackets of a transcription."""
    cell = cell.strip()
    for first, last in ('""', "//", "[]"):
        if len(cell) > 2 and cell[0] == first and cell[-1] == last:
            cell = cell[1:-1].strip()
    return cell


def _is_short(symbol: str) -> bool:
    return sum(map(str.isalpha, symbol)) <= SHORT and problem_with(symbol) is None


def _log_other_scripts(path: Path, words: Sequence[tuple[str, set[str]]]) -> None:
    """Words with letters of another script than most have, and the phones that only they have."""
    scripts = [(word, phones, _scripts(word)) for word, phones in words]
    usual = Counter(script for _, _, found in scripts for script in found).most_common(1)
    most = {script for script, _ in usual}
    other = [(word, phones) for word, phones, found in scripts if found - most]
    if not other or 10 * len(other) > len(words):  # a script such as Japanese has several
        return
    inside: set[str] = set().union(*(phones for _, phones, found in scripts if not found - most))
    alone = sorted(set().union(*(phones for _, phones in other)) - inside)
    bring = f"; only they have the phones {' '.join(alone)}" if alone else ""
    logger.warning(
        f"{path}: {len(other)} of {len(words)} words have letters beyond {usual[0][0].title()}: "
        f"{_first([word for word, _ in other])}{bring}"
    )


def _scripts(word: str) -> set[str]:
    names = (unicodedata.name(c, "") for c in word if c.isalpha() and c not in "ˈˌʼʻˀ")
    return {name.split(" ")[0] for name in names if name}


def _first(words: Iterable[str]) -> str:
    some = list(words)
    return " ".join(some[:SHOWN]) + " ..." * (len(some) > SHOWN)
