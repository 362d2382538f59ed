"""The characters of texts: letters that look alike, two scripts in one word, invisible ones.

A model learns one output for every code point. The Latin a and the Cyrillic а are as different to
it as a and z, so each pair that a reader cannot distinguish costs training data and makes the score
worse. Normalisation (text/normalize.py) already unifies composed and decomposed letters,
apostrophes inside words and all punctuation; these checks are about what remains.

The tables are ours: Unicode's confusables (confusable-homoglyphs) do not contain k/к, t/т or the
pairs between Cyrillic and Greek, and ftfy takes 14 times as long as GARBLED for the same findings.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from speechx.data.text_replacements import Replacement
from speechx.doctor.checks import ALPHABET, PACE_UTTERANCES, RARE_UTTERANCES, Case

# The same shape in several scripts, Latin first.
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
"""Scripts that Japanese, Korean and Chinese texts mix."""
COMPATIBLE = ("<compat>", "<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>")
OWN_LETTERS = frozenset("ำຳໜໝ")  # compatible to two code points in Unicode, but one letter each
JOINERS = "\u200c\u200d"
TATWEEL, LOST = "\u0640", "\ufffd"
GARBLED = re.compile("[ÃÂÐÑ][\u0080-\u00bf]|â€")
MARKUP = re.compile(r"<[^<>\s][^<>]*>|\(\(|\[[^\[\]]+\]")
WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f'’]+[^\W\d_]+)*")
SHAPE = {letter: shape for shape in SHAPES for letter in shape}


@dataclass(slots=True)
class LanguageCharacters:
    """What the texts of one language contain, and in how many utterances."""

    utterances: int = 0
    scripts: Counter[str] = field(default_factory=Counter)
    """Letters of each script."""
    letters_of: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Letters of normalised texts, by split."""
    oddities: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Words, tags, characters and scripts that checks are about."""
    first: dict[tuple[str, str], str] = field(default_factory=dict)
    """The first utterance with it, by check; "" stands for letters."""

    def add(self, check: str, what: str, id: str) -> None:
        self.oddities[check][what] += 1
        self.first.setdefault((check, what), id)

    def letters(self) -> Counter[str]:
        """The letters of all splits."""
        return sum(self.letters_of.values(), Counter())

    def script(self) -> str:
        """The script of at least nine in ten letters, or ""."""
        name, most = max(self.scripts.items(), key=lambda item: item[1], default=("", 0))
        return name if most >= 0.9 * self.scripts.total() else ""


class CharacterChecks:
    """Reads text by text; its size grows with alphabets and oddities, not with the corpus."""

    def __init__(self) -> None:
        self.languages: dict[str, LanguageCharacters] = defaultdict(LanguageCharacters)

    def read(
        self, language: str, split: str, id: str, text: str, normal: str
    ) -> list[tuple[str, str]]:
        """Returns checks that this text fails, each with the word or character it is about."""
        found = self.languages[language]
        found.utterances += 1
        letters = set(normal)
        found.letters_of[split].update(letters)
        for letter in letters:
            found.first.setdefault(("", letter), id)
        if text.isascii() and not _ODD_ASCII.search(text):
            if any(map(str.isalpha, letters)):
                found.scripts["LATIN"] += len(normal)
                found.add("other_script", "LATIN", id)
            return []
        checks = {c: character_check(c) for c in set(text)}
        odd = [("digits", "digits")] if "digits" in checks.values() else []
        odd += [("invisible", c) for c in sorted(checks) if checks[c] == "invisible"]
        scripts = Counter(filter(None, map(script, text)))
        found.scripts.update(scripts)
        names = set(scripts)
        if len(names & MIXABLE) > 1:
            names -= MIXABLE
            for word in sorted(set(WORD.findall(text))):
                inside = {script(c) for c in word} & MIXABLE
                if len(inside) > 1:
                    odd.append(("mixed_word", word))
                else:
                    names |= inside
        for check, pattern in (("garbled", GARBLED), ("markup", MARKUP)):
            odd += [(check, what) for what in sorted(set(pattern.findall(text)))]
        for check, what in [*odd, *(("other_script", name) for name in sorted(names))]:
            found.add(check, what, id)
        return odd

    def cases(self) -> Iterator[Case]:
        for language, found in sorted(self.languages.items()):
            for check, what, count, detail in _oddities(found):
                first = found.first.get((check, what)) or found.first.get(("", what), "")
                detail = "; ".join(filter(None, (detail, f"first in {first}")))
                yield Case(check, printable(what), detail, language, count=count)

    def replacements(self) -> list[Replacement]:
        """Of letters that look the same the most frequent replaces the others; invisible characters
        are removed."""
        return [
            Replacement(language, old, new, count, check)
            for language, found in sorted(self.languages.items())
            for check, old, new, count in _proposals(found)
        ]


def _oddities(found: LanguageCharacters) -> Iterator[tuple[str, str, int, str]]:
    """Check, what, utterances, detail."""
    for check, old, new, count in _proposals(found):
        if check == "look_alike":
            yield check, old, count, f"proposed: {printable(new)}"
    usual = found.script()
    for check, counter in found.oddities.items():
        for what, count in counter.most_common():
            if check == "other_script":
                if usual not in ("", what):
                    yield check, what, count, f"the other words are {usual}"
            elif check != "invisible":
                yield check, what, count, ""
            elif what not in JOINERS or usual in WITHOUT_JOINERS:
                yield check, what, count, _effect(what)
    letters = found.letters()
    if found.utterances >= PACE_UTTERANCES and len(letters) <= ALPHABET:
        for letter, count in sorted(letters.items()):
            if count <= RARE_UTTERANCES and letter.isalpha():
                yield "rare", letter, count, ""


def _effect(character: str) -> str:
    """What normalisation does to an invisible character."""
    if character in JOINERS or character == TATWEEL:
        return "normalisation keeps it"
    removed = unicodedata.category(character) == "Cf"
    return "normalisation removes it" if removed else "normalisation makes it a space"


def _proposals(found: LanguageCharacters) -> Iterator[tuple[str, str, str, int]]:
    """Check, old, new, utterances."""
    letters = found.letters()
    for twins in TWINS:
        there = sorted((c for c in twins if letters[c]), key=lambda c: -letters[c])
        for old in there[1:]:
            yield "look_alike", old, there[0], letters[old]
    for letter, count in sorted(letters.items()):
        if unicodedata.decomposition(letter).startswith(COMPATIBLE) and letter not in OWN_LETTERS:
            yield "look_alike", letter, unicodedata.normalize("NFKC", letter), count
    for word, count in found.oddities["mixed_word"].most_common():
        if new := in_one_script(word, found.script()):
            yield "mixed_word", word, new, count
    for what, count in found.oddities["invisible"].most_common():
        if what != LOST and (what not in JOINERS or found.script() in WITHOUT_JOINERS):
            yield "invisible", what, "", count


def in_one_script(word: str, wanted: str) -> str:
    """The word in the script of its language, or of most of its letters if it has none of those;
    "" if that script has no letter of the same shape."""
    counts = Counter(filter(None, map(script, word)))
    if wanted not in counts:
        wanted = counts.most_common(1)[0][0]
    new = [
        c if script(c) in ("", wanted)
        else next((same for same in SHAPE.get(c, "") if script(same) == wanted), "")
        for c in word
    ]  # fmt: skip
    return "".join(new) if all(new) else ""


@cache
def script(letter: str) -> str:
    """LATIN, CYRILLIC, ...; "" for what is not a letter or belongs to every script."""
    if not letter.isalpha() or unicodedata.category(letter) == "Lm":
        return ""
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "").split(" ")[0]
    return "EAST ASIAN" if name in EAST_ASIAN else name


@cache
def character_check(character: str) -> str:
    """The check that a single character fails; "" for most."""
    category = unicodedata.category(character)
    if category[0] == "N":
        return "digits"
    if (category[0] == "C" and character not in "\t\n\r") or character in (TATWEEL, LOST):
        return "invisible"
    return ""


def printable(text: str) -> str:
    """Text for a report: code points for what is invisible, and for single letters too."""
    if len(text) > 1 and text.isprintable():
        return text
    points = " ".join(f"U+{ord(c):04X}" for c in text)
    if len(text) != 1:
        return points or "nothing"
    visible = text.isprintable() and character_check(text) != "invisible"
    names = " ".join(filter(None, (points, unicodedata.name(text, "").lower())))
    return f"{text} ({names})" if visible else f"({names})"


_ODD_ASCII = re.compile(r"[\d<\[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\(\(")
