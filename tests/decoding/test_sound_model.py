"""Times of tokens by their sound, on sounds whose times are known."""

from __future__ import annotations

import numpy as np
import pytest

from speechx.audio.cepstra import STEP, cepstra
from speechx.decoding.segmentation import best_paths
from speechx.decoding.sound_model import SoundModel, Spoken
from speechx.errors import UserError

RATE = 16_000
TONES = {1: (300,), 2: (600, 2400), 3: (1200,), 4: (400, 3000), 5: ()}


def made_up(random, tokens=15, noise=0.003, fade=0):
    """A recording of tones, noise and pauses; sounds rise and fall in some samples. Peaks lie in
    the first half of each sound."""
    parts, begins, ids_U, now = [], [], [], 0
    for _ in range(tokens):
        if random.random() < 0.2:
            parts.append(np.zeros(random.integers(2000, 5000)))
            now += len(parts[-1])
        others = [token for token in TONES if token != (ids_U or [0])[-1]]
        ids_U.append(int(random.choice(others)))
        length = int(random.integers(900, 3000))
        time_S = np.arange(length) / RATE
        hertz = TONES[ids_U[-1]]
        tone_S = sum((np.sin(2 * np.pi * h * time_S) for h in hertz), np.zeros(length))
        sound_S = tone_S if hertz else random.standard_normal(length)
        ramp_S = np.minimum(np.arange(length), np.arange(length)[::-1]) / max(fade, 1)
        parts.append(sound_S * np.minimum(ramp_S, 1) if fade else sound_S)
        begins.append((now, now + length))
        now += length
    wave_S = np.concatenate([*parts, np.zeros(4000)])
    wave_S = wave_S + noise * random.standard_normal(len(wave_S))
    true_U2 = np.array(begins) / RATE
    peak_U = true_U2[:, 0] + np.diff(true_U2)[:, 0] * random.uniform(0, 0.5, tokens)
    spans_U2 = np.stack((peak_U, peak_U + 0.02), 1)
    return wave_S, Spoken(cepstra(wave_S), np.array(ids_U), spans_U2), true_U2


@pytest.fixture(scope="module")
def learned():
    random = np.random.default_rng(1)
    return SoundModel.learn([made_up(random)[1] for _ in range(10)], tokens=7)


def test_boundaries_are_where_the_sound_changes_and_not_where_the_peaks_are(learned):
    random = np.random.default_rng(2)
    errors = []
    for _ in range(5):
        _, spoken, true_U2 = made_up(random)
        errors.append(learned.times(spoken) - true_U2)
    error = np.concatenate(errors)
    assert np.abs(error).mean() < 0.010
    assert np.abs(error.mean(0)).max() < 0.006


def test_beside_a_pause_a_token_is_neither_early_nor_late():
    random = np.random.default_rng(7)
    made = [made_up(random, noise=0.1, fade=320) for _ in range(18)]
    sounds = SoundModel.learn([spoken for _, spoken, _ in made[:10]], tokens=7)
    starts, ends = [], []
    for _, spoken, true_U2 in made[10:]:
        gap_U = np.flatnonzero(true_U2[1:, 0] > true_U2[:-1, 1])
        error_U2 = sounds.times(spoken) - true_U2
        starts.append(error_U2[gap_U + 1, 0])
        ends.append(error_U2[gap_U, 1])
    for error in map(np.concatenate, (starts, ends)):
        assert len(error) > 15
        assert abs(error.mean()) < 0.005
        assert np.abs(error).mean() < 0.008


@pytest.mark.parametrize(("seconds", "is_a_pause"), [(0.1, False), (0.8, True)])
def test_within_a_word_only_a_long_silence_is_a_pause(learned, seconds, is_a_pause):
    time_S = np.arange(2400) / RATE
    tones = [np.sin(2 * np.pi * hertz * time_S) for hertz in (300, 1200)]
    rest, edge = np.zeros(int(seconds * RATE)), np.zeros(4000)
    wave_S = np.concatenate((edge, tones[0], rest, tones[1], edge))
    wave_S = wave_S + 0.003 * np.random.default_rng(8).standard_normal(len(wave_S))
    true_U2 = np.array([[0.25, 0.4], [0.4 + seconds, 0.55 + seconds]])
    spans_U2 = true_U2 + np.array([0.06, -0.06])
    ids_U = np.array([1, 3])
    anywhere = learned.times(Spoken(cepstra(wave_S), ids_U, spans_U2))
    np.testing.assert_allclose(anywhere, true_U2, atol=0.02)
    one_word = Spoken(cepstra(wave_S), ids_U, spans_U2, np.array([True, False]))
    times_U2 = learned.times(one_word)
    assert (times_U2[1, 0] > times_U2[0, 1]) == is_a_pause
    np.testing.assert_allclose(times_U2[[0, 1], [0, 1]], true_U2[[0, 1], [0, 1]], atol=0.02)


def test_the_level_of_a_recording_does_not_move_a_boundary(learned):
    wave_S, spoken, _ = made_up(np.random.default_rng(3))
    quiet = Spoken(cepstra(0.01 * wave_S), spoken.ids_U, spoken.spans_U2)
    np.testing.assert_allclose(learned.times(quiet), learned.times(spoken), atol=STEP)


def test_a_click_is_in_the_step_of_its_time():
    wave_S = np.zeros(RATE)
    wave_S[[4000, 12_080]] = 1.0
    energy_N = cepstra(wave_S)[:, 0]
    assert len(energy_N) == 100
    for sample in (4000, 12_080):
        near = energy_N[sample // 160 - 10 : sample // 160 + 11]
        heard = np.flatnonzero(near > energy_N.min() + 1) + sample // 160 - 10
        assert abs((heard.mean() + 0.5) * STEP - sample / RATE) <= STEP / 2


def test_times_are_in_order_and_inside_even_where_sounds_are_too_short(learned):
    wave_S = np.random.default_rng(4).standard_normal(8000)
    spans_U2 = np.stack((np.linspace(0, 0.48, 40), np.linspace(0.01, 0.49, 40)), 1)
    spoken = Spoken(cepstra(wave_S), np.resize([1, 2, 3, 6], 40), spans_U2)
    times = learned.times(spoken).ravel()
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] <= 0.5


def test_no_token_has_no_times(learned):
    none = Spoken(cepstra(np.zeros(1600)), np.zeros(0, int), np.zeros((0, 2)))
    assert learned.times(none).shape == (0, 2)


def test_a_model_comes_back_from_its_file(learned, tmp_path):
    learned.save(tmp_path / "times.safetensors")
    _, spoken, _ = made_up(np.random.default_rng(5))
    again = SoundModel.load(tmp_path / "times.safetensors")
    np.testing.assert_array_equal(again.times(spoken), learned.times(spoken))
    (tmp_path / "times.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not a sound model"):
        SoundModel.load(tmp_path / "times.safetensors")


def test_several_recordings_are_divided_as_each_alone():
    random = np.random.default_rng(6)
    scores = [random.standard_normal((n, 4 * u + 1)) for n, u in ((30, 5), (12, 3), (50, 2))]
    together = best_paths(scores, states=3)
    for score_NX, path_N in zip(scores, together, strict=True):
        (alone,) = best_paths([score_NX], states=3)
        np.testing.assert_array_equal(path_N, alone)
        visited = path_N[np.diff(path_N, prepend=-1) != 0]
        tokens = np.flatnonzero(np.arange(score_NX.shape[1]) % 4)
        assert [s for s in visited if s % 4] == tokens.tolist()
