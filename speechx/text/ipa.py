"""One spelling per phone, and a check that a symbol is IPA.

A phone can be written in many ways: ASCII g or ɡ, a colon or ː, tʃ with or without a tie bar, ã as
one code point or two. `normalize_ipa` picks one: **NFD** (a letter, then its marks in canonical
order, as in PanPhon's table), script ɡ, ː for length, no tie bar, no stress. A typed apostrophe is
an ejective behind a letter (k') and stress before it ('k). `problem_with` names
the characters that are not IPA, so that no symbol gets lost between text and model.

IPA is the chart of 2020: letters (with those that were withdrawn and those with a palatal or
retroflex hook), all diacritics, superscripts of its letters, length, tones and prosody.

>>> normalize_ipa("t͡ʃ:")
'tʃː'
"""

import unicodedata
from collections.abc import Iterable

# Other spellings of the same phone.
LOOKALIKES = {
    "g": "ɡ", ":": "ː", "ǝ": "ə", "ε": "ɛ", "γ": "ɣ", "ꞵ": "β", "ꭓ": "χ",
    "ϕ": "ɸ", "φ": "ɸ", "ɚ": "ə˞", "ɝ": "ɜ˞",
    "ʣ": "dz", "ʤ": "dʒ", "ʥ": "dʑ", "ʦ": "ts", "ʧ": "tʃ", "ʨ": "tɕ",
    "\u030d": "\u0329",  # the stroke of a syllabic consonant, above or below
    "\u030a": "\u0325",  # the ring of a voiceless phone, above or below
}  # fmt: skip
DROPPED = dict.fromkeys("\u0361\u035cˈˌ‿", "")  # tie bars, stress, linking
_TABLE = str.maketrans({**LOOKALIKES, **DROPPED})
_STRESS = str.maketrans(dict.fromkeys("'’", ""))  # before the first letter
_EJECTIVE = str.maketrans(dict.fromkeys("'’", "ʼ"))  # behind it


def _block(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


LETTERS = frozenset(  # ç is c and a combining cedilla once decomposed
    "abcdefhijklmnopqrstuvwxyzæðøħŋœβθχƈƙƞƛƥƫƭƻǀǁǂǃȡȴȵȶᴇᴀᵻᵼᵾᵿⱱꞎ"
    + _block(0x0250, 0x02AF)  # IPA Extensions
    + _block(0x1D80, 0x1D9A)  # letters with a palatal or retroflex hook
    + _block(0x1DF00, 0x1DF1E)
)
TONES = frozenset("˥˦˧˨˩꜒꜓꜔꜕꜖")
PROSODY = TONES | frozenset("↓↑ꜜꜛ↗↘|‖.")  # down- and upstep, intonation, groups, syllable break
AFTER = frozenset("ːˑʼ˞")  # marks after a letter that are neither combining nor superscript
_SUPERSCRIPTS = {"ˀ": "ʔ", "ˁ": "ʕ"}  # two that Unicode does not decompose
_COMBINING = ((0x0300, 0x036F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF))


def normalize_ipa(symbol: str) -> str:
    """The one spelling of `symbol`. Removes tie bars, stress and linking, nothing else."""
    decomposed = unicodedata.normalize("NFD", symbol.strip())
    before, rest = opening(unicodedata.normalize("NFD", decomposed.translate(_TABLE)))
    return before.translate(_STRESS) + rest.translate(_EJECTIVE)


def several_spellings(symbols: Iterable[str]) -> list[str]:
    """Different symbols that have one normal spelling, as text: "g and ɡ are ɡ"."""
    spellings: dict[str, list[str]] = {}
    for symbol in dict.fromkeys(symbols):
        spellings.setdefault(normalize_ipa(symbol), []).append(symbol)
    return [f"{' and '.join(s)} are {n}" for n, s in spellings.items() if len(s) > 1]


def superscript_of(character: str) -> str | None:
    """The letter that a superscript stands for: n for ⁿ, ʔ for ˀ; None for other characters."""
    kind, _, base = unicodedata.decomposition(character).partition(" ")
    letter = chr(int(base, 16)) if kind == "<super>" and " " not in base else ""
    letter = _SUPERSCRIPTS.get(character, normalize_ipa(letter))
    return letter if letter in LETTERS else None


def problem_with(symbol: str) -> str | None:
    """Why `symbol` is not an IPA phone, tone or boundary, in one sentence; None if it is."""
    normal = normalize_ipa(symbol)
    if not normal:
        return f"phone {symbol!r} is empty, or stress or a tie without a letter."
    strange = [c for c in normal if not _is_ipa(c)]
    if strange:
        names = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in dict.fromkeys(strange))
        return f"phone {symbol!r} is not IPA: it holds {names}."
    before, letters = opening(normal.lstrip("".join(PROSODY)))
    if not letters and normal[0] in PROSODY:  # a tone with its phonation
        return None
    if not letters or any(superscript_of(c) is None for c in before):
        return (
            f"phone {symbol!r} has no letter for its first mark: expected a letter, then its marks."
        )
    return None


def opening(normal: str) -> tuple[str, str]:
    """What stands before the first letter, and the rest from that letter on."""
    first = next((n for n, c in enumerate(normal) if c in LETTERS), len(normal))
    return normal[:first], normal[first:]


def _is_ipa(character: str) -> bool:
    if character in LETTERS or character in PROSODY or character in AFTER:
        return True
    point = ord(character)
    return any(a <= point <= b for a, b in _COMBINING) or superscript_of(character) is not None
