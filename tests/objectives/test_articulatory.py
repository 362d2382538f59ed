"""The articulatory objective: phones are sums of attributes, so new phones can be written."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch

from speechx.cli.main import main
from speechx.config import parse
from speechx.data.manifest import read_manifest, write_manifest
from speechx.errors import UserError
from speechx.finetuning import finetune
from speechx.models.encoder import EncoderOutput, Features
from speechx.models.folder import open_folder
from speechx.objectives.articulatory import ArticulatoryConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.ctc_loss import ctc_loss
from speechx.objectives.model import SpeechModel, start_from
from speechx.text import articulation
from speechx.text.articulation import NUM_ATTRIBUTES, attributes
from speechx.text.inventory import Inventory
from speechx.text.vocabulary import BLANK, Vocabulary
from speechx.transcription.loading import load
from tests.conftest import finetune_config, read_log, run_job, small_filterbank
from tests.models.reference_models import roughen
from tests.toy_models import toy_model

PHONES = ("b", "d", "k", "p", "t", "tʃ", "aɪ", "?5", "ɪ", "ɪ̝")
OWN = {"?5", "ɪ̝"}  # without attributes, and with those of ɪ


def head_of(*phones, encoder=None):
    vocabulary = Vocabulary("phonemes", phones)
    return ArticulatoryConfig().build(encoder or small_filterbank(), vocabulary)


def model_of(*phones):
    vocabulary = Vocabulary("phonemes", phones)
    named = {"articulatory": ArticulatoryConfig()}
    return SpeechModel(small_filterbank(), named, {"articulatory": vocabulary})


def output_of(context_BTD, frames_B=None):
    """As if an encoder had computed it."""
    frames_B = torch.tensor([len(row) for row in context_BTD]) if frames_B is None else frames_B
    features = Features(context_BTD, frames_B, context_BTD)
    return EncoderOutput(context_BTD, frames_B, features, ())


@contextmanager
def without_panphon():
    """As if the package were not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "panphon.distance", None)
        caches = articulation._panphon, articulation._spelling, articulation._known
        for cached in caches:
            cached.cache_clear()
        yield


def by_hand(head, phones, own=()):
    """The rows as sums, attribute by attribute, relative to the mean phone of the training."""
    mean = attributes([phone for phone in PHONES if phone != "?5"]).mean(0)
    rows, biases = [head.head.weight[BLANK]], [head.head.bias[BLANK]]
    for number, phone in enumerate(phones, start=1):
        row, bias = torch.zeros(head.head.in_features), torch.zeros(())
        if phone != "?5":
            for attribute, has in enumerate(attributes([phone])[0]):
                share = 0.25 * float(has - mean[attribute])
                row = row + share * head.embeddings.weight[attribute]
                bias = bias + share * head.embeddings.bias[attribute]
        if phone in own:
            row, bias = row + head.head.weight[number], bias + head.head.bias[number]
        rows.append(row)
        biases.append(bias)
    return torch.stack(rows), torch.stack(biases)


def test_logits_and_gradients_equal_the_sum_over_attributes():
    torch.manual_seed(0)
    head = roughen(head_of(*PHONES))
    context_BTD = torch.randn(2, 9, 16)
    labels_BU = torch.tensor([[1, 6, 10], [8, 9, 0]])
    lengths_B, frames_B = torch.tensor([3, 2]), torch.tensor([9, 7])

    def run(logits_BTV):
        head.zero_grad()
        ctc_loss(logits_BTV, frames_B, labels_BU, lengths_B)[0].sum().backward()
        gradients = {name: p.grad.clone() for name, p in head.named_parameters()}
        return logits_BTV.detach(), gradients

    logits_BTV, _ = head.logits(output_of(context_BTD, frames_B))
    ours, gradients = run(logits_BTV)
    weight_VD, bias_V = by_hand(head, PHONES, OWN)
    expected_BTV = context_BTD @ weight_VD.T + bias_V
    theirs, expected = run(expected_BTV)
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1, :7], theirs[1, :7])
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5)


def frames_of(phones, shown, generator, silence=2):
    """Frames (T, 16) that show what each phone looks like, noisily, and silence around them."""
    parts = [torch.zeros(silence, 16)]
    for phone in phones:
        parts += [shown[phone].expand(3, -1), torch.zeros(silence, 16)]
    frames = torch.cat(parts)
    return frames + 0.1 * torch.randn(frames.shape, generator=generator)


def best_of(head, context_TD):
    logits_BTV, _ = head.logits(output_of(context_TD[None]))
    best = [token for token, _ in groupby(logits_BTV[0].argmax(1).tolist())]
    return head.vocabulary.decode(best)


