"""The CTC head: padding that can only be read as blank, and where it starts."""

from __future__ import annotations

import pytest
import torch
from speechx.models.ctc import BLANK, CTC

from tests.conftest import small_convolutional, small_filterbank

ENCODERS = {
    "group": lambda: small_convolutional("group"),
    "layer": lambda: small_convolutional("layer"),
    "filterbank": small_filterbank,
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_padded_frames_are_minus_infinity_with_the_blank_at_zero(kind):
    torch.manual_seed(0)
    model = CTC(ENCODERS[kind](), 5).eval()
    lengths_B = torch.tensor([6000, 2500, 3])
    emissions = model(torch.randn(3, 6000), lengths_B)
    expected = [model.trunk.config.encoder.frames(int(n)) for n in lengths_B]
    assert emissions.frames_B.tolist() == expected
    for logits_TV, frames in zip(emissions.logits_BTV, expected, strict=True):
        assert logits_TV[:frames].isfinite().all()
        assert (logits_TV[frames:, BLANK] == 0).all()
        assert (logits_TV[frames:, 1:] == -torch.inf).all()
        assert (logits_TV[frames:].softmax(1)[:, BLANK] == 1).all()


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_padded_batch_says_what_each_row_says_alone(kind):
    torch.manual_seed(0)
    model = CTC(ENCODERS[kind](), 5).eval()
    wave_BS = torch.randn(2, 9000)
    with torch.no_grad():
        both = model(wave_BS, torch.tensor([9000, 3700]))
        alone = model(wave_BS[1:, :3700], torch.tensor([3700]))
    frames = int(alone.frames_B)
    torch.testing.assert_close(both.logits_BTV[1, :frames], alone.logits_BTV[0], atol=1e-4, rtol=0)


def test_it_starts_near_the_constant_predictor_that_says_blank():
    """Against the basin without blanks: the blank has 3/4, all units together 1/4."""
    torch.manual_seed(0)
    outputs = 40
    model = CTC(small_filterbank(), outputs).eval()
    with torch.no_grad():
        emissions = model(torch.randn(1, 16_000), torch.tensor([16_000]))
    probabilities_TV = emissions.logits_BTV[0].softmax(1)
    assert (probabilities_TV[:, BLANK] - 0.75).abs().max() < 0.05
    assert (probabilities_TV[:, 1:] * (outputs - 1)).mean() == pytest.approx(0.25, abs=0.05)
    assert emissions.logits_BTV[0, :, 1:].abs().max() < 0.5


def test_gradient_is_finite_with_padding_inside():
    torch.manual_seed(0)
    model = CTC(small_convolutional("group"), 5)
    emissions = model(torch.randn(2, 6000), torch.tensor([6000, 700]))
    emissions.logits_BTV.log_softmax(2)[..., BLANK].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
