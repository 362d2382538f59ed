"""The conformer context network: its padding, its batch norm, its positions, its dropped layers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from speechx.models.context.conformer import (
    Conformer,
    ConformerConfig,
    align,
    masked_batch_norm,
    relative_positions,
)
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.models.features.convolutional import ConvolutionalConfig, seven_convolutions
from speechx.models.lengths import frame_mask


def small(**changes):
    settings = {
        "num_layers": 3, "embed_dim": 16, "ffn_dim": 24, "num_heads": 2, "conv_kernel": 5,
        "dropout": 0.0, "attention_dropout": 0.0,
    }  # fmt: skip
    return ConformerConfig(**{**settings, **changes})


def model_of(**changes):
    """A model with larger weights than at the start, so that every part shows in the result."""
    torch.manual_seed(0)
    model = Conformer(small(**changes))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def statistics(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("frames", [11, 1])
def test_padding_changes_nothing(frames):
    model = model_of().eval()
    x_BTD = torch.randn(2, 40, 16)
    with torch.no_grad():
        both, both_hidden = model(x_BTD, torch.tensor([40, frames]))
        alone, alone_hidden = model(x_BTD[1:, :frames])
    for ours, expected in zip((*both_hidden, both), (*alone_hidden, alone), strict=True):
        torch.testing.assert_close(ours[1, :frames], expected[0], atol=1e-5, rtol=0)


def test_in_training_more_padding_changes_no_output_no_gradient_and_no_statistic():
    short = model_of().train()
    long = copy.deepcopy(short)
    frames_B = torch.tensor([20, 7, 0])
    x_BTD = torch.randn(3, 20, 16)
    padded_BTD = nn.functional.pad(x_BTD, (0, 0, 0, 30), value=100.0)
    weight_BTD = torch.randn(3, 20, 16) * frame_mask(frames_B, 20)[:, :, None]
    a, b = short(x_BTD, frames_B)[0], long(padded_BTD, frames_B)[0][:, :20]
    (a * weight_BTD).sum().backward()
    (b * weight_BTD).sum().backward()
    real_BT = frame_mask(frames_B, 20)
    torch.testing.assert_close(a[real_BT], b[real_BT], atol=1e-5, rtol=0)
    torch.testing.assert_close(statistics(short), statistics(long), atol=1e-5, rtol=0)
    gradients = ([p.grad for p in model.parameters()] for model in (short, long))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frames", [[9, 9], [9, 4], [2, 0]])
def test_batch_norm_is_that_of_the_real_frames_in_a_row(frames):
    torch.manual_seed(0)
    ours = nn.BatchNorm1d(6)
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs = copy.deepcopy(ours)
    for mode in (True, True, False):
        ours.train(mode)
        theirs.train(mode)
        real_BT = frame_mask(torch.tensor(frames), 9)
        x_BDT = 3 + torch.randn(2, 6, 9)
        expected_ND = theirs(x_BDT.transpose(1, 2)[real_BT])
        y_BDT = masked_batch_norm(x_BDT, real_BT[:, None], ours)
        torch.testing.assert_close(y_BDT.transpose(1, 2)[real_BT], expected_ND)
        torch.testing.assert_close(statistics(ours), statistics(theirs))


@pytest.mark.parametrize(
    ("frames", "value"), [([0, 0], 1.0), ([1, 0], 1.0), ([3, 3], math.nan), ([3, 3], math.inf)]
)
def test_a_batch_without_usable_statistics_leaves_the_running_ones_alone(frames, value):
    norm = nn.BatchNorm1d(6)
    before = statistics(norm)
    real_BT = frame_mask(torch.tensor(frames), 3)
    y_BDT = masked_batch_norm(torch.full((2, 6, 3), value), real_BT[:, None], norm)
    assert torch.equal(norm.running_mean, before["running_mean"])
    assert torch.equal(norm.running_var, before["running_var"])
    assert y_BDT.isfinite().all() == math.isfinite(value)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frames", [[12, 0], [0, 0], [1, 0]])
def test_empty_rows_give_finite_numbers_and_gradients(frames, training):
    model = model_of().train(training)
    context_BTD, hidden = model(torch.randn(2, 12, 16), torch.tensor(frames))
    context_BTD.square().sum().backward()
    assert all(state.isfinite().all() for state in (*hidden, context_BTD))
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("width", [1, 2, 9])
def test_scores_are_those_of_the_sines_of_the_distance(width):
    """Score of query t and key s against the encoding of t - s, one by one."""
    torch.manual_seed(0)
    query_TD = torch.randn(width, 16, dtype=torch.float64)
    position_PD = relative_positions(width, 16, torch.device("cpu")).double()
    ours = align((query_TD @ position_PD.T)[None, None])[0, 0]
    for t in range(width):
        for s in range(width):
            angles = [(t - s) / 10_000 ** (i / 16) for i in range(0, 16, 2)]
            pairs = [f(angle) for angle in angles for f in (math.sin, math.cos)]
            expected = query_TD[t] @ torch.tensor(pairs, dtype=torch.float64)
            torch.testing.assert_close(ours[t, s], expected, atol=1e-5, rtol=0)


def test_hidden_states_and_the_last_norm():
    model = model_of().eval()
    x_BTD = torch.randn(1, 20, 16)
    with torch.no_grad():
        context_BTD, hidden = model(x_BTD)
    assert len(hidden) == 4
    assert torch.equal(hidden[0], x_BTD)
    assert torch.equal(context_BTD, model.norm(hidden[-1]))


def test_a_dropped_layer_is_skipped_and_has_gradient_zero_not_none():
    model = model_of().eval()
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


@pytest.mark.parametrize("bfloat16", [False, True])
def test_in_training_every_parameter_of_an_encoder_has_a_finite_gradient(bfloat16):
    torch.manual_seed(0)
    config = EncoderConfig(
        features=ConvolutionalConfig(layers=seven_convolutions(12)),
        context=small(dropout=0.1, attention_dropout=0.1, activation_dropout=0.1),
    )
    encoder = Encoder(config).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        output = encoder(torch.randn(2, 9000), torch.tensor([9000, 4000]))
    context_BTD = output.context_BTD.float()
    assert context_BTD.isfinite().all()
    (context_BTD * torch.randn_like(context_BTD)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # Without a mask the mask embedding is used by 0, and a bias of keys changes no attention.
        if not name.endswith(("mask_embedding", "key.bias")):
            assert parameter.grad.abs().max() > 0, name
    assert all(buffer.dtype != torch.bfloat16 for buffer in encoder.buffers())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"embed_dim": 15, "num_heads": 3}, "must be even"),
        ({"conv_kernel": 4}, "must be odd"),
        ({"num_layers": 0}, "num_layers must be above 0"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"layer_drop": -0.1}, "layer_drop must be"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)
