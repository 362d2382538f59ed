"""What stands on both sides of a split: speakers, sentences, recordings.

    for case in leaks(read_manifest("train.jsonl"), read_manifest("test.jsonl")):
        print(case.check, case.subject, case.detail)

Speakers are compared within a corpus and language, since names such as 0001 are used by many;
sentences within a language, normalised, whatever the corpus.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from speechx.data.manifest import Utterance
from speechx.doctor.checks import Case
from speechx.doctor.shelves import for_evaluation, for_training
from speechx.text.normalize import normalize

TRAIN, EVALUATION, OTHER = 0, 1, 2


class SplitChecks:
    """Keeps a number for each utterance's speaker, sentence, id and sound, not the utterances."""

    def __init__(self) -> None:
        self.side = array("b")
        self.columns = {name: array("q") for name in ("speaker", "sentence", "id", "file", "sound")}

    def read(self, split: str, u: Utterance, normal: str) -> None:
        """`normal` is its normalised text."""
        side = EVALUATION if for_evaluation(split) else TRAIN if for_training(split) else OTHER
        self.side.append(side)
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
            self.columns[name].append(key_number(key))

    def on_both_sides(self, name: str) -> np.ndarray:
        """Truth values: which utterances of dev and test share this with one of train."""
        side = np.frombuffer(self.side, np.int8)
        keys = np.frombuffer(self.columns[name], np.int64)
        shared = np.isin(keys, np.unique(keys[side == TRAIN])) & (keys != 0)
        return np.flatnonzero(shared & (side == EVALUATION))

    def repeats(self, name: str) -> np.ndarray:
        """Which utterances have the key of an earlier one."""
        return repeated(np.frombuffer(self.columns[name], np.int64))[0]

    def scored(self) -> int:
        """Utterances of dev and test."""
        return int((np.frombuffer(self.side, np.int8) == EVALUATION).sum())


def repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places whose key stands earlier too, and where first; key 0 is no key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    again = np.flatnonzero((first[inverse] != np.arange(len(keys))) & (keys != 0))
    return again, first[inverse][again]


def leak_cases(check: str, some: Iterable[tuple[str, Utterance]]) -> Iterator[Case]:
    """One case for each speaker or sentence of these `(split, utterance)`, the commonest first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    example: dict[tuple[str, str, str], Utterance] = {}
    for split, u in some:
        what = u.speaker if check == "speaker_leak" else u.text or " ".join(u.phones or ())
        key = (u.language, split, str(what))
        counts[key] += 1
        example.setdefault(key, u)
    for (language, split, what), count in sorted(counts.items(), key=lambda item: -item[1]):
        detail = f"also in train; first in {example[language, split, what].id}"
        yield Case(check, what, detail, language, split, count=count)


def leaks(train: Iterable[Utterance], test: Iterable[Utterance]) -> list[Case]:
    """What of `test` stands in `train` too: speakers and sentences, by name."""
    checks = SplitChecks()
    for u in train:
        checks.read("train", u, normalize(u.text or "", u.language))
    before = len(checks.side)
    test = list(test)
    for u in test:
        checks.read("test", u, normalize(u.text or "", u.language))
    found: list[Case] = []
    for name in ("speaker", "sentence"):
        some = [("test", test[i - before]) for i in checks.on_both_sides(name)]
        found += leak_cases(f"{name}_leak", some)
    return found


def key_number(key: object) -> int:
    """64 bits for a key; 0 for none. Equal for equal keys within one run of Python."""
    return 0 if key is None else hash(key) or 1
