"""What utterances share: speakers, sentences, ids, recordings. Of a recording that occurs more than
once: which utterance is kept, and which are leaks.

Speakers are compared within a corpus and language, since many corpora use names such as 0001;
normalised sentences are compared within a language, whatever the corpus.

    N utterances, by number · keys are 64-bit numbers, 0 for none
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from speechx.data.manifest import Utterance
from speechx.doctor.checks import Case
from speechx.doctor.manifests import USES, use_of
from speechx.text.languages import iso639_3

TRAIN, EVALUATION = map(USES.index, ("training", "evaluation"))
SHARED = ("speaker", "sentence")


def shared_keys(u: Utterance, normal: str) -> dict[str, tuple[object, ...] | None]:
    """What two utterances share if it is equal: their speaker, their sentence; None for none.
    `normal` is the normalised text."""
    sentence, language = normal or " ".join(u.phones or ()), iso639_3(u.language)
    return {
        "speaker": (u.corpus or "", language, u.speaker) if u.speaker else None,
        "sentence": (language, sentence) if sentence else None,
    }


class UtteranceKeys:
    """Keeps a number for the speaker, sentence, id, file and sound of each utterance."""

    def __init__(self) -> None:
        self._side = array("b")
        self._keys = {name: array("q") for name in (*SHARED, "id", "file", "sound")}

    def read(self, split: str, u: Utterance, normal: str) -> None:
        """`normal` is the normalised text."""
        self._side.append(USES.index(use_of(split)))
        file = (str(u.audio), u.bytes)
        for name, key in (
            *shared_keys(u, normal).items(),
            ("id", (u.corpus or "", u.language, u.id)),
            ("file", file),
            ("sound", (file, u.start, u.duration)),
        ):
            self._keys[name].append(key_number(key))

    def keys(self, name: str) -> np.ndarray:
        return np.frombuffer(self._keys[name], np.int64)

    @property
    def side(self) -> np.ndarray:
        return np.frombuffer(self._side, np.int8)

    def leaks(self, name: str) -> list[int]:
        """Utterances of dev and test that share this with an utterance of train."""
        keys = self.keys(name)
        shared = np.isin(keys, np.unique(keys[self.side == TRAIN])) & (keys != 0)
        return np.flatnonzero(shared & (self.side == EVALUATION)).tolist()


def repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions whose key occurs earlier too, and its first position; key 0 is no key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    again = np.flatnonzero((first[inverse] != np.arange(len(keys))) & (keys != 0))
    return again, first[inverse][again]


def leak_cases(name: str, shared: Iterable[tuple[Path, Utterance]]) -> Iterator[Case]:
    """One case for each speaker or sentence of these utterances, the most frequent first."""
    users: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for manifest, u in shared:
        what = u.speaker if name == "speaker" else u.text or " ".join(u.phones or ())
        users[u.language, manifest.stem, str(what)].append(u.id)
    for (language, split, what), ids in sorted(users.items(), key=lambda item: -len(item[1])):
        detail = f"also in train; first in {ids[0]}"
        yield Case(f"{name}_leak", what, detail, language, split, count=len(ids))


def key_number(key: object) -> int:
    """64 bits for a key, 0 for None. Equal keys have equal numbers within one run of Python."""
    return 0 if key is None else hash(key) or 1


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
            number_N[rows] = _least(group, number_N[rows])[group]
        if (number_N == before_N).all():
            return number_N


def several(key_N: np.ndarray, value_N: np.ndarray) -> np.ndarray:
    """Truth values: whether the utterances with this one's key have different values."""
    group = np.unique(key_N, return_inverse=True)[1]
    return (_least(group, value_N) != -_least(group, -value_N))[group]


def _least(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    least = np.full(group.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, group, values)
    return least


def duplicates(
    recording_N: np.ndarray, id_N: np.ndarray, side_N: np.ndarray, bad_N: np.ndarray
) -> Iterator[tuple[str, int, int]]:
    """What to remove if a recording has several ids, or is in train and in dev or test: the check
    that fails, the utterance, and the one that is kept in its place.

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
                yield "recording_leak", number, int((*same, *evaluated)[0])
            elif id_N[number] != id_N[kept]:
                yield "duplicate", number, kept
