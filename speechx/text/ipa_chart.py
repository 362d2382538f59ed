"""Where phones stand in the chart of the IPA: consonants by place and manner, vowels by height and
backness.

A phone stands where its letter stands: tʰ, t̪ʲ and tː are marked as t, which only a dental mark
moves to another column. An affricate has the place of its fricative. Diphthongs, other sequences
and tones have no place in the chart; they are listed beside it.

>>> place_of("tʃʰ").row, place_of("tʃʰ").column
('affricate', 'postalveolar')
"""

from dataclasses import dataclass, replace
from typing import Literal

from speechx.text.ipa import LETTERS, normalize_ipa, problem_with

Kind = Literal["consonant", "vowel", "diphthong", "tone", "other"]

PLACES = (
    "bilabial", "labiodental", "dental", "alveolar", "postalveolar", "alveolo-palatal",
    "retroflex", "palatal", "labial-velar", "velar", "uvular", "pharyngeal", "glottal",
)  # fmt: skip
MANNERS = (
    "plosive", "nasal", "trill", "tap", "affricate", "fricative", "lateral fricative",
    "approximant", "lateral", "implosive", "click",
)  # fmt: skip
# For each manner, letters of each place: voiceless, then voiced; - is none.
_CONSONANTS = {
    "plosive": {
        "bilabial": "pb", "alveolar": "td", "alveolo-palatal": "ȶȡ", "retroflex": "ʈɖ",
        "palatal": "cɟ", "velar": "kɡ", "uvular": "qɢ", "pharyngeal": "ʡ-", "glottal": "ʔ-",
    },
    "nasal": {
        "bilabial": "-m", "labiodental": "-ɱ", "alveolar": "-n", "alveolo-palatal": "-ȵ",
        "retroflex": "-ɳ", "palatal": "-ɲ", "velar": "-ŋ", "uvular": "-ɴ",
    },
    "trill": {"bilabial": "-ʙ", "alveolar": "-r", "uvular": "-ʀ"},
    "tap": {"labiodental": "-ⱱ", "alveolar": "-ɾɺ", "retroflex": "-ɽ"},
    "fricative": {
        "bilabial": "ɸβ", "labiodental": "fv", "dental": "θð", "alveolar": "sz",
        "postalveolar": "ʃʒ", "alveolo-palatal": "ɕʑ", "retroflex": "ʂʐ", "palatal": "çʝ",
        "labial-velar": "ʍ-", "velar": "xɣɧ", "uvular": "χʁ", "pharyngeal": "ħʕʢʜ",
        "glottal": "hɦ",
    },
    "lateral fricative": {"alveolar": "ɬɮ", "retroflex": "ꞎ-"},
    "approximant": {
        "labiodental": "-ʋ", "alveolar": "-ɹ", "retroflex": "-ɻ", "palatal": "-jɥ",
        "labial-velar": "-w", "velar": "-ɰ",
    },
    "lateral": {
        "alveolar": "-lɫ", "alveolo-palatal": "-ȴ", "retroflex": "-ɭ", "palatal": "-ʎ",
        "velar": "-ʟ",
    },
    "implosive": {
        "bilabial": "ƥɓ", "alveolar": "ƭɗ", "retroflex": "-ᶑ", "palatal": "ƈʄ", "velar": "ƙɠ",
        "uvular": "ʠʛ",
    },
    "click": {
        "bilabial": "ʘ-", "dental": "ǀ-", "alveolar": "ǁ-", "postalveolar": "ǃ-", "palatal": "ǂ-",
    },
}  # fmt: skip
VOICELESS = frozenset("ɧʜ")  # though not the first of their places
LABIAL = frozenset("pbm")  # a labial and a velar letter are one phone of two places
DENTAL, WITHOUT_VOICE, WITH_VOICE = "\u032a", "\u0325", "\u032c"

