"""A corpus in memory: arrays for planning; utterances are read on demand.

    corpus = Corpus.read([Path("data/es/train.jsonl"), Path("data/babel.parquet")])
    corpus.seconds_N[7], corpus.languages[corpus.language_N[7]]
    corpus[7]           # an Utterance without text and phones

    N utterances · C corpora · L languages

Ten million Python objects take ten gigabytes, and every worker copies them when it changes their
reference counts. Arrays avoid both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from speechx.data.exclusion import Exclusions
from speechx.data.sources import Columns, Source, read_sources
from speechx.data.utterance import Utterance


@dataclass(frozen=True, eq=False)
class Corpus:
    """Arrays over the utterances. Codes are indices of `languages` and `corpora`; -1 is an unknown
    speaker, or audio that is not in a shard."""

    seconds_N: np.ndarray
    language_N: np.ndarray
    speaker_N: np.ndarray
    corpus_N: np.ndarray
    shard_N: np.ndarray | None
    """None if no audio is in a shard."""
    languages: tuple[str, ...]
    corpora: tuple[str, ...]
    """The empty name stands for utterances without a corpus."""
    source: Source
    row_N: np.ndarray
    """Index in `source`."""

    @classmethod
    def read(cls, paths: Sequence[Path], exclusions: Exclusions | None = None) -> Corpus:
        """All utterances of the manifests except excluded ones."""
        columns = Columns()
        exclusions = exclusions or Exclusions()
        source, row_N = read_sources(paths, columns, exclusions)
        if not len(row_N):
            raise exclusions.all_left_out()
        return cls._made(columns, source, row_N)

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> Corpus:
        """The utterances of a list."""
        columns = Columns()
        for utterance in utterances:
            columns.add(utterance)
        return cls._made(columns, utterances, np.arange(len(utterances)))

    @classmethod
    def _made(cls, columns: Columns, source: Source, row_N: np.ndarray) -> Corpus:
        language_N, languages = columns.language.sorted()
        corpus_N, corpora = columns.corpora.sorted()
        return cls(
            seconds_N=np.frombuffer(columns.seconds, dtype=np.float32),
            language_N=language_N,
            speaker_N=columns.speaker.array(),
            corpus_N=corpus_N,
            shard_N=columns.shard.array() if columns.shard.code_of else None,
            languages=languages,
            corpora=corpora,
            source=source,
            row_N=row_N,
        )

    def __len__(self) -> int:
        return len(self.row_N)

    def __getitem__(self, i: int) -> Utterance:
        return self.source[int(self.row_N[i])]

    def __iter__(self) -> Iterator[Utterance]:
        return (self.source[row] for row in self.row_N.tolist())

    def take(self, which: np.ndarray) -> Corpus:
        """The utterances at these indices, or where a mask is true. Codes do not change."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name.endswith("_N")}
        return replace(self, **{k: x[which] for k, x in columns.items() if x is not None})

    @cached_property
    def group_N(self) -> np.ndarray:
        """Corpus and language as one code: corpus * L + language."""
        groups = len(self.corpora) * len(self.languages)
        group_N = self.corpus_N.astype(np.int32)
        group_N *= len(self.languages)
        group_N += self.language_N
        return group_N.astype(np.min_scalar_type(groups))  # numpy sorts 16 bits fastest

    @cached_property
    def seconds_CL(self) -> np.ndarray:
        groups = len(self.corpora) * len(self.languages)
        return np.bincount(self.group_N, self.seconds_N, groups).reshape(len(self.corpora), -1)
