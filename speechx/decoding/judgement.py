"""Which of the words or tokens that a model wrote are right, beside their probabilities.

N words or tokens that the model wrote
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from speechx.decoding.calibration import (
    Reliability,
    fit_temperature,
    reliability,
    right_tokens,
    word_probability,
)
from speechx.decoding.decoder import TokenSpan
from speechx.decoding.preparation import prepare
from speechx.decoding.scoring import Scored
from speechx.text.unspaced import UNSPACED
from speechx.text.vocabulary import TokenType

WORD = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")
"""A word of a transcript."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Words, phones or languages that a model wrote: their probabilities (N,) before calibration,
    and which are right (N,)."""

    what: str
    probability_N: np.ndarray
    right_N: np.ndarray

    def temperature(self) -> float:
        """The temperature that calibrates them."""
        return fit_temperature(self.probability_N, self.right_N)

    def reliability(self, temperature: float) -> Reliability:
        """How well the probabilities agree with what is right after `temperature`."""
        return reliability(self.what, self.probability_N, self.right_N, temperature)


def judge(
    decoded: Sequence[Scored], spans: Sequence[Sequence[TokenSpan]], token_type: TokenType
) -> Judged:
    """Which words (of characters) or tokens are right. A word is right if all that preparation
    makes of it is; if it makes nothing, the word does not count."""
    references, hypotheses, counts, probabilities = [], [], [], []
    for u, written in zip(decoded, spans, strict=True):
        pieces: list[str] = []
        for text, probability in _written(written, token_type):
            prepared = prepare([text], token_type, u.language)
            parts = WORD.findall("".join(prepared)) if token_type == "characters" else prepared
            if parts:
                counts.append(len(parts))
                probabilities.append(probability)
                pieces += parts
        reference = u.reference
        if token_type == "characters":
            reference = WORD.findall("".join(reference))
        references.append(reference)
        hypotheses.append(pieces)
    right = np.concatenate([np.zeros(0, bool), *right_tokens(references, hypotheses)])
    each = [right[begin:end].all() for begin, end in pairwise(np.cumsum([0, *counts]))]
    what = "words" if token_type == "characters" else token_type
    return Judged(what, np.array(probabilities), np.array(each, bool))


def _written(spans: Sequence[TokenSpan], token_type: TokenType) -> list[tuple[str, float]]:
    """Words (of characters) or tokens, each with its probability."""
    if token_type != "characters":
        return [(span.token, span.probability) for span in spans]
    owners = [n for n, span in enumerate(spans) for _ in span.token]
    return [
        (
            word[0],
            word_probability(
                [spans[n].probability for n in dict.fromkeys(owners[word.start() : word.end()])]
            ),
        )
        for word in WORD.finditer("".join(span.token for span in spans))
    ]
