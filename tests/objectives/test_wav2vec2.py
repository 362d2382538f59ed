"""The contrastive objective: its chance level, its terms and what they are divided by, its log."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechx.models.encoder import mean_square
from speechx.models.quantizer import GumbelTemperature
from speechx.objectives.masking import Masking
from speechx.objectives.negatives import sample_negatives
from speechx.objectives.wav2vec2 import Wav2Vec2Config, contrastive
from tests.conftest import small_convolutional, small_filterbank
from tests.models.reference_models import Case, pretraining_model, total


def different_codes(rows, masked):
    """Codes of which no two in a row are the same."""
    return torch.arange(masked)[None, :, None].repeat(rows, 1, 2)


def negatives(rows, masked, count, seed=0):
    return torch.from_numpy(sample_negatives(rows, masked, count, np.random.default_rng(seed)))


def test_negatives_come_from_the_same_row():
    """The targets of one row do not change the loss of another."""
    torch.manual_seed(0)
    context, targets = torch.randn(2, 12, 8), torch.randn(2, 12, 8)
    codes, drawn = different_codes(2, 12), negatives(2, 12, 6)
    alone = contrastive(context[:1], targets[:1], codes[:1], drawn[:1], 0.1).sum
    both = contrastive(context, targets, codes, drawn, 0.1).sum
    targets[1] = torch.randn(12, 8)
    changed = contrastive(context, targets, codes, drawn, 0.1).sum
    other = contrastive(context[1:], targets[1:], codes[1:], drawn[1:], 0.1).sum
    assert both != changed
    torch.testing.assert_close(changed - other, alone)


def test_it_equals_the_formula_written_out():
    torch.manual_seed(0)
    context, targets = torch.randn(2, 9, 8), torch.randn(2, 9, 8)
    drawn = negatives(2, 9, 5)
    total = 0.0
    for row in range(2):
        for t in range(9):
            candidates = [t, *drawn[row, t].tolist()]
            scores = [
                math.exp(float(F.cosine_similarity(context[row, t], targets[row, k], 0)) / 0.1)
                for k in candidates
            ]
            total -= math.log(scores[0] / sum(scores))
    term = contrastive(context, targets, different_codes(2, 9), drawn, 0.1)
    assert term.sum.item() == pytest.approx(total, rel=1e-5)


def test_random_vectors_start_at_chance():
    """ln 101 = 4.615 nats, 6.658 bits; one frame in 101 is right by luck."""
    torch.manual_seed(0)
    rows, masked = 8, 250
    context, targets = torch.randn(rows, masked, 4096), torch.randn(rows, masked, 4096)
    term = contrastive(
        context, targets, different_codes(rows, masked), negatives(rows, masked, 100), 0.1
    )
    assert term.sum.item() / (rows * masked) == pytest.approx(math.log(101), abs=0.05)
    assert float(term.correct) / (rows * masked) == pytest.approx(1 / 101, abs=0.008)
    assert float(term.negatives_equal_positive) == 0
    assert float(term.chance_bits) == pytest.approx(rows * masked * math.log2(101), rel=1e-6)


def test_chance_is_that_of_each_frame_where_half_of_them_are_silent():
    """A guess costs less than the mean share of equal negatives suggests (Jensen)."""
    torch.manual_seed(0)
    rows, masked, count = 8, 250, 100
    context, targets = torch.randn(rows, masked, 4096), torch.randn(rows, masked, 4096)
    codes, drawn = different_codes(rows, masked), negatives(rows, masked, count)
    codes[:, ::2] = 0
    term = contrastive(context, targets, codes, drawn, 1.0)
    frames = rows * masked
    measured = float(term.sum) / frames / math.log(2)
    exact = float(term.chance_bits) / frames
    of_mean = math.log2(1 + count * (1 - float(term.negatives_equal_positive) / frames))
    print(f"{measured:.3f} bits by guessing; chance {exact:.3f}, of the mean share {of_mean:.3f}")
    assert exact == pytest.approx(measured, abs=0.005)
    assert of_mean > 1.01 * measured
    left = [
        sum(bool((codes[0, k] != codes[0, t]).any()) for k in drawn[0, t]) for t in range(masked)
    ]
    alone = contrastive(context[:1], targets[:1], codes[:1], drawn[:1], 0.1)
    assert float(alone.chance_bits) == pytest.approx(sum(math.log2(1 + n) for n in left), rel=1e-5)


def test_a_negative_with_the_positives_codes_is_left_out():
    torch.manual_seed(0)
    context, targets = torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    codes = torch.tensor([[[0, 0], [0, 0], [0, 1], [1, 0]]])  # the first two are the same pair
    drawn = torch.tensor([[[1, 2, 3], [0, 0, 3], [0, 1, 3], [0, 1, 2]]])
    term = contrastive(context, targets, codes, drawn, 0.1)
    kept = [[0, 2, 3], [1, 3], [2, 0, 1, 3], [3, 0, 1, 2]]
    cosine = F.normalize(context, dim=2) @ F.normalize(targets, dim=2).transpose(1, 2)
    expected = sum(
        -(cosine[0, t, candidates] / 0.1).log_softmax(0)[0] for t, candidates in enumerate(kept)
    )
    torch.testing.assert_close(term.sum, expected)
    assert float(term.negatives_equal_positive) == pytest.approx(1 / 3 + 2 / 3)
    assert float(term.chance_bits) == pytest.approx(math.log2(3) + math.log2(2) + 2 * math.log2(4))


def test_signature_of_a_collapse():
    """One code for everything: loss 0, accuracy means nothing, every negative is the positive."""
    torch.manual_seed(0)
    context = torch.randn(2, 10, 8, requires_grad=True)
    targets = torch.ones(2, 10, 8)
    term = contrastive(
        context, targets, torch.zeros(2, 10, 2, dtype=torch.long), negatives(2, 10, 6), 0.1
    )
    assert term.sum.item() == 0
    assert float(term.negatives_equal_positive) == 20
    assert float(term.chance_bits) == 0
    term.sum.backward()
    assert (context.grad == 0).all()


def test_frames_whose_candidates_all_tie_are_not_correct():
    same = torch.ones(1, 5, 8)
    term = contrastive(same, same, different_codes(1, 5), negatives(1, 5, 4), 0.1)
    assert int(term.correct) == 0
    assert term.sum.item() == pytest.approx(5 * math.log(5), rel=1e-5)


def test_right_predictions_are_counted_and_cheap():
    targets = torch.eye(12)[None]
    term = contrastive(targets, targets, different_codes(1, 12), negatives(1, 12, 6), 0.1)
    assert int(term.correct) == 12
    assert term.sum.item() < 0.01


def test_twice_the_frames_is_twice_the_loss_and_the_same_update():
    torch.manual_seed(0)
    context = torch.randn(2, 9, 8, requires_grad=True)
    targets, codes, drawn = torch.randn(2, 9, 8), different_codes(2, 9), negatives(2, 9, 5)
    once = contrastive(context, targets, codes, drawn, 0.1).sum
    (gradient,) = torch.autograd.grad(once / 18, context)
    twice = contrastive(
        context.repeat(2, 1, 1), targets.repeat(2, 1, 1), codes.repeat(2, 1, 1),
        drawn.repeat(2, 1, 1), 0.1,
    ).sum  # fmt: skip
    (again,) = torch.autograd.grad(twice / 36, context)
    torch.testing.assert_close(twice, 2 * once)
    torch.testing.assert_close(again, gradient)


def test_it_is_computed_in_float32_under_autocast():
    torch.manual_seed(0)
    context, targets = torch.randn(2, 30, 8), torch.randn(2, 30, 8)
    codes, drawn = different_codes(2, 30), negatives(2, 30, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = contrastive(context, targets, codes, drawn, 0.1).sum
    assert torch.equal(inside, contrastive(context, targets, codes, drawn, 0.1).sum)


class TestObjective:
    """The terms of a loss over micro-batches, and the numbers of the log."""

    @pytest.fixture(params=["group", "layer"])
    def model(self, request):
        torch.manual_seed(0)
        return pretraining_model(
            small_convolutional(request.param), num_negatives=8, diversity=0.3, features_penalty=7.0
        ).train()

    def batch(self, model, samples=(12_000, 9000, 12_000, 7000)):
        """Rows of different lengths, with everything drawn."""
        torch.manual_seed(1)
        lengths_B = torch.tensor(samples)
        none = torch.zeros(len(samples), 0, dtype=torch.long)
        frames_B = torch.tensor([model.encoder.config.features.frames(n) for n in samples])
        wave_BS = torch.randn(len(samples), max(samples))
        batch = Case(wave_BS, lengths_B, frames_B, none, none, none, lengths_B).batch()
        random = np.random.default_rng(0)
        draws, counts = model.configs["wav2vec2"].draw(batch, random, model.encoder.config)
        return replace(batch, draws=draws, counts=counts)

    def part(self, batch, rows):
        """Some rows as a micro-batch, cut to the longest of them, with the counts of the batch."""
        samples = int(batch.lengths_B[rows].max())
        frames = [int(n) for n in self.frames_of(batch)[rows]]
        draws = {
            "mask_BT": batch.draws["mask_BT"][rows, : max(frames)],
            "negatives_BMK": batch.draws["negatives_BMK"][rows],
        }
        return replace(
            batch,
            wave_BS=batch.wave_BS[rows, :samples],
            lengths_B=batch.lengths_B[rows],
            draws=draws,
        )

    def frames_of(self, batch):
        features = small_convolutional("group").features
        return torch.tensor([features.frames(int(n)) for n in batch.lengths_B])

    def terms(self, model, batch):
        return model({"wav2vec2": batch}, None)["wav2vec2"].terms

    def test_each_term_has_its_count(self, model):
        batch = self.batch(model)
        loss = model({"wav2vec2": batch}, None)["wav2vec2"]
        counts = [term.count for term in loss.terms]
        assert counts == ["masked frames", "masked frames", "frames"]
        masked = int(batch.draws["mask_BT"].sum())
        assert batch.counts == {"masked frames": masked, "frames": int(self.frames_of(batch).sum())}
        perplexity = float(loss.totals["soft_perplexity"]) / masked
        codes = model.configs["wav2vec2"].quantizer.num_codes
        diversity = masked * 0.3 * (codes - perplexity) / codes
        assert loss.terms[1].sum.item() == pytest.approx(diversity, rel=1e-5)
        features = model.encoder.extract(batch.wave_BS, batch.lengths_B)
        penalty = 7.0 * mean_square(features.raw_BTC, features.frames_B)
        torch.testing.assert_close(loss.terms[2].sum, penalty)

    def test_without_a_features_penalty_there_is_no_such_term(self):
        model = pretraining_model(small_convolutional("layer"), features_penalty=0.0)
        batch = self.batch(model)
        loss = model({"wav2vec2": batch}, None)["wav2vec2"]
        assert [term.count for term in loss.terms] == ["masked frames"] * 2
        assert "features_penalty" not in loss.totals

    def gradients(self, model, batches, counts, chosen):
        """The chosen terms of all micro-batches, each divided by its global count."""
        model.zero_grad()
        sums = []
        for batch in batches:
            terms = [self.terms(model, batch)[index] for index in chosen]
            loss = sum(term.sum / counts[term.count] for term in terms)
            loss.backward()
            sums.append(loss.detach())
        return sum(sums), [p.grad for p in model.parameters() if p.grad is not None]

    def test_micro_batches_add_up_to_the_big_batch(self, model):
        """The contrastive term and the features penalty, and their gradients, to rounding."""
        batch = self.batch(model)
        whole, expected = self.gradients(model, [batch], batch.counts, (0, 2))
        for size in (1, 2, 3):
            parts = [self.part(batch, rows) for rows in torch.arange(4).split(size)]
            added, gradients = self.gradients(model, parts, batch.counts, (0, 2))
            torch.testing.assert_close(added, whole, rtol=1e-5, atol=0)
            for one, other in zip(gradients, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)

    def test_the_diversity_term_of_micro_batches_is_their_mean(self, model):
        """It is a function of the mean softmax of a batch, so it is not additive."""
        batch = self.batch(model)
        parts = [self.part(batch, rows) for rows in torch.arange(4).split(1)]
        (whole, _), (added, _) = (
            self.gradients(model, batches, batch.counts, (1,)) for batches in ([batch], parts)
        )
        alone = []
        for part in parts:
            masked = int(part.draws["mask_BT"].sum())
            alone.append(self.terms(model, part)[1].sum.detach() / masked)
        torch.testing.assert_close(added, torch.stack(alone).mean())
        assert added > whole + 1e-4  # codes that only other rows use count as unused

    def test_twice_the_rows_are_the_same_loss(self, model):
        batch = self.batch(model)
        twice = self.part(batch, torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]))
        twice = replace(twice, counts={name: 2 * n for name, n in batch.counts.items()})
        once, again = (
            total(model({"wav2vec2": each}, None)["wav2vec2"], each) for each in (batch, twice)
        )
        torch.testing.assert_close(again, once)

    def test_metrics_are_those_of_the_loss(self, model):
        """Also from sums over micro-batches."""
        batch = self.batch(model)
        objective = model.objectives["wav2vec2"]
        loss = model({"wav2vec2": batch}, None)["wav2vec2"]
        values = objective.metrics({n: float(t) for n, t in loss.totals.items()})
        assert values["loss"] == pytest.approx(total(loss, batch).item(), rel=1e-5)
        masked, frames = batch.counts["masked frames"], batch.counts["frames"]
        assert values["masked_share"] == pytest.approx(masked / frames)
        bits = loss.terms[0].sum.item() / masked / math.log(2)
        assert values["bits"] == pytest.approx(bits, rel=1e-5)
        parts = [self.part(batch, rows) for rows in torch.arange(4).split(2)]
        sums = {}
        for part in parts:
            for name, value in model({"wav2vec2": part}, None)["wav2vec2"].totals.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        added = objective.metrics(sums)
        for name in ("bits", "accuracy", "negatives_equal_positive", "chance_bits", "masked_share"):
            assert added[name] == pytest.approx(values[name], rel=1e-5), name

    def test_the_diversity_gradient_raises_the_entropy_of_the_codes(self, model):
        batch = self.batch(model)
        perplexities = []
        for _ in range(10):
            model.zero_grad()
            loss = model({"wav2vec2": batch}, None)["wav2vec2"]
            perplexities.append(float(loss.totals["soft_perplexity"]))
            (loss.terms[1].sum / batch.counts["masked frames"]).backward()
            with torch.no_grad():
                for parameter in model.objectives["wav2vec2"].quantizer.weight_proj.parameters():
                    parameter -= 3 * parameter.grad
        assert perplexities == sorted(perplexities)
        assert perplexities[-1] > 1.02 * perplexities[0]

    def test_every_parameter_has_a_gradient_in_training(self, model):
        batch = self.batch(model)
        total(model({"wav2vec2": batch}, 0)["wav2vec2"], batch).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []

    def test_a_step_draws_noise_and_none_does_not(self, model):
        batch = self.batch(model)

        def contrast(step):
            return float(model({"wav2vec2": batch}, step)["wav2vec2"].totals["contrastive"])

        assert contrast(None) == contrast(None)
        assert contrast(0) != contrast(0)

    def test_a_model_at_chance_counts_as_untrained(self):
        encoder = small_convolutional("layer")
        model = pretraining_model(encoder, num_negatives=20, logit_temperature=10.0).eval()
        batch = self.batch(model)
        totals = model({"wav2vec2": batch}, None)["wav2vec2"].totals
        metrics = model.objectives["wav2vec2"].metrics({n: float(t) for n, t in totals.items()})
        assert "at chance" in model.objectives["wav2vec2"].untrained(metrics)
        good = {**metrics, "bits": 0.3 * metrics["chance_bits"]}
        assert model.objectives["wav2vec2"].untrained(good) == ""
        collapsed = {**good, "code_perplexity": 2.0}
        assert "collapsed" in model.objectives["wav2vec2"].untrained(collapsed)


@pytest.mark.parametrize("encoder", [small_filterbank(), small_convolutional("group")])
def test_draws_are_rectangles_of_masked_frames(encoder):
    config = Wav2Vec2Config(num_negatives=6)
    lengths_B = torch.tensor([16_000, 9000, 12_345])
    none = torch.zeros(3, 0, dtype=torch.long)
    batch = Case(torch.zeros(3, 16_000), lengths_B, lengths_B, none, none, none, lengths_B).batch()
    draws, counts = config.draw(batch, np.random.default_rng(3), encoder)
    mask_BT, negatives_BMK = draws["mask_BT"], draws["negatives_BMK"]
    frames = [encoder.features.frames(int(n)) for n in lengths_B]
    masked_B = mask_BT.sum(1)
    assert len(set(masked_B.tolist())) == 1
    masked = int(masked_B[0])
    assert negatives_BMK.shape == (3, masked, 6)
    assert int(negatives_BMK.max()) < masked
    assert counts == {"masked frames": 3 * masked, "frames": sum(frames)}
    for mask_T, count in zip(mask_BT, frames, strict=True):
        assert not mask_T[count:].any()
    again, _ = config.draw(batch, np.random.default_rng(3), encoder)
    other, _ = config.draw(batch, np.random.default_rng(4), encoder)
    assert torch.equal(again["mask_BT"], mask_BT)
    assert torch.equal(again["negatives_BMK"], negatives_BMK)
    assert not torch.equal(other["mask_BT"], mask_BT)


def test_a_model_that_is_continued_keeps_the_last_temperature():
    config = Wav2Vec2Config(gumbel_temperature=GumbelTemperature(floor=0.1))
    assert config.gumbel_temperature(0) == 2.0
    assert config.continued().gumbel_temperature(0) == 0.1


def test_rows_that_are_too_short_to_mask_are_refused():
    encoder = small_convolutional("group")
    Wav2Vec2Config().require(encoder, 1.0)
    with pytest.raises(ValueError, match=r"data\.min_seconds = 0\.05"):
        Wav2Vec2Config().require(encoder, 0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"num_negatives": 0},
        {"logit_temperature": 0.0},
        {"diversity": -0.1},
        {"features_penalty": -1.0},
        {"target_dropout": 1.0},
        {"masking": Masking(min_spans=1)},
    ],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Wav2Vec2Config(**change)
