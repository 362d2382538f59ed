"""Learning rates as functions of the step, and which parameters decay."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from speechx.objectives.ctc import CTCConfig
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import Vocabulary
from speechx.training.optim import Optim, build_optimizer, learning_rate, set_lr
from tests.conftest import small_filterbank

STEPS = 1000


@pytest.mark.parametrize(
    ("share", "value"),
    [
        (0.0, 0.01), (0.05, 0.505), (0.10, 1.0), (0.30, 1.0), (0.50, 1.0), (0.75, 0.05**0.5),
        (1.0, 0.05),
    ],
)  # fmt: skip
def test_tri_stage(share, value):
    """Up from 1 % over a tenth, held to the half, exponentially down to 5 %."""
    optim = Optim(lr=3e-4, schedule="tri_stage", warmup_ratio=0.1, hold_ratio=0.4)
    rate = learning_rate(round(share * STEPS), STEPS, optim)
    assert rate == pytest.approx(3e-4 * value, rel=1e-9)


def test_tri_stage_never_jumps():
    optim = Optim(lr=1.0, schedule="tri_stage", warmup_ratio=0.1, hold_ratio=0.4)
    rates = [learning_rate(step, STEPS, optim) for step in range(STEPS + 1)]
    assert max(abs(b - a) for a, b in pairwise(rates)) < 0.0100001
    assert max(rates) == 1.0
    assert rates[500:] == sorted(rates[500:], reverse=True)
    ratios = [b / a for a, b in pairwise(rates[501:])]
    assert max(ratios) - min(ratios) < 1e-12


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 0.0), (0.04, 0.5), (0.08, 1.0), (0.54, 0.5), (1.0, 0.0)]
)
def test_polynomial(share, value):
    rate = learning_rate(round(share * STEPS), STEPS, Optim(lr=5e-4, warmup_ratio=0.08))
    assert rate == pytest.approx(5e-4 * value, abs=1e-12)


@pytest.mark.parametrize("schedule", ["polynomial", "tri_stage"])
@pytest.mark.parametrize(("warmup", "hold"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.1, 0.4)])
@pytest.mark.parametrize("steps", [1, 2, 3, 17])
def test_short_runs_have_sane_rates(schedule, warmup, hold, steps):
    optim = Optim(lr=1.0, schedule=schedule, warmup_ratio=warmup, hold_ratio=hold)
    rates = [learning_rate(step, steps, optim) for step in range(steps + 1)]
    assert all(math.isfinite(rate) and 0 <= rate <= 1 for rate in rates)


def groups_of(optim):
    vocabulary = Vocabulary("phonemes", ("a", "b"))
    model = SpeechModel(small_filterbank(), {"x": CTCConfig(tokens="phonemes")}, {"x": vocabulary})
    optimizer = build_optimizer(model, ["objectives.x."], optim)
    names = {id(p): name for name, p in model.named_parameters()}
    return (
        model,
        optimizer,
        [([names[id(p)] for p in group["params"]], group) for group in optimizer.param_groups],
    )


def test_every_parameter_is_in_one_group_and_vectors_do_not_decay():
    model, _, groups = groups_of(Optim(weight_decay=0.03))
    every = [name for names, _ in groups for name in names]
    assert sorted(every) == sorted(name for name, _ in model.named_parameters())
    sizes = dict(model.named_parameters())
    matrices, vectors, head = groups
    assert all(sizes[name].ndim > 1 for name in matrices[0])
    assert all(max(sizes[name].shape) == sizes[name].numel() for name in vectors[0])
    assert head[0] == ["objectives.x.head.weight", "objectives.x.head.bias"]
    assert [group["weight_decay"] for _, group in groups] == [0.03, 0.0, 0.03]


def test_the_head_has_its_own_learning_rate():
    _, optimizer, _ = groups_of(Optim(lr=1e-4, head_lr_scale=10))
    set_lr(optimizer, 2e-4)
    assert [g["lr"] for g in optimizer.param_groups] == [2e-4, 2e-4, pytest.approx(2e-3)]


def test_a_parameter_without_gradient_does_not_move_and_does_not_decay():
    model, optimizer, _ = groups_of(Optim(lr=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.grad = torch.ones_like(parameter) if name.startswith("objectives.") else None
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != name.startswith("objectives."), name


def test_moments_made_ahead_give_the_updates_of_plain_adamw():
    """Moments exist before the first step, so that a saved state has every key."""
    torch.manual_seed(0)
    ours, plain = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    plain.load_state_dict(ours.state_dict())
    optim = Optim(lr=0.01, weight_decay=0.0)
    one = build_optimizer(ours, [], optim)
    other = torch.optim.AdamW(
        plain.parameters(), lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0
    )
    for _ in range(3):
        x = torch.randn(5, 3)
        for model, optimizer in ((ours, one), (plain, other)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
