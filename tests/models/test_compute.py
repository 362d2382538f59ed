"""A model that is prepared for inference computes what it computed before, in three number formats,
and a model with bfloat16 weights runs."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from speechx.errors import UserError
from speechx.models.compute import COMPUTE_TYPES, prepare_for_inference
from speechx.models.features.convolutional import Convolution, ConvolutionalConfig
from speechx.models.packed import Int8Linear, PackedLinear
from tests.conftest import small_causal, small_filterbank
from tests.models.reference_models import apart, ctc_model, roughen, small
from tests.models.test_conformer import small as small_conformer

ENCODERS = {
    "group norm": lambda: small("base"),
    "layer norm": lambda: small("large"),
    "filterbank": small_filterbank,
    "conformer": lambda: replace(small_filterbank(), context=small_conformer()),
    "cpc": lambda: small_causal("cpc"),
    "wav2vec": lambda: small_causal("wav2vec"),
}
LENGTHS = [50_000, 31_111, 100, 700]
"""Several stretches of the convolutions, one less, no frame, and a frame or two."""
TOLERANCES = {"float32": 1e-5, "bfloat16": 0.05, "int8": 0.2}


def model_of(kind):
    torch.manual_seed(0)
    return roughen(ctc_model(ENCODERS[kind]())).eval()


def prepared(model, compute_type="float32"):
    model = copy.deepcopy(model)
    prepare_for_inference(model, compute_type)
    return model


def waves(lengths=LENGTHS):
    wave_BS = torch.randn(len(lengths), max(lengths))
    for wave_S, length in zip(wave_BS, lengths, strict=True):
        wave_S[length:] = float("nan")  # padding is never read
    return wave_BS, torch.tensor(lengths)


def read(model, wave_BS, lengths_B):
    with torch.inference_mode():
        head = model.objectives["ctc"]
        return head.log_probabilities(model.encoder, wave_BS, lengths_B)


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
@pytest.mark.parametrize("kind", ENCODERS)
def test_outputs_stay_as_they_are(kind, compute_type):
    model = model_of(kind)
    fast = prepared(model, compute_type)
    wave_BS, lengths_B = waves()
    with torch.inference_mode():
        before, after = (m.encoder(wave_BS, lengths_B) for m in (model, fast))
    assert after.frames_B.tolist() == before.frames_B.tolist()
    assert after.context_BTD.shape == before.context_BTD.shape
    assert after.context_BTD.dtype == torch.float32
    for row, frames in enumerate(before.frames_B.tolist()):
        if frames > 2:
            pairs = (
                (after.context_BTD, before.context_BTD),
                (after.features.features_BTC, before.features.features_BTC),
            )
            for ours, theirs in pairs:
                assert apart(ours[row, :frames], theirs[row, :frames]) < TOLERANCES[compute_type]
    (outputs, _), (expected, _) = read(fast, wave_BS, lengths_B), read(model, wave_BS, lengths_B)
    finite = expected.isfinite()
    assert torch.equal(outputs.isfinite(), finite)
    difference = (outputs[finite] - expected[finite]).abs().max() / expected[finite].abs().max()
    assert difference < TOLERANCES[compute_type]


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
@pytest.mark.parametrize("kind", ["group norm", "layer norm"])
def test_an_utterance_gives_the_same_to_the_bit_in_every_batch(kind, compute_type):
    model = prepared(model_of(kind), compute_type)
    wave_BS, lengths_B = waves()
    with torch.inference_mode():
        batch = model.encoder(wave_BS, lengths_B)
        for row, length in enumerate(LENGTHS):
            frames = int(batch.frames_B[row])
            alone_BTD = model.encoder(wave_BS[row : row + 1, :length].clone()).context_BTD
            assert torch.equal(batch.context_BTD[row, :frames], alone_BTD[0, :frames])


def test_without_lengths_there_is_no_padding():
    model = model_of("group norm")
    wave_BS = torch.randn(2, 9000)
    with torch.inference_mode():
        expected, output = model.encoder(wave_BS), prepared(model).encoder(wave_BS)
    assert output.frames_B is None
    assert output.hidden == ()
    assert apart(output.context_BTD, expected.context_BTD) < 1e-5


@pytest.mark.parametrize("kind", ["group norm", "layer norm"])
@pytest.mark.parametrize("sound", ["silence", "an offset", "one click", "a low tone", "very quiet"])
def test_unusual_sound(kind, sound):
    """The statistics of the group norm come from the waveform and not from the channels."""
    time_S = torch.arange(16_000) / 16_000
    wave_S = {
        "silence": torch.zeros(16_000),
        "an offset": 0.5 + 0.01 * torch.randn(16_000),
        "one click": F.one_hot(torch.tensor(8000), 16_000).float(),
        "a low tone": torch.sin(2 * torch.pi * 30 * time_S),
        "very quiet": 1e-4 * torch.randn(16_000),
    }[sound]
    model = model_of(kind)
    with torch.inference_mode():
        expected = model.double().encoder(wave_S[None].double()).context_BTD.float()
        output = prepared(model.float()).encoder(wave_S[None]).context_BTD
    # In float32, the plain encoder itself is this far from float64 where sound is an offset.
    assert apart(output, expected) < 2e-4


def test_a_convolution_that_skips_or_overlaps_its_input():
    """Kernels and strides that no published model has."""
    layers = [(10, 5), (5, 2), (2, 3), (1, 1), (4, 4)]
    features = ConvolutionalConfig(
        layers=tuple(Convolution(channels=8, kernel=k, stride=s) for k, s in layers), norm="layer"
    )
    torch.manual_seed(0)
    model = roughen(ctc_model(replace(small("large"), features=features))).eval()
    wave_BS = torch.randn(1, 40_000)
    with torch.inference_mode():
        expected = model.encoder(wave_BS).context_BTD
        assert apart(prepared(model).encoder(wave_BS).context_BTD, expected) < 1e-5


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_model_with_bfloat16_weights_runs(kind):
    model = model_of(kind)
    wave_BS, lengths_B = waves()
    expected, _ = read(model, wave_BS, lengths_B)
    outputs, _ = read(copy.deepcopy(model).bfloat16(), wave_BS, lengths_B)
    finite = expected.isfinite()
    assert outputs.dtype == torch.float32
    assert (outputs[finite] - expected[finite]).abs().max() < 0.05 * expected[finite].abs().max()
    # Tables of the filterbank are no weights: they come back from bfloat16 as they were.
    back = copy.deepcopy(model).bfloat16().float()
    for (name, table), (_, same) in zip(model.named_buffers(), back.named_buffers(), strict=True):
        if "mel" in name or "window" in name:
            assert torch.equal(table, same)


def test_weights_that_are_bfloat16_can_be_prepared():
    model = model_of("group norm").bfloat16()
    wave_BS, lengths_B = waves()
    expected, _ = read(copy.deepcopy(model).float(), wave_BS, lengths_B)
    outputs, _ = read(prepared(model), wave_BS, lengths_B)
    finite = expected.isfinite()
    assert (outputs[finite] - expected[finite]).abs().max() < 1e-4 * expected[finite].abs().max()


@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
def test_packed_linear_maps(activation, bias):
    torch.manual_seed(0)
    linear, x = nn.Linear(40, 24, bias=bias), 3 * torch.randn(2, 17, 40)
    linear.weight.data[3] = 0
    with torch.inference_mode():
        expected = linear(x)
        expected = F.gelu(expected) if activation == "gelu" else expected
        packed = PackedLinear(linear.weight, linear.bias, activation)(x)
        rounded = Int8Linear(linear.weight, linear.bias, activation)(x)
        assert apart(packed, expected) < 1e-6
        assert apart(rounded, expected) < 0.02
        silent = Int8Linear(linear.weight, linear.bias, activation)(torch.zeros(1, 40))
        assert silent.isfinite().all()


def test_mistakes_are_named():
    model = model_of("filterbank")
    with pytest.raises(UserError, match=r"float16.*expected one of float32"):
        prepare_for_inference(model, "float16")
    prepare_for_inference(model)
    with pytest.raises(UserError, match="prepared"):
        prepare_for_inference(model)
