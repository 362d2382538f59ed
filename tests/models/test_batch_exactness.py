"""What an utterance gives does not depend on the batch it comes in: neither on its neighbours, nor
on how much padding follows it, nor on what stands in the padding. Float32, 1e-4."""

from __future__ import annotations

import math

import pytest
import torch
from speechx.models.ctc import BLANK, CTC
from speechx.models.wav2vec2 import Wav2Vec2Pretraining
from tests.models.peers import OUTPUTS, apart, roughen, small

from tests.conftest import small_filterbank

TOLERANCE = 1e-4
SHORT = 4000  # samples
ENCODERS = {
    "group norm": lambda: small("base"),
    "layer norm": lambda: small("large"),
    "filterbank": small_filterbank,
}
PADDING = {
    "silence": lambda size: torch.zeros(size),
    "noise": torch.randn,
    "loud noise": lambda size: 1e4 * torch.randn(size),
    "an offset": lambda size: torch.full((size,), 3.0),
    "not a number": lambda size: torch.full((size,), math.nan),
    "infinity": lambda size: torch.full((size,), math.inf),
}


def recogniser(kind):
    torch.manual_seed(0)
    return roughen(CTC(ENCODERS[kind](), OUTPUTS).eval())


@pytest.mark.parametrize("padding", ["silence", "noise"])
@pytest.mark.parametrize("times", [1.3, 5, 32])
@pytest.mark.parametrize("kind", ENCODERS)
def test_an_utterance_gives_the_same_alone_and_padded(kind, times, padding):
    """Latents, every hidden state, context and CTC logits, beside one `times` as long."""
    model = recogniser(kind)
    wave_BS = torch.randn(2, int(times * SHORT))
    lengths_B = torch.tensor([SHORT, wave_BS.shape[1]])
    short_BS = wave_BS[:1, :SHORT].clone()
    wave_BS[0, SHORT:] = PADDING[padding](wave_BS.shape[1] - SHORT)
    with torch.no_grad():
        alone, batch = model.trunk(short_BS), model.trunk(wave_BS, lengths_B)
        logits_alone = model(short_BS, lengths_B[:1]).logits_BTV
        logits = model(wave_BS, lengths_B).logits_BTV
    frames = alone.context_BTD.shape[1]
    assert batch.frames_B.tolist()[0] == frames
    assert logits[0, frames:, BLANK].eq(0).all()
    rows = {
        "latents": (batch.features_BTC, alone.features_BTC),
        "context": (batch.context_BTD, alone.context_BTD),
        "CTC logits": (logits, logits_alone),
        **{
            f"hidden {index}": (state_BTD, alone.hidden[index])
            for index, state_BTD in enumerate(batch.hidden)
        },
    }
    figures = {what: apart(one[0, :frames], other[0]) for what, (one, other) in rows.items()}
    worst = max(figures, key=figures.__getitem__)
    print(f"{kind}, {times:g} x the length, {padding}: {figures[worst]:.1e} ({worst})")
    assert figures[worst] < TOLERANCE, figures
    assert alone.context_BTD.std() > 0.1


@pytest.mark.parametrize("kind", ENCODERS)
def test_what_stands_in_the_padding_is_never_read(kind):
    """To the bit: with equal shapes nothing but the content of the padding differs."""
    model = recogniser(kind)
    wave_BS, lengths_B = torch.randn(2, 9000), torch.tensor([SHORT, 9000])
    outputs = []
    for fill in PADDING.values():
        wave_BS[0, SHORT:] = fill(5000)
        given_BS = wave_BS.clone()
        with torch.no_grad():
            outputs.append((model(wave_BS, lengths_B).logits_BTV, model.trunk(wave_BS, lengths_B)))
        assert torch.equal(wave_BS.nan_to_num(), given_BS.nan_to_num()), "the input was written to"
    for logits_BTV, trunk in outputs[1:]:
        assert torch.equal(logits_BTV, outputs[0][0])
        assert torch.equal(trunk.context_BTD, outputs[0][1].context_BTD)
        assert torch.equal(trunk.energy, outputs[0][1].energy)


