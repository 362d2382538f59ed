"""The same recording more than once: which one stays, what leaked, and which ids mean two things.

N utterances, by number · keys are 64-bit numbers, 0 for none
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from speechx.doctor.split_checks import EVALUATION, TRAIN


@dataclass(frozen=True, slots=True)
class Copy:
    """Utterance `number` is the recording of `stays`; or `check` says what else is the matter."""

    check: str
    number: int
    stays: int


def recordings(columns: Sequence[np.ndarray]) -> np.ndarray:
    """A recording's number for each utterance: two that share a key in any column, or with a
    third, are one. It is the number of its first utterance."""
    number_N = np.arange(len(columns[0]))
    places = []
    for key_N in columns:
        some = np.flatnonzero(key_N)
        places.append((some, np.unique(key_N[some], return_inverse=True)[1]))
    while True:
        before_N = number_N.copy()
        for some, group in places:
            if len(some):
                number_N[some] = _least(group, number_N[some])[group]
        if (number_N == before_N).all():
            return number_N


def several(key_N: np.ndarray, value_N: np.ndarray) -> np.ndarray:
    """Truth values: whether utterances of this one's key have other values."""
    if not len(key_N):
        return np.zeros(0, bool)
    group = np.unique(key_N, return_inverse=True)[1]
    return (_least(group, value_N) != -_least(group, -value_N))[group]


def _least(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    least = np.full(group.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, group, values)
    return least


def copies(
    recording_N: np.ndarray, id_N: np.ndarray, side_N: np.ndarray, bad_N: np.ndarray
) -> Iterator[Copy]:
    """What is to go, where a recording has several ids or is both trained on and evaluated on.

    The first one stays that is not `bad`, that is, left out for another reason; the first of all
    where all are. One id in two manifests is one utterance, as when phones were added to a copy,
    unless one is for training and the other for evaluation: that is a leak.
    """
    learnt_and_scored = several(recording_N, (side_N == EVALUATION).astype(np.int64)) & several(
        recording_N, (side_N == TRAIN).astype(np.int64)
    )
    some = np.flatnonzero(several(recording_N, id_N) | learnt_and_scored)
    some = some[np.argsort(recording_N[some], kind="stable")]
    if not len(some):
        return
    for members in np.split(some, np.flatnonzero(np.diff(recording_N[some])) + 1):
        good = members[~bad_N[members]]
        stays = int(good[0] if len(good) else members[0])
        scored = good[side_N[good] == EVALUATION]
        for number in members.tolist():
            if side_N[number] == TRAIN and len(scored):
                same = scored[id_N[scored] == id_N[number]]
                yield Copy("recording_leak", number, int(same[0] if len(same) else scored[0]))
            elif id_N[number] != id_N[stays]:
                yield Copy("duplicate", number, stays)
