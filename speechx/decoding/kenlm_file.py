"""Binary files of KenLM, through its Python module (`pip install kenlm-ex`).

The module scores one token at a time and lists nothing. The tokens stand at the end of the file,
unless it was made with `build_binary -v`. A model of few tokens becomes an `NGram`: its states are
followed from the empty context with every token. A model of many words only gives scores, which is
enough for pyctcdecode; an ARPA file, read as `NGram`, is much faster.

    N queries · S states · V tokens · A arcs · H sentences, as in `NGram`
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechx.decoding.ngram import BEGIN, END, SPECIAL, UNKNOWN, NGram, Perplexity, perplexity
from speechx.errors import UserError
from speechx.log import logger

MAGIC = b"mmap lm http://kheafield.com/code"
SPACES = ("|", "<space>")  # what models of characters have for a space
MOST_ARCS = 20_000_000  # of a model that is listed: about a minute and 500 MB


class KenlmModel:
    """Scores of `tokens`, to which the special ones are added, as `NGram` gives them; by default of
    the tokens that a binary file lists."""

    has_sentences = False
    """Of no file of KenLM are the sentences of its text known."""

    def __init__(self, path: str | Path, tokens: Iterable[str] | None = None) -> None:
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
        self.path, self.order = Path(path), int(self._model.order)
        self.sentence_H = np.zeros(0, np.int64)
        space = next((space for space in SPACES if space in self._model), SPACES[0])
        if tokens is None:
            tokens = [" " if word == space else word for word in _words_in(self.path)]
        self.tokens = tuple(dict.fromkeys((*SPECIAL, *tokens)))
        self.id_of = {token: i for i, token in enumerate(self.tokens)}
        self._words = [space if token == " " else token for token in self.tokens]
        self._new_state = kenlm.State
        empty, begin = kenlm.State(), kenlm.State()
        self._model.NullContextWrite(empty)
        self._model.BeginSentenceWrite(begin)
        self._first = (empty, begin)
        self.forget()

    def forget(self) -> None:
        """Drops the states of what was scored, which are kept until then."""
        self._states = [*self._first]
        self._number_of = {state: number for number, state in enumerate(self._states)}

    @property
    def start(self) -> int:
        """The state behind <s>."""
        return 1

    def ngram(self) -> NGram:
        """The same model as arrays, where every state has an arc for each token. UserError if these
        are too many."""
        self.forget()
        token_V = np.arange(len(self.tokens), dtype=np.int32)
        scores, targets, done = [], [], 0
        while done < len(self._states):
            if len(self._states) * len(token_V) > MOST_ARCS:
                raise UserError(
                    f"{self.path} is a binary file of KenLM with {len(token_V):,} tokens, too many "
                    "for beam search: give the ARPA file that it was made from, or --decoder "
                    "pyctcdecode, which asks KenLM"
                )
            score_V, target_V = self.score(np.full(len(token_V), done), token_V)
            scores.append(score_V)
            targets.append(target_V)
            done += 1
        targets[0][self.id_of[BEGIN]] = self.start
        nothing_S = np.zeros(done)
        self.forget()
        logger.info(f"{self.path}: {done:,} contexts of {len(token_V)} tokens, listed by KenLM")
        return NGram(
            tokens=self.tokens,
            order=self.order,
            first_S=np.arange(done + 1, dtype=np.int64) * len(token_V),
            token_A=np.tile(token_V, done),
            score_A=np.concatenate(scores),
            target_A=np.concatenate(targets).astype(np.int32),
            backoff_S=nothing_S.astype(np.float32),
            fallback_S=nothing_S.astype(np.int32),
        )

    def unknown(self) -> list[str]:
        """The tokens that the file does not know: they have the score of <unk>."""
        return [
            token
            for token, word in zip(self.tokens, self._words, strict=True)
            if token not in (BEGIN, END, UNKNOWN) and word not in self._model
        ]

    def ids(self, sentence: Sequence[str]) -> np.ndarray:
        """The ids (N,) of tokens; unknown tokens have the id of <unk>."""
        unknown = self.id_of[UNKNOWN]
        return np.array([self.id_of.get(token, unknown) for token in sentence], np.int32)

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


def _words_in(path: Path) -> list[str]:
    """The tokens that stand at the end of a binary file, <unk> the first, a NUL behind each."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            begin = whole.rfind(UNKNOWN.encode() + b"\0")
            words = whole[begin:].split(b"\0")[:-1] if begin >= 0 else []
        found = [word.decode() for word in words]
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: the token {error.object.decode(errors='replace')!r} is not UTF-8; make the "
            "file again from text in UTF-8"
        ) from None
    if not found:
        raise UserError(
            f"{path} has no list of its tokens: make it again without -v of build_binary, or give "
            "the ARPA file that it was made from"
        )
    return found
