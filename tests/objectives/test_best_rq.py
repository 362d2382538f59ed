"""BEST-RQ: targets of a frozen quantizer, the loss written out, and what counts as chance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechx.models.folder import open_folder
from speechx.models.random_projection import RandomProjection
from speechx.objectives.best_rq import BestRQConfig
from speechx.objectives.model import SpeechModel
from tests.objectives.test_masked_mel import ENCODER, batch_of

SMALL = BestRQConfig(num_codebooks=3, num_codes=20, dim=4)


def model_of(config=SMALL):
    torch.manual_seed(0)
    return SpeechModel(ENCODER, {"best_rq": config}, {})


def drawn(config=SMALL):
    batch = batch_of()
    draws, counts = config.draw(batch, np.random.default_rng(0), ENCODER)
    return replace(batch, draws=draws, counts=counts)


def test_a_code_is_the_nearest_on_the_unit_sphere():
    """The formula of the paper, one frame and one code at a time."""
    torch.manual_seed(0)
    quantizer = RandomProjection(12, 3, 20, 4)
    x_MN = torch.randn(50, 12)
    codes_MK = quantizer(x_MN)
    for m, x_N in enumerate(x_MN):
        for k in range(3):
            projected = F.normalize(x_N @ quantizer.map_KNE[k], dim=0)
            distances = [
                float((F.normalize(code, dim=0) - projected).norm())
                for code in quantizer.codes_KVE[k]
            ]
            assert int(codes_MK[m, k]) == int(np.argmin(distances))


def test_codes_depend_on_no_length():
    quantizer = RandomProjection(12, 1, 20, 4)
    x_MN = torch.randn(50, 12)
    assert torch.equal(quantizer(x_MN), quantizer(7 * x_MN))


def test_the_loss_is_that_of_the_formula_written_out():
    model, batch = model_of().eval(), drawn()
    objective = model.objectives["best_rq"]
    mask_BT = batch.draws["mask_BT"]
    extractor = model.encoder.feature_extractor
    mel_BFT, _ = extractor.log_mel(batch.wave_BS, None)
    noisy_BFT, codes, noise = mel_BFT.clone(), [], iter(batch.draws["noise_BMN"].flatten(0, 1))
    for row, t in mask_BT.nonzero().tolist():
        codes.append(objective.quantizer(mel_BFT[row, :, 2 * t + 2 : 2 * t + 4].T.flatten()[None]))
        noisy_BFT[row, :, 2 * t + 2 : 2 * t + 4] = next(noise).view(2, -1).T
    extractor.log_mel = lambda wave_BS, lengths_B: (noisy_BFT, lengths_B)
    context_MD = model.encoder(batch.wave_BS).context_BTD[mask_BT]
    del extractor.log_mel
    expected = 0.0
    for context_D, codes_1K in zip(context_MD, codes, strict=True):
        scores_KV = objective.head(context_D).view(3, 20).log_softmax(1)
        expected -= scores_KV.gather(1, codes_1K.T).mean()
    loss = model({"best_rq": batch}, 0)["best_rq"]
    torch.testing.assert_close(loss.terms[0].sum, expected)
    assert batch.counts["masked frames"] == len(codes)


def test_predictions_that_depend_on_nothing_are_at_chance():
    model = model_of().eval()
    torch.nn.init.zeros_(model.objectives["best_rq"].head.weight)
    torch.nn.init.normal_(model.objectives["best_rq"].head.bias)
    loss = model({"best_rq": drawn()}, None)["best_rq"]
    totals = {name: float(total) for name, total in loss.totals.items()}
    values = model.objectives["best_rq"].metrics(totals)
    assert values["bits"] == pytest.approx(values["chance_bits"], rel=1e-4)
    assert model.objectives["best_rq"].untrained(values)


def test_uniform_predictions_cost_the_bits_of_all_codes():
    model = model_of().eval()
    for parameter in model.objectives["best_rq"].head.parameters():
        torch.nn.init.zeros_(parameter)
    loss = model({"best_rq": drawn()}, None)["best_rq"]
    totals = {name: float(total) for name, total in loss.totals.items()}
    values = model.objectives["best_rq"].metrics(totals)
    assert values["bits"] == pytest.approx(math.log2(20), rel=1e-4)


def test_the_targets_of_a_saved_model_are_the_same(tmp_path):
    model, batch = model_of().eval(), drawn()
    model.save(tmp_path / "model", ["xx"])
    torch.manual_seed(9)
    again, _ = SpeechModel.from_saved(open_folder(tmp_path / "model"))
    assert torch.equal(
        model({"best_rq": batch}, None)["best_rq"].terms[0].sum,
        again.eval()({"best_rq": batch}, None)["best_rq"].terms[0].sum,
    )


def test_the_quantizer_never_trains():
    model = model_of()
    model({"best_rq": drawn()}, 0)["best_rq"].terms[0].sum.backward()
    trained = {name for name, _ in model.named_parameters()}
    assert not any("quantizer" in name for name in trained)
    assert all(p.grad is not None for p in model.parameters())


def test_speech_like_frames_use_most_codes():
    """Frames with mean 0 and variance 1; with a large common offset they share few codes."""
    torch.manual_seed(0)
    quantizer, x_MN = RandomProjection(160, 1, 64, 16), torch.randn(2000, 160)
    assert len(quantizer(x_MN).unique()) > 50
    assert len(quantizer(x_MN + 20).unique()) < 10


@pytest.mark.parametrize(
    "change",
    [{"num_codebooks": 0}, {"num_codes": 0}, {"dim": 0}, {"noise": -1.0}],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        BestRQConfig(**change)
