"""One spelling per phone, and a check that a symbol is IPA.

A phone can be written in many ways: ASCII g or ɡ, a colon or ː, tʃ with or without a tie bar, ã as
one code point or two. `normalize_ipa` picks one: **NFD** (a letter, then its marks in canonical
order, as in PanPhon's table), script ɡ, ː for length, no tie bar, no stress. `problem_with` names
the characters that are not IPA, so that no symbol gets lost between text and model.

>>> normalize_ipa("t͡ʃ:")
'tʃː'
"""

import unicodedata

LOOKALIKES = {
    "g": "ɡ", ":": "ː", "'": "ʼ", "’": "ʼ", "ǝ": "ə", "ε": "ɛ", "γ": "ɣ", "ꞵ": "β",
    "ϕ": "ɸ", "φ": "ɸ", "ᵻ": "ɨ", "ɚ": "ə˞", "ɝ": "ɜ˞",
    "ʣ": "dz", "ʤ": "dʒ", "ʥ": "dʑ", "ʦ": "ts", "ʧ": "tʃ", "ʨ": "tɕ",
    "\u030d": "\u0329",  # the stroke of a syllabic consonant, above or below
}  # fmt: skip
DROPPED = dict.fromkeys("\u0361\u035cˈˌ‿.", "")  # tie bars, stress, linking, syllable break
_TABLE = str.maketrans({**LOOKALIKES, **DROPPED})

LETTERS = frozenset(  # ç is c and a combining cedilla once decomposed
    "abcdefhijklmnopqrstuvwxyzɡæðøħŋœβθχǀǁǂǃ"
    "ɐɑɒɓɔɕɖɗɘəɛɜɞɟɠɢɣɤɥɦɧɨɪɫɬɭɮɯɰɱɲɳɴɵɶɸɹɺɻɽɾʀʁʂʃʄʈʉʊʋʌʍʎʏʐʑʒʔʕʘʙʛʜʝʟʡʢ"
)
AFTER = frozenset("ːˑʰʱʲʷˠˤⁿˡʼˀ˞ᵝᵊᶣ")  # marks after a letter that are not combining characters
BEFORE = frozenset("ⁿᵐᵑʰʱˀ")  # marks that may open a segment (prenasalised, preaspirated)


def normalize_ipa(symbol: str) -> str:
    """The one spelling of `symbol`. Removes tie bars, stress and syllable dots, nothing else."""
    decomposed = unicodedata.normalize("NFD", symbol.strip())
    return unicodedata.normalize("NFD", decomposed.translate(_TABLE))


def problem_with(symbol: str) -> str | None:
    """Why `symbol` is not an IPA phone, in one sentence; None if it is."""
    normal = normalize_ipa(symbol)
    if not normal:
        return f"phone {symbol!r} is empty."
    known = LETTERS | AFTER | BEFORE
    strange = [c for c in normal if not (c in known or unicodedata.combining(c))]
    if strange:
        names = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in dict.fromkeys(strange))
        return f"phone {symbol!r} is not IPA: it holds {names}."
    first = normal[0]
    if first not in LETTERS and (first not in BEFORE or not any(c in LETTERS for c in normal)):
        return (
            f"phone {symbol!r} has no letter for its first mark: expected a letter, then its marks."
        )
    return None
