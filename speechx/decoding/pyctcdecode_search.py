"""pyctcdecode behind the protocol of all decoders: the reference of `speechx.decoding.beam`.

    decoder = PyctcdecodeDecoder(vocabulary.tokens, lm=NGram.load("words.safetensors"))

The package pyctcdecode (`pip install "speechx[pyctcdecode]"`) needs numpy<2. Our n-gram model or a
binary file of KenLM (`KenlmModel`) gives it its scores. It has no lexicons. Where scores are nearly
equal, its result may depend on the order of a set.

    T frames · V = blank and tokens, the blank first · N queries
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from speechx.decoding.beam import BeamSettings, level_of, lm_ids, spans_of
from speechx.decoding.decoder import TokenSpan
from speechx.decoding.kenlm_file import KenlmModel
from speechx.decoding.ngram import END, UNKNOWN, Scores
from speechx.decoding.spellings import spelled_words
from speechx.decoding.trie import UNLISTED, WordSpelling
from speechx.errors import UserError
from speechx.text.vocabulary import BLANK

PRIVATE = 0xE000  # private use area: token i is the one character PRIVATE + i
BOUNDARY = "▁"  # what pyctcdecode puts before a token that begins a word


class PyctcdecodeDecoder:
    """Arguments and settings as of `BeamDecoder`, without a lexicon."""

    def __init__(
        self,
        tokens: Sequence[str],
        lm: Scores | None = None,
        hotwords: Iterable[str] = (),
        settings: BeamSettings | None = None,
    ) -> None:
        self.tokens, self.settings = tuple(tokens), settings or BeamSettings()
        self._lm = lm
        delimiter = next((i for i, token in enumerate(tokens, start=1) if token.isspace()), 0)
        of_tokens = lm is not None and level_of(lm, tokens) == "tokens"
        if of_tokens and delimiter:
            raise UserError(
                "pyctcdecode cannot use a language model of tokens where a space is one of them; "
                "take one of words, or the decoder of speechx"
            )
        words = spelled_words(tokens, None if of_tokens else lm, None, hotwords, delimiter)
        letters = [chr(PRIVATE + i) for i in range(1, len(tokens) + 1)]
        if lm is not None and of_tokens:
            ids = lm_ids(lm, tokens).tolist()
            words = [WordSpelling(token, (i,), ids[i]) for i, token in enumerate(tokens, start=1)]
            letters = [BOUNDARY + letter for letter in letters]
        if delimiter:
            letters[delimiter - 1] = " "
        self._ids = {letter: i for i, letter in enumerate(letters, start=1)}
        self._hotwords = [_written(each.ids) for each in words if each.hot]
        self._search = _pyctcdecode().BeamSearchDecoderCTC(
            _pyctcdecode().Alphabet(["", *letters], of_tokens),
            None if lm is None else _language_model(lm, words, self.settings),
        )

    def decode(self, outputs: Sequence[np.ndarray]) -> list[list[TokenSpan]]:
        return [self._decode(np.asarray(outputs_TV, np.float32)) for outputs_TV in outputs]

    def _decode(self, log_TV: np.ndarray) -> list[TokenSpan]:
        if not len(log_TV):
            return []
        if isinstance(self._lm, KenlmModel):
            self._lm.forget()
        best, *_ = self._search.decode_beams(
            log_TV,
            beam_width=self.settings.beam_size,
            beam_prune_logp=self.settings.beam_prune_logp,
            token_min_logp=self.settings.token_min_logp,
            hotwords=self._hotwords,
            hotword_weight=self.settings.hotword_weight,
        )
        ids = [self._ids.get(each) or self._ids.get(BOUNDARY + each, BLANK) for each in best[0]]
        return spans_of(self.tokens, log_TV, np.array([i for i in ids if i], np.int32))


def _written(ids: Sequence[int]) -> str:
    return "".join(chr(PRIVATE + i) for i in ids)


@functools.cache
def _pyctcdecode() -> Any:
    try:
        logging.getLogger("pyctcdecode").setLevel(logging.ERROR)  # it asks for KenLM
        import pyctcdecode
    except ImportError:
        raise UserError(
            "pyctcdecode is not installed; install it with pip install 'speechx[pyctcdecode]', or "
            "take the decoder of speechx"
        ) from None
    return pyctcdecode


def _language_model(lm: Scores, words: Sequence[WordSpelling], settings: BeamSettings) -> Any:
    from pyctcdecode.language_model import AVG_TOKEN_LEN, AbstractLanguageModel

    spelled = {_written(each.ids): each for each in words if each.listed}
    begins = {word[:end] for word in spelled for end in range(1, len(word) + 1)}

    class NGramScores(AbstractLanguageModel):
        """A state is a state of the n-gram model; scores are natural logarithms."""

        order = lm.order

        def get_start_state(self) -> Any:
            return lm.start

        def score_partial_token(self, partial_token: str) -> float:
            if partial_token in begins:
                return 0.0
            return settings.unknown_part_score * max(len(partial_token) / AVG_TOKEN_LEN, 1)

        def score(
            self, prev_state: int, word: str, is_last_word: bool = False
        ) -> tuple[float, int]:
            score, state = 0.0, prev_state
            if word:  # a text may end with a space
                known = spelled.get(word)
                lm_id = UNLISTED if known is None else known.lm_id
                score, state = self._lm_score(
                    state, lm.id_of[UNKNOWN] if lm_id == UNLISTED else lm_id
                )
                score += settings.word_bonus
                if known is None:
                    score += settings.unknown_word_score
            if is_last_word:
                score += self._lm_score(state, lm.id_of[END])[0]
            return score, state

        def _lm_score(self, state: int, token: int) -> tuple[float, int]:
            score_N, state_N = lm.score(np.array([state]), np.array([token]))
            return settings.lm_weight * float(score_N[0]), int(state_N[0])

    return NGramScores()
