"""Phones from text: phonemizer driving the espeak-ng that the wheel `espeakng-loader` ships.

Both packages are optional (`pip install "speechx[g2p]"`): they make training labels and
inventories; transcription does not need them. Punctuation is passed to espeak-ng, because it
pronounces words differently across a pause. Stress marks and tone marks are removed; tones are
counted. For tonal languages this is only a draft: espeak-ng writes some tones as letters (cmn
"əɜ"), which stay.

A text that the voice does not read (kanji, words in another script, numbers without rules) has no
phones here, and `unread` has the reason: see `speechx.text.unread`.

>>> g2p(["Buenos días"], "es").phones
[('b', 'w', 'e', 'n', 'o', 's', 'd', 'i', 'a', 's')]
"""

import difflib
import functools
import importlib.metadata
import logging
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speechx.errors import UserError
from speechx.text.ipa import normalize_ipa
from speechx.text.languages import language_code
from speechx.text.unread import Unread, unread

# Codes of corpora (CommonVoice locales) that espeak-ng names differently.
VOICES = {
    "en": "en-us", "fr": "fr-fr", "no": "nb", "nb-NO": "nb", "nn-NO": "nb",
    "zh": "cmn", "zh-CN": "cmn", "zh-TW": "cmn", "zh-HK": "yue",
    "ga-IE": "ga", "hy-AM": "hy", "ne-NP": "ne", "pa-IN": "pa", "sv-SE": "sv",
    "pt-PT": "pt", "pt-BR": "pt-br",
}  # fmt: skip
# Symbols that espeak-ng writes instead of IPA (its own mnemonics and X-SAMPA): of every voice (a
# dot is retroflex), and by voice.
RETROFLEX = {
    "s.": "ʂ", "z.": "ʐ", "t.": "ʈ", "d.": "ɖ", "n.": "ɳ", "l.": "ɭ", "r.": "ɽ",
    "ts.": "ʈʂ", "ts.h": "ʈʂʰ",
}  # fmt: skip
LEFTOVERS = {
    "cmn": {"i.": "ɻ̩", "i̪": "ɹ̩"},
    "ru": {'u"': "ʉ", "ɪ^": "ɪ̝"},
    "ky": {
        "d[": "d̪", "t[": "t̪", "dZ": "dʒ", "tS": "tʃ", "S": "ʃ", "N": "ŋ", "X": "χ",
        "oe": "œ", "oe:": "œː",
    },
}  # fmt: skip
_TONE = re.compile(r"[0-9˥˦˧˨˩]")
# Ligatures, Arabic presentation forms, wide and narrow forms, mathematical letters: espeak-ng
# spells them or leaves them out, though they are ordinary letters and digits.
_FORMS = re.compile("[\ufb00-\ufdff\ufe70-\ufefc\uff01-\uffdc\U0001d400-\U0001d7ff]+")


@dataclass(frozen=True, slots=True)
class G2PResult:
    """phones: one tuple per text. tones: number of tone marks removed. unread: one per text, what
    the voice does not read in it; such a text has no phones."""

    phones: list[tuple[str, ...]]
    version: str
    tones: int
    unread: list[Unread | None]


def g2p(texts: Sequence[str], language: str) -> G2PResult:
    """The phones of each text as espeak-ng divides them ('tʃ', 'aɪ', 'aː'), normalised. A text may
    have none."""
    _wrapper()
    voice = espeak_voice(language)
    leftovers = RETROFLEX | LEFTOVERS.get(voice, {})
    read = functools.partial(_read, voice)
    plain = [_FORMS.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text) for text in texts]
    lines = read(plain)
    found = unread(plain, lines, voice, read)
    tones = 0
    phones: list[tuple[str, ...]] = []
    for line, problem in zip(lines, found, strict=True):
        line, toned = _TONE.subn("", "" if problem else line)
        tones += toned
        units = line.replace("|", " ").split()
        units = [normalize_ipa(leftovers.get(unit, unit)) for unit in units]
        phones.append(tuple(unit for unit in units if unit))
    return G2PResult(phones, version(), tones, found)


def espeak_voice(language: str) -> str:
    """The espeak-ng voice of a language code; the UserError for an unknown one suggests others."""
    voice = VOICES.get(language, language)
    known = _voices()
    code = language_code(language)
    for name in (voice, voice.lower(), VOICES.get(code, code)):
        if name in known:
            return name
    near = difflib.get_close_matches(language, [*known, *VOICES], n=4, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}."
    raise UserError(f"espeak-ng has no voice for the language {language!r}: {hint}")


def _read(voice: str, texts: Sequence[str]) -> list[str]:
    """A line for each text: phones with spaces between, words with |, flags "(en)"."""
    from phonemizer.separator import Separator

    lines = [" ".join(text.split()) for text in texts]
    separator = Separator(phone=" ", word="|", syllable="")
    return _backend(voice).phonemize(lines, separator=separator, strip=True) if lines else []


@functools.cache
def version() -> str:
    """Versions for the manifest: 'espeak-ng 1.52.0, phonemizer 3.4.0'."""
    engine = ".".join(str(part) for part in _wrapper()().version)
    return f"espeak-ng {engine}, phonemizer {importlib.metadata.version('phonemizer')}"


def _wrapper() -> Any:
    """phonemizer's interface to espeak-ng, set to use the library of the wheel."""
    try:
        import espeakng_loader
        import phonemizer.backend.espeak.wrapper
    except ImportError as error:
        raise UserError(
            f"phones from text need the package {error.name}, which is not installed: "
            'pip install "speechx[g2p]"'
        ) from None
    wrapper = phonemizer.backend.espeak.wrapper.EspeakWrapper
    wrapper.set_library(str(espeakng_loader.get_library_path()))
    wrapper.set_data_path(str(espeakng_loader.get_data_path()))
    return wrapper


@functools.cache
def _voices() -> tuple[str, ...]:
    return tuple(sorted({voice.language for voice in _wrapper()().available_voices()}))


@functools.cache
def _backend(voice: str) -> Any:
    from phonemizer.backend import EspeakBackend

    logger = logging.getLogger("speechx.g2p")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False  # phonemizer warns about flags, which `unread` finds
    return EspeakBackend(
        voice, punctuation_marks=re.compile(r"(?!)"), with_stress=False, logger=logger
    )
