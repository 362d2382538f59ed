"""What texts are written with: letters that look alike, two scripts in one word, the invisible.

A model learns one output for every code point it meets. To it the Latin a and the Cyrillic а are as
different as a and z, so each pair that a reader cannot tell apart costs it data, and the score
errors. Normalisation (text/normalize.py) already joins composed and decomposed letters, apostrophes
inside words and all punctuation; what is judged here is what it leaves.

    letters = Letters()
    letters.read("es", "train", "cv_es_1", "buenos días", "buenos días")
    cases = letters.cases()
    proposals = letters.respellings()
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from speechx.doctor.checks import ALPHABET, PACE_UTTERANCES, RARE_UTTERANCES, Case
from speechx.doctor.respelling import Respelling

# One shape in several scripts, Latin first.
SHAPES = (
    "aаα", "cс", "dԁ", "eе", "hһ", "iіι", "jј", "kκк", "lӏ", "nո", "oоοօ", "pрρ", "qԛ", "sѕ", "tτт",
    "uυս", "vνѵ", "wԝω", "xхχ", "yуγ", "əәǝ", "æӕ", "AАΑ", "BВΒ", "CСϹ", "EЕΕ", "HНΗ", "IІΙӀ",
    "JЈ", "KКΚ", "MМΜ", "NΝ", "OОΟՕ", "PРΡ", "SЅՏ", "TТΤ", "XХΧ", "YУΥҮ", "ZΖ", "ÆӔ", "ƏӘƎ",
)  # fmt: skip
# Letters that are typed for each other within one language.
TWINS = (
    "'’‘ʼʻʽʹ`´′＇ꞌ", "şș", "ţț", "əәǝ", "ŋη", "ɛε", "ɣγ", "ɑα", "ʋυ", "ɩι", "ßβ", "µμ", "đɖ",
    "كکڪ", "يی", "هہە", "ʔɂ", "ïї", "öӧ", "äӓ",
)  # fmt: skip
MIXABLE = frozenset(("LATIN", "CYRILLIC", "GREEK", "ARMENIAN"))
WITHOUT_JOINERS = MIXABLE | {"GEORGIAN", "HEBREW", "EAST ASIAN", "ETHIOPIC"}
EAST_ASIAN = frozenset(("HIRAGANA", "KATAKANA", "CJK", "BOPOMOFO", "HANGUL", "KATAKANA-HIRAGANA"))
"""Scripts that one text mixes as a matter of course."""
COMPATIBLE = ("<compat>", "<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>")
OWN_LETTERS = frozenset("ำຳໜໝ")  # two code points in Unicode's books, one letter to everybody
JOINERS = "\u200c\u200d"
TATWEEL, LOST = "\u0640", "\ufffd"
GARBLED = re.compile("[ÃÂÐÑ][\u0080-\u00bf]|â€")
MARKUP = re.compile(r"<[^<>\s][^<>]*>|\(\(|\[[^\[\]]+\]")
WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f'’]+[^\W\d_]+)*")
SHAPE = {letter: shape for shape in SHAPES for letter in shape}


@dataclass(slots=True)
class Written:
    """What the texts of one language hold, and in how many utterances."""

    utterances: int = 0
    decomposed: int = 0
    scripts: Counter[str] = field(default_factory=Counter)
    """Letters of each script."""
    units: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Letters of normalised texts, by split."""
    oddities: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What each check may object to: words, tags, single characters, scripts."""
    first: dict[tuple[str, str], str] = field(default_factory=dict)
    """The first utterance with it, by check; under "" are letters."""

    def note(self, check: str, what: str, id: str) -> None:
        self.oddities[check][what] += 1
        self.first.setdefault((check, what), id)

    def letters(self) -> Counter[str]:
        """Of all splits."""
        return sum(self.units.values(), Counter())

    def script(self) -> str:
        """The script of at least nine in ten letters; empty if there is none."""
        name, most = max(self.scripts.items(), key=lambda item: item[1], default=("", 0))
        return name if most >= 0.9 * self.scripts.total() else ""


class Letters:
    """Collects, text by text; bounded by alphabets and oddities, not by the corpus."""

    def __init__(self) -> None:
        self.languages: dict[str, Written] = defaultdict(Written)

    def read(
        self, language: str, split: str, id: str, text: str, normal: str
    ) -> list[tuple[str, str]]:
        """Returns what is odd in this text: checks, and what each objects to."""
        written = self.languages[language]
        written.utterances += 1
        units = set(normal)
        written.units[split].update(units)
        for letter in units:
            written.first.setdefault(("", letter), id)
        if text.isascii() and not _ODD_ASCII.search(text):
            if any(map(str.isalpha, units)):
                written.scripts["LATIN"] += len(normal)
                written.note("other_script", "LATIN", id)
            return []
        if not unicodedata.is_normalized("NFC", text):
            written.decomposed += 1
        letters = set(text)
        kinds = {c: kind(c) for c in letters}
        odd = [("digits", "digits")] if "digits" in kinds.values() else []
        odd += [("invisible", c) for c in sorted(letters) if kinds[c] == "invisible"]
        scripts = Counter(map(script, text))
        del scripts[""]
        written.scripts.update(scripts)
        names = set(scripts)
        if len(names & MIXABLE) > 1:
            names -= MIXABLE
            for word in sorted(set(WORD.findall(text))):
                inside = {script(c) for c in word} & MIXABLE
                if len(inside) > 1:
                    odd.append(("mixed_word", word))
                names |= inside if len(inside) == 1 else set()
        for check, pattern in (("garbled", GARBLED), ("markup", MARKUP)):
            odd += [(check, what) for what in sorted(set(pattern.findall(text)))]
        for check, what in [*odd, *(("other_script", name) for name in sorted(names))]:
            written.note(check, what, id)
        return odd

    def cases(self) -> Iterator[Case]:
        for language, written in sorted(self.languages.items()):
            for check, what, count, detail in _oddities(written):
                first = written.first.get((check, what)) or written.first.get(("", what), "")
                where = f"first in {first}"
                detail = f"{detail}; {where}" if detail else where
                yield Case(check, shown(what), detail, language, count=count)

    def respellings(self) -> list[Respelling]:
        """One spelling for what looks the same, the commoner one; nothing for the invisible."""
        return [
            Respelling(language, old, new, count, check)
            for language, written in sorted(self.languages.items())
            for check, old, new, count in _proposals(written)
        ]


def _oddities(written: Written) -> Iterator[tuple[str, str, int, str]]:
    """Check, what, utterances, detail."""
    for check, old, new, count in _proposals(written):
        if check == "look_alike":
            yield check, old, count, f"proposed: {shown(new)}"
    for check, counter in written.oddities.items():
        for what, count in counter.most_common():
            if check == "other_script":
                if written.script() not in ("", what):
                    yield check, what, count, f"the others are {written.script()}"
            elif check == "invisible" and what in JOINERS:
                if written.script() in WITHOUT_JOINERS:
                    yield check, what, count, "it stays in the text"
            elif check == "invisible" and what == TATWEEL:
                yield check, what, count, "it stays in the text"
            elif check == "invisible" and unicodedata.category(what) == "Cf":
                yield check, what, count, "left out by normalisation"
            elif check == "invisible":
                yield check, what, count, "becomes a space by normalisation"
            else:
                yield check, what, count, ""
    letters = written.letters()
    if written.utterances >= PACE_UTTERANCES and len(letters) <= ALPHABET:
        for letter, count in sorted(letters.items()):
            if count <= RARE_UTTERANCES and letter.isalpha():
                yield "rare", letter, count, ""


def _proposals(written: Written) -> Iterator[tuple[str, str, str, int]]:
    """Check, old, new, utterances."""
    letters = written.letters()
    for twins in TWINS:
        there = sorted((c for c in twins if letters[c]), key=lambda c: -letters[c])
        for old in there[1:]:
            yield "look_alike", old, there[0], letters[old]
    for letter, count in sorted(letters.items()):
        if unicodedata.decomposition(letter).startswith(COMPATIBLE) and letter not in OWN_LETTERS:
            yield "look_alike", letter, unicodedata.normalize("NFKC", letter), count
    for word, count in written.oddities["mixed_word"].most_common():
        if new := in_one_script(word, written.script()):
            yield "mixed_word", word, new, count
    for what, count in written.oddities["invisible"].most_common():
        if what != LOST and (what not in JOINERS or written.script() in WITHOUT_JOINERS):
            yield "invisible", what, "", count


def in_one_script(word: str, wanted: str) -> str:
    """The word in the script of its language, or of most of its letters; empty where a letter has
    no like there.

    >>> in_one_script("Mосква", "CYRILLIC") == "Москва"
    True
    """
    counts = Counter(script(c) for c in word if script(c))
    if wanted not in counts:
        wanted = counts.most_common(1)[0][0]
    new = [
        c
        if script(c) in ("", wanted)
        else next((o for o in SHAPE.get(c, "") if script(o) == wanted), "")
        for c in word
    ]
    return "".join(new) if all(new) else ""


@cache
def script(letter: str) -> str:
    """LATIN, CYRILLIC, ...; empty for what is no letter or belongs to every script."""
    if not letter.isalpha() or unicodedata.category(letter) == "Lm":
        return ""
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "").split(" ")[0]
    return "EAST ASIAN" if name in EAST_ASIAN else name


@cache
def kind(character: str) -> str:
    """The check that a single character is for; empty for most."""
    category = unicodedata.category(character)
    if category[0] == "N":
        return "digits"
    if (category[0] == "C" and character not in "\t\n\r") or character in (TATWEEL, LOST):
        return "invisible"
    return ""


def shown(text: str) -> str:
    """Text for a report: what cannot be seen by its code points, a single letter with it."""
    if not text:
        return "nothing"
    if len(text) == 1 or not text.isprintable():
        points = " ".join(f"U+{ord(c):04X}" for c in text)
        name = unicodedata.name(text[0], "").lower() if len(text) == 1 else ""
        seen = f"{text} " if text.isprintable() and kind(text) != "invisible" else ""
        return f"{seen}({points}{f' {name}' if name else ''})" if len(text) == 1 else points
    return text


_ODD_ASCII = re.compile(r"[\d<\[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\(\(")
