"""A model learns to give true times of its tokens.

At the end of `speechx finetune` every CTC head gets a sound model (decoding/sound_model.py) from
its own alignment of at most half an hour of its training data, a file beside its weights. It needs
no labelled times and no setting.

    sounds = load_times(folder, "ctc")                   # None: a model of another toolkit
    times_U2 = sounds.times(spoken(cepstra(wave_S), ids_U, frames_U2, second, vocabulary))

    B recordings · S samples at 16 kHz · N steps of 10 ms · C cepstra · T frames
    · V = blank and tokens · U tokens · X states of a chain
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from speechx.audio.cepstra import cepstra
from speechx.audio.files import SAMPLE_RATE
from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.labels import tokens_of
from speechx.data.manifest import Utterance, first_few
from speechx.data.sampling import every_row, once, padded_batches
from speechx.decoding.segmentation import best_paths
from speechx.decoding.sound_model import SoundModel, Spoken
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.vocabulary import BLANK, Vocabulary

if TYPE_CHECKING:
    from speechx.transcription.recognizer import Recognizer

LEARN_SECONDS = 1800.0


def learn_times(
    recognizer: Recognizer, utterances: Sequence[Utterance] | Corpus, seed: int = 0
) -> SoundModel | None:
    """A sound model from at most half an hour of labelled utterances, drawn at random. None if no
    utterance can be used; those that cannot be read are logged."""
    vocabulary, learned, unreadable, seconds = recognizer.vocabulary, [], [], 0.0
    second = recognizer.features.stride / SAMPLE_RATE
    for i in np.random.default_rng([seed, 7]).permutation(len(utterances)):
        utterance = utterances[i]
        tokens = tokens_of(utterance, vocabulary.token_type)
        if seconds + utterance.duration > LEARN_SECONDS or vocabulary.unknown(tokens):
            continue
        try:
            wave_S = _wave(utterance)
        except UserError:
            unreadable.append(utterance.id)
            continue
        outputs_TV, ids_U = (
            recognizer.log_probabilities(wave_S),
            np.array(vocabulary.encode(tokens)),
        )
        if 0 < len(ids_U) <= len(outputs_TV):
            frames_U2 = peaks(outputs_TV, ids_U)
            learned.append(spoken(cepstra(wave_S), ids_U, frames_U2, second, vocabulary))
            seconds += utterance.duration
    if unreadable:
        logger.info(
            f"times: {len(unreadable)} utterances cannot be read and are left out "
            f"({first_few(unreadable)})"
        )
    learned = [each for each in learned if len(each.ids_U) and len(each.cepstra_NC)]
    return SoundModel.learn(learned, len(vocabulary)) if learned else None


def peaks(outputs_TV: np.ndarray, ids_U: np.ndarray) -> np.ndarray:
    """(U, 2): the frames where the peaks of known tokens begin and where they are over, on the best
    path through log-probabilities (T, V). T must be at least U."""
    chain_X = np.full(2 * len(ids_U) + 1, BLANK)
    chain_X[1::2] = ids_U
    (path_T,) = best_paths([outputs_TV[:, chain_X]], states=1)
    begin_U = 1 + 2 * np.arange(len(ids_U))
    return np.stack([np.searchsorted(path_T, begin_U), np.searchsorted(path_T, begin_U + 1)], 1)


def spoken(
    cepstra_NC: np.ndarray,
    ids_U: np.ndarray,
    frames_U2: np.ndarray,
    second: float,
    vocabulary: Vocabulary,
) -> Spoken:
    """What a sound model takes, without the spaces between words, which have no sound; a frame
    lasts `second`, and frame 0 begins where the cepstra begin."""
    sounds_U = np.array([not vocabulary.tokens[i - 1].isspace() for i in ids_U], bool)
    pauses_U = None
    if any(map(str.isspace, vocabulary.tokens)):
        pauses_U = np.append(True, ~sounds_U)[:-1][sounds_U]
    return Spoken(cepstra_NC, ids_U[sounds_U], frames_U2[sounds_U] * second, pauses_U)


def _wave(utterance: Utterance) -> np.ndarray:
    """The samples (S,), as training reads them."""
    corpus = Corpus.of([utterance])
    (plan,) = once(padded_batches(every_row(corpus), utterance.duration, np.random.default_rng(0)))
    return Batches(corpus, normalized=False)[plan].wave_BS[0].numpy()
