"""From log-probabilities to tokens with times: the one protocol of all decoders.

T frames · V = blank and tokens, the blank first · U = blank and phones that these are mapped to
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from speechx.decoding.mapping import Mapping, map_posteriors
from speechx.text.vocabulary import BLANK

SMALLEST = 1e-30  # probability whose logarithm stands for that of 0


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A token of a transcript: its frames [first, last], and its mean probability over them."""

    token: str
    first: int
    last: int
    probability: float


class Decoder(Protocol):
    def decode(self, outputs: Sequence[np.ndarray]) -> list[list[TokenSpan]]:
        """The tokens of each utterance in time order, from its log-probabilities (T, V)."""
        ...


@dataclass(frozen=True, slots=True)
class GreedyDecoder:
    """The best output of every frame, repeats collapsed, blanks dropped (Graves et al. 2006,
    section 3.2). A token that follows itself needs a blank between."""

    tokens: Sequence[str]
    """Token i has output i + 1."""

    def decode(self, outputs: Sequence[np.ndarray]) -> list[list[TokenSpan]]:
        return [self._best(outputs_TV) for outputs_TV in outputs]

    def _best(self, outputs_TV: np.ndarray) -> list[TokenSpan]:
        best_T = outputs_TV.argmax(1)
        edges = np.flatnonzero(np.diff(best_T, prepend=-1))
        ends = np.append(edges, len(best_T))[1:] - 1
        return [
            TokenSpan(
                token=self.tokens[best_T[first] - 1],
                first=int(first),
                last=int(last),
                probability=float(np.exp(outputs_TV[first : last + 1, best_T[first]]).mean()),
            )
            for first, last in zip(edges, ends, strict=True)
            if best_T[first] != BLANK
        ]


@dataclass(frozen=True, slots=True)
class MappedDecoder:
    """Phones of another language: maps the posteriors of each frame, then decodes greedily."""

    mapping: Mapping

    def decode(self, outputs: Sequence[np.ndarray]) -> list[list[TokenSpan]]:
        mapped = [map_posteriors(np.exp(outputs_TV), self.mapping) for outputs_TV in outputs]
        decoder = GreedyDecoder(self.mapping.target)
        return decoder.decode([np.log(np.maximum(mapped_TU, SMALLEST)) for mapped_TU in mapped])
