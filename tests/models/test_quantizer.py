"""The product quantizer: one-hot forward, soft backward, perplexity, temperature."""

from __future__ import annotations

import math

import pytest
import torch

from speechx.models.quantizer import (
    GumbelTemperature,
    ProductQuantizer,
    QuantizerConfig,
    perplexity,
)


def quantizer(channels=5, **sizes):
    torch.manual_seed(0)
    sizes = {"num_groups": 2, "num_entries": 6, "dim": 8, **sizes}
    return ProductQuantizer(channels, QuantizerConfig(**sizes))


def entries_of(model, codes_BMG):
    """The codebook entries of the codes, side by side."""
    picked = [model.codebook[g][codes_BMG[..., g]] for g in range(codes_BMG.shape[-1])]
    return torch.cat(picked, -1)


@pytest.mark.parametrize("temperature", [None, 2.0, 0.1])
def test_a_target_is_exactly_one_entry_of_every_codebook(temperature):
    model = quantizer()
    quantized = model(torch.randn(3, 40, 5), temperature)
    assert quantized.vectors_BMQ.shape == (3, 40, 8)
    assert quantized.codes_BMG.shape == (3, 40, 2)
    expected = entries_of(model, quantized.codes_BMG)
    torch.testing.assert_close(quantized.vectors_BMQ, expected, atol=1e-6, rtol=0)


def test_gradients_reach_logits_and_codebook_in_training():
    model = quantizer()
    features = torch.randn(3, 40, 5, requires_grad=True)
    model(features, 1.0).vectors_BMQ.square().sum().backward()
    for gradient in (model.weight_proj.weight.grad, model.codebook.grad, features.grad):
        assert gradient.abs().max() > 1e-3
    used = model(features, None).codes_BMG
    assert len(used.unique()) > 1


def test_only_picked_entries_learn_in_evaluation_mode():
    model = quantizer()
    quantized = model(torch.randn(3, 4, 5), None)
    quantized.vectors_BMQ.sum().backward()
    assert model.weight_proj.weight.grad is None
    touched = (model.codebook.grad.abs().sum(2) > 0).sum(1).tolist()
    assert touched == [len(quantized.codes_BMG[..., g].unique()) for g in (0, 1)]


def test_evaluation_is_deterministic_and_training_is_not():
    model, features = quantizer(), torch.randn(2, 50, 5)
    first, second = model(features, None), model(features, None)
    assert torch.equal(first.vectors_BMQ, second.vectors_BMQ)
    logits = model.weight_proj(features).unflatten(2, (2, 6))
    assert torch.equal(first.codes_BMG, logits.argmax(3))
    noisy = [model(features, 2.0).codes_BMG for _ in range(2)]
    assert not torch.equal(*noisy)
    torch.manual_seed(5)
    one = model(features, 2.0).codes_BMG
    torch.manual_seed(5)
    assert torch.equal(one, model(features, 2.0).codes_BMG)


def test_samples_follow_the_softmax_whatever_the_temperature():
    """Gumbel-max: the temperature sharpens the gradient, not the distribution of the pick."""
    model = quantizer(num_groups=1, num_entries=3, dim=4, channels=3)
    with torch.no_grad():
        model.weight_proj.weight.zero_()
        model.weight_proj.bias.copy_(torch.tensor([0.6, 0.3, 0.1]).log())
    for temperature in (2.0, 0.1):
        codes = model(torch.zeros(1, 20_000, 3), temperature).codes_BMG.flatten()
        shares = torch.bincount(codes, minlength=3) / 20_000
        torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.1]), atol=0.015, rtol=0)


def test_perplexity_is_640_for_uniform_use_and_2_for_a_collapse():
    uniform = torch.full((2, 320), 1 / 320)
    assert float(perplexity(uniform)) == pytest.approx(640, abs=0.05)
    one = torch.zeros(2, 320)
    one[:, 7] = 1
    assert float(perplexity(one)) == pytest.approx(2, abs=1e-4)
    half = torch.zeros(2, 320)
    half[:, :160] = 1 / 160
    assert float(perplexity(half)) == pytest.approx(320, abs=0.05)


def test_perplexities_of_the_model():
    """`code` counts the picks; `soft` averages the plain softmax, without noise and temperature."""
    model = quantizer(num_entries=4, channels=4, dim=4)
    with torch.no_grad():
        model.weight_proj.weight.copy_(50 * torch.eye(4).repeat(2, 1))  # feature i picks code i
        model.weight_proj.bias.zero_()
        every = torch.eye(4)[None]
        assert float(model(every, None).code_perplexity) == pytest.approx(8, abs=1e-3)
        assert float(model(every, None).soft_perplexity) == pytest.approx(8, abs=1e-3)
        same = torch.eye(4)[None, [2, 2, 2]]
        assert float(model(same, None).code_perplexity) == pytest.approx(2, abs=1e-3)
        model.weight_proj.weight.zero_()
        assert float(model(same, None).soft_perplexity) == pytest.approx(8, abs=1e-3)
        assert float(model(same, None).code_perplexity) == pytest.approx(2, abs=1e-3)
        soft = [float(model(same, t).soft_perplexity) for t in (0.1, 2.0)]
        assert soft[0] == soft[1]


def test_temperature_of_base_and_large():
    base, large = GumbelTemperature(), GumbelTemperature(floor=0.1)
    assert base(0) == 2.0
    assert base(250_000) == pytest.approx(2 * 0.999995**250_000)
    assert base(250_000) == pytest.approx(0.573, abs=5e-4)
    for temperature, reached in ((base, 277_258.18), (large, 599_144.96)):
        assert temperature(math.floor(reached)) > temperature.floor
        assert temperature(math.ceil(reached)) == temperature.floor
    assert large(400_000) < 0.5


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="multiple of num_groups"):
        QuantizerConfig(num_groups=3, dim=256)
    with pytest.raises(ValueError, match="start >= floor"):
        GumbelTemperature(start=0.1, floor=0.5)


def test_perplexity_is_computed_in_float32_under_autocast():
    """A bfloat16 average over 320 entries would lose codes."""
    model, features = quantizer(), torch.randn(2, 30, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = model(features, None)
    outside = model(features, None)
    assert inside.soft_perplexity.dtype == torch.float32
    assert torch.equal(inside.soft_perplexity, outside.soft_perplexity)
    assert torch.equal(inside.codes_BMG, outside.codes_BMG)
