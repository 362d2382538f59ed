"""Normalised text: lower case, no punctuation, one spelling per letter and per sign.

>>> normalize("«L’Amico», disse…", "it")
"l'amico disse"

A mark goes where its base goes, so nothing of an emoji or a symbol stays. Signs inside words
(apostrophes, ʻokina, geresh, the dot of Catalan) are typed in many ways; each has one spelling in
a language. At the edge of a word an apostrophe is a quotation mark, except where a language spells
words with it. Rules by language hold for every code of the language.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from speechx.text.languages import iso639_3

# ISO 639-3. Latin alphabets with ı and i, whose capitals are I and İ.
_DOTLESS_I = frozenset(
    ("aze", "azj", "crh", "diq", "gag", "kaa", "kaz", "kiu", "lzz", "tat", "tur", "zza")
)
# Of these, the ones with texts in Cyrillic, in which Latin words are foreign: IT in Kazakh.
_ALSO_CYRILLIC = frozenset(("aze", "azj", "crh", "gag", "kaa", "kaz", "tat"))
_CYRILLIC = re.compile("[\u0400-\u052f]")
_NOT_ENGLISH = re.compile("[À-ÖØ-öø-ɏə]")  # Latin letters of these languages themselves
# The apostrophe is a letter before vowels, also of the first syllable.
_LIKE_HAWAIIAN = frozenset(("haw", "rar", "smo", "tah", "ton", "wls"))
# It is a letter anywhere in a word: Hausa, Kwakʼwala, Navajo, Rapa Nui, Somali, Mayan languages.
_ANYWHERE = frozenset((
    "hau", "kwk", "nav", "rap", "som",
    "acr", "cak", "ctu", "ixl", "jac", "kek", "kjb", "lac", "mam", "mop", "poh", "quc", "toj",
    "tzh", "tzj", "tzo", "usp", "yua",
))  # fmt: skip
# The same, where texts also quote with it: 'n in Afrikaans, ta' in Maltese.
_ANYWHERE_QUOTING = frozenset(("afr", "mlt"))
_HEBREW = frozenset(("heb", "jpr", "lad", "yid"))
_UZBEK = frozenset(("uzb", "uzn", "uzs"))
_QUOTING = _LIKE_HAWAIIAN | _ANYWHERE_QUOTING | _HEBREW | _UZBEK

_QUOTES = "'’‘`´＇‛′՚"
_MODIFIERS = "ʼʻ"  # letters to Unicode, wherever they stand
_OTHER_MODIFIERS = "ʽʾʿꞌ"  # typed for ʼ and ʻ in languages that have only one of them
_DOTS = "·‧•∙⋅"
_DOUBLE = '"״“”„″'
_SIGNS = f"{_QUOTES}{_DOTS}{_DOUBLE}׳"
_ANY = f"[{_QUOTES}{_MODIFIERS}{_OTHER_MODIFIERS}׳]"
# After symbols have become spaces, what is neither a sign nor a space belongs to a word.
_WORD = f"[^ {_SIGNS}{_MODIFIERS}{_OTHER_MODIFIERS}]"
_EDGE = f"[^ {_DOTS}{_DOUBLE}׳]"
_OPENING = f"(?<!{_EDGE})[{_QUOTES}](?={_WORD})"
_CLOSING = f"(?<={_WORD})[{_QUOTES}](?!{_EDGE})"
_QUOTING_SIGN = re.compile(f"(?P<opening>{_OPENING})|{_CLOSING}")
# Words with an apostrophe that quotes nothing, where texts also quote with it. The article of
# 'l-ktieb' has a hyphen, the preposition of 'l hemm has none.
_FINAL = "(?:ta|ma|sa|ja|fi|bi)"
_SHORT_WORDS = {
    "afr": re.compile(r"(?<!\w)'(?=[ntkmsr](?:\s|\Z))", re.IGNORECASE),
    "mlt": re.compile(
        rf"(?<!\w)'(?=(?:i?l|k)(?:\s|\Z))|(?:(?<=[\s'-]{_FINAL})|(?<=\A{_FINAL}))'(?!\w)",
        re.IGNORECASE,
    ),
}

# Private characters stand for signs that stay.
_APOSTROPHE, _DOT, _GERESH, _GERSHAYIM, _OKINA, _MODIFIER = map(chr, range(0xE000, 0xE006))
_SPELLING = str.maketrans(
    dict.fromkeys(_SIGNS, " ")
    | {_APOSTROPHE: "'", _DOT: "·", _GERESH: "׳", _GERSHAYIM: "״", _OKINA: "ʻ", _MODIFIER: "ʼ"}
)
_Rules = tuple[tuple[re.Pattern[str], str], ...]
_OF_ALL: _Rules = (
    (re.compile(f"(?<={_WORD})[{_QUOTES}{_MODIFIERS}](?={_WORD})"), _APOSTROPHE),
    (re.compile(f"(?<=l)[{_DOTS}](?=l)|(?<=[ns])[·‧](?=h)"), _DOT),  # col·lecció, Gascon des·har
)
_BEFORE_LETTERS: _Rules = ((re.compile(f"{_ANY}+(?={_WORD})"), _OKINA),)
_BESIDE_LETTERS: _Rules = ((re.compile(f"(?<={_WORD}){_ANY}+|{_ANY}+(?={_WORD})"), _APOSTROPHE),)
_OF_UZBEK: _Rules = (
    (re.compile(f"(?<=[og]){_ANY}+"), _OKINA),
    (re.compile(f"(?<={_WORD}){_ANY}"), _MODIFIER),
)
_HEBREW_LETTER = "[\u0591-\u05bd\u05bf-\u05c7\u05d0-\u05f2]"
_POINT_BEHIND = re.compile(
    f"({_HEBREW_LETTER})({_ANY}+|[{_DOUBLE}])([\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]+)"
)
_OF_HEBREW: _Rules = (
    (
        re.compile(f"(?<={_HEBREW_LETTER})(?:[{_DOUBLE}]|{_ANY}{{2}})(?={_HEBREW_LETTER})"),
        _GERSHAYIM,
    ),
    (re.compile(f"(?<={_HEBREW_LETTER}){_ANY}"), _GERESH),
)

# Two encodings of one letter: Catalan, Afrikaans, Armenian, and consonants without a vowel, which
# Malayalam and Bengali had to write with a joiner in older Unicode.
_NEW = {"ŀ": "l·", "ŉ": "ʼn", "և": "եւ", "ত্\u200d": "ৎ"} | {
    f"{letter}്\u200d": chillu for letter, chillu in zip("ണനരലളക", "ൺൻർൽൾൿ", strict=True)
}
_OLD = re.compile("|".join(_NEW).replace("ŀ", "ŀ(?=[lŀ])"))

# Emoji whose base is a digit or a letter.
_EMOJI = re.compile("[0-9#*]\ufe0f?\u20e3|ℹ\ufe0f")
_DOTTED = re.compile("(?<=[ijįịɨ])\u0307+")  # the dot of İ in lower case, and Lithuanian i̇́
_JOINER_AT_THE_END = re.compile("\u200c+(?![^ ])")
_INVISIBLE = re.compile("[\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # choose a glyph, no letter
# Of the format characters inside words (soft hyphen, joiners) only joiners are spelling. The others
# are symbols to Unicode and letters or tones of some alphabets.
_LIKE_MARKS = "\u200c\u200d꞉꞊"
_WITHIN_WORDS = "՛՜՞"  # Armenian writes its ! and ? above a vowel
_BARE = f" {_SIGNS}{_MODIFIERS}{_OTHER_MODIFIERS}"


def normalize(text: str, language: str) -> str:
    """NFC, lower case (dotless ı in tr, az and others), punctuation and symbols to spaces.

    Signs inside words, digits and combining marks stay. The result may be empty. Normalising twice
    changes nothing.
    """
    code = iso639_3(language)
    if code in _HEBREW:  # a point belongs to the letter, also where it was typed behind a geresh
        text = _POINT_BEHIND.sub(r"\1\3\2", text)
    if code in _SHORT_WORDS:
        text = re.sub(f"{_ANY}+", "'", unicodedata.normalize("NFC", text).replace("ŉ", "'n"))
        text = _SHORT_WORDS[code].sub("ʼ", text)
    text = unicodedata.normalize("NFC", _words(_EMOJI.sub(" ", text)))
    if code in _DOTLESS_I and not (code in _ALSO_CYRILLIC and _is_cyrillic(text)):
        text = text.replace("I", "ı").replace("İ", "i")
    text = _OLD.sub(lambda old: _NEW[old[0]], unicodedata.normalize("NFC", text.lower()))
    text = unicodedata.normalize("NFC", _DOTTED.sub("", text))
    if code in _ANYWHERE_QUOTING:
        text = re.sub("'+", "'", text)
    if code in _QUOTING:
        text = _unquoted(text)
    for pattern, stand_in in _rules(code):
        text = pattern.sub(stand_in, text)
    return " ".join(_JOINER_AT_THE_END.sub("", text.translate(_SPELLING)).split())


def letters(tokens: Iterable[str], language: str) -> frozenset[str]:
    """The characters that normalised texts can have which are written with these tokens."""
    normal = {token: normalize(token, language) for token in tokens}
    texts = (*normal.values(), normalize(" ".join(normal), language))
    found = {character for text in texts for character in text}
    twice = [token for token in normal if normal[token] for _ in range(2)]
    for token in normal:  # signs and marks need letters around them
        if not normal[token]:
            found |= set(normalize(token.join(twice), language))
    has_space = any(map(str.isspace, "".join(normal)))
    return frozenset(found - {" "} | ({" "} if has_space else set()))


def _is_cyrillic(text: str) -> bool:
    """Whether what is Latin in a text is foreign to it."""
    return bool(_CYRILLIC.search(text)) and not _NOT_ENGLISH.search(text)


def _unquoted(text: str) -> str:
    """Without apostrophes that are a pair of quotation marks."""
    signs, opened = list(text), []
    for sign in _QUOTING_SIGN.finditer(text):
        if sign["opening"]:
            opened.append(sign.start())
        elif opened:
            signs[opened.pop()] = signs[sign.start()] = " "
    return "".join(signs)


def _words(text: str) -> str:
    """Letters with their marks, digits and signs; all else becomes spaces or goes."""
    some, on_letter = [], False
    for kept, is_mark in map(_kept, text):
        if not is_mark and kept:
            on_letter = kept not in _BARE
        if on_letter or not is_mark:
            some.append(kept)
    return "".join(some)


@cache
def _kept(character: str) -> tuple[str, bool]:
    """What stays of a character, and whether it is a mark on the one before."""
    category = unicodedata.category(character)
    if character in _SIGNS:
        return character, False
    if category[0] == "M" or character in _LIKE_MARKS:
        return "" if _INVISIBLE.match(character) else character, True
    if category[0] in "LN":
        return character, False
    return "" if category == "Cf" or character in _WITHIN_WORDS else " ", False


@cache
def _rules(code: str) -> _Rules:
    """Of signs in a language, in their order."""
    if code in _LIKE_HAWAIIAN:
        return _BEFORE_LETTERS + _OF_ALL
    if code in _ANYWHERE | _ANYWHERE_QUOTING:
        return _BESIDE_LETTERS + _OF_ALL
    if code in _UZBEK:
        return _OF_UZBEK + _OF_ALL
    return (_OF_HEBREW if code in _HEBREW else ()) + _OF_ALL
