"""The CTC loss: equal to counting all paths, deaf to padding, honest about the impossible."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch

from speechx.models.ctc import Emissions
from speechx.objectives.ctc import ctc_loss


def collapse(path):
    """A path as CTC reads it: repeats once, blanks dropped."""
    return tuple(unit for unit, _ in itertools.groupby(path) if unit != 0)


def brute_force(logits_TV, target):
    """-log of the sum over all paths that spell `target`."""
    probabilities_TV = logits_TV.double().softmax(1)
    frames, outputs = logits_TV.shape
    total = sum(
        math.prod(float(probabilities_TV[t, v]) for t, v in enumerate(path))
        for path in itertools.product(range(outputs), repeat=frames)
        if collapse(path) == tuple(target)
    )
    return -math.log(total) if total else math.inf


def emissions(logits_BTV, frames):
    return Emissions(logits_BTV, torch.tensor(frames))


TARGETS = [(1,), (2, 1), (1, 2, 3), (1, 1), (3, 3), (2, 3, 2)]


@pytest.mark.parametrize("target", TARGETS)
def test_equals_brute_force_on_three_frames(target):
    torch.manual_seed(0)
    logits_TV = 2 * torch.randn(3, 4)
    ours = ctc_loss(
        emissions(logits_TV[None], [3]), torch.tensor([target]), torch.tensor([len(target)])
    )
    assert ours.loss.item() == pytest.approx(brute_force(logits_TV, target), rel=1e-5)
    assert int(ours.infeasible) == 0


def test_a_batch_is_the_sum_of_its_sentences_and_padding_is_free():
    torch.manual_seed(0)
    rows = [2 * torch.randn(frames, 4) for frames in (3, 1, 4)]
    targets = [(1, 1), (3,), (2, 3)]
    logits_BTV = torch.full((3, 6, 4), -torch.inf)
    logits_BTV[:, :, 0] = 0
    padded_BU = torch.zeros(3, 2, dtype=torch.long)
    for row, (logits_TV, target) in enumerate(zip(rows, targets, strict=True)):
        logits_BTV[row, : len(logits_TV)] = logits_TV
        padded_BU[row, : len(target)] = torch.tensor(target)
    logits_BTV.requires_grad_()
    ours = ctc_loss(emissions(logits_BTV, [3, 1, 4]), padded_BU, torch.tensor([2, 1, 2]))
    expected = sum(brute_force(x, y) for x, y in zip(rows, targets, strict=True))
    assert ours.loss.item() == pytest.approx(expected, rel=1e-5)
    ours.loss.backward()
    assert (logits_BTV.grad[1, :1] != 0).any()
    assert not logits_BTV.grad[1, 1:].nan_to_num(0).any()


@pytest.mark.parametrize(
    ("target", "frames"), [((1, 2), 1), ((1, 1), 2), ((1, 1, 1), 4), ((1,), 0)]
)
def test_what_no_path_can_spell_counts_0_and_is_counted(target, frames):
    torch.manual_seed(0)
    logits_BTV = torch.randn(2, 5, 3, requires_grad=True)
    targets_BU = torch.zeros(2, 3, dtype=torch.long)
    targets_BU[0, : len(target)] = torch.tensor(target)
    targets_BU[1, 0] = 2
    ours = ctc_loss(emissions(logits_BTV, [frames, 5]), targets_BU, torch.tensor([len(target), 1]))
    assert int(ours.infeasible) == 1
    expected = brute_force(logits_BTV[1].detach(), (2,))
    assert ours.loss.item() == pytest.approx(expected, rel=1e-5)
    ours.loss.backward()
    assert (logits_BTV.grad[0] == 0).all()
    assert logits_BTV.grad.isfinite().all()


def test_padding_of_the_targets_is_no_repeat():
    """Zeros behind a short target are equal neighbours, but need no frames."""
    logits_BTV = torch.randn(1, 2, 3)
    ours = ctc_loss(emissions(logits_BTV, [2]), torch.tensor([[1, 2, 0, 0]]), torch.tensor([2]))
    assert int(ours.infeasible) == 0


def test_it_is_computed_in_float32_and_without_warnings():
    torch.manual_seed(0)
    logits_BTV = torch.randn(1, 4, 3)
    arguments = (torch.tensor([[1, 2]]), torch.tensor([2]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = ctc_loss(emissions(logits_BTV, [4]), *arguments).loss
        with torch.autocast("cpu", torch.bfloat16):
            half = ctc_loss(emissions(logits_BTV, [4]), *arguments).loss
    assert full.dtype == half.dtype == torch.float32
    assert torch.equal(full, half)
