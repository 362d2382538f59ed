"""Texts that espeak-ng does not read, though it makes phones of them.

espeak-ng never refuses. A kanji becomes the words "Chinese letter", in the language of the voice or
in English; a Latin word in a Russian text is read by the English voice; a number is read in English
or left out where a voice has no rules for numbers. Such phones are not in the recording.

Found are, per text, the first of:

- characters that are named: letters of a script that the voice does not read, letters whose reading
  begins with the voice's word for "letter", emoji;
- numbers and signs whose reading is empty;
- words that another voice reads: espeak-ng flags them, "(en) ... (ru)".
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

NAMED = "with characters that espeak-ng names instead of reading"
LEFT_OUT = "with numbers or signs that espeak-ng leaves out"
FOREIGN = "with words that espeak-ng reads in another language"

# Voices that read another script than Latin (espeak-ng 1.52, tried with a word of each script).
VOICES_OF = {
    "ARABIC": "ar fa fa-latn sd ug ur",
    "ARMENIAN": "hy hyw",
    "BENGALI": "as bn bpy",
    "BOPOMOFO": "cmn cmn-latn-pinyin",
    "CJK": "cmn cmn-latn-pinyin yue",
    "CYRILLIC": "ba be bg bs cv hr kk ky lfn mk nog ru ru-cl ru-lv sr tt uk uz",
    "DEVANAGARI": "hi kok mr ne",
    "ETHIOPIC": "am ti",
    "GEORGIAN": "ka",
    "GREEK": "el grc",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "IDEOGRAPHIC": "cmn cmn-latn-pinyin yue",
    "KANNADA": "kn",
    "KATAKANA": "ja",
    "MALAYALAM": "ml",
    "MYANMAR": "my shn",
    "ORIYA": "or",
    "SHAVIAN": "en-shaw",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
}
_EVERY_VOICE = ("LATIN", "MODIFIER", "FEMININE", "MASCULINE", "MICRO")  # ʻ ª º µ
_UNKNOWN = "\u2d30", "\u07ca"  # Tifinagh and N'Ko: no voice reads them or has a name for them
_UNKNOWN_HAN = "\u9fff"
_SIGNS = "$%‰٪&@+=°×÷"
_FIRST_EMOJI = 0x2300
_FLAG = re.compile(r"\([a-z][\w-]*\)")
_NUMBER = re.compile(r"\d+")

Read = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Unread:
    """why: NAMED, LEFT_OUT or FOREIGN. found: the characters or words, as far as they are known."""

    why: str
    found: tuple[str, ...]


def unread(
    texts: Sequence[str], lines: Sequence[str], voice: str, read: Read
) -> list[Unread | None]:
    """What in each text the voice does not read, None for a text without such a thing.

    `lines` is what espeak-ng made of the texts, and `read` makes the same of other strings: phones
    with spaces between, words with |, flags in parentheses.
    """
    strings = {string for text in texts for string in _characters(text)}
    numbers = {number for text in texts for number in _NUMBER.findall(text)}
    reading = _readings({*strings, *numbers, *_UNKNOWN, _UNKNOWN_HAN}, read)
    named = {s for s in strings if _is_named(s, voice, reading)}
    left_out = {s for s in strings | numbers if not reading[s] and _is_sign(s)}
    flagged = [text for text, line in zip(texts, lines, strict=True) if _FLAG.search(line)]
    words = sorted({word for text in flagged for word in text.split()})
    foreign = {word for word, made in zip(words, read(words), strict=True) if _FLAG.search(made)}
    found: list[Unread | None] = []
    for text, line in zip(texts, lines, strict=True):
        if odd := sorted(named & set(text)):
            found.append(Unread(NAMED, tuple(odd)))
        elif odd := sorted(left_out & {*_characters(text), *_NUMBER.findall(text)}):
            found.append(Unread(LEFT_OUT, tuple(odd)))
        elif flags := _FLAG.findall(line):
            languages = ", ".join(dict.fromkeys(flag[1:-1] for flag in flags[::2]))
            odd = [word for word in text.split() if word in foreign]
            found.append(Unread(f"{FOREIGN} ({languages})", tuple(dict.fromkeys(odd))))
        else:
            found.append(None)
    return found


def _characters(text: str) -> list[str]:
    """What is read by itself too: letters and digits beyond ASCII, signs that are spoken."""
    return [
        c for c in text if c in _SIGNS or (ord(c) > 127 and unicodedata.category(c)[0] in "LNS")
    ]


def _is_sign(string: str) -> bool:
    kind = unicodedata.category(string[0])
    return string in _SIGNS or kind[0] == "N" or kind == "Sc"


def _readings(strings: Iterable[str], read: Read) -> dict[str, list[str]]:
    """The phones of each string, without flags and word boundaries."""
    listed = sorted(strings)
    made = zip(listed, read(listed), strict=True)
    return {string: _FLAG.sub(" ", line).replace("|", " ").split() for string, line in made}


def _is_named(character: str, voice: str, reading: dict[str, list[str]]) -> bool:
    kind = unicodedata.category(character)
    if kind[0] == "S":
        return kind == "So" and ord(character) >= _FIRST_EMOJI and bool(reading[character])
    script = re.split(r"[ -]", unicodedata.name(character, "UNKNOWN"))[0]
    if kind[0] == "L" and script not in (*_EVERY_VOICE, *_scripts(voice)):
        return True
    letter = reading[_UNKNOWN_HAN] if script == "CJK" else _word_for_letter(reading)
    return bool(letter) and reading[character][: len(letter)] == letter


def _scripts(voice: str) -> list[str]:
    return [script for script, voices in VOICES_OF.items() if voice in voices.split()]


def _word_for_letter(reading: dict[str, list[str]]) -> list[str]:
    """How the voice begins to spell a character that it does not know; empty if that is too short
    to be told from the name of a letter."""
    pairs = zip(*(reading[character] for character in _UNKNOWN), strict=False)
    same = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return same if len(same) > 2 else []
