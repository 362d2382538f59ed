"""Columns of numbers as they grow, utterance by utterance or batch by batch.

N utterances
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from speechx.data.utterance import Utterance, audio_source


class Codes:
    """Numbers for names, in the order in which they come."""

    def __init__(self) -> None:
        self.code_of: dict[str, int] = {}
        self.codes = array("i")

    def add(self, name: str | None) -> None:
        self.codes.append(-1 if name is None else self.code_of.setdefault(name, len(self.code_of)))

    def add_column(self, encoded: Any, call: Callable[[str], str] = str) -> None:
        """A dictionary-encoded Arrow array of names, or of what to `call` so."""
        names = encoded.dictionary.to_pylist()
        place_N = encoded.indices.fill_null(len(names)).to_numpy()
        code_of = np.full(len(names) + 1, -1, dtype=self.codes.typecode)  # the last for no name
        for place in np.unique(place_N[place_N < len(names)]).tolist():  # not all need occur
            code_of[place] = self.code_of.setdefault(call(names[place]), len(self.code_of))
        self.codes.frombytes(code_of[place_N].tobytes())

    def sorted(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """The codes of names in alphabetical order, and the names."""
        names = sorted(self.code_of)
        new = np.empty(len(names), dtype=self.codes.typecode)
        new[[self.code_of[name] for name in names]] = np.arange(len(names))
        return new[self.array()], tuple(names)

    def array(self) -> np.ndarray:
        return np.frombuffer(self.codes, dtype=self.codes.typecode)


class Columns:
    """The columns as they grow."""

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
        """The same of a batch of rows with the columns that are heard."""
        self.seconds.frombytes(batch.column("duration").to_numpy().astype(np.float32).tobytes())
        self.language.add_column(batch.column("language"))
        self.corpora.add_column(batch.column("corpus").fill_null(""))
        self.speaker.add_column(batch.column("speaker"))
        audio, packed = batch.column("audio"), batch.column("bytes").is_valid()
        shard = pc.if_else(packed, audio, None).dictionary_encode()
        self.shard.add_column(shard, lambda name: str(audio_source(name, folder)))
