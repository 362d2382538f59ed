"""The CTC objective: equal to counting all paths, independent of padding; impossible labels."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import speechx
from speechx.errors import UserError
from speechx.interchange.conversion import convert
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.ctc_loss import ctc_loss
from speechx.objectives.masking import Masking
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import Vocabulary
from tests.conftest import small_causal, small_convolutional, small_filterbank
from tests.models.reference_models import Case, ctc_model, roughen


def collapse(path):
    """A path as CTC reads it: repeats once, blanks dropped."""
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def brute_force(logits_TV, labels):
    """-log of the sum over all paths that spell `labels`."""
    probabilities_TV = logits_TV.double().softmax(1)
    frames, outputs = logits_TV.shape
    total = sum(
        math.prod(float(probabilities_TV[t, v]) for t, v in enumerate(path))
        for path in itertools.product(range(outputs), repeat=frames)
        if collapse(path) == tuple(labels)
    )
    return -math.log(total) if total else math.inf


TARGETS = [(1,), (2, 1), (1, 2, 3), (1, 1), (3, 3), (2, 3, 2)]


@pytest.mark.parametrize("target", TARGETS)
def test_equals_brute_force_on_three_frames(target):
    torch.manual_seed(0)
    logits_TV = 2 * torch.randn(3, 4)
    losses_B, infeasible_B = ctc_loss(
        logits_TV[None], torch.tensor([3]), torch.tensor([target]), torch.tensor([len(target)])
    )
    assert losses_B.tolist() == pytest.approx([brute_force(logits_TV, target)], rel=1e-5)
    assert infeasible_B.tolist() == [False]


def test_every_sentence_has_its_own_loss_and_padding_none():
    torch.manual_seed(0)
    rows = [2 * torch.randn(frames, 4) for frames in (3, 1, 4)]
    targets = [(1, 1), (3,), (2, 3)]
    logits_BTV = torch.full((3, 6, 4), -torch.inf)
    logits_BTV[:, :, 0] = 0
    padded_BU = torch.zeros(3, 2, dtype=torch.long)
    for row, (logits_TV, target) in enumerate(zip(rows, targets, strict=True)):
        logits_BTV[row, : len(logits_TV)] = logits_TV
        padded_BU[row, : len(target)] = torch.tensor(target)
    logits_BTV.requires_grad_()
    losses_B, _ = ctc_loss(logits_BTV, torch.tensor([3, 1, 4]), padded_BU, torch.tensor([2, 1, 2]))
    expected = [brute_force(x, y) for x, y in zip(rows, targets, strict=True)]
    assert losses_B.tolist() == pytest.approx(expected, rel=1e-5)
    losses_B.sum().backward()
    assert (logits_BTV.grad[1, :1] != 0).any()
    assert not logits_BTV.grad[1, 1:].nan_to_num(0).any()


@pytest.mark.parametrize(
    ("target", "frames"), [((1, 2), 1), ((1, 1), 2), ((1, 1, 1), 4), ((1,), 0)]
)
def test_labels_that_no_path_can_spell_have_loss_0_and_are_marked(target, frames):
    torch.manual_seed(0)
    logits_BTV = torch.randn(2, 5, 3, requires_grad=True)
    targets_BU = torch.zeros(2, 3, dtype=torch.long)
    targets_BU[0, : len(target)] = torch.tensor(target)
    targets_BU[1, 0] = 2
    losses_B, infeasible_B = ctc_loss(
        logits_BTV, torch.tensor([frames, 5]), targets_BU, torch.tensor([len(target), 1])
    )
    assert infeasible_B.tolist() == [True, False]
    assert CTCConfig(tokens="characters").frames_needed(target) > frames
    expected = [0.0, brute_force(logits_BTV[1].detach(), (2,))]
    assert losses_B.tolist() == pytest.approx(expected, rel=1e-5)
    losses_B.sum().backward()
    assert (logits_BTV.grad[0] == 0).all()
    assert logits_BTV.grad.isfinite().all()


def test_padding_of_the_labels_is_no_repeat():
    """Zeros behind short labels are equal neighbours, but need no frames."""
    logits_BTV = torch.randn(1, 2, 3)
    labels_BU = torch.tensor([[1, 2, 0, 0]])
    _, infeasible_B = ctc_loss(logits_BTV, torch.tensor([2]), labels_BU, torch.tensor([2]))
    assert infeasible_B.tolist() == [False]


def test_it_is_computed_in_float32_and_without_warnings():
    torch.manual_seed(0)
    logits_BTV = torch.randn(1, 4, 3)
    arguments = (torch.tensor([4]), torch.tensor([[1, 2]]), torch.tensor([2]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full, _ = ctc_loss(logits_BTV, *arguments)
        with torch.autocast("cpu", torch.bfloat16):
            half, _ = ctc_loss(logits_BTV, *arguments)
    assert full.dtype == half.dtype == torch.float32
    assert torch.equal(full, half)


ENCODERS = {"group": lambda: small_convolutional("group"), "filterbank": small_filterbank}


def batch_of(samples, labels):
    torch.manual_seed(2)
    lengths_B, width = torch.tensor(samples), max(map(len, labels))
    padded = [[*row, *[0] * (width - len(row))] for row in labels]
    none = torch.zeros(len(samples), 0, dtype=torch.long)
    label_lengths_B = torch.tensor([len(row) for row in labels])
    wave_BS = torch.randn(len(samples), max(samples))
    case = Case(wave_BS, lengths_B, lengths_B, none, none, torch.tensor(padded), label_lengths_B)
    return replace(case.batch(), draws={})


def rows_of(batch, rows):
    samples = int(batch.lengths_B[rows].max())
    fields = {n: getattr(batch, n)[rows] for n in ("lengths_B", "labels_BU", "label_lengths_B")}
    return replace(batch, wave_BS=batch.wave_BS[rows, :samples], **fields)


class TestObjective:
    @pytest.fixture(params=ENCODERS)
    def model(self, request):
        torch.manual_seed(0)
        return roughen(ctc_model(ENCODERS[request.param]()).eval())

    def batch(self):
        return batch_of([12_000, 3500, 8000], [[1, 4, 2, 2], [3], [5, 6]])

    def test_micro_batches_add_up_to_the_big_batch(self, model):
        """The loss, its gradients and the sums of the log, whatever the padding."""
        batch = self.batch()

        def run(batches):
            model.zero_grad()
            losses = [model({"ctc": each}, None)["ctc"] for each in batches]
            (terms,) = zip(*(loss.terms for loss in losses), strict=True)
            assert {term.count for term in terms} == {"utterances"}
            sum(term.sum / 3 for term in terms).backward()
            totals = {n: sum(float(loss.totals[n]) for loss in losses) for n in losses[0].totals}
            return totals, [p.grad for p in model.parameters() if p.grad is not None]

        whole, expected = run([batch])
        for size in (1, 2):
            added, gradients = run([rows_of(batch, r) for r in torch.arange(3).split(size)])
            assert added == pytest.approx(whole, rel=1e-5)
            for one, other in zip(gradients, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    def test_the_log_counts_labels_and_real_frames(self, model):
        batch = self.batch()
        loss = model({"ctc": batch}, None)["ctc"]
        values = model.objectives["ctc"].metrics({n: float(t) for n, t in loss.totals.items()})
        assert values["loss"] == pytest.approx(loss.terms[0].sum.item() / 7, rel=1e-5)
        assert "infeasible" not in values
        read_BTV, frames_B = model.objectives["ctc"].log_probabilities(
            model.encoder, batch.wave_BS, batch.lengths_B
        )
        best = [row.argmax(1)[:n] for row, n in zip(read_BTV, frames_B, strict=True)]
        blanks = torch.cat(best).eq(0).float().mean()
        assert values["blank_share"] == pytest.approx(float(blanks))

    def test_infeasible_sentences_are_counted(self, model):
        batch = batch_of([12_000, 700], [[1, 4], [3] * 9])
        totals = model({"ctc": batch}, None)["ctc"].totals
        assert int(totals["infeasible"]) == 1
        values = model.objectives["ctc"].metrics({n: float(t) for n, t in totals.items()})
        assert values["infeasible"] == 1

    def test_every_parameter_has_a_gradient_in_training(self, model):
        model.train()
        model({"ctc": self.batch()}, 0)["ctc"].terms[0].sum.backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []

    def test_masks_are_drawn_for_real_frames_and_used(self, model):
        batch, config = self.batch(), model.configs["ctc"]
        config = replace(config, channel_masking=Masking(probability=0.5, span=3))
        encoder = model.encoder.config
        draws, counts = config.draw(batch, np.random.default_rng(0), encoder)
        assert counts == {"utterances": 3}
        frames = [encoder.features.frames(int(n)) for n in batch.lengths_B]
        for mask_T, count in zip(draws["mask_BT"], frames, strict=True):
            assert 0 < mask_T.sum() < count
            assert not mask_T[count:].any()
        assert draws["channel_mask_BD"].any(1).all()
        plain = model({"ctc": batch}, None)["ctc"].totals["loss"]
        for name in draws:
            masked = replace(batch, draws={name: draws[name]})
            assert model({"ctc": masked}, None)["ctc"].totals["loss"] != plain
        off = Masking(probability=0.0)
        config = replace(config, time_masking=off, channel_masking=off)
        assert config.draw(batch, np.random.default_rng(0), encoder)[0] == {}


def test_a_new_head_takes_the_rows_of_tokens_that_both_have():
    def model(*tokens):
        vocabulary = Vocabulary("phonemes", tokens)
        config = CTCConfig(tokens="phonemes")
        return SpeechModel(small_filterbank(), {"ctc": config}, {"ctc": vocabulary})

    old, new = roughen(model("a", "b", "tʃ")).objectives["ctc"], model("tʃ", "x", "a")
    head = new.objectives["ctc"].head
    before = head.weight[2].clone()
    assert new.objectives["ctc"].copy_rows(old.state_dict(), old.vocabulary) == 2
    for row, other in ((0, 0), (1, 3), (3, 1)):
        assert torch.equal(head.weight[row], old.head.weight[other])
        assert head.bias[row] == old.head.bias[other]
    assert torch.equal(head.weight[2], before)


def test_a_new_head_takes_the_rows_of_capitals_for_small_letters():
    def model(*tokens):
        config, vocabulary = CTCConfig(tokens="characters"), Vocabulary("characters", tokens)
        return SpeechModel(small_filterbank(), {"ctc": config}, {"ctc": vocabulary})

    old, new = roughen(model("A", "B", "b")).objectives["ctc"], model("b", "a", "c")
    assert new.objectives["ctc"].copy_rows(old.state_dict(), old.vocabulary) == 2
    for row, other in ((1, 3), (2, 1)):
        assert torch.equal(new.objectives["ctc"].head.weight[row], old.head.weight[other])


@pytest.mark.parametrize(("labels", "frames"), [([], 0), ([1], 1), ([1, 2], 2), ([1, 1, 1], 5)])
def test_frames_that_labels_need(labels, frames):
    assert CTCConfig(tokens="characters").frames_needed(labels) == frames


class TestWindowsOfFrames:
    """A head that sees 8 frames every 4 frames, as the probe of CPC."""

    config = CTCConfig(tokens="phonemes", kernel=8, stride=4)
    vocabulary = Vocabulary("phonemes", ("a", "b"))

    def model(self, **changes):
        torch.manual_seed(0)
        config = replace(self.config, **changes)
        return SpeechModel(small_causal("cpc"), {"ctc": config}, {"ctc": self.vocabulary}).eval()

    def test_it_is_a_strided_convolution_and_padding_changes_nothing(self):
        model, wave_BS = self.model(), torch.randn(3, 16_000)
        head, lengths_B = model.objectives["ctc"], torch.tensor([16_000, 7000, 900])
        with torch.no_grad():
            found, frames_B = head.log_probabilities(model.encoder, wave_BS, lengths_B)
            assert frames_B.tolist() == [24, 9, 0]  # of 100, 43 and 5 frames
            context = model.encoder(wave_BS[1:2, :7000]).context_BTD
            weight = head.head.weight.unflatten(1, (8, 8))  # channels, then frames
            logits = F.conv1d(context.transpose(1, 2), weight, head.head.bias, stride=4)
        torch.testing.assert_close(found[1, :9], logits[0].T.log_softmax(1), atol=1e-5, rtol=1e-4)

    def test_labels_need_frames_of_the_encoder(self):
        """Two outputs are 12 frames, and 11 give one."""
        assert self.config.frames_needed(["a", "b"]) == 12
        assert self.config.frames_needed(["a", "a"]) == 16  # a blank between them
        assert self.config.frames_needed([]) == 0

    def test_its_grid_counts_samples(self):
        model = self.model()
        grid = model.objectives["ctc"].grid(model.encoder.config.features)
        assert (grid.stride, grid.receptive_field) == (640, 465 + 7 * 160)
        assert [grid.frames(n) for n in (1100, 1280, 7000, 16_000)] == [0, 1, 9, 24]
        plain = self.model(kernel=1, stride=1)
        features = plain.encoder.config.features
        assert plain.objectives["ctc"].grid(features) is features

    def test_times_of_a_long_recording_are_on_its_grid(self, tmp_path):
        """The outputs of windows, put together, are those of the whole recording inside them."""
        model = self.model()
        with torch.no_grad():
            model.objectives["ctc"].head.weight.normal_(std=30)
            model.objectives["ctc"].head.bias.zero_()
        model.save(tmp_path / "model", ["xx"])
        opened = speechx.load(tmp_path / "model")
        wave = torch.randn(40 * 16_000).numpy()
        outputs = opened.log_probabilities(wave)
        assert len(outputs) == opened.features.frames(len(wave)) == 999
        ends = [segment.end for segment in opened.transcribe(wave).segments]
        assert 39.0 < ends[-1] <= 40.0

    def test_rows_of_a_head_with_another_kernel_are_not_copied(self):
        theirs, ours = self.model(), self.model(kernel=4)
        weights = theirs.objectives["ctc"].state_dict()
        with pytest.raises(UserError, match="another number of frames"):
            ours.objectives["ctc"].copy_rows(weights, self.vocabulary)
        assert self.model().objectives["ctc"].copy_rows(weights, self.vocabulary) == 2

    def test_other_formats_do_not_hold_it(self, tmp_path):
        torch.manual_seed(0)
        model = SpeechModel(
            small_convolutional(), {"ctc": replace(self.config, stride=1)}, {"ctc": self.vocabulary}
        )
        model.save(tmp_path / "model", ["xx"])
        with pytest.raises(UserError, match="several frames at once"):
            convert(tmp_path / "model", tmp_path / "theirs", "hugging_face")
        assert not (tmp_path / "theirs").exists()


class TestNewPhones:
    """What a head starts from where the head in `init` lacks a phone."""

    known = Vocabulary("phonemes", ("u", "i", "t", "s", "?5"))

    def copied(self, new_phones, tokens):
        torch.manual_seed(0)
        theirs = SpeechModel(
            small_convolutional(), {"ctc": CTCConfig(tokens="phonemes")}, {"ctc": self.known}
        ).objectives["ctc"]
        config = CTCConfig(tokens="phonemes", new_phones=new_phones)
        vocabulary = Vocabulary("phonemes", tokens)
        ours = SpeechModel(small_convolutional(), {"ctc": config}, {"ctc": vocabulary})
        head, weights = ours.objectives["ctc"], theirs.state_dict()
        count = head.copy_rows(weights, self.known)
        rows = {"": 0, **{token: i for i, token in enumerate(self.known.tokens, start=1)}}
        found = {}
        for token, row_D in zip(("", *tokens), head.head.weight, strict=True):
            same = [t for t, i in rows.items() if torch.equal(theirs.head.weight[i], row_D)]
            found[token] = same[0] if same else None
        return count, found

    def test_the_nearest_phone_gives_its_weights(self, capsys):
        count, found = self.copied("nearest", ("s", "d", "o", "t", "˩"))
        assert count == 2
        assert found == {"": "", "s": "s", "t": "t", "d": "t", "o": "u", "˩": None}
        said = capsys.readouterr().err
        assert "d from t" in said
        assert "random weights: ˩" in said

    def test_by_default_they_are_random(self):
        _, found = self.copied("random", ("s", "d"))
        assert found == {"": "", "s": "s", "d": None}

    def test_letters_have_no_nearest_one(self):
        with pytest.raises(ValueError, match="phonemes"):
            CTCConfig(tokens="characters", new_phones="nearest")
