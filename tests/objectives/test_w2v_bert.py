"""w2v-BERT: wav2vec 2.0 at a lower layer, and its codes predicted at the last."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechx.models.quantizer import QuantizerConfig
from speechx.objectives.model import SpeechModel
from speechx.objectives.w2v_bert import W2vBertConfig
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from tests.conftest import SMALL_QUANTIZER, small_causal, small_filterbank
from tests.objectives.test_masked_mel import ENCODER, batch_of

QUANTIZER = QuantizerConfig(**SMALL_QUANTIZER)
SMALL = W2vBertConfig(
    contrastive_layer=1, num_negatives=10, quantizer=QUANTIZER, target_dropout=0.0
)


def model_of(config=SMALL, encoder=ENCODER):
    torch.manual_seed(0)
    return SpeechModel(encoder, {config.kind: config}, {})


def drawn(config=SMALL):
    batch = batch_of()
    draws, counts = config.draw(batch, np.random.default_rng(0), ENCODER)
    return replace(batch, draws=draws, counts=counts)


def test_its_lower_half_is_wav2vec_2_on_an_encoder_that_ends_there():
    """`pre` norm: the layer norm behind the last layer is not part of layer 1."""
    context = replace(ENCODER.context, num_layers=1, norm="post")
    deep = model_of(encoder=replace(ENCODER, context=replace(context, num_layers=2))).eval()
    other = Wav2Vec2Config(
        num_negatives=10, quantizer=QUANTIZER, target_dropout=0.0, features_penalty=0.0
    )
    short = model_of(other, replace(ENCODER, context=context)).eval()
    theirs = {n.replace("w2v_bert", "wav2vec2"): t for n, t in deep.state_dict().items()}
    short.load_state_dict({n: theirs[n] for n in short.state_dict()})
    batch = drawn()
    lower = deep({"w2v_bert": batch}, None)["w2v_bert"]
    whole = short({"wav2vec2": batch}, None)["wav2vec2"]
    for term, expected in zip(lower.terms[:2], whole.terms, strict=True):
        torch.testing.assert_close(term.sum, expected.sum)


def test_the_prediction_is_that_of_the_formula_written_out():
    model, batch = model_of(replace(SMALL, prediction=0.5)).eval(), drawn()
    objective, mask_BT = model.objectives["w2v_bert"], batch.draws["mask_BT"]
    output = model.encoder(batch.wave_BS, None, mask_BT)
    features_MC = output.features.features_BTC[mask_BT]
    codes_MGV = objective.quantizer.weight_proj(features_MC).view(-1, 2, 10)
    expected = 0.0
    for context_D, scores_GV in zip(output.context_BTD[mask_BT], codes_MGV, strict=True):
        predicted_GV = objective.head(context_D).view(2, 10)
        expected += F.cross_entropy(predicted_GV, scores_GV.argmax(1))  # mean over groups
    loss = model({"w2v_bert": batch}, None)["w2v_bert"]
    torch.testing.assert_close(loss.terms[-1].sum, 0.5 * expected)
    values = objective.metrics({name: float(total) for name, total in loss.totals.items()})
    bits = float(expected.detach()) / len(features_MC) / math.log(2)
    assert values["prediction_bits"] == pytest.approx(bits, rel=1e-5)


def test_the_prediction_does_not_train_the_quantizer():
    model = model_of()
    model({"w2v_bert": drawn()}, 0)["w2v_bert"].terms[-1].sum.backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert not any("quantizer" in name or "project" in name.split(".", 2)[-1] for name in trained)
    assert "objectives.w2v_bert.head.weight" in trained


@pytest.mark.parametrize(
    ("config", "encoder", "says"),
    [
        (replace(SMALL, contrastive_layer=2), small_filterbank(), "contrastive_layer"),
        (SMALL, small_causal("cpc"), "context.kind"),
        (SMALL, small_filterbank(), None),
    ],
)
def test_what_it_cannot_learn_from_is_refused(config, encoder, says):
    if says is None:
        config.require(encoder, 1.0)
        return
    with pytest.raises(ValueError, match=says):
        config.require(encoder, 1.0)
