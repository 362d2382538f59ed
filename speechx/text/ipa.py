"""One spelling per phone, and a segmenter that loses nothing.

The same phone is written in many ways: ASCII g or ɡ, a colon or ː, tʃ with or without a tie bar,
ã as one code point or two. `normalize_ipa` picks one: **NFD** (a letter, then its marks in
canonical order, which is what PanPhon looks up too), script ɡ, ː for length, no tie bar, no
stress. `segments` splits a phone into letters with their marks and raises for anything that is
not IPA, so that no symbol disappears between text and model.

>>> normalize_ipa("t͡ʃ:")
'tʃː'
>>> segments("tʃː")
('t', 'ʃː')
"""

from __future__ import annotations

import unicodedata

from speechx.errors import UserError

LOOKALIKES = {
    "g": "ɡ",
    ":": "ː",
    "'": "ʼ",
    "’": "ʼ",
    "ǝ": "ə",
    "ε": "ɛ",
    "γ": "ɣ",
    "β": "β",
    "ϕ": "ɸ",
    "φ": "ɸ",
    "θ": "θ",
    "ı": "ɯ",
    "ᵻ": "ɨ",
    "ʣ": "dz",
    "ʤ": "dʒ",
    "ʥ": "dʑ",
    "ʦ": "ts",
    "ʧ": "tʃ",
    "ʨ": "tɕ",
    "ɚ": "ə˞",
    "ɝ": "ɜ˞",
    "ɫ": "lˠ",
}
DROPPED = dict.fromkeys("͜͡ˈˌ‿.", "")  # tie bars, stress, linking, syllable break
_TABLE = str.maketrans({**LOOKALIKES, **DROPPED})

LETTERS = frozenset(
    "abcdefhijklmnopqrstuvwxyz"
    "ɐɑɒɓɔɕɖɗɘəɛɜɞɟɠɡɢɣɤɥɦɧɨɪɬɭɮɯɰɱɲɳɴɵɶɸɹɺɻɽɾʀʁʂʃʄʈʉʊʋʌʍʎʏʐʑʒʔʕʘʙʛʜʝʟʡʢ"
    "æðøħŋœβθχǀǁǂǃ"
)  # ç is c and a combining cedilla once decomposed
AFTER = frozenset("ːˑʰʱʲʷˠˤⁿˡʼ˞ᵝᵊ˔˕")  # marks that follow their letter without combining with it
BEFORE = frozenset("ⁿᵐᵑʰʱ")  # marks that may open a segment (prenasalised, preaspirated)


def normalize_ipa(symbol: str) -> str:
    """The one spelling of `symbol`. Tie bars, stress and syllable dots go; nothing else does."""
    decomposed = unicodedata.normalize("NFD", symbol.strip())
    return unicodedata.normalize("NFD", decomposed.translate(_TABLE))


def segments(symbol: str) -> tuple[str, ...]:
    """Letters with their marks; joined, they equal `normalize_ipa(symbol)`.

    Raises UserError, naming the code points, for a symbol that is empty or not IPA.
    """
    problem = problem_with(symbol)
    if problem:
        raise UserError(problem)
    parts: list[str] = []
    opening = ""
    for character in normalize_ipa(symbol):
        if character in LETTERS:
            parts.append(opening + character)
            opening = ""
        elif parts:
            parts[-1] += character
        else:
            opening += character
    return tuple(parts)


def problem_with(symbol: str) -> str | None:
    """Why `symbol` is not a phone in IPA, in one sentence; None if it is."""
    normal = normalize_ipa(symbol)
    if not normal:
        return f"phone {symbol!r} is empty: expected an IPA symbol."
    strange = [c for c in normal if not (c in LETTERS or c in AFTER or unicodedata.combining(c))]
    if strange:
        names = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in dict.fromkeys(strange))
        return f"phone {symbol!r} is not IPA because of {names}: write it in IPA or remove it."
    first = normal[0]
    if first not in LETTERS and (first not in BEFORE or not any(c in LETTERS for c in normal)):
        return (
            f"phone {symbol!r} has no letter for its first mark: expected a letter, then its marks."
        )
    return None