@pytest.mark.parametrize(
    ("trained", "unseen"), [("b d k p t", "ɡ"), ("p b t d f v s", "z"), ("a aː i iː u", "uː")]
)
def test_a_phone_that_training_never_had_is_written(trained, unseen):
    """ɡ from k and the voicing of b and d. Frames are random projections of attributes."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    trained = trained.split()
    head, everything = head_of(*trained), [*trained, unseen]
    projection = 0.3 * torch.randn(NUM_ATTRIBUTES, 16, generator=generator)
    rows = torch.from_numpy(attributes(everything)).float() @ projection
    shown = dict(zip(everything, rows, strict=True))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.03)
    for _ in range(100):
        drawn_BU = torch.randint(len(trained), (8, 4), generator=generator)
        rows = [frames_of([trained[i] for i in row], shown, generator) for row in drawn_BU]
        logits_BTV, frames_B = head.logits(output_of(torch.stack(rows)))
        losses_B, _ = ctc_loss(logits_BTV, frames_B, drawn_BU + 1, torch.full((8,), 4))
        optimizer.zero_grad()
        losses_B.mean().backward()
        optimizer.step()
    assert losses_B.mean() < 1
    written = [unseen, trained[0], unseen, trained[2], unseen, unseen, trained[3]]
    made = head.for_inventory(sorted(everything))
    assert best_of(made, frames_of(written, shown, generator)) == written


class TestInventory:
    def test_the_rows_are_those_of_trained_phones_and_sums_for_new_ones(self):
        torch.manual_seed(0)
        head = roughen(head_of(*PHONES))
        head.temperature = 1.5
        phones = ["ɡ", "tʃ", "ɪ̝", "aɪ", "z", "?5", "ɪ"]
        made = head.for_inventory(phones)
        assert made.vocabulary == Vocabulary("phonemes", tuple(phones))
        assert made.temperature == 1.5
        assert not made.training
        trained_VD, bias_V = by_hand(head, PHONES, OWN)
        new_VD, new_bias_V = by_hand(head, ["ɡ", "z"])
        sources = [(trained_VD, bias_V, PHONES), (new_VD, new_bias_V, ("ɡ", "z"))]
        for row, phone in enumerate(phones, start=1):
            weight, bias, names = sources[phone not in PHONES]
            at = names.index(phone) + 1
            torch.testing.assert_close(made.head.weight[row], weight[at])
            torch.testing.assert_close(made.head.bias[row], bias[at])
        assert torch.equal(made.head.weight[BLANK], head.head.weight[BLANK])

    def test_spellings_of_one_phone_are_one(self):
        made = roughen(head_of("g", "t͡ʃ")).for_inventory(["ɡ", "g", "tʃ", "d"])
        assert made.vocabulary.tokens == ("ɡ", "tʃ", "d")

    def test_phones_without_attributes_are_left_out_and_named(self, caplog):
        caplog.set_level(logging.INFO, "speechx")
        made = head_of("a", "˥").for_inventory(["a", "ⱱ", "˥", "˩"])
        assert made.vocabulary.tokens == ("a", "˥")
        assert "2 of 4" in caplog.text
        assert "ⱱ ˩" in caplog.text

    def test_phones_that_are_alike_are_named(self, caplog):
        caplog.set_level(logging.INFO, "speechx")
        head_of("e", "a").for_inventory(["e", "e̞", "a"])
        assert "e and e̞" in caplog.text

    def test_where_the_output_of_each_phone_comes_from(self):
        made = head_of("e", "a", "˥").composition(["e", "e̞", "ɡ", "g", "˥", "ⱱ"])
        assert [*made] == ["e", "e̞", "ɡ", "˥", "ⱱ"]
        assert (made["e"], made["ɡ"], made["˥"]) == ("trained", "composed", "trained")
        assert "features of e" in made["e̞"]
        assert "never written" in made["ⱱ"]

    @pytest.mark.parametrize("phones", [[], ["ⱱ", "˩"], [""]])
    def test_an_inventory_without_a_phone_to_write_is_an_error(self, phones):
        with pytest.raises(UserError, match="inventory"):
            head_of("a").for_inventory(phones)

    def test_a_string_is_no_inventory(self):
        with pytest.raises(ValueError, match="string"):
            head_of("a").for_inventory("aeiou")


def test_a_loaded_model_needs_no_panphon_for_the_phones_of_its_training(tmp_path):
    torch.manual_seed(0)
    model = roughen(model_of(*PHONES)).eval()
    wave_BS, lengths_B = torch.randn(2, 8000), torch.tensor([8000, 6000])

    def read(model, name="articulatory"):
        with torch.inference_mode():
            head = model.objectives[name]
            outputs_BTV, _ = head.log_probabilities(model.encoder, wave_BS, lengths_B)
        return outputs_BTV

    expected = read(model)
    model.save(tmp_path / "model", ["xx"])
    with without_panphon():
        loaded, _ = SpeechModel.from_saved(open_folder(tmp_path / "model"))
        loaded.eval()
        assert torch.equal(read(loaded), expected)
        made = loaded.objectives["articulatory"].for_inventory(["tʃ", "?5", "k"])
        assert made.vocabulary.tokens == ("tʃ", "?5", "k")
        with pytest.raises(UserError, match="pip install panphon"):
            loaded.objectives["articulatory"].for_inventory(["tʃ", "ɡ"])
        with pytest.raises(UserError, match="pip install panphon"):
            read(model_of("p", "b"))


def test_the_command_shows_which_phones_of_an_inventory_are_composed(tmp_path, capsys):
    model_of(*PHONES).save(tmp_path / "model", ["xx"])
    (tmp_path / "phones.txt").write_text("tʃ ɡ ⱱ", encoding="utf-8")
    command = ["inventory", "show", str(tmp_path / "phones.txt"), "--model"]
    assert main([*command, str(tmp_path / "model")]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "trained" in rows["tʃ"]
    assert "composed" in rows["ɡ"]
    assert "never written" in rows["ⱱ"]


def test_a_new_language_starts_from_composed_phones(tmp_path):
    """All embeddings are taken over, and the rows of tokens of their own."""
    torch.manual_seed(0)
    parent, child = roughen(model_of(*PHONES)), roughen(model_of("ɡ", "tʃ", "?5", "˩"))
    parent.objectives["articulatory"].rows()
    parent.save(tmp_path / "parent", ["xx"])
    _, lines = start_from(child, open_folder(tmp_path / "parent"))
    assert "3 of 4 phonemes" in lines[-1]
    made = parent.objectives["articulatory"].for_inventory(["ɡ", "tʃ", "?5"])
    weight_VD, bias_V = child.objectives["articulatory"].rows()
    torch.testing.assert_close(weight_VD[:4], made.head.weight)
    torch.testing.assert_close(bias_V[:4], made.head.bias)


@pytest.fixture
def phones(manifests, tmp_path):
    """The manifests of tones, with phones for their letters."""
    spelling = {"a": "a", "b": "p", "c": "tʃ", "d": "˥"}
    for name, manifest in zip(("train", "dev"), manifests, strict=True):
        some = [
            replace(u, phones=tuple(spelling[letter] for letter in u.text))
            for u in read_manifest(manifest)
        ]
        write_manifest(tmp_path / f"{name}.jsonl", some)
    return tmp_path / "train.jsonl", tmp_path / "dev.jsonl"


def test_it_trains_resumes_evaluates_and_writes_new_phones(phones, tmp_path, capsys, caplog):
    def config(name):
        objective = {"kind": "articulatory", "tokens": "phonemes"}
        run = {"steps": 8, "eval_steps": 4, "save_steps": 2}
        return finetune_config(tmp_path / name, phones, objective=objective, run=run)

    best = finetune(config("whole"))
    log = read_log(tmp_path / "whole")
    run_job("finetune", config("halted"), stop_at=5)
    run_job("finetune", config("halted"), resume=True)
    assert read_log(tmp_path / "halted") == log
    assert {"loss", "blank_share"} <= set(log[0])
    assert [line["dev_per"] for line in log if "dev_per" in line]
    assert [s.code for s in ArticulatoryConfig().signatures()] == ["E201"]
    assert ArticulatoryConfig().panels() == CTCConfig(tokens="phonemes").panels()

    error = min(line["dev_per"] for line in log if "dev_per" in line)
    model, audio = load(best, "cpu"), read_manifest(phones[1])[0].audio
    command = ["evaluate", "--model", str(best), "--manifest", str(phones[1])]
    assert main([*command, "-o", str(tmp_path / "scores.json")]) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["overall"]["rate"] == error
    capsys.readouterr()

    inventory = Inventory.of(["b", "e", "ts"], "yy", "a list")
    with torch.no_grad():  # writes a lot
        model.head.embeddings.weight.normal_()
        model.head.head.bias[BLANK] = -10
    transcript = model.phonemize(str(audio), inventory)
    assert set(transcript.text.split()) <= {"b", "e", "ts"}
    assert transcript.text
    assert (transcript.inventory, transcript.language) == ("a list", "yy")
    (tmp_path / "phones.txt").write_text("a e ts")
    words = ["--inventory", str(tmp_path / "phones.txt"), "--show-mapping"]
    assert main(["phonemize", "--model", str(best), *words]) == 0
    assert dict(line.split("\t") for line in capsys.readouterr().out.splitlines()) == {
        "phone": "output", "a": "trained", "e": "composed", "ts": "composed",
    }  # fmt: skip
    composed = model.for_inventory(inventory)
    assert composed.transcribe(str(audio)) == transcript
    assert composed.log_probabilities(np.zeros(8000, np.float32)).shape[1] == 4


def test_a_plain_head_composes_nothing(tmp_path):
    model = load(toy_model(tmp_path / "plain", ("a", "b"), "phonemes"), "cpu")
    with pytest.raises(UserError, match="articulatory"):
        model.for_inventory(Inventory.of(["e"], "yy", "a list"))


def test_other_tokens_than_phonemes_are_refused():
    with pytest.raises(UserError, match="phonemes"):
        parse(ArticulatoryConfig, {"tokens": "characters"}, "here")
