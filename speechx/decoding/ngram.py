"""An n-gram language model with back-off, as arrays.

The model is an automaton. A state is a context, the last tokens that matter; state 0 is the empty
one. An arc is an n-gram that the model lists: from its context, by its last token, to the longest
context that the model has for what was read. Where a state has no arc for a token, the weight of
backing off is added and the search goes on in the context without its first token. State 0 has an
arc for each token, in their order, so the search ends. States are numbered by the length of their
contexts.

    score_N, state_N = model.score(state_N, token_N)      # begin in model.start, end with </s>

Scores are natural logarithms. Files are read and written by `speechx.decoding.ngram_file`.

    N queries, or n-grams of one order · A arcs, sorted by state and token · S states
    H sentences
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from speechx.errors import UserError
from speechx.whole_file import whole_file

BEGIN, END, UNKNOWN = SPECIAL = ("<s>", "</s>", "<unk>")
FORMAT = "speechx_ngram_2"  # the only key of the metadata, so that equal models are equal files
ARRAYS = ("first_S", "token_A", "score_A", "target_A", "backoff_S", "fallback_S", "sentence_H")


class Level(NamedTuple):
    """The n-grams of one order, sorted by context and token, none twice."""

    context_N: np.ndarray
    """int64: the place of the context among the n-grams of the order below; 0 for unigrams."""
    token_N: np.ndarray
    """Ids. The unigrams are all tokens."""
    score_N: np.ndarray
    backoff_N: np.ndarray
    """0 where the n-gram is the context of no other."""


@dataclass(frozen=True, slots=True)
class Perplexity:
    """exp of the mean negative log-probability of the tokens and the ends of sentences."""

    overall: float
    """Tokens that the model does not know count with the probability of <unk>."""
    known: float
    """Without the tokens that the model does not know."""
    tokens: int
    """With the ends of sentences."""
    unknown: int


class Scores(Protocol):
    """What a search asks of a language model."""

    @property
    def tokens(self) -> tuple[str, ...]: ...

    @property
    def id_of(self) -> dict[str, int]: ...

    @property
    def order(self) -> int: ...

    @property
    def start(self) -> int:
        """The state behind <s>."""
        ...

    def ids(self, sentence: Sequence[str]) -> np.ndarray:
        """The ids (N,) of tokens; unknown tokens have the id of <unk>."""
        ...

    def score(self, state_N: np.ndarray, token_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The log-probability (N,) of each token (N,) after its state (N,), and the next state."""
        ...


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
    """int32: the context without its first token, or the longest end of it that is a state; of
    state 0 itself."""
    sentence_H: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64, sorted: `speechx.language_model.text_hash` of each training sentence; empty if they
    are not known, as in ARPA files."""
    start: int = field(init=False)
    """The state behind <s>."""
    id_of: dict[str, int] = field(init=False, repr=False)
    key_A: np.ndarray = field(init=False, repr=False)
    """int64, ascending: state * len(tokens) + token."""

    def __post_init__(self) -> None:
        known = {token: i for i, token in enumerate(self.tokens)}
        source_A = np.repeat(np.arange(len(self.first_S) - 1), np.diff(self.first_S))
        object.__setattr__(self, "id_of", known)
        object.__setattr__(self, "start", int(self.target_A[known[BEGIN]]))
        object.__setattr__(self, "key_A", source_A * len(self.tokens) + self.token_A)

    @classmethod
    def of(cls, tokens: Sequence[str], levels: Sequence[Level]) -> NGram:
        """The automaton of the n-grams of each order from 1; every context must be listed."""
        size, begin = len(tokens), tokens.index(BEGIN)
        state_N = key_A = np.zeros(1, np.int64)  # of the contexts; no arc yet
        key_A = target_A = np.zeros(0, np.int64)
        backoff_S, fallback_S = np.zeros(1, np.float32), np.zeros(1, np.int64)
        for order, level in enumerate(levels, start=1):
            source_N = state_N[level.context_N]
            target_N = np.zeros(len(source_N), np.int64)
            if order > 1:
                below = fallback_S[source_N], level.token_N
                arc_N, _ = _find(size, key_A, backoff_S, fallback_S, *below)
                target_N = target_A[arc_N]
            state_N = np.full(len(source_N), -1, np.int64)
            if order < len(levels):
                is_state_N = level.backoff_N != 0
                is_state_N[levels[order].context_N] = True
                if order == 1:
                    is_state_N[begin] = True
                new = np.flatnonzero(is_state_N)
                state_N[new] = len(backoff_S) + np.arange(len(new))
                backoff_S = np.append(backoff_S, level.backoff_N[new].astype(np.float32))
                fallback_S = np.append(fallback_S, target_N[new])
                target_N[new] = state_N[new]
            key_A = np.append(key_A, source_N * size + level.token_N)
            target_A = np.append(target_A, target_N)
        source_A, token_A = np.divmod(key_A, size)
        return cls(
            tokens=tuple(tokens),
            order=len(levels),
            first_S=np.searchsorted(source_A, np.arange(len(backoff_S) + 1)).astype(np.int64),
            token_A=token_A.astype(np.int32),
            score_A=np.concatenate([level.score_N for level in levels]).astype(np.float32),
            target_A=target_A.astype(np.int32),
            backoff_S=backoff_S,
            fallback_S=fallback_S.astype(np.int32),
        )

    def levels(self) -> list[Level]:
        """The n-grams of each order, the inverse of `of`."""
        found = []
        place_S = np.zeros(1, np.int64)  # of the states of one order among their n-grams
        begin, end = 0, 1
        while begin < end and self.first_S[begin] < self.first_S[end]:
            arcs = slice(self.first_S[begin], self.first_S[end])
            context_N = np.repeat(place_S, np.diff(self.first_S[begin : end + 1]))
            target_N = self.target_A[arcs]
            backoff_N = np.where(target_N >= end, self.backoff_S[target_N], np.float32(0))
            found.append(Level(context_N, self.token_A[arcs], self.score_A[arcs], backoff_N))
            place_S = np.flatnonzero(target_N >= end)
            begin, end = end, end + len(place_S)
        return found

    @property
    def has_sentences(self) -> bool:
        """Whether the hashes of its training sentences are known."""
        return len(self.sentence_H) > 0

    def ids(self, sentence: Sequence[str]) -> np.ndarray:
        """The ids (N,) of tokens; unknown tokens have the id of <unk>."""
        unknown = self.id_of[UNKNOWN]
        return np.array([self.id_of.get(token, unknown) for token in sentence], np.int32)

    def score(self, state_N: np.ndarray, token_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The log-probability (N,) of each token (N,) after its state (N,), and the next state."""
        arc_N, score_N = _find(
            len(self.tokens), self.key_A, self.backoff_S, self.fallback_S, state_N, token_N
        )
        return score_N + self.score_A[arc_N], self.target_A[arc_N]

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> Perplexity:
        """The perplexity of sentences, each from <s> to </s>. ValueError if there are none."""
        return perplexity(self, sentences)

    def save(self, path: Path) -> None:
        """Writes a file of tensors (.safetensors)."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}
        names = json.dumps(self.tokens, ensure_ascii=False).encode()
        arrays["tokens"] = np.frombuffer(names, np.uint8)
        with whole_file(path) as new:
            save_file(arrays, new, {FORMAT: str(self.order)})

    @classmethod
    def load(cls, path: Path) -> NGram:
        """Reads a file of `save`. UserError for other files."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as file:
                order = int((file.metadata() or {})[FORMAT])
                arrays = {name: file.get_tensor(name) for name in ARRAYS}
                tokens = tuple(json.loads(file.get_tensor("tokens").tobytes()))
                return cls(tokens, order, **arrays)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{path} is not a language model of `speechx lm train` ({error}); make it again, "
                "or give an ARPA file"
            ) from None


