"""wav2vec (2019): the published code's numbers, its weights of negatives, and its chance level."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.models.context.causal_convolutions import CausalConvolutionsConfig
from speechx.models.encoder import EncoderConfig
from speechx.models.features.wav2vec import Wav2VecFeaturesConfig, wav2vec_convolutions
from speechx.models.presets import preset
from speechx.objectives.model import SpeechModel
from speechx.objectives.wav2vec import Wav2VecConfig, scores
from tests.conftest import small_filterbank
from tests.objectives.published import load_fixture, renamed

ENCODER = EncoderConfig(
    features=Wav2VecFeaturesConfig(layers=wav2vec_convolutions(8)),
    context=CausalConvolutionsConfig(embed_dim=8, kernels=(2, 3, 4)),
    project_features=False, input_dropout=0.0,
)  # fmt: skip
SMALL = Wav2VecConfig(num_steps=3, num_negatives=4)

NAMES = {
    r"feature_extractor\.conv_layers\.(\d)\.0": r"encoder.feature_extractor.convs.\1",
    r"feature_extractor\.conv_layers\.(\d)\.2": r"encoder.feature_extractor.norms.\1",
    r"feature_aggregator\.conv_layers\.(\d)\.1": r"encoder.context.layers.\1.conv",
    r"feature_aggregator\.conv_layers\.(\d)\.3": r"encoder.context.layers.\1.norm",
}
PREDICTIONS = "wav2vec_predictions.project_to_steps"


def weights_of(fixture, prefix="weight."):
    """The transposed convolution holds the affine maps of all steps, which share a bias."""
    ours = renamed(fixture, prefix, NAMES, lambda name, tensor: tensor)
    weight, bias = (ours.pop(f"{PREDICTIONS}.{n}", None) for n in ("weight", "bias"))
    for step in range(3):
        ours[f"objectives.wav2vec.steps.{step}.weight"] = weight[:, :, 0, step].T.contiguous()
        if bias is not None:
            ours[f"objectives.wav2vec.steps.{step}.bias"] = bias.clone()
    return ours


def model_of(config=SMALL, encoder=ENCODER):
    torch.manual_seed(0)
    return SpeechModel(encoder, {"wav2vec": config}, {})


def batch_of(config=SMALL, rows=2, samples=3200, encoder=ENCODER):
    batch = Batch(
        Position(), torch.randn(rows, samples, generator=torch.Generator().manual_seed(1)),
        torch.tensor([samples] * rows), False, tuple("abcd"[:rows]), ("xx",) * rows,
    )  # fmt: skip
    draws, counts = config.draw(batch, np.random.default_rng(0), encoder)
    return replace(batch, draws=draws, counts=counts)


@pytest.mark.parametrize(("weight", "key"), [(1.0, "loss"), (0.25, "balanced_loss")])
def test_features_context_loss_and_gradients_are_those_of_the_published_code(weight, key):
    fixture = load_fixture("fairseq_wav2vec")
    model = model_of(replace(SMALL, negative_weight=weight)).train()
    weights, own = weights_of(fixture), model.state_dict()
    assert set(own) - set(weights) == {"encoder.mask_embedding"}
    model.load_state_dict({**own, **weights})
    draws = {"negatives_BTN": fixture["negatives"]}
    batch = replace(batch_of(), wave_BS=fixture["wave"], draws=draws)
    output = model.encoder(fixture["wave"])
    torch.testing.assert_close(output.features.features_BTC, fixture["features"])
    torch.testing.assert_close(output.context_BTD, fixture["context"])
    loss = model({"wav2vec": batch}, 0)["wav2vec"]
    predictions = batch.counts["predictions"]
    assert predictions == int(fixture["predictions"])
    mean = loss.terms[0].sum / predictions
    torch.testing.assert_close(mean, fixture[key])
    if key == "loss":
        mean.backward()
        found = {name: p.grad for name, p in model.named_parameters()}
        for name, expected in weights_of(fixture, "gradient.").items():
            torch.testing.assert_close(found[name], expected, msg=name)


def test_the_loss_is_that_of_the_formula_written_out():
    """The first step is 3 frames ahead: 465 samples are 3 strides of 160, rounded up."""
    model = model_of().eval()
    batch = batch_of()
    output = model.encoder(batch.wave_BS)
    features, drawn = output.features.features_BTC, batch.draws["negatives_BTN"]
    total, right = 0.0, 0
    for step, h in enumerate(model.objectives["wav2vec"].steps, 3):
        for row in range(2):
            for t in range(18 - step):
                predicted = h(output.context_BTD[row, t])
                true = predicted @ features[row, t + step]
                false = features[row, drawn[row, t + step]] @ predicted
                total -= F.logsigmoid(true) + F.logsigmoid(-false).sum()
                right += bool((true > false).all())
    loss = model({"wav2vec": batch}, None)["wav2vec"]
    torch.testing.assert_close(loss.terms[0].sum, total)
    values = model.objectives["wav2vec"].metrics({k: float(v) for k, v in loss.totals.items()})
    assert values["accuracy"] == pytest.approx(right / batch.counts["predictions"])


def test_negatives_are_other_frames_of_the_same_row():
    drawn = batch_of(replace(SMALL, num_negatives=300)).draws["negatives_BTN"]
    for row in drawn:
        for t, frames in enumerate(row.tolist()):
            assert set(frames) == set(range(18)) - {t}


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_chance_is_the_least_loss_of_one_score_for_all(weight):
    config = Wav2VecConfig(negative_weight=weight)
    score = torch.linspace(-6, 6, 100_001, dtype=torch.float64)
    nats = F.softplus(-score) + 10 * weight * F.softplus(score)
    assert config.chance_bits == pytest.approx(float(nats.min()) / math.log(2), abs=1e-8)


def test_steps_behind_the_end_of_a_short_row_are_left_out():
    """Five frames and steps 3, 4 and 5: two and one predictions."""
    model = model_of()
    batch = batch_of(samples=465 + 4 * 160)
    assert batch.counts == {"predictions": 2 * (2 + 1)}
    loss = model({"wav2vec": batch}, 0)["wav2vec"]
    assert float(loss.totals["predictions"]) == 6


def test_scores_are_computed_in_float32_under_autocast():
    torch.manual_seed(0)
    predicted, features = [torch.randn(2, 9, 5)], torch.randn(2, 9, 5)
    drawn = torch.randint(0, 9, (2, 9, 4))
    with torch.autocast("cpu", torch.bfloat16):
        inside = scores(predicted, features, drawn, 3)
    for one, other in zip(inside[0], scores(predicted, features, drawn, 3)[0], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("encoder", "seconds", "says"),
    [(small_filterbank(), 2, "transformer has seen them"), (ENCODER, 0.1, "needed to predict 12")],
)
def test_what_it_cannot_learn_from_is_refused(encoder, seconds, says):
    with pytest.raises(ValueError, match=says):
        Wav2VecConfig().require(encoder, seconds)


def test_the_paper_s_sizes_are_a_preset():
    """98 frames a second, of 465 samples each; 12 causal convolutions see 79 of them."""
    encoder = preset("wav2vec").encoder
    assert encoder.features.frames(16000) == 98
    assert sum(k - 1 for k in encoder.context.kernels) == 78
    Wav2VecConfig().require(encoder, 1.0)
