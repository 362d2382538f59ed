"""Masked autoencoding: the error written out, and the error of a guess."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechx.objectives.masked_autoencoding import MaskedAutoencodingConfig
from speechx.objectives.model import SpeechModel
from tests.objectives.test_masked_mel import ENCODER, batch_of

SMALL = MaskedAutoencodingConfig(decoder_layers=1, decoder_dim=16)


def model_of(config=SMALL):
    torch.manual_seed(0)
    return SpeechModel(ENCODER, {"masked_autoencoding": config}, {})


def drawn(config=SMALL):
    batch = batch_of()
    draws, counts = config.draw(batch, np.random.default_rng(0), ENCODER)
    return replace(batch, draws=draws, counts=counts)


def test_the_error_is_that_of_the_formula_written_out():
    model, batch = model_of().eval(), drawn()
    objective, mask_BT = model.objectives["masked_autoencoding"], batch.draws["mask_BT"]
    extractor = model.encoder.feature_extractor
    mel_BFT, _ = extractor.log_mel(batch.wave_BS, None)
    masked_BFT = mel_BFT.clone()
    for row, t in mask_BT.nonzero().tolist():
        masked_BFT[row, :, 2 * t + 2 : 2 * t + 4] = 0
    extractor.log_mel = lambda wave_BS, lengths_B: (masked_BFT, lengths_B)
    context_BTD = model.encoder(batch.wave_BS).context_BTD
    del extractor.log_mel
    decoded_BTD, _ = objective.decoder(objective.project_in(context_BTD))
    patches_BTN = objective.project_out(decoded_BTD)
    error = guess = 0.0
    for row, t in mask_BT.nonzero().tolist():
        true_N = mel_BFT[row, :, 2 * t + 2 : 2 * t + 4].T.flatten()
        error += (patches_BTN[row, t] - true_N).square().mean()
        guess += true_N.square().mean()
    loss = model({"masked_autoencoding": batch}, 0)["masked_autoencoding"]
    torch.testing.assert_close(loss.terms[0].sum, error)
    torch.testing.assert_close(loss.totals["chance_error"], guess)


def test_a_decoder_that_writes_the_mean_is_at_chance():
    model = model_of().eval()
    objective = model.objectives["masked_autoencoding"]
    for parameter in objective.project_out.parameters():
        torch.nn.init.zeros_(parameter)
    loss = model({"masked_autoencoding": drawn()}, None)["masked_autoencoding"]
    values = objective.metrics({name: float(total) for name, total in loss.totals.items()})
    assert values["error"] == pytest.approx(values["chance_error"])
    assert objective.untrained(values)


def test_every_parameter_but_the_embedding_of_masked_frames_gets_a_gradient():
    model = model_of()
    model({"masked_autoencoding": drawn()}, 0)["masked_autoencoding"].terms[0].sum.backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name for name in still if "key.bias" not in name} == {"encoder.mask_embedding"}


@pytest.mark.parametrize(
    ("change", "says"),
    [({"decoder_layers": 0}, "decoder_layers"), ({"decoder_dim": 30}, "multiple")],
)
def test_impossible_settings_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        MaskedAutoencodingConfig(**change)
