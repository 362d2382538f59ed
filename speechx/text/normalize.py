"""Text as a model should write it: lower case, no punctuation, one spelling per letter."""

from __future__ import annotations

import re
import unicodedata

# Apostrophes between two letters belong to the word (l'amico, don't); all their shapes become one.
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])[’‘ʼ＇`´'](?=[^\W\d_])")
_KEPT = "\0"


def normalize(text: str, language: str) -> str:
    """NFC, lower case (dotless ı in tr and az), punctuation and symbols to spaces.

    Apostrophes inside words, digits and combining marks stay. The result may be empty: callers
    count that.
    """
    text = unicodedata.normalize("NFC", text)
    if language.split("-")[0] in ("tr", "az"):
        text = text.replace("I", "ı").replace("İ", "i")
    text = unicodedata.normalize("NFC", text.lower())
    text = _APOSTROPHE.sub(_KEPT, text)
    kept = (c if c == _KEPT or unicodedata.category(c)[0] in "LMN" else _instead(c) for c in text)
    return " ".join("".join(kept).split()).replace(_KEPT, "'")


def _instead(character: str) -> str:
    # Format characters (soft hyphen, joiners) sit inside words; only the joiners carry spelling.
    if unicodedata.category(character) != "Cf":
        return " "
    return character if character in "\u200c\u200d" else ""
