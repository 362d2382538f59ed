"""Greedy CTC decoding: the best output of every frame, repeats collapsed, blanks dropped.

T frames · V outputs, the blank first
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLANK = 0


@dataclass(frozen=True, slots=True)
class Emission:
    """One unit of the transcript: its id, frames [first, last], and mean probability over them."""

    id: int
    first: int
    last: int
    probability: float


def greedy(log_probabilities_TV: np.ndarray) -> list[Emission]:
    """The units in time order. A unit said twice needs a blank between, as CTC defines it."""
    best_T = log_probabilities_TV.argmax(1)
    edges = np.flatnonzero(np.diff(best_T, prepend=-1))
    ends = np.append(edges, len(best_T))[1:] - 1
    return [
        Emission(
            id=int(best_T[first]),
            first=int(first),
            last=int(last),
            probability=float(np.exp(log_probabilities_TV[first : last + 1, best_T[first]]).mean()),
        )
        for first, last in zip(edges, ends, strict=True)
        if best_T[first] != BLANK
    ]
