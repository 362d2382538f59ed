"""Forced alignment of a text that is not exactly what was spoken.

Speech that the text lacks goes to a wildcard between words. Its score is that of the best output
but the blank, less a constant: so it fits any speech, of a model that is certain and of one that
is not, but worse than the right word does. Words that were not spoken are left out, each at a cost
for its tokens. A word is therefore aligned if its tokens fit better than the wildcard, by these
costs, and if not it is left out. Characters that the model cannot write are tokens that fit any
speech too.

    T frames · V = blank and tokens, the blank first · X columns of scores
    U tokens of the text · S states · K words and 1
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from speechx.decoding.alignment import Chain, chain_of

PAUSE, BETWEEN, SPEECH, ANYTHING, FIRST_TOKEN = 1, 2, 3, 4, 5  # columns; 0 is the blank
UNWRITTEN = (SPEECH, ANYTHING)  # what the model cannot write: it begins with speech
UNTRANSCRIBED_COST = 3.0  # of a frame of speech that the text lacks
UNWRITTEN_COSTS = 1.5, 0.1  # of frames of what the model cannot write: of speech, of a pause
TOKEN_COST, WORD_COST = 1.0, 3.0  # of what is left out

Untranscribed: TypeAlias = Literal["anywhere", "ends", "nowhere"]
"""Where there may be speech that the text lacks: also between words, only before and behind the
text, or nowhere."""


@dataclass(frozen=True)
class ScoreColumns:
    """The scores of a text's tokens, from the outputs of a model. A token may be several outputs,
    such as a letter and its capital."""

    pauses: Sequence[int]
    """Outputs that are no speech, beside the blank: the space, punctuation."""
    tokens: Sequence[Sequence[int]]
    """Outputs of each token."""

    def scores(self, log_probabilities_TV: np.ndarray) -> np.ndarray:
        """(T, X) float32."""
        outputs = log_probabilities_TV.shape[1]
        speech = np.setdiff1d(np.arange(outputs), [0, *self.pauses])
        scores_TX = np.empty(
            (len(log_probabilities_TV), FIRST_TOKEN + len(self.tokens)), np.float32
        )
        scores_TX[:, 0] = log_probabilities_TV[:, 0]
        pause_T = log_probabilities_TV[:, [0, *self.pauses]].max(1)
        speech_T = log_probabilities_TV[:, speech].max(1, initial=-np.inf)
        in_speech, in_pause = UNWRITTEN_COSTS
        scores_TX[:, PAUSE] = pause_T
        scores_TX[:, BETWEEN] = np.maximum(pause_T, speech_T - UNTRANSCRIBED_COST)
        scores_TX[:, SPEECH] = speech_T - in_speech
        scores_TX[:, ANYTHING] = np.maximum(pause_T - in_pause, speech_T - in_speech)
        for column, outputs_of in enumerate(self.tokens, start=FIRST_TOKEN):
            if len(outputs_of) == 1:
                scores_TX[:, column] = log_probabilities_TV[:, outputs_of[0]]
            else:
                scores_TX[:, column] = log_probabilities_TV[:, list(outputs_of)].max(1)
        return scores_TX


def chain_of_words(
    words: Sequence[Sequence[int]],
    untranscribed: Untranscribed = "anywhere",
    every_word: bool = False,
) -> Chain:
    """The chain of words, each of which is the columns of its tokens; `PAUSE` between two of them
    allows a pause inside the word. With `every_word` none is left out."""
    columns: list[int] = []
    paused: list[int] = []  # tokens before which there may be a pause
    begins: list[int] = []  # the first token of each word
    for word in words:
        begins.append(len(columns))
        for column in word:
            if column == PAUSE:
                paused.append(len(columns))
            else:
                columns.append(column)
    chain = chain_of(np.array(columns, np.int64))
    stops_K = 2 * np.array([*begins, len(columns)], np.int64)
    chain.columns_S[2 * np.array(paused, np.int64)] = PAUSE
    chain.columns_S[stops_K] = BETWEEN if untranscribed == "anywhere" else PAUSE
    if untranscribed == "ends":
        chain.columns_S[[0, -1]] = BETWEEN
    if every_word:
        return chain
    costs_K = TOKEN_COST * stops_K / 2 + WORD_COST * np.arange(len(stops_K))
    return Chain(chain.columns_S, chain.leap_S, stops_K, costs_K)
