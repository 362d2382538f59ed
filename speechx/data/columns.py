"""Numeric columns of a corpus, filled by single utterances or by Arrow batches.

N utterances
"""

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from speechx.data.utterance import Utterance, audio_source


class Codes:
    """Integer codes of names, numbered in order of appearance; -1 for no name."""

    def __init__(self) -> None:
        self.code_of: dict[str, int] = {}
        self.codes = array("i")

    def add(self, name: str | None) -> None:
        self.codes.append(-1 if name is None else self.code_of.setdefault(name, len(self.code_of)))

    def add_column(self, encoded: Any, rename: Callable[[str], str] = str) -> None:
        """Adds a dictionary-encoded Arrow array, with names changed by `rename`."""
        names = encoded.dictionary.to_pylist()
        index_N = encoded.indices.fill_null(len(names)).to_numpy()
        code_of = np.full(len(names) + 1, -1, dtype=self.codes.typecode)  # the last is for no name
        for index in np.unique(index_N[index_N < len(names)]).tolist():  # some may not occur
            code_of[index] = self.code_of.setdefault(rename(names[index]), len(self.code_of))
        self.codes.frombytes(code_of[index_N].tobytes())

    def sorted(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """The names in alphabetical order, and codes that are their indices."""
        names = sorted(self.code_of)
        new = np.empty(len(names), dtype=self.codes.typecode)
        new[[self.code_of[name] for name in names]] = np.arange(len(names))
        return new[self.array()], tuple(names)

    def array(self) -> np.ndarray:
        return np.frombuffer(self.codes, dtype=self.codes.typecode)


class Columns:
    """The columns of a corpus."""

    def __init__(self) -> None:
        self.seconds = array("f")
        self.language, self.corpora, self.speaker, self.shard = (Codes() for _ in range(4))

    def add(self, u: Utterance) -> None:
        self.seconds.append(u.duration)
        self.language.add(u.language)
        self.corpora.add(u.corpus or "")
        self.speaker.add(u.speaker)
        self.shard.add(None if u.bytes is None else str(u.audio))

    def add_batch(self, pc: Any, batch: Any, folder: Path) -> None:
        """Adds an Arrow batch with the columns of AUDIO_KEYS."""
        self.seconds.frombytes(batch.column("duration").to_numpy().astype(np.float32).tobytes())
        self.language.add_column(batch.column("language"))
        self.corpora.add_column(batch.column("corpus").fill_null(""))
        self.speaker.add_column(batch.column("speaker"))
        audio, packed = batch.column("audio"), batch.column("bytes").is_valid()
        shard = pc.if_else(packed, audio, None).dictionary_encode()
        self.shard.add_column(shard, lambda name: str(audio_source(name, folder)))
