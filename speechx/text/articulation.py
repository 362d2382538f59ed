"""How far apart two phones are in the mouth: PanPhon's articulatory features.

PanPhon (Mortensen et al. 2016) gives each of 6,367 segments 24 features with values +1, 0 or -1.
It also leaves out, without a word, whatever it does not know: ASCII `ga` becomes `a`, `k͈`
becomes `k`. Here every symbol goes through `speechx.text.ipa` first, and one that PanPhon would
shorten is an error.

The distance is PanPhon's Hamming feature edit distance: an edit distance over segments in which
adding or leaving out a segment costs 1 and replacing one costs the share of the 24 features that
differ.

    N segments of a symbol · F = 24 features
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from speechx.errors import UserError
from speechx.text.ipa import normalize_ipa, problem_with

# What PanPhon has no symbol for, and what it is looked up as.
APPROXIMATIONS = {
    "ʱ": "\u0324",  # breathy release as breathy voice
    "ᵝ": "",  # lip compression: no feature tells it from rounding
    "ᵊ": "ə",
}


def features(symbol: str) -> np.ndarray:
    """(N, F) int8 feature values of a phone. Raises UserError for a symbol PanPhon cannot hold."""
    problem = problem_without_features(symbol)
    if problem:
        raise UserError(problem)
    return _features(_spelling(symbol))


def distance(a: str, b: str) -> float:
    """Hamming feature edit distance; 0 for phones with equal features, at most the longer's N."""
    return _edit_distance(
        features(a),
        features(b),
        1.0,
        lambda x_F, y_F: float(np.count_nonzero(x_F != y_F)) / len(x_F),
    )


def weighted_distance(a: str, b: str) -> float:
    """PanPhon's weighted feature edit distance: how unlikely the change is; it orders ties.

    PanPhon has weights for the first 22 features; the two tone features weigh nothing.
    """
    weights = _table().weights
    weights_F = np.array([*weights, *[0.0] * (len(_table().names) - len(weights))])
    difference = lambda x_F, y_F: float(np.abs(x_F - y_F) @ weights_F)  # noqa: E731
    return _edit_distance(features(a), features(b), float(weights_F.sum()), difference)


def problem_without_features(symbol: str) -> str | None:
    """Why `symbol` has no features, in one sentence; None if it has."""
    problem = problem_with(symbol)
    if problem:
        return problem
    spelling = _spelling(symbol)
    kept = "".join(_table().ipa_segs(spelling))
    if kept == spelling:
        return None
    points = " ".join(f"U+{ord(c):04X}" for c in spelling)
    nearest = f"the nearest it knows is {kept!r}" if kept else "it knows nothing like it"
    return f"phone {symbol!r} ({points}) has no features in PanPhon: {nearest}."


def require_features(symbols: Iterable[str], what: str) -> None:
    """Raises one UserError that lists every symbol of `symbols` without features."""
    problems = [p for p in map(problem_without_features, dict.fromkeys(symbols)) if p]
    if problems:
        raise UserError(f"{what}: {len(problems)} symbols cannot be used. {' '.join(problems)}")


def _spelling(symbol: str) -> str:
    spelling = normalize_ipa(symbol)
    for mark, approximation in APPROXIMATIONS.items():
        spelling = spelling.replace(mark, approximation)
    return normalize_ipa(spelling)


@functools.cache
def _table() -> Any:
    """PanPhon's table; reading it takes half a second, once."""
    try:
        import panphon
    except ImportError:
        raise UserError(
            "articulatory features need the package panphon, which is not installed: "
            "pip install panphon"
        ) from None
    return panphon.FeatureTable()


@functools.cache
def _features(spelling: str) -> np.ndarray:
    table = _table()
    values_NF = np.array([table.fts(s).numeric() for s in table.ipa_segs(spelling)], np.int8)
    values_NF.setflags(write=False)
    return values_NF


def _edit_distance(
    a_NF: np.ndarray,
    b_NF: np.ndarray,
    indel: float,
    difference: Callable[[np.ndarray, np.ndarray], float],
) -> float:
    above = [indel * j for j in range(len(b_NF) + 1)]
    for i, x_F in enumerate(a_NF, start=1):
        row = [indel * i]
        for j, y_F in enumerate(b_NF, start=1):
            replaced = above[j - 1] + difference(x_F, y_F)
            row.append(min(above[j] + indel, row[j - 1] + indel, replaced))
        above = row
    return above[-1]
