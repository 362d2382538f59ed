"""Articulatory distance between two phones, from PanPhon's features.

PanPhon (Mortensen et al. 2016) describes 6,367 segments by 24 features with values +1, 0 or -1. It
silently drops symbols that it does not know: ASCII `ga` becomes `a`, `k͈` becomes `k`. Here every
symbol is first normalised by `speechx.text.ipa`, and a symbol that PanPhon would shorten is an
error.

A phone of two parts that PanPhon lacks has the features of both: prenasalised ⁿd is n and d,
preaspirated ʰk is h and k, kˣ is k and x. Tones have no articulatory features; the tone of a vowel
is left out of the comparison.

The distance is PanPhon's Hamming feature edit distance. To insert or delete a segment costs 1; to
replace one costs the share of the 24 features that differ.

    U phones · A attributes of a phone
"""

import functools
import string
import unicodedata
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from speechx.errors import UserError
from speechx.text.ipa import TONES, normalize_ipa, opening, problem_with, superscript_of

# Symbols that PanPhon lacks, and their replacements for the lookup.
APPROXIMATIONS = {
    "ʱ": "\u0324",  # breathy release as breathy voice
    "ᵝ": "",  # lip compression: no feature separates it from rounding
    "ˁ": "ˤ",
    "ˑ": "ː",
    "ᵻ": "ɨ",
    "ᵿ": "ʉ",
}
NO_FEATURE = (
    "\u031d\u031e\u031f\u0320"  # raised, lowered, advanced, retracted: PanPhon ignores them
)
RELEASES = frozenset("ʰʷʲᶣˠˤˀⁿˡ")  # superscripts that PanPhon knows after a letter
Features: TypeAlias = tuple[int, ...]
"""The 24 features of a segment: +1, 0 or -1."""
FEATURES = 24  # of a segment in PanPhon
NUM_ATTRIBUTES = 4 * FEATURES + 2


def distance(a: str, b: str) -> float:
    """Hamming feature edit distance: 0 for phones with equal features, at most the number of
    segments of the longer one. Raises UserError for a symbol without features."""
    return _panphon().hamming_feature_edit_distance(_known(a), _known(b))


def weighted_distance(a: str, b: str) -> float:
    """PanPhon's weighted feature edit distance: how unlikely the change is. It breaks ties."""
    return _panphon().weighted_feature_edit_distance(_known(a), _known(b))


@functools.cache
def segments(symbol: str) -> tuple[Features, ...]:
    """The features of each segment of a phone: two of an affricate without a tie, or of a
    diphthong. Empty for a symbol without features (`problem_without_features` has the reason)."""
    if problem_without_features(symbol):
        return ()
    return tuple(features(s) for s in _panphon().fm.ipa_segs(_spelling(symbol)))


@functools.cache
def features(segment: str) -> Features:
    """The features of one segment in PanPhon's spelling."""
    (found,) = _panphon().fm.word_to_vector_list(segment, numeric=True)
    return tuple(found)


def plain_segments(text: str) -> tuple[list[str], str]:
    """PanPhon's segments of a text as the benchmark PRiSM makes them, and the symbols that PanPhon
    drops. Spaces and ASCII punctuation go (with them : for length), g is ɡ, nothing else is done.
    """
    text = text.replace(" ", "").translate(dict.fromkeys(map(ord, string.punctuation)))
    text = unicodedata.normalize("NFD", text).replace("g", "ɡ").strip()
    found = list(_panphon().fm.ipa_segs(text))
    dropped, at = "", 0
    for segment in found:
        begin = text.index(segment, at)
        dropped, at = dropped + text[at:begin], begin + len(segment)
    return found, dropped + text[at:]


def attributes(phones: Sequence[str]) -> np.ndarray:
    """(U, A) of 0 and 1, A = `NUM_ATTRIBUTES`: which attributes each phone is composed of.

    They are + and - of each feature at the beginning of the phone, the same at its end, "two parts"
    and "more parts". A phone of one part ends as it begins; tʃ begins as t and ends as ʃ, aɪ begins
    as a and ends as ɪ. A feature of value 0 has neither + nor -. Raises UserError for a symbol
    without features.
    """
    attributes_UA = np.zeros((len(phones), NUM_ATTRIBUTES), np.int8)
    table = _panphon().fm
    for row_A, phone in zip(attributes_UA, phones, strict=True):
        parts = np.array(table.word_array(table.names, _known(phone)))
        ends = parts[[0, -1]]
        row_A[:-2] = np.stack([ends > 0, ends < 0], 1).ravel()
        row_A[-2:] = len(parts) == 2, len(parts) > 2
    return attributes_UA


def problem_without_features(symbol: str) -> str | None:
    """Why `symbol` has no features, in one sentence; None if it has them."""
    if problem := problem_with(symbol):
        return problem
    spelling = _spelling(symbol)
    if not opening(spelling)[1]:
        return f"{symbol!r} is a tone or a boundary, which has no articulatory features."
    kept = _kept(spelling)
    if kept == spelling:
        return None
    points = " ".join(f"U+{ord(c):04X}" for c in spelling)
    nearest = f"the nearest it knows is {kept!r}" if kept else "it knows nothing like it"
    return f"phone {symbol!r} ({points}) has no features in PanPhon: {nearest}."


@functools.cache
def _spelling(symbol: str) -> str:
    """For PanPhon, without tones: as it is if PanPhon knows it, else with superscripts as letters,
    else also without the marks that PanPhon ignores."""
    normal = "".join(c for c in normalize_ipa(symbol) if c not in TONES)
    own = normalize_ipa("".join(APPROXIMATIONS.get(c, c) for c in normal))
    before, phone = opening(normal)
    parts = [superscript_of(c) or c for c in before]
    for character in phone:
        release = None if character in RELEASES else superscript_of(character)
        parts.append(APPROXIMATIONS.get(character, release or character))
    in_parts = normalize_ipa("".join(parts))
    plain = "".join(c for c in in_parts if c not in NO_FEATURE)
    return next((s for s in (own, in_parts, plain) if _kept(s) == s), in_parts)


def _kept(spelling: str) -> str:
    """What PanPhon does not drop."""
    return "".join(_panphon().fm.ipa_segs(spelling))


@functools.cache
def _known(symbol: str) -> str:
    """The spelling for PanPhon; a UserError if it would drop a part."""
    if problem := problem_without_features(symbol):
        raise UserError(problem)
    return _spelling(symbol)


@functools.cache
def _panphon() -> Any:
    """PanPhon's distances and (`fm`) its table of features; loading takes about a second, once."""
    try:
        from panphon.distance import Distance
    except ImportError:
        raise UserError(
            "articulatory features need the package panphon, which is not installed: "
            "pip install panphon"
        ) from None
    return Distance()
