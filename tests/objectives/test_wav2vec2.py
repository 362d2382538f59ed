"""The contrastive loss: its negatives, its chance level, its sums, its signature of a collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechx.models.quantizer import ProductQuantizer, Quantized, QuantizerConfig
from speechx.models.wav2vec2 import Predictions, Wav2Vec2Pretraining
from speechx.objectives.contrastive import (
    ContrastiveConfig,
    contrastive,
    pretraining_loss,
    sample_negatives,
)
from speechx.objectives.masking import Masking, span_mask
from tests.conftest import small_convolutional


def different_codes(rows, masked):
    """Codes of which no two in a row are the same."""
    return torch.arange(masked)[None, :, None].repeat(rows, 1, 2)


def negatives(rows, masked, count, seed=0):
    return torch.from_numpy(sample_negatives(rows, masked, count, np.random.default_rng(seed)))


def test_negatives_are_never_the_frame_itself_and_cover_the_row_evenly():
    drawn_BMK = sample_negatives(3, 20, 2000, np.random.default_rng(0))
    assert drawn_BMK.shape == (3, 20, 2000)
    assert drawn_BMK.min() == 0
    assert drawn_BMK.max() == 19  # an index into the masked frames of the row, and of no other row
    for row_MK in drawn_BMK:
        for own, some_K in enumerate(row_MK):
            counts = np.bincount(some_K, minlength=20)
            assert counts[own] == 0
            others = np.delete(counts, own)
            assert others.min() > 60  # 105 expected of each
            assert others.max() < 160


def test_negatives_of_two_frames_and_of_one():
    drawn_BMK = sample_negatives(1, 2, 5, np.random.default_rng(0))
    assert drawn_BMK.tolist() == [[[1] * 5, [0] * 5]]
    with pytest.raises(ValueError, match="at least 2 masked frames"):
        sample_negatives(1, 1, 5, np.random.default_rng(0))


def test_negatives_come_from_the_same_row():
    """What the targets of one row are does not matter to the loss of another."""
    torch.manual_seed(0)
    predicted, targets = torch.randn(2, 12, 8), torch.randn(2, 12, 8)
    codes, drawn = different_codes(2, 12), negatives(2, 12, 6)
    alone = contrastive(predicted[:1], targets[:1], codes[:1], drawn[:1], 0.1).loss
    both = contrastive(predicted, targets, codes, drawn, 0.1).loss
    targets[1] = torch.randn(12, 8)
    changed = contrastive(predicted, targets, codes, drawn, 0.1).loss
    other = contrastive(predicted[1:], targets[1:], codes[1:], drawn[1:], 0.1).loss
    assert both != changed
    torch.testing.assert_close(changed - other, alone)


def test_it_equals_the_formula_written_out():
    torch.manual_seed(0)
    predicted, targets = torch.randn(2, 9, 8), torch.randn(2, 9, 8)
    drawn = negatives(2, 9, 5)
    total = 0.0
    for row in range(2):
        for t in range(9):
            candidates = [t, *drawn[row, t].tolist()]
            scores = [
                math.exp(float(F.cosine_similarity(predicted[row, t], targets[row, k], 0)) / 0.1)
                for k in candidates
            ]
            total -= math.log(scores[0] / sum(scores))
    term = contrastive(predicted, targets, different_codes(2, 9), drawn, 0.1)
    assert term.loss.item() == pytest.approx(total, rel=1e-5)


def test_random_vectors_start_at_chance():
    """ln 101 = 4.615 nats, 6.658 bits; one frame in 101 is right by luck."""
    torch.manual_seed(0)
    rows, masked = 8, 250
    predicted, targets = torch.randn(rows, masked, 4096), torch.randn(rows, masked, 4096)
    term = contrastive(
        predicted, targets, different_codes(rows, masked), negatives(rows, masked, 100), 0.1
    )
    assert term.loss.item() / (rows * masked) == pytest.approx(math.log(101), abs=0.05)
    assert float(term.correct) / (rows * masked) == pytest.approx(1 / 101, abs=0.008)
    assert float(term.negatives_equal_positive) == 0
    assert float(term.chance_bits) == pytest.approx(rows * masked * math.log2(101), rel=1e-6)


def test_chance_is_that_of_each_frame_where_half_of_them_are_silent():
    """A guess costs less than the mean share of equal negatives says (Jensen)."""
    torch.manual_seed(0)
    rows, masked, count = 8, 250, 100
    predicted, targets = torch.randn(rows, masked, 4096), torch.randn(rows, masked, 4096)
    codes, drawn = different_codes(rows, masked), negatives(rows, masked, count)
    codes[:, ::2] = 0
    term = contrastive(predicted, targets, codes, drawn, 1.0)
    frames = rows * masked
    measured = float(term.contrastive) / frames / math.log(2)
    exact = float(term.chance_bits) / frames
    of_mean = math.log2(1 + count * (1 - float(term.negatives_equal_positive) / frames))
    print(f"{measured:.3f} bits by guessing; chance {exact:.3f}, of the mean share {of_mean:.3f}")
    assert exact == pytest.approx(measured, abs=0.005)
    assert of_mean > 1.01 * measured
    left = [
        sum(bool((codes[0, k] != codes[0, t]).any()) for k in drawn[0, t]) for t in range(masked)
    ]
    alone = contrastive(predicted[:1], targets[:1], codes[:1], drawn[:1], 0.1)
    assert float(alone.chance_bits) == pytest.approx(sum(math.log2(1 + n) for n in left), rel=1e-5)


def test_a_negative_with_the_positives_codes_is_left_out():
    torch.manual_seed(0)
    predicted, targets = torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    codes = torch.tensor([[[0, 0], [0, 0], [0, 1], [1, 0]]])  # the first two are the same pair
    drawn = torch.tensor([[[1, 2, 3], [0, 0, 3], [0, 1, 3], [0, 1, 2]]])
    term = contrastive(predicted, targets, codes, drawn, 0.1)
    kept = [[0, 2, 3], [1, 3], [2, 0, 1, 3], [3, 0, 1, 2]]
    cosine = F.normalize(predicted, dim=2) @ F.normalize(targets, dim=2).transpose(1, 2)
    expected = sum(
        -(cosine[0, t, candidates] / 0.1).log_softmax(0)[0] for t, candidates in enumerate(kept)
    )
    torch.testing.assert_close(term.loss, expected)
    assert float(term.negatives_equal_positive) == pytest.approx(1 / 3 + 2 / 3)
    assert float(term.chance_bits) == pytest.approx(math.log2(3) + math.log2(2) + 2 * math.log2(4))


def test_signature_of_a_collapse():
    """One code for everything: loss 0, accuracy means nothing, every negative is the positive."""
    torch.manual_seed(0)
    predicted = torch.randn(2, 10, 8, requires_grad=True)
    targets = torch.ones(2, 10, 8)
    term = contrastive(
        predicted, targets, torch.zeros(2, 10, 2, dtype=torch.long), negatives(2, 10, 6), 0.1
    )
    assert term.loss.item() == 0
    assert float(term.negatives_equal_positive) == 20
    assert float(term.chance_bits) == 0
    term.loss.backward()
    assert (predicted.grad == 0).all()


def test_frames_whose_candidates_all_tie_are_not_correct():
    same = torch.ones(1, 5, 8)
    term = contrastive(same, same, different_codes(1, 5), negatives(1, 5, 4), 0.1)
    assert int(term.correct) == 0
    assert term.loss.item() == pytest.approx(5 * math.log(5), rel=1e-5)


def test_right_predictions_are_counted_and_cheap():
    targets = torch.eye(12)[None]
    term = contrastive(targets, targets, different_codes(1, 12), negatives(1, 12, 6), 0.1)
    assert int(term.correct) == 12
    assert term.loss.item() < 0.01


def test_twice_the_frames_is_twice_the_loss_and_the_same_update():
    torch.manual_seed(0)
    predicted = torch.randn(2, 9, 8, requires_grad=True)
    targets, codes, drawn = torch.randn(2, 9, 8), different_codes(2, 9), negatives(2, 9, 5)
    once = contrastive(predicted, targets, codes, drawn, 0.1).loss
    (gradient,) = torch.autograd.grad(once / 18, predicted)
    twice = contrastive(
        predicted.repeat(2, 1, 1), targets.repeat(2, 1, 1), codes.repeat(2, 1, 1),
        drawn.repeat(2, 1, 1), 0.1,
    ).loss  # fmt: skip
    (again,) = torch.autograd.grad(twice / 36, predicted)
    torch.testing.assert_close(twice, 2 * once)
    torch.testing.assert_close(again, gradient)


def test_it_is_computed_in_float32_under_autocast():
    torch.manual_seed(0)
    predicted, targets = torch.randn(2, 30, 8), torch.randn(2, 30, 8)
    codes, drawn = different_codes(2, 30), negatives(2, 30, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = contrastive(predicted, targets, codes, drawn, 0.1).loss
    assert torch.equal(inside, contrastive(predicted, targets, codes, drawn, 0.1).loss)


def mean_entropy(quantizer, features):
    with torch.no_grad():
        mean = quantizer.logits(features).unflatten(2, (2, 6)).softmax(3).mean((0, 1))
    return float(-(mean * mean.log()).sum())


def penalties(quantizer, features, config, energy=0.0):
    """Diversity and penalty alone: with one code pair for all the contrastive term is 0."""
    quantized = quantizer(features, None)
    rows, masked = features.shape[:2]
    collapsed = Quantized(
        quantized.vectors_BMQ,
        torch.zeros(rows, masked, 2, dtype=torch.long),
        quantized.soft_perplexity,
        quantized.code_perplexity,
    )
    vectors = torch.ones(rows, masked, 8)
    predictions = Predictions(
        vectors, vectors, collapsed, torch.as_tensor(energy), torch.tensor(1.0)
    )
    return pretraining_loss(predictions, negatives(rows, masked, 4), 12, config)


def test_diversity_gradient_raises_the_entropy_of_the_codes():
    torch.manual_seed(0)
    quantizer = ProductQuantizer(5, QuantizerConfig(groups=2, entries=6, width=8))
    features = torch.randn(2, 50, 5)
    entropies = [mean_entropy(quantizer, features)]
    config = ContrastiveConfig(diversity=0.1, penalty=0.0)
    for _ in range(10):
        quantizer.zero_grad()
        (penalties(quantizer, features, config).loss / 100).backward()
        with torch.no_grad():
            for parameter in quantizer.logits.parameters():
                parameter -= 5 * parameter.grad
        entropies.append(mean_entropy(quantizer, features))
    assert entropies == sorted(entropies)
    assert entropies[-1] > entropies[0] + 0.05


def test_diversity_and_penalty_are_multiplied_by_the_number_of_frames():
    torch.manual_seed(0)
    quantizer = ProductQuantizer(5, QuantizerConfig(groups=2, entries=6, width=8))
    features = torch.randn(2, 50, 5)
    config = ContrastiveConfig(diversity=0.3, penalty=7.0)

    def loss_and_gradient(features):
        quantizer.zero_grad()
        term = penalties(quantizer, features, config, energy=0.2)
        term.loss.backward()
        assert float(term.contrastive) == 0
        return term.loss.item(), quantizer.logits.weight.grad.clone()

    loss, gradient = loss_and_gradient(features)
    perplexity = quantizer(features, None).soft_perplexity.item()
    assert loss == pytest.approx(100 * (0.3 * (12 - perplexity) / 12 + 7.0 * 0.2), rel=1e-5)
    doubled, twice = loss_and_gradient(features.repeat(2, 1, 1))
    assert doubled == pytest.approx(2 * loss, rel=1e-5)
    torch.testing.assert_close(twice, 2 * gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_micro_batches_add_up_to_the_big_batch(norm):
    """The contrastive part and its gradients; diversity averages per micro-batch and does not."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = Wav2Vec2Pretraining(small_convolutional(norm)).train()
    frames = model.config.encoder.frames(12_000)
    wave_BS = torch.randn(4, 12_000)
    mask_BT = torch.from_numpy(span_mask([frames] * 4, frames, Masking(), random, same_count=True))
    masked = int(mask_BT[0].sum())
    drawn_BMK = negatives(4, masked, 8)
    config = ContrastiveConfig(diversity=0.0, penalty=0.0)

    def gradients(size):
        model.zero_grad()
        total = torch.zeros(())
        for part in torch.arange(4).split(size):
            predictions = model(wave_BS[part], mask_BT[part], None)
            term = pretraining_loss(predictions, drawn_BMK[part], 20, config)
            (term.loss / (4 * masked)).backward()
            total += term.contrastive
        return total, [p.grad for p in model.parameters() if p.grad is not None]

    whole, all_at_once = gradients(4)
    for size in (1, 2, 3):
        total, added = gradients(size)
        torch.testing.assert_close(total, whole, rtol=1e-5, atol=0)
        for one, other in zip(added, all_at_once, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", [{"negatives": 0}, {"temperature": 0.0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match="must be above 0"):
        ContrastiveConfig(**change)