# x goes from front (0) to back (1), y from close (0) to open (1) in sixths.
VOWELS: dict[str, tuple[float, float, bool]] = {
    letter: (x, y, rounded)
    for y, row in (
        (0.0, (("i", "y", 0.0), ("ɨ", "ʉ", 0.5), ("ɯ", "u", 1.0))),
        (
            1 / 6,
            (("ɪ", "ʏ", 0.2), ("ɩ", "-", 0.2), ("ᵻ", "ᵿ", 0.5), ("-", "ʊ", 0.8), ("-", "ɷ", 0.8)),
        ),
        (2 / 6, (("e", "ø", 0.0), ("ɘ", "ɵ", 0.5), ("ɤ", "o", 1.0))),
        (3 / 6, (("ᴇ", "-", 0.0), ("ə", "-", 0.5))),
        (4 / 6, (("ɛ", "œ", 0.0), ("ɜ", "ɞ", 0.5), ("ʌ", "ɔ", 1.0))),
        (5 / 6, (("æ", "-", 0.0), ("ɐ", "-", 0.5))),
        (1.0, (("a", "ɶ", 0.0), ("ᴀ", "-", 0.5), ("ɑ", "ɒ", 1.0))),
    )
    for unrounded, round_, x in row
    for letter, rounded in ((unrounded, False), (round_, True))
    if letter != "-"
}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the chart. Consonants have row (manner), column (place) and voiced; vowels have x,
    y and rounded as in `VOWELS`."""

    kind: Kind
    row: str = ""
    column: str = ""
    voiced: bool = False
    x: float = 0.0
    y: float = 0.0
    rounded: bool = False


CHART: dict[str, Place] = {
    letter: Place("consonant", manner, place, index > 0 and letter not in VOICELESS)
    for manner, places in _CONSONANTS.items()
    for place, letters in places.items()
    for index, letter in enumerate(letters)
    if letter != "-"
} | {
    letter: Place("vowel", x=x, y=y, rounded=rounded) for letter, (x, y, rounded) in VOWELS.items()
}


def place_of(phone: str) -> Place:
    """The place of a phone in the chart; diphthongs, tones and others only have a kind."""
    if problem_with(phone):
        return Place("other")
    letters, marks = _letters(phone)
    places = [CHART.get(letter) for letter in letters]
    if not letters:  # tones, boundaries, intonation
        return Place("tone")
    first, last = places[0], places[-1]
    if first is None or last is None or None in places or len(places) > 3:
        return Place("other")
    if len(places) == 1:
        return _moved(first, marks[0])
    found = [place for place in places if place is not None]
    if all(place.kind == "vowel" for place in found):
        return first if len(set(letters)) == 1 else Place("diphthong")
    if len(places) > 2:
        return Place("other")
    fricatives = ("fricative", "lateral fricative")
    if first.row == "plosive" and last.row in fricatives:
        return replace(_moved(last, marks[1]), row="affricate")
    if letters[0] in "kɡŋ" and letters[1] in LABIAL and first.row == last.row:
        return Place("consonant", first.row, "labial-velar", last.voiced)
    if letters[0] == letters[1]:  # written twice, it is long
        return _moved(first, marks[0])
    return Place("other")


def kind_of(phone: str) -> Kind:
    """Consonant, vowel, diphthong, tone, or other: sequences, and what is not IPA."""
    return place_of(phone).kind


def _letters(phone: str) -> tuple[list[str], list[str]]:
    """The full letters, and the marks after each. ç is one letter, though it is c and a mark in the
    normal spelling."""
    letters: list[str] = []
    marks: list[str] = []
    for character in normalize_ipa(phone).replace("c\u0327", "ç"):
        if character in LETTERS or character == "ç":
            letters.append(character)
            marks.append("")
        elif letters:
            marks[-1] += character
    return letters, marks


def _moved(place: Place, marks: str) -> Place:
    """The place of a letter with these marks."""
    if place.kind != "consonant":
        return place
    dental = place.column == "alveolar" and DENTAL in marks
    voiced = (place.voiced or WITH_VOICE in marks) and WITHOUT_VOICE not in marks
    return replace(place, column="dental" if dental else place.column, voiced=voiced)
