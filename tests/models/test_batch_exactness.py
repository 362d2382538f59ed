"""The results of an utterance do not depend on its batch: neither on its neighbours, nor on the
length or the content of its padding. Float32, 1e-4."""

from __future__ import annotations

import math

import pytest
import torch

from speechx.models.encoder import mean_square
from speechx.text.vocabulary import BLANK
from tests.conftest import small_filterbank
from tests.models.reference_models import (
    Case,
    apart,
    ctc_model,
    pretrain,
    pretraining_model,
    roughen,
    small,
)

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


def recognizer(kind):
    torch.manual_seed(0)
    return roughen(ctc_model(ENCODERS[kind]()).eval())


def read(model, wave_BS, lengths_B):
    return model.objectives["ctc"].logits(model.encoder(wave_BS, lengths_B))[0]


@pytest.mark.parametrize("padding", ["silence", "noise"])
@pytest.mark.parametrize("times", [1.3, 5, 32])
@pytest.mark.parametrize("kind", ENCODERS)
def test_an_utterance_gives_the_same_alone_and_padded(kind, times, padding):
    """Features, every hidden state, context and CTC logits, beside one `times` as long."""
    model = recognizer(kind)
    wave_BS = torch.randn(2, int(times * SHORT))
    lengths_B = torch.tensor([SHORT, wave_BS.shape[1]])
    short_BS = wave_BS[:1, :SHORT].clone()
    wave_BS[0, SHORT:] = PADDING[padding](wave_BS.shape[1] - SHORT)
    with torch.no_grad():
        alone, batch = model.encoder(short_BS), model.encoder(wave_BS, lengths_B)
        logits_alone, logits = read(model, short_BS, lengths_B[:1]), read(model, wave_BS, lengths_B)
    frames = alone.context_BTD.shape[1]
    assert batch.frames_B.tolist()[0] == frames
    assert logits[0, frames:, BLANK].eq(0).all()
    rows = {
        "features": (batch.features.features_BTC, alone.features.features_BTC),
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
def test_the_content_of_the_padding_changes_nothing(kind):
    """To the bit: only the content of the padding differs."""
    model = recognizer(kind)
    wave_BS, lengths_B = torch.randn(2, 9000), torch.tensor([SHORT, 9000])
    outputs = []
    for fill in PADDING.values():
        wave_BS[0, SHORT:] = fill(5000)
        given_BS = wave_BS.clone()
        with torch.no_grad():
            outputs.append((read(model, wave_BS, lengths_B), model.encoder(wave_BS, lengths_B)))
        assert torch.equal(wave_BS.nan_to_num(), given_BS.nan_to_num()), "the input was written to"
    for logits, output in outputs[1:]:
        assert torch.equal(logits, outputs[0][0])
        assert torch.equal(output.context_BTD, outputs[0][1].context_BTD)
        penalties = [mean_square(o.features.raw_BTC, o.frames_B) for o in (output, outputs[0][1])]
        assert torch.equal(*penalties)


@pytest.mark.parametrize("kind", ENCODERS)
def test_neighbours_and_their_order_do_not_matter(kind):
    """Six utterances from one frame to two seconds: in one batch, in reverse, and one by one; one
    of them silent, one too short for a frame."""
    model = recognizer(kind)
    features = model.encoder.config.features
    samples = [32_000, features.receptive_field, 7777, 100, 16_000, 12_345]
    wave_BS = torch.zeros(len(samples), max(samples))
    for row, length in enumerate(samples):
        wave_BS[row, :length] = torch.randn(length)
    wave_BS[4] = 0
    lengths_B = torch.tensor(samples)
    backwards = torch.arange(len(samples) - 1, -1, -1)
    with torch.no_grad():
        batch = read(model, wave_BS, lengths_B)
        reverse = read(model, wave_BS[backwards], lengths_B[backwards])
        frames_B = model.encoder(wave_BS, lengths_B).frames_B
        assert frames_B.tolist() == [features.frames(length) for length in samples]
        worst = 0.0
        for row, length in enumerate(samples):
            frames = features.frames(length)
            if not frames:
                continue
            alone = read(model, wave_BS[row : row + 1, :length], lengths_B[row : row + 1])
            for logits_TV in (batch[row], reverse[-1 - row]):
                worst = max(worst, apart(logits_TV[:frames], alone[0]))
    print(f"{kind}, six lengths in a batch and one by one: {worst:.1e}")
    assert worst < TOLERANCE


@pytest.mark.parametrize("kind", ENCODERS)
def test_gradients_of_an_utterance_do_not_depend_on_its_padding(kind):
    model = recognizer(kind)
    wave_BS, lengths_B = torch.randn(2, 8 * SHORT), torch.tensor([SHORT, 8 * SHORT])
    frames = model.encoder.config.features.frames(SHORT)

    def gradients(wave_BS, lengths_B):
        model.zero_grad()
        read(model, wave_BS, lengths_B)[0, :frames].square().mean().backward()
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
    """The terms of the loss, the numbers of the log, the targets and all gradients of a row with
    padding behind it."""
    torch.manual_seed(0)
    model = roughen(pretraining_model(ENCODERS[kind]()).eval())
    frames = model.encoder.config.features.frames
    wave_BS, real = torch.randn(1, 16_000), torch.tensor([frames(16_000)])
    mask_BT = torch.zeros(1, int(real), dtype=torch.bool)
    mask_BT[:, 5:30] = True
    negatives_BMK = torch.randint(0, 24, (1, 25, 12))
    labels = (torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    padded_BS = torch.cat([wave_BS, torch.randn(1, 40_000)], 1)
    padded_BT = torch.nn.functional.pad(mask_BT, (0, frames(56_000) - int(real)))
    alone, padded = (
        pretrain(model, Case(*given, negatives_BMK, *labels), 0.1, 10.0, step=None)
        for given in (
            (wave_BS, None, real, mask_BT),
            (padded_BS, torch.tensor([16_000]), real, padded_BT),
        )
    )
    assert torch.equal(alone.quantized.codes_BMG, padded.quantized.codes_BMG)
    rows = {"targets": (padded.targets_BMQ, alone.targets_BMQ), "loss": (padded.loss, alone.loss)}
    rows |= {what: (padded.totals[what], alone.totals[what]) for what in alone.totals}
    rows |= {name: (padded.gradients[name], each) for name, each in alone.gradients.items()
             if not name.endswith("key.bias")}  # fmt: skip
    figures = {what: apart(ours, theirs) for what, (ours, theirs) in rows.items()}
    worst = max(figures, key=figures.__getitem__)
    print(f"{kind}, pretraining with and without padding: {figures[worst]:.1e} ({worst})")
    assert figures[worst] < TOLERANCE, figures
