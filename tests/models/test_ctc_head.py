"""The CTC head: padding that can only be read as blank, and where it starts."""

from __future__ import annotations

import pytest
import torch

from speechx.text.vocabulary import BLANK
from tests.conftest import small_convolutional, small_filterbank
from tests.models.reference_models import ctc_model

ENCODERS = {
    "group": lambda: small_convolutional("group"),
    "layer": lambda: small_convolutional("layer"),
    "filterbank": small_filterbank,
}


def logits(model, wave_BS, lengths_B):
    return model.objectives["ctc"].logits(model.encoder(wave_BS, lengths_B))


@pytest.mark.parametrize("kind", ENCODERS)
def test_padded_frames_are_minus_infinity_with_the_blank_at_zero(kind):
    torch.manual_seed(0)
    model = ctc_model(ENCODERS[kind](), 5).eval()
    lengths_B = torch.tensor([6000, 2500, 3])
    logits_BTV, frames_B = logits(model, torch.randn(3, 6000), lengths_B)
    expected = [model.encoder.config.features.frames(int(n)) for n in lengths_B]
    assert frames_B.tolist() == expected
    for logits_TV, frames in zip(logits_BTV, expected, strict=True):
        assert logits_TV[:frames].isfinite().all()
        assert (logits_TV[frames:, BLANK] == 0).all()
        assert (logits_TV[frames:, 1:] == -torch.inf).all()
        assert (logits_TV[frames:].softmax(1)[:, BLANK] == 1).all()


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_row_in_a_padded_batch_gives_the_same_as_alone(kind):
    torch.manual_seed(0)
    model = ctc_model(ENCODERS[kind](), 5).eval()
    wave_BS = torch.randn(2, 9000)
    with torch.no_grad():
        both_BTV, _ = logits(model, wave_BS, torch.tensor([9000, 3700]))
        alone_BTV, frames_B = logits(model, wave_BS[1:, :3700], torch.tensor([3700]))
    frames = int(frames_B)
    torch.testing.assert_close(both_BTV[1, :frames], alone_BTV[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ENCODERS)
def test_log_probabilities_are_the_softmax_of_the_logits(kind):
    torch.manual_seed(0)
    model = ctc_model(ENCODERS[kind](), 5).eval()
    given = (torch.randn(2, 9000), torch.tensor([9000, 3700]))
    with torch.no_grad():
        read_BTV, frames_B = model.objectives["ctc"].log_probabilities(model.encoder, *given)
        logits_BTV, _ = logits(model, *given)
    assert torch.equal(read_BTV, logits_BTV.log_softmax(2))
    assert frames_B.tolist() == [model.encoder.config.features.frames(n) for n in (9000, 3700)]


def test_it_starts_near_the_constant_predictor_of_blanks():
    """Against the basin without blanks: the blank has 3/4, all tokens together 1/4."""
    torch.manual_seed(0)
    outputs = 40
    model = ctc_model(small_filterbank(), outputs).eval()
    with torch.no_grad():
        logits_BTV, _ = logits(model, torch.randn(1, 16_000), torch.tensor([16_000]))
    probabilities_TV = logits_BTV[0].softmax(1)
    assert (probabilities_TV[:, BLANK] - 0.75).abs().max() < 0.05
    assert (probabilities_TV[:, 1:] * (outputs - 1)).mean() == pytest.approx(0.25, abs=0.05)
    assert logits_BTV[0, :, 1:].abs().max() < 0.5


def test_gradient_is_finite_with_padding_inside():
    torch.manual_seed(0)
    model = ctc_model(small_convolutional("group"), 5)
    logits_BTV, _ = logits(model, torch.randn(2, 6000), torch.tensor([6000, 700]))
    logits_BTV.log_softmax(2)[..., BLANK].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
