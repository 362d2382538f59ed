"""Binary files of KenLM, through its Python module (`pip install kenlm-ex`).

The module gives scores, but does not list n-grams or tokens. So the tokens are given: the
vocabulary of a speech model or a word list. Tokens are scored one by one, and states are kept as
long as the model: an ARPA file, read as `NGram`, is much faster.

    N queries
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechx.decoding.ngram import BEGIN, END, SPECIAL, UNKNOWN, Perplexity, perplexity
from speechx.errors import UserError

MAGIC = b"mmap lm http://kheafield.com/code"
SPACES = ("|", "<space>")  # what models of characters have for a space


class KenlmModel:
    """Scores of `tokens`, to which the special ones are added, as `NGram` gives them."""

    def __init__(self, path: str | Path, tokens: Iterable[str]) -> None:
        try:
            import kenlm
        except ImportError:
            raise UserError(
                f"{path} needs the package kenlm, which is not installed: pip install kenlm-ex; or "
                "give the ARPA file that it was made from"
            ) from None
        try:
            self._model: Any = kenlm.Model(str(path))
        except (OSError, RuntimeError) as error:
            why = " ".join(str(error).split())[:300]
            raise UserError(f"{path}: KenLM cannot read the language model: {why}") from None
        self.tokens = tuple(dict.fromkeys((*SPECIAL, *tokens)))
        self.order: int = self._model.order
        self._id_of = {token: i for i, token in enumerate(self.tokens)}
        space = next((space for space in SPACES if space in self._model), SPACES[0])
        self._words = [space if token == " " else token for token in self.tokens]
        self._new_state = kenlm.State
        begin = kenlm.State()
        self._model.BeginSentenceWrite(begin)
        self._states, self._number_of = [begin], {begin: 0}

    @property
    def start(self) -> int:
        """The state behind <s>."""
        return 0

    def unknown(self) -> list[str]:
        """The tokens that the file does not know: they have the score of <unk>."""
        return [
            token
            for token, word in zip(self.tokens, self._words, strict=True)
            if token not in (BEGIN, END, UNKNOWN) and word not in self._model
        ]

    def ids(self, sentence: Sequence[str]) -> np.ndarray:
        """The ids (N,) of tokens; unknown tokens have the id of <unk>."""
        unknown = self._id_of[UNKNOWN]
        return np.array([self._id_of.get(token, unknown) for token in sentence], np.int32)

    def score(self, state_N: np.ndarray, token_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The log-probability (N,) of each token (N,) after its state (N,), and the next state."""
        scores, numbers = [], []
        for state, token in zip(np.asarray(state_N), np.asarray(token_N), strict=True):
            behind = self._new_state()
            score = self._model.BaseScore(self._states[state], self._words[token], behind)
            number = self._number_of.setdefault(behind, len(self._states))
            if number == len(self._states):
                self._states.append(behind)
            scores.append(score)
            numbers.append(number)
        return np.array(scores, np.float32) * np.float32(np.log(10)), np.array(numbers, np.int32)

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> Perplexity:
        """The perplexity of sentences, each from <s> to </s>. ValueError if there are none."""
        return perplexity(self, sentences)
