"""What train shares with dev and test: speakers, sentences, recordings.

Speakers are compared within a corpus and language, since many corpora use names such as 0001;
normalised sentences are compared within a language, whatever the corpus.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from speechx.data.manifest import Utterance
from speechx.doctor.checks import Case
from speechx.doctor.manifests import ManifestFile, for_evaluation, for_training

TRAIN, EVALUATION, OTHER = 0, 1, 2
SHARED = ("speaker", "sentence")


class SplitChecks:
    """Keeps a number for the speaker, sentence, id, file and sound of each utterance."""

    def __init__(self) -> None:
        self._side = array("b")
        self._keys = {name: array("q") for name in (*SHARED, "id", "file", "sound")}

    def read(self, split: str, u: Utterance, normal: str) -> None:
        """`normal` is the normalised text."""
        side = EVALUATION if for_evaluation(split) else TRAIN if for_training(split) else OTHER
        self._side.append(side)
        corpus = u.corpus or ""
        sentence = normal or " ".join(u.phones or ())
        file = (str(u.audio), u.bytes)
        for name, key in (
            ("speaker", (corpus, u.language, u.speaker) if u.speaker else None),
            ("sentence", (u.language, sentence) if sentence else None),
            ("id", (corpus, u.language, u.id)),
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

    def evaluated(self) -> int:
        """How many utterances are in dev and test."""
        return int((self.side == EVALUATION).sum())


def repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions whose key occurs earlier too, and its first position; key 0 is no key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    again = np.flatnonzero((first[inverse] != np.arange(len(keys))) & (keys != 0))
    return again, first[inverse][again]


def leak_cases(name: str, shared: Iterable[tuple[ManifestFile, Utterance]]) -> Iterator[Case]:
    """One case for each speaker or sentence of these utterances, the most frequent first."""
    users: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for manifest, u in shared:
        what = u.speaker if name == "speaker" else u.text or " ".join(u.phones or ())
        users[u.language, manifest.split, str(what)].append(u.id)
    for (language, split, what), ids in sorted(users.items(), key=lambda item: -len(item[1])):
        detail = f"also in train; first in {ids[0]}"
        yield Case(f"{name}_leak", what, detail, language, split, count=len(ids))


def key_number(key: object) -> int:
    """64 bits for a key, 0 for None. Equal keys have equal numbers within one run of Python."""
    return 0 if key is None else hash(key) or 1
