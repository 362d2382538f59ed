"""From the log-probabilities of one utterance to tokens with times: the one protocol of all
decoders.

    T frames · V = blank and tokens, the blank first
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
    def decode(self, log_probabilities_TV: np.ndarray) -> list[TokenSpan]:
        """The tokens in time order."""
        ...


@dataclass(frozen=True, slots=True)
class GreedyDecoder:
    """The best output of every frame, repeats collapsed, blanks dropped (Graves et al. 2006,
    section 3.2). A token that follows itself needs a blank between."""

    tokens: Sequence[str]
    """Token i has output i + 1."""

    def decode(self, log_probabilities_TV: np.ndarray) -> list[TokenSpan]:
        best_T = log_probabilities_TV.argmax(1)
        edges = np.flatnonzero(np.diff(best_T, prepend=-1))
        ends = np.append(edges, len(best_T))[1:] - 1
        return [
            TokenSpan(
                token=self.tokens[best_T[first] - 1],
                first=int(first),
                last=int(last),
                probability=float(
                    np.exp(log_probabilities_TV[first : last + 1, best_T[first]]).mean()
                ),
            )
            for first, last in zip(edges, ends, strict=True)
            if best_T[first] != BLANK
        ]


@dataclass(frozen=True, slots=True)
class MappedDecoder:
    """Phones of another language: maps the posteriors of each frame, then decodes greedily."""

    mapping: Mapping

    def decode(self, log_probabilities_TV: np.ndarray) -> list[TokenSpan]:
        mapped_TV = map_posteriors(np.exp(log_probabilities_TV), self.mapping)
        return GreedyDecoder(self.mapping.target).decode(np.log(np.maximum(mapped_TV, SMALLEST)))
