"""Articulatory distance between two phones, from PanPhon's features.

PanPhon (Mortensen et al. 2016) describes 6,367 segments by 24 features with values +1, 0 or -1. It
silently drops symbols that it does not know: ASCII `ga` becomes `a`, `k͈` becomes `k`. Here every
symbol is first normalised by `speechx.text.ipa`, and a symbol that PanPhon would shorten is an
error.

The distance is PanPhon's Hamming feature edit distance. To insert or delete a segment costs 1; to
replace one costs the share of the 24 features that differ.
"""

import functools
from collections.abc import Iterable
from typing import Any

from speechx.errors import UserError
from speechx.text.ipa import normalize_ipa, problem_with

# Symbols that PanPhon lacks, and their replacements for the lookup.
APPROXIMATIONS = {
    "ʱ": "\u0324",  # breathy release as breathy voice
    "ᵝ": "",  # lip compression: no feature separates it from rounding
    "ᵊ": "ə",
}


def distance(a: str, b: str) -> float:
    """Hamming feature edit distance: 0 for phones with equal features, at most the number of
    segments of the longer one. Raises UserError for a symbol without features."""
    return _panphon().hamming_feature_edit_distance(_known(a), _known(b))


def weighted_distance(a: str, b: str) -> float:
    """PanPhon's weighted feature edit distance: how unlikely the change is. It breaks ties."""
    return _panphon().weighted_feature_edit_distance(_known(a), _known(b))


def problem_without_features(symbol: str) -> str | None:
    """Why `symbol` has no features, in one sentence; None if it has them."""
    if problem := problem_with(symbol):
        return problem
    spelling = _spelling(symbol)
    kept = "".join(_panphon().fm.ipa_segs(spelling))
    if kept == spelling:
        return None
    points = " ".join(f"U+{ord(c):04X}" for c in spelling)
    nearest = f"the nearest it knows is {kept!r}" if kept else "it knows nothing like it"
    return f"phone {symbol!r} ({points}) has no features in PanPhon: {nearest}."


def require_features(symbols: Iterable[str], where: str) -> None:
    """Raises one UserError that lists every symbol without features."""
    problems = [p for p in map(problem_without_features, dict.fromkeys(symbols)) if p]
    if problems:
        raise UserError(f"{where}: {len(problems)} symbols cannot be used. {' '.join(problems)}")


def _spelling(symbol: str) -> str:
    spelling = normalize_ipa(symbol)
    for mark, approximation in APPROXIMATIONS.items():
        spelling = spelling.replace(mark, approximation)
    return normalize_ipa(spelling)


@functools.cache
def _known(symbol: str) -> str:
    """The spelling that PanPhon looks up; a UserError if it would drop a part."""
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
