"""Modified CPC: the published code's numbers, whose frames are negatives, and what stops a run."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.models.context.lstm import LSTMConfig
from speechx.models.encoder import EncoderConfig
from speechx.models.features.cpc import CPCFeaturesConfig, five_convolutions
from speechx.models.presets import preset
from speechx.objectives.cpc import CPCConfig, scores
from speechx.objectives.model import SpeechModel
from tests.conftest import small_filterbank
from tests.objectives.published import load_fixture, renamed

ENCODER = EncoderConfig(
    features=CPCFeaturesConfig(layers=five_convolutions(8)), context=LSTMConfig(embed_dim=8),
    project_features=False, input_dropout=0.0,
)  # fmt: skip
SMALL = CPCConfig(
    window=3200, num_steps=3, num_negatives=6, num_heads=2, ffn_dim=12, dropout=0.0
)  # fmt: skip
SPEAKERS = ((None, "xx", "a"), (None, "xx", "b"), (None, "xx", "a"), None)

NAMES = {
    r"gEncoder\.conv(\d)": r"encoder.feature_extractor.convs.\1",
    r"gEncoder\.batchNorm(\d)": r"encoder.feature_extractor.norms.\1",
    r"gAR\.baseNet": "encoder.context.layers.0.lstm",
    r"wPrediction\.predictors\.(\d)": r"objectives.cpc.predictors.\1",
    r"multihead\.Wq": "query", r"multihead\.Wk": "key", r"multihead\.Wv": "value",
    r"multihead\.Wo": "out", r"multihead\.Att\.Krelpos": "position_DE",
    r"ln_multihead": "attention_norm", r"ln_ffnetwork": "ffn_norm",
    r"ffnetwork\.lin1": "up", r"ffnetwork\.lin2": "down",
}  # fmt: skip


def as_ours(name, tensor):
    """The published table of positions is transposed, and its last column is the distance 0."""
    if name.endswith("position_DE"):
        return tensor.T.flip(0)
    return tensor[0, :, 0] if ".norms." in name else tensor


def model_of(config=SMALL, encoder=ENCODER):
    torch.manual_seed(0)
    return SpeechModel(encoder, {"cpc": config}, {})


def batch_of(config=SMALL, samples=7000, speakers=SPEAKERS, encoder=ENCODER):
    random = np.random.default_rng(0)
    rows = len(speakers)
    batch = Batch(
        Position(), torch.randn(rows, samples, generator=torch.Generator().manual_seed(1)),
        torch.tensor([samples] * rows), False, tuple("abcd"[:rows]), ("xx",) * rows, speakers,
    )  # fmt: skip
    draws, counts = config.draw(batch, random, encoder)
    return replace(batch, draws=draws, counts=counts)


def test_features_context_losses_and_gradients_are_those_of_the_published_code():
    fixture = load_fixture("cpc_audio")
    model = model_of().train()
    weights = renamed(fixture, "weight.", NAMES, as_ours)
    own = model.state_dict()
    assert set(own) - set(weights) == {"encoder.mask_embedding"}
    model.load_state_dict({**own, **weights})
    wave, drawn = fixture["wave"], fixture["negatives"]
    batch = replace(
        batch_of(samples=3200, speakers=(None,) * 3), wave_BS=wave,
        draws={"negatives_RWPN": drawn[:, None]},
    )  # fmt: skip
    output = model.encoder(wave)
    torch.testing.assert_close(output.features.features_BTC, fixture["features"])
    torch.testing.assert_close(output.context_BTD, fixture["context"])
    loss = model({"cpc": batch}, 0)["cpc"]
    predictions = drawn.shape[0] * drawn.shape[1] * 3
    mean = loss.terms[0].sum / predictions
    torch.testing.assert_close(mean, fixture["losses"].mean())
    values = model.objectives["cpc"].metrics({k: float(v) for k, v in loss.totals.items()})
    assert values["accuracy"] == pytest.approx(float(fixture["accuracies"].mean()))
    assert values["accuracy_first"] == pytest.approx(float(fixture["accuracies"][0]))
    assert values["accuracy_last"] == pytest.approx(float(fixture["accuracies"][-1]))
    assert values["chance_bits"] == pytest.approx(math.log2(7))
    mean.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    for name, expected in renamed(fixture, "gradient.", NAMES, as_ours).items():
        torch.testing.assert_close(found[name], expected, msg=name)


def test_scores_equal_the_formula_written_out_and_the_true_frame_is_no_negative():
    torch.manual_seed(0)
    predicted, features = torch.randn(2, 4, 3, 5), torch.randn(2, 7, 5)
    negatives = torch.randint(0, 14, (2, 4, 6))
    found = scores(predicted, features, negatives)
    for window, context, step in np.ndindex(2, 4, 3):
        true = window * 7 + context + step + 1
        for n, frame in enumerate([true, *negatives[window, context].tolist()]):
            expected = predicted[window, context, step] @ features.flatten(0, 1)[frame] / 5
            if n and frame == true:
                expected = torch.tensor(-torch.inf)
            torch.testing.assert_close(found[window, context, step, n], expected)
    assert (found == -torch.inf).any()


def test_negatives_are_of_the_same_speaker_and_of_another_time():
    """Of all windows of all rows of a speaker; a row without a speaker stands for itself."""
    config = replace(SMALL, num_negatives=400)
    batch = batch_of(config)  # rows of 7000 samples: 2 windows of 20 frames
    drawn = batch.draws["negatives_RWPN"]
    assert drawn.shape == (4, 2, 17, 400)
    window, time = drawn // 20, drawn % 20
    of_row = [set(row.unique().tolist()) for row in window // 2]
    assert of_row == [{0, 2}, {1}, {0, 2}, {3}]
    assert all(set(row.unique().tolist()) == {0, 1} for row in window % 2)
    assert (time != torch.arange(17)[None, None, :, None]).all()
    assert set(time.unique().tolist()) == set(range(20))
    assert batch.counts == {"predictions": 4 * 2 * 17 * 3}


def test_one_name_in_two_languages_is_two_speakers():
    speakers = ((None, "xx", "a"), (None, "yy", "a"), ("tv", "xx", "a"))
    drawn = batch_of(replace(SMALL, num_negatives=50), 3200, speakers).draws["negatives_RWPN"]
    assert [set((row // 20).unique().tolist()) for row in drawn] == [{0}, {1}, {2}]


def test_rows_without_a_speaker_are_counted_and_logged_once(capsys):
    model = model_of()
    losses = [model({"cpc": batch_of()}, 0)["cpc"] for _ in range(2)]
    values = model.objectives["cpc"].metrics({k: float(v) for k, v in losses[0].totals.items()})
    assert values["without_speaker"] == 0.25
    err = capsys.readouterr().err
    assert err.count("1 of 4 rows of a batch name no speaker") == 1
    named = batch_of(speakers=SPEAKERS[:3])
    totals = model_of()({"cpc": named}, 0)["cpc"].totals
    assert float(totals["unnamed"]) == 0
    assert capsys.readouterr().err == ""


def test_a_prediction_knows_no_later_frame():
    """Neither the context nor a predictor sees behind the frames of its context."""
    model = model_of().eval()
    wave = torch.randn(1, 3200)
    changed = wave.clone()
    changed[:, 1600:] = torch.randn(1600)
    with torch.no_grad():
        before, after = (
            [f(model.encoder(w).context_BTD[:, :17]) for f in model.objectives["cpc"].predictors]
            for w in (wave, changed)
        )
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one[:, :8], other[:, :8])
        assert (one[:, 12:] != other[:, 12:]).any()


def test_a_row_shorter_than_a_window_is_one_window():
    model = model_of()
    batch = batch_of(samples=1600, speakers=SPEAKERS[:1])
    assert batch.counts == {"predictions": 7 * 3}
    loss = model({"cpc": batch}, 0)["cpc"]
    assert float(loss.totals["predictions"]) == 21
    assert loss.terms[0].sum.isfinite()


@pytest.mark.parametrize(
    ("config", "encoder", "seconds", "says"),
    [
        (SMALL, small_filterbank(), 2, "transformer has seen them"),
        (CPCConfig(), ENCODER, 0.1, "predict 12 steps"),
        (replace(SMALL, num_heads=3), ENCODER, 2, "num_heads (3)"),
        (replace(SMALL, window=480), ENCODER, 2, "objective.window = 480"),
        (SMALL, replace(ENCODER, context=LSTMConfig(embed_dim=4), project_features=True), 2, "(4)"),
    ],
)
def test_what_it_cannot_learn_from_is_refused(config, encoder, seconds, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace(")", r"\)")):
        config.require(encoder, seconds)


def test_the_paper_s_sizes_are_a_preset():
    encoder = preset("cpc").encoder
    assert encoder.features.frames(20480) == 128
    CPCConfig().require(encoder, 1.5)
