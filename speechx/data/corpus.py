"""A corpus in memory: what planning needs of each utterance as arrays, the utterance on demand.

    N utterances · C corpora · L languages

Ten million utterances are ten million numbers a column; `corpus[i]` makes the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from speechx.data.manifest import Utterance, read_manifest


@dataclass(frozen=True, eq=False)
class Corpus:
    """Columns of the utterances; codes are places in `languages` and `corpora`. A speaker is -1
    where none is named, a shard -1 where the sound is a file of its own."""

    seconds_N: np.ndarray
    language_N: np.ndarray
    speaker_N: np.ndarray
    corpus_N: np.ndarray
    shard_N: np.ndarray | None
    """None: nothing is in shards."""
    languages: tuple[str, ...]
    corpora: tuple[str, ...]
    source: Sequence[Utterance]
    row_N: np.ndarray
    """Where in `source` it is."""

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> Corpus:
        """The utterances of a list."""
        return _columns(utterances, utterances)

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Corpus:
        """All utterances of the manifests."""
        return cls.of([u for path in paths for u in read_manifest(path)])

    def __len__(self) -> int:
        return len(self.row_N)

    def __getitem__(self, i: int) -> Utterance:
        return self.source[self.row_N[i]]

    def __iter__(self) -> Iterator[Utterance]:
        return (self.source[row] for row in self.row_N)

    def take(self, which: np.ndarray) -> Corpus:
        """Those utterances only; indices or truth values. Codes stay what they are."""
        return replace(
            self,
            seconds_N=self.seconds_N[which],
            language_N=self.language_N[which],
            speaker_N=self.speaker_N[which],
            corpus_N=self.corpus_N[which],
            shard_N=None if self.shard_N is None else self.shard_N[which],
            row_N=self.row_N[which],
        )

    def in_language(self, name: str) -> Corpus:
        """What is spoken in one language."""
        return self.take(self.language_N == self.languages.index(name))

    @cached_property
    def group_N(self) -> np.ndarray:
        """Corpus and language in one number: corpus * L + language."""
        languages = len(self.languages)
        return self.corpus_N.astype(np.int32) * np.int32(languages) + self.language_N

    @cached_property
    def seconds_CL(self) -> np.ndarray:
        shape = len(self.corpora), len(self.languages)
        sums = np.bincount(self.group_N, self.seconds_N, shape[0] * shape[1])
        return sums.reshape(shape)


def _columns(utterances: Sequence[Utterance], source: Sequence[Utterance]) -> Corpus:
    def codes(names: Sequence[str | None]) -> tuple[np.ndarray, tuple[str, ...]]:
        known = sorted({name for name in names if name is not None})
        code = {name: i for i, name in enumerate(known)}
        return np.array([-1 if n is None else code[n] for n in names], dtype=np.int32), tuple(known)

    language_N, languages = codes([u.language for u in utterances])
    corpus_N, corpora = codes([""] * len(utterances))
    return Corpus(
        seconds_N=np.array([u.duration for u in utterances], dtype=np.float32),
        language_N=language_N,
        speaker_N=codes([u.speaker for u in utterances])[0],
        corpus_N=corpus_N,
        shard_N=None,
        languages=languages,
        corpora=corpora,
        source=source,
        row_N=np.arange(len(utterances)),
    )
