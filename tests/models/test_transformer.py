"""The context network: its positional convolution, its padding, its dropped layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechx.models.context.transformer import (
    PositionalConvolution,
    Transformer,
    TransformerConfig,
)


def small(norm="pre", **changes):
    settings = {
        "num_layers": 3, "embed_dim": 16, "ffn_dim": 24, "num_heads": 2, "position_kernel": 8,
        "position_groups": 4, "dropout": 0.0, "attention_dropout": 0.0, "layer_drop": 0.0,
    }  # fmt: skip
    return TransformerConfig(norm=norm, **{**settings, **changes})


@pytest.mark.parametrize("kernel", [7, 8, 1, 2])
def test_positional_convolution_is_a_weight_normalised_conv_that_keeps_the_length(kernel):
    torch.manual_seed(0)
    ours = PositionalConvolution(small(position_kernel=kernel))
    conv = nn.Conv1d(16, 16, kernel, padding=kernel // 2, groups=4)
    conv = nn.utils.parametrizations.weight_norm(conv, dim=2)
    with torch.no_grad():
        # At the start weight_g of a tap is the norm of weight_v: the weight is weight_v.
        assert torch.equal(ours.weight_g, ours.weight_v.norm(dim=(0, 1), keepdim=True))
        ours.weight_g.mul_(1 + torch.rand_like(ours.weight_g))
        ours.bias.normal_()
        conv.parametrizations.weight.original0.copy_(ours.weight_g)
        conv.parametrizations.weight.original1.copy_(ours.weight_v)
        conv.bias.copy_(ours.bias)
        x_BTD = torch.randn(2, 30, 16)
        theirs = nn.functional.gelu(conv(x_BTD.transpose(1, 2))[:, :, :30]).transpose(1, 2)
        assert ours(x_BTD).shape == x_BTD.shape
        torch.testing.assert_close(ours(x_BTD), theirs, atol=5e-6, rtol=0)


def test_positional_convolution_starts_with_the_scale_of_the_paper():
    torch.manual_seed(0)
    config = TransformerConfig()
    position = PositionalConvolution(config)
    assert position.weight_v.shape == (768, 48, 128)
    assert abs(float(position.weight_v.detach().std()) - (4 / (128 * 768)) ** 0.5) < 1e-5
    assert position.weight_g.shape == (1, 1, 128)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_padding_changes_nothing(norm):
    torch.manual_seed(0)
    model = Transformer(small(norm)).eval()
    x_BTD = torch.randn(2, 40, 16)
    with torch.no_grad():
        both, _ = model(x_BTD, torch.tensor([40, 11]))
        alone, _ = model(x_BTD[1:, :11])
    torch.testing.assert_close(both[1, :11], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_hidden_states_and_the_position_of_the_norm(norm):
    torch.manual_seed(0)
    model = Transformer(small(norm)).eval()
    with torch.no_grad():
        context_BTD, hidden = model(torch.randn(1, 20, 16))
    assert len(hidden) == 4
    expected = model.norm(hidden[-1]) if norm == "pre" else hidden[-1]
    assert torch.equal(context_BTD, expected)
    first_is_normed = hidden[0].mean(2).abs().max() < 1e-5
    assert first_is_normed == (norm == "post")


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_dropped_layer_is_skipped_and_has_gradient_zero_not_none(norm):
    torch.manual_seed(0)
    model = Transformer(small(norm))
    x_BTD = torch.randn(1, 20, 16)
    dropped_BTD, hidden = model(x_BTD, layer_keep_L=[True, False, True])
    assert torch.equal(hidden[2], hidden[1])
    assert not torch.equal(hidden[3], hidden[2])
    dropped_BTD.square().sum().backward()
    for parameter in model.layers[1].parameters():
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))
    assert all(p.grad is not None for p in model.parameters())
    del model.layers[1]
    assert torch.equal(model(x_BTD)[0], dropped_BTD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"position_groups": 5}, "multiple of position_groups"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"layer_drop": -0.1}, "layer_drop must be"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)
