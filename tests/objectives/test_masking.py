"""Span masks: how much is masked, and what never is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from speechx.objectives.masking import Masking, span_mask


def runs(mask_T):
    """Lengths of the runs of masked frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask_T.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize(
    ("probability", "share", "run"),
    [
        (0.65, 0.49, 14.8), (0.75, 0.54, 15.8), (0.5, 0.40, 13.4), (0.3, 0.26, None),
        (0.075, 0.07, None),
    ],
)  # fmt: skip
def test_masked_share_and_mean_run_of_15_6_seconds(probability, share, run):
    """T = 781, span 10: `probability` is not the share that is masked."""
    random = np.random.default_rng(0)
    masks_BT = span_mask([781] * 400, 781, Masking(probability=probability, span=10), random)
    assert masks_BT.mean() == pytest.approx(share, abs=0.01)
    if run is not None:
        lengths = np.concatenate([runs(mask_T) for mask_T in masks_BT])
        assert lengths.mean() == pytest.approx(run, abs=0.25)


def test_every_span_is_whole():
    random = np.random.default_rng(0)
    masks_BT = span_mask([300] * 50, 300, Masking(probability=0.3, span=10), random)
    assert min(runs(mask_T).min() for mask_T in masks_BT) == 10


@pytest.mark.parametrize("length", [25, 40, 60])
def test_at_least_two_spans_on_short_rows(length):
    """0.1 * length / 10 rounds to none or one span; `min_spans` makes it two different starts."""
    random = np.random.default_rng(0)
    masking = Masking(probability=0.1, span=10)
    masks_BT = span_mask([length] * 200, length, masking, random)
    masked = masks_BT.sum(1)
    assert masked.min() >= 11
    assert masked.max() == 20
    none = replace(masking, min_spans=0)
    assert span_mask([length] * 200, length, none, random).sum(1).min() == 0


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.65, 1.0])
@pytest.mark.parametrize("span", [1, 3, 10])
def test_something_always_stays_visible(probability, span):
    random = np.random.default_rng(0)
    lengths = [1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 20, 21, 30, 64, 200] * 20
    masks_BT = span_mask(lengths, max(lengths), Masking(probability=probability, span=span), random)
    for mask_T, length in zip(masks_BT, lengths, strict=True):
        assert mask_T.sum() < length
        assert not mask_T[length:].any()
        assert mask_T.sum() >= min(2, length - 1)


def test_equal_counts_in_a_batch():
    random = np.random.default_rng(0)
    for _ in range(20):
        masks_BT = span_mask([150] * 6, 150, Masking(), random, same_count=True)
        assert len(set(masks_BT.sum(1).tolist())) == 1
        assert masks_BT.sum(1)[0] > 0.25 * 150
    uneven_BT = span_mask([30, 150], 150, Masking(), random, same_count=True)
    assert uneven_BT.sum(1)[0] == uneven_BT.sum(1)[1]
    assert not uneven_BT[0, 30:].any()


def test_a_row_without_frames_masks_nothing():
    masks_BT = span_mask([0, 50], 50, Masking(), np.random.default_rng(0))
    assert masks_BT.sum(1)[0] == 0
    assert masks_BT.sum(1)[1] > 0


def test_the_generator_decides():
    def draw(seed):
        return span_mask([100] * 4, 100, Masking(), np.random.default_rng(seed))

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))
    rows = draw(1)
    assert not np.array_equal(rows[0], rows[1])


@pytest.mark.parametrize("change", [{"probability": 1.5}, {"probability": -0.1}, {"span": 0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match="probability"):
        Masking(**change)
