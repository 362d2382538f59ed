"""Language identification: a linear layer on the mean context; padding changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechx.errors import UserError
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import BLANK, Vocabulary
from tests.conftest import small_convolutional, small_filterbank
from tests.models.reference_models import Case, roughen

ENCODERS = {
    "group": lambda: small_convolutional("group"),
    "layer": lambda: small_convolutional("layer"),
    "filterbank": small_filterbank,
}
LANGUAGES = Vocabulary("languages", ("kk", "ru", "tt"))
SAMPLES = (12_000, 3500, 8000, 16_000)


@pytest.fixture(params=ENCODERS)
def model(request):
    torch.manual_seed(0)
    config = LanguageIDConfig()
    made = SpeechModel(ENCODERS[request.param](), {"lid": config}, {"lid": LANGUAGES})
    return roughen(made.eval())


def batch_of(samples=SAMPLES, labels=(1, 3, 2, 1)):
    torch.manual_seed(1)
    lengths_B = torch.tensor(samples)
    ones_B, none = torch.ones_like(lengths_B), torch.zeros(len(samples), 0, dtype=torch.long)
    labels_BU, wave_BS = torch.tensor(labels)[:, None], torch.randn(len(samples), max(samples))
    case = Case(wave_BS, lengths_B, ones_B, none, none, labels_BU, ones_B)
    return replace(case.batch(), draws={})


def test_the_loss_is_the_cross_entropy_of_the_mean_context(model):
    """Each utterance by itself, without padding; the blank is no class."""
    batch, head = batch_of(), model.objectives["lid"].head
    expected, right = 0.0, 0
    for wave_S, samples, label in zip(batch.wave_BS, SAMPLES, batch.labels_BU, strict=True):
        mean_D = model.encoder(wave_S[None, :samples]).context_BTD[0].mean(0)
        logits_V = head(mean_D)[1:]
        expected += F.cross_entropy(logits_V, label[0] - 1).item()
        right += int(logits_V.argmax() == label[0] - 1)
    loss = model({"lid": batch}, None)["lid"]
    (term,) = loss.terms
    assert term.count == "utterances"
    assert term.sum.item() == pytest.approx(expected, rel=1e-4)
    values = model.objectives["lid"].metrics({n: float(t) for n, t in loss.totals.items()})
    assert values == pytest.approx({"loss": expected / 4, "accuracy": right / 4}, rel=1e-4)


def test_padding_and_its_content_change_nothing(model):
    batch = batch_of()
    noisy_BS = batch.wave_BS.clone()
    for row, samples in enumerate(SAMPLES):
        noisy_BS[row, samples:] = math.nan
    read, head = [], model.objectives["lid"]
    with torch.no_grad():
        for wave_BS in (batch.wave_BS, noisy_BS):
            read.append(head.log_probabilities(model.encoder, wave_BS, batch.lengths_B)[0])
        assert torch.equal(*read)
        for row, samples in enumerate(SAMPLES):
            alone, frames_B = head.log_probabilities(
                model.encoder, batch.wave_BS[row : row + 1, :samples], torch.tensor([samples])
            )
            assert frames_B.tolist() == [1]
            torch.testing.assert_close(read[0][row], alone[0], rtol=1e-4, atol=1e-4)


def test_the_blank_never_wins(model):
    """However large its logit is; all languages together have probability 1."""
    head = model.objectives["lid"]
    with torch.no_grad():
        head.head.bias[BLANK] = 1e4
        batch = batch_of()
        read_B1V, _ = head.log_probabilities(model.encoder, batch.wave_BS, batch.lengths_B)
    assert read_B1V.shape == (4, 1, 4)
    assert (read_B1V[:, :, BLANK] == -torch.inf).all()
    torch.testing.assert_close(read_B1V.exp().sum(2), torch.ones(4, 1))
    assert (read_B1V.argmax(2) != BLANK).all()


def test_gradients_are_finite_and_micro_batches_add_up(model):
    """The blank has no probability, and a masked -inf must not become NaN in the backward pass."""
    batch = batch_of()

    def gradients(size):
        model.zero_grad()
        for rows in torch.arange(4).split(size):
            fields = {n: getattr(batch, n)[rows] for n in ("wave_BS", "lengths_B", "labels_BU")}
            loss = model({"lid": replace(batch, **fields)}, None)["lid"]
            (loss.terms[0].sum / 4).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    whole = gradients(4)
    assert all(gradient.isfinite().all() for gradient in whole.values())
    head = whole["objectives.lid.head.weight"]
    assert (head[BLANK] == 0).all()
    assert (head[1:] != 0).any()
    for name, gradient in gradients(1).items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)


def test_every_parameter_has_a_gradient_in_training(model):
    model.train()
    model({"lid": batch_of()}, 0)["lid"].terms[0].sum.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_audio_too_short_for_a_frame_has_no_frame(model):
    batch = batch_of((12_000, 100), (1, 2))
    with torch.no_grad():
        read_B1V, frames_B = model.objectives["lid"].log_probabilities(
            model.encoder, batch.wave_BS, batch.lengths_B
        )
    assert frames_B.tolist() == [1, 0]
    assert read_B1V[:, :, 1:].isfinite().all()


def test_draws_are_masks_and_the_count_of_utterances(model):
    config, batch = LanguageIDConfig(), batch_of()
    draws, counts = config.draw(batch, np.random.default_rng(0), model.encoder.config)
    assert counts == {"utterances": 4}
    assert draws["mask_BT"].any()
    plain = model({"lid": batch}, None)["lid"].totals["loss"]
    masked = replace(batch, draws={"mask_BT": draws["mask_BT"]})
    assert model({"lid": masked}, None)["lid"].totals["loss"] != plain
    assert config.token_type == "languages"
    with pytest.raises(ValueError, match="dropout"):
        LanguageIDConfig(dropout=1.0)


def test_one_language_is_nothing_to_identify():
    vocabulary = Vocabulary("languages", ("xx",))
    with pytest.raises(UserError, match=r"at least 2 languages.*xx"):
        LanguageIDConfig().build(small_filterbank(), vocabulary)
