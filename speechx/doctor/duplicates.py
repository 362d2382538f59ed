"""Recordings that occur more than once: which one is kept, which are leaks, which ids are shared.

N utterances, by number · keys are 64-bit numbers, 0 for none
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from speechx.doctor.split_checks import EVALUATION, TRAIN


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Utterance `number` has the same recording as `kept`; `check` is the check that it failed."""

    check: str
    number: int
    kept: int


def recordings(columns: Sequence[np.ndarray]) -> np.ndarray:
    """A number for the recording of each utterance: the number of its first utterance. Utterances
    that share a key in any column, directly or through others, have one recording."""
    number_N = np.arange(len(columns[0]))
    groups = []
    for key_N in columns:
        rows = np.flatnonzero(key_N)
        groups.append((rows, np.unique(key_N[rows], return_inverse=True)[1]))
    while True:
        before_N = number_N.copy()
        for rows, group in groups:
            if len(rows):
                number_N[rows] = _least(group, number_N[rows])[group]
        if (number_N == before_N).all():
            return number_N


def several(key_N: np.ndarray, value_N: np.ndarray) -> np.ndarray:
    """Truth values: whether the utterances with this one's key have different values."""
    if not len(key_N):
        return np.zeros(0, bool)
    group = np.unique(key_N, return_inverse=True)[1]
    return (_least(group, value_N) != -_least(group, -value_N))[group]


def _least(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    least = np.full(group.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, group, values)
    return least


def duplicates(
    recording_N: np.ndarray, id_N: np.ndarray, side_N: np.ndarray, bad_N: np.ndarray
) -> Iterator[Duplicate]:
    """What to remove if a recording has several ids, or is in train and in dev or test.

    The first utterance that is not `bad` (excluded for another reason) is kept, or the first of all
    if all are bad. One id in two manifests is one utterance, as when phones were added to a copy,
    unless one is for training and the other for evaluation: that is a leak.
    """
    sides = [
        several(recording_N, (side_N == side).astype(np.int64)) for side in (TRAIN, EVALUATION)
    ]
    rows = np.flatnonzero(several(recording_N, id_N) | (sides[0] & sides[1]))
    if not len(rows):
        return
    rows = rows[np.argsort(recording_N[rows], kind="stable")]
    for members in np.split(rows, np.flatnonzero(np.diff(recording_N[rows])) + 1):
        good = members[~bad_N[members]]
        kept = int(good[0] if len(good) else members[0])
        evaluated = good[side_N[good] == EVALUATION]
        for number in members.tolist():
            if side_N[number] == TRAIN and len(evaluated):
                same = evaluated[id_N[evaluated] == id_N[number]]
                yield Duplicate("recording_leak", number, int((*same, *evaluated)[0]))
            elif id_N[number] != id_N[kept]:
                yield Duplicate("duplicate", number, kept)
