"""Negatives: masked frames of the same row, never a frame's own."""

from __future__ import annotations

import numpy as np
import pytest

from speechx.objectives.negatives import sample_negatives


def test_they_are_never_the_frame_itself_and_cover_the_row_evenly():
    drawn_BMK = sample_negatives(3, 20, 2000, np.random.default_rng(0))
    assert drawn_BMK.shape == (3, 20, 2000)
    assert drawn_BMK.min() == 0
    assert drawn_BMK.max() == 19  # an index into the masked frames of the row, and of no other row
    for row_MK in drawn_BMK:
        for own, some_K in enumerate(row_MK):
            counts = np.bincount(some_K, minlength=20)
            assert counts[own] == 0
            others = np.delete(counts, own)
            assert others.min() > 60  # 105 expected of each
            assert others.max() < 160


def test_negatives_of_two_frames_and_of_one():
    drawn_BMK = sample_negatives(1, 2, 5, np.random.default_rng(0))
    assert drawn_BMK.tolist() == [[[1] * 5, [0] * 5]]
    with pytest.raises(ValueError, match="at least 2 masked frames"):
        sample_negatives(1, 1, 5, np.random.default_rng(0))


def test_the_generator_decides():
    def draw(seed):
        return sample_negatives(2, 9, 4, np.random.default_rng(seed))

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))
    assert not np.array_equal(draw(1)[0], draw(1)[1])
