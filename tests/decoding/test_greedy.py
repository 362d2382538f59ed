"""Greedy decoding: repeats collapsed, blanks dropped, times and probabilities kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from speechx.decoding.greedy import Emission, greedy


def log_probabilities(path, best=0.7, outputs=4):
    """Frames whose best outputs are `path`, each with probability `best`."""
    probabilities_TV = np.full((len(path), outputs), (1 - best) / (outputs - 1))
    for frame, unit in enumerate(path):
        probabilities_TV[frame, unit] = best
    return np.log(probabilities_TV)


@pytest.mark.parametrize(
    ("path", "units"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([0, 1, 1, 0, 0, 2], [1, 2]),
        ([1, 1, 1], [1]),
        ([1, 0, 1], [1, 1]),
        ([0, 0, 0], []),
        ([3], [3]),
        ([0], []),
        ([], []),
    ],
)
def test_repeats_and_blanks(path, units):
    assert [e.id for e in greedy(log_probabilities(path))] == units


def test_equals_the_definition_on_all_paths_of_four_frames():
    for path in itertools.product(range(3), repeat=4):
        collapsed = [unit for unit, _ in itertools.groupby(path) if unit != 0]
        assert [e.id for e in greedy(log_probabilities(path, outputs=3))] == collapsed


def test_first_and_last_frame_and_mean_probability():
    table_TV = log_probabilities([0, 2, 2, 0, 1])
    table_TV[2] = np.log([0.05, 0.025, 0.9, 0.025])
    two, one = greedy(table_TV)
    assert two == Emission(2, 1, 2, pytest.approx(0.8))
    assert one == Emission(1, 4, 4, pytest.approx(0.7))
