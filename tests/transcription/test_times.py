"""A model learns the times of its tokens from its own peaks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from speechx.audio.cepstra import cepstra
from speechx.audio.files import write_flac
from speechx.data.manifest import Utterance
from speechx.models.folder import times_file
from speechx.text.vocabulary import Vocabulary
from speechx.transcription.times import learn_times, spoken
from speechx.transcription.token_times import load_times, times_of

RATE, STRIDE = 16_000, 320
HERTZ = {"a": 300, "b": 1200, " ": 0}
VOCABULARY = Vocabulary("characters", tuple(HERTZ))


def recording(text, random):
    """A tone per letter, silence per space, with the frame in the first part of each of them, and
    where they begin and end."""
    lengths = random.integers(1500, 3500, len(text))
    parts = [
        np.sin(2 * np.pi * HERTZ[letter] * np.arange(n) / RATE)
        for letter, n in zip(text, lengths, strict=True)
    ]
    wave_S = np.concatenate(parts) + 0.003 * random.standard_normal(lengths.sum())
    ends_U = np.cumsum(lengths)
    begins_U = ends_U - lengths
    return wave_S.astype(np.float32), (begins_U + 500) // STRIDE, np.stack((begins_U, ends_U), 1)


def utterance(file, seconds, text):
    return Utterance(id=file.stem, audio=file, duration=seconds, language="xx", text=text)


def test_times_are_learned_without_labelled_times_and_kept_in_the_folder(tmp_path):
    random, outputs, utterances = np.random.default_rng(1), {}, []
    for number in range(12):
        text = "".join(random.choice(["ab", "ba", "aba"], 6)).replace("aa", "a a")
        text = text.replace("bb", "b b")
        wave_S, frame_U, _ = recording(text, random)
        file = tmp_path / f"{number}.flac"
        write_flac(file, wave_S)
        outputs_TV = np.full((len(wave_S) // STRIDE, len(VOCABULARY)), -8.0, np.float32)
        outputs_TV[:, 0] = -0.01
        outputs_TV[frame_U, 0] = -8.0
        outputs_TV[frame_U, VOCABULARY.encode(text)] = -0.01
        outputs[len(wave_S)] = outputs_TV
        utterances.append(utterance(file, len(wave_S) / RATE, text))
    gone = utterance(tmp_path / "gone.flac", 1.0, "ab")
    recognizer = SimpleNamespace(
        vocabulary=VOCABULARY,
        features=SimpleNamespace(stride=STRIDE),
        log_probabilities=lambda wave_S: outputs[len(wave_S)],
    )
    sounds = learn_times(recognizer, [*utterances, gone])
    sounds.save(times_file(tmp_path, "ctc"))
    wave_S, frame_U, samples_U2 = recording("ab ba", random)
    frames_U2 = np.stack((frame_U, frame_U + 1), 1)
    ids_U = np.array(VOCABULARY.encode("ab ba"))
    each = spoken(cepstra(wave_S), ids_U, frames_U2, STRIDE / RATE, VOCABULARY)
    times_U2 = load_times(tmp_path, "ctc").times(each)
    np.testing.assert_allclose(times_U2, samples_U2[[0, 1, 3, 4]] / RATE, atol=0.025)
    assert load_times(tmp_path, "other") is None


def test_short_pauses_stand_at_spaces_if_the_model_writes_spaces():
    frames_U2 = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])
    each = spoken(cepstra(np.zeros(8000)), np.array([1, 2, 3, 1]), frames_U2, 0.02, VOCABULARY)
    assert each.pauses_U.tolist() == [True, False, True]
    letters = Vocabulary("characters", ("a", "b"))
    each = spoken(cepstra(np.zeros(8000)), np.array([1, 2]), frames_U2[:2], 0.02, letters)
    assert each.pauses_U is None


def test_short_pauses_stand_before_words_and_behind_what_the_model_cannot_write():
    seen = []
    sounds = SimpleNamespace(times=lambda each: seen.append(each) or each.spans_U2)
    blocks = lambda: [np.zeros(16_000, np.float32)]  # noqa: E731
    ids_U = np.array([1, 2, 0, 1, 2, 1, 2])
    begins_U = np.array([1, 0, 0, 0, 0, 1, 0], bool)
    spans_U2 = np.array([[f, f] for f in (2, 5, 8, 11, -1, 17, 20)])
    times_of(blocks, ids_U, spans_U2, 50, 0.02, sounds, begins_U)
    assert seen[0].ids_U.tolist() == [1, 2, 1, 1, 2]
    assert seen[0].pauses_U.tolist() == [True, False, True, True, False]
    times_of(blocks, ids_U, spans_U2, 50, 0.02, sounds)
    assert seen[1].pauses_U is None
