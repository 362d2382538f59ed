"""An n-gram language model with back-off, as arrays.

The model is an automaton. A state is a context, the last tokens that matter; state 0 is the empty
one. An arc is an n-gram that the model lists: from its context, by its last token, to the longest
context that the model has for what was read. Where a state has no arc for a token, the weight of
backing off is added and the search goes on in the context without its first token. State 0 has an
arc for each token, so the search ends.

Scores are natural logarithms. Text in, probability out: `NGram.perplexity`.

    N queries · A arcs, sorted by state and token · S states
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"


@dataclass(frozen=True, slots=True, eq=False)
class NGram:
    """`tokens` are words, characters or phones, with the three special ones; a token's id is its
    place."""

    tokens: tuple[str, ...]
    order: int
    first_S: np.ndarray
    """(S + 1,) int64: the arcs of state s are first_S[s] to first_S[s + 1]."""
    token_A: np.ndarray
    """int32, ascending inside a state."""
    score_A: np.ndarray
    """float32"""
    target_A: np.ndarray
    """int32: the state behind an arc."""
    backoff_S: np.ndarray
    """float32: the score of leaving a state for its fallback."""
    fallback_S: np.ndarray
    """int32: the context without its first token; of state 0 itself."""

    def ids(self, sentence: Sequence[str]) -> np.ndarray:
        """The ids of tokens; of unknown ones the id of <unk>."""
        known = {token: i for i, token in enumerate(self.tokens)}
        return np.array([known.get(token, known[UNKNOWN]) for token in sentence], np.int32)
