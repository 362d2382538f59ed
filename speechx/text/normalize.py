"""Normalised text: lower case, no punctuation, one spelling per letter.

>>> normalize("«L’Amico», disse…", "it")
"l'amico disse"
"""

import re
import unicodedata
from functools import cache

# Apostrophes between two letters belong to the word (l'amico, don't), and so does the dot of
# Catalan col·lecció. All variants become one; private characters stand in for them meanwhile.
_INNER = {
    "\ue000": ("'", re.compile(r"(?<=[^\W\d_])[’‘ʼ＇`´'](?=[^\W\d_])")),
    "\ue001": ("·", re.compile(r"(?<=l)[·‧•](?=l)")),
}
_DOTLESS_I = ("tr", "az")


def normalize(text: str, language: str) -> str:
    """NFC, lower case (dotless ı in tr and az), punctuation and symbols to spaces.

    Apostrophes inside words, digits and combining marks stay. The result may be empty.
    """
    text = unicodedata.normalize("NFC", text)
    if language.split("-")[0] in _DOTLESS_I:
        text = text.replace("I", "ı").replace("İ", "i")
    text = unicodedata.normalize("NFC", text.lower())
    for stand_in in _INNER:
        text = text.replace(stand_in, " ")
    for stand_in, (_, inside) in _INNER.items():
        text = inside.sub(stand_in, text)
    text = " ".join("".join(map(_kept, text)).split())
    for stand_in, (spelling, _) in _INNER.items():
        text = text.replace(stand_in, spelling)
    return text


@cache
def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] in "LMN" or character in _INNER:
        return character
    # Of the format characters inside words (soft hyphen, joiners) only joiners are spelling.
    if category == "Cf":
        return character if character in "\u200c\u200d" else ""
    return " "