@pytest.mark.parametrize("kind", ENCODERS)
def test_neighbours_and_their_order_do_not_matter(kind):
    """Six utterances from one frame to two seconds: in one batch, in reverse, and one by one; one
    of them silent, one too short for a frame."""
    model = recogniser(kind)
    field = model.trunk.config.encoder.field
    samples = [32_000, field, 7777, 100, 16_000, 12_345]
    wave_BS = torch.zeros(len(samples), max(samples))
    for row, length in enumerate(samples):
        wave_BS[row, :length] = torch.randn(length)
    wave_BS[4] = 0
    lengths_B = torch.tensor(samples)
    backwards = torch.arange(len(samples) - 1, -1, -1)
    with torch.no_grad():
        batch = model(wave_BS, lengths_B)
        reverse = model(wave_BS[backwards], lengths_B[backwards])
        worst = 0.0
        for row, length in enumerate(samples):
            frames = int(batch.frames_B[row])
            assert frames == model.trunk.config.encoder.frames(length)
            if not frames:
                continue
            alone = model(wave_BS[row : row + 1, :length], lengths_B[row : row + 1])
            for logits_TV in (batch.logits_BTV[row], reverse.logits_BTV[-1 - row]):
                worst = max(worst, apart(logits_TV[:frames], alone.logits_BTV[0]))
    print(f"{kind}, six lengths in a batch and one by one: {worst:.1e}")
    assert worst < TOLERANCE


@pytest.mark.parametrize("kind", ENCODERS)
def test_gradients_of_an_utterance_do_not_depend_on_its_padding(kind):
    model = recogniser(kind)
    wave_BS, lengths_B = torch.randn(2, 8 * SHORT), torch.tensor([SHORT, 8 * SHORT])
    frames = model.trunk.config.encoder.frames(SHORT)

    def gradients(wave_BS, lengths_B):
        model.zero_grad()
        model(wave_BS, lengths_B).logits_BTV[0, :frames].square().mean().backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    alone = gradients(wave_BS[:1, :SHORT], lengths_B[:1])
    padded = gradients(wave_BS, lengths_B)
    assert set(alone) == set(padded)
    largest = max(float(gradient.abs().max()) for gradient in alone.values())
    worst = max(float((padded[n] - alone[n]).abs().max()) / largest for n in alone)
    print(f"{kind}, gradients of {len(alone)} tensors: {worst:.1e}")
    assert worst < TOLERANCE


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_loss_of_pretraining_does_not_depend_on_padding(kind):
    """Targets, predictions and the feature penalty of a row with padding behind it."""
    torch.manual_seed(0)
    model = roughen(Wav2Vec2Pretraining(ENCODERS[kind]()).eval())
    frames = model.config.encoder.frames(16_000)
    wave_BS = torch.randn(1, 16_000)
    mask_BT = torch.zeros(1, frames, dtype=torch.bool)
    mask_BT[:, 5:30] = True
    padded_BS = torch.cat([wave_BS, torch.randn(1, 40_000)], 1)
    extra = model.config.encoder.frames(56_000) - frames
    padded_BT = torch.nn.functional.pad(mask_BT, (0, extra))
    with torch.no_grad():
        alone = model(wave_BS, mask_BT, None)
        padded = model(padded_BS, padded_BT, None, lengths_B=torch.tensor([16_000]))
    assert torch.equal(alone.quantized.codes_BMG, padded.quantized.codes_BMG)
    for what in ("predicted_BMQ", "targets_BMQ", "energy"):
        figure = apart(getattr(padded, what), getattr(alone, what))
        print(f"{kind} {what}: {figure:.1e}")
        assert figure < TOLERANCE
