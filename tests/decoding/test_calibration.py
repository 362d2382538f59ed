"""Calibration: after it, of the words with some probability that share is right."""

from __future__ import annotations

import numpy as np
import pytest

from speechx.decoding.calibration import (
    calibrated,
    fit_temperature,
    reliability,
    right_tokens,
    word_probability,
)


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model that this temperature calibrates, and what is right."""
    random = np.random.default_rng(0)
    probability_N = random.beta(4, 1, count)
    return probability_N, random.random(count) < probability_N**temperature


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_that_made_the_truths_is_found(temperature):
    p_N, right_N = drawn(temperature)
    found = fit_temperature(p_N, right_N)
    assert found == pytest.approx(temperature, rel=0.04)
    assert reliability("words", p_N, right_N, found).expected_calibration_error < 0.015


def test_no_other_temperature_has_less_log_loss():
    p_N, right_N = drawn(1.7, 2000)
    found = fit_temperature(p_N, right_N)

    def loss(temperature):
        q_N = p_N**temperature
        return np.log(temperature) ** 2 / 2 - np.log(np.where(right_N, q_N, 1 - q_N)).sum()

    grid = np.exp(np.linspace(np.log(0.06), np.log(18), 3000))
    assert loss(found) <= min(map(loss, grid)) + 1e-3


def test_few_words_move_it_little_and_extremes_stay_finite():
    assert fit_temperature(np.zeros(0), np.zeros(0, bool)) == pytest.approx(1.0, abs=1e-3)
    for p, right in ((0.9, False), (0.9, True), (1.0, False), (0.0, True), (1.0, True)):
        assert 0.1 < fit_temperature(np.array([p]), np.array([right])) < 10
    sure_N = np.ones(1000)
    assert np.isfinite(fit_temperature(sure_N, np.zeros(1000, bool)))
    assert 0.05 <= fit_temperature(np.full(1000, 0.5), np.ones(1000, bool)) < 0.2


def test_probabilities_stay_probabilities_in_their_order():
    values = [0.0, 0.2, 0.5, 0.9, 1.0]
    for temperature in (0.1, 1.0, 7.0):
        new = [calibrated(p, temperature) for p in values]
        assert new == sorted(new)
        assert (new[0], new[-1]) == (0.0, 1.0)
    assert calibrated(0.37, 1.0) == 0.37
    assert word_probability([0.5, 0.5]) == 0.25


def test_the_table_counts_every_word():
    p_N = np.array([0.05, 0.95, 0.97, 1.0, 0.5])
    right_N = np.array([False, True, True, False, True])
    found = reliability("words", p_N, right_N)
    assert sum(b.count for b in found.bins) == found.count == 5
    assert [b.count for b in found.bins] == [1, 1, 3]
    expected = (0.05 + 0.5 + abs(0.95 + 0.97 + 1.0 - 2)) / 5
    assert found.expected_calibration_error == pytest.approx(expected)
    assert "0.9 - 1.0" in found.table()
    nothing = reliability("words", np.zeros(0), np.zeros(0, bool))
    assert nothing.count == 0
    assert "no words" in nothing.table()


def test_right_tokens_are_the_equal_ones_of_the_alignment():
    references = [["a", "b", "c"], [], ["a"]]
    hypotheses = [["x", "a", "c"], ["a"], []]
    found = [each.tolist() for each in right_tokens(references, hypotheses)]
    assert found == [[False, True, True], [False], []]