def perplexity(model: Scores, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """The perplexity of sentences, each from <s> to </s>. ValueError if there are none."""
    ids = [model.ids([*sentence, END]) for sentence in sentences]
    if not ids:
        raise ValueError("perplexity needs a sentence")
    ids.sort(key=len, reverse=True)
    length_H = np.array([len(each) for each in ids])
    token_N = np.concatenate(ids)
    first_H = np.cumsum(length_H) - length_H
    state_H = np.full(len(ids), model.start, np.int32)
    score_N = np.zeros(len(token_N))
    for step in range(length_H[0]):  # all sentences at once, the longest first
        there = np.searchsorted(-length_H, -step)
        at = first_H[:there] + step
        score_N[at], state_H[:there] = model.score(state_H[:there], token_N[at])
    known_N = token_N != model.ids([UNKNOWN])[0]
    return Perplexity(
        overall=float(np.exp(-score_N.mean())),
        known=float(np.exp(-score_N[known_N].mean())),
        tokens=len(token_N),
        unknown=int((~known_N).sum()),
    )


def _find(
    size: int,
    key_A: np.ndarray,
    backoff_S: np.ndarray,
    fallback_S: np.ndarray,
    state_N: np.ndarray,
    token_N: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The arc by which each token is read, and the score of backing off to it."""
    state_N, token_N = np.array(state_N, np.int64), np.asarray(token_N, np.int64)
    score_N = np.zeros(len(state_N), np.float32)
    arc_N = np.searchsorted(key_A, state_N * size + token_N)
    left = np.arange(len(state_N))
    while True:
        arc_N[left] = np.minimum(arc_N[left], len(key_A) - 1)
        left = left[key_A[arc_N[left]] != state_N[left] * size + token_N[left]]
        if not len(left):
            return arc_N, score_N
        score_N[left] += backoff_S[state_N[left]]
        state_N[left] = fallback_S[state_N[left]]
        arc_N[left] = np.searchsorted(key_A, state_N[left] * size + token_N[left])
