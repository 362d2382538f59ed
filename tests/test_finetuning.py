"""Fine-tuning as a whole, on tones: it learns to spell, freezes, resumes to the bit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from speechx.config import merge, parse, to_dict
from speechx.data.batches import Batch
from speechx.data.exclusion import Exclusion, write_exclusions
from speechx.data.manifest import read_manifest, write_manifest
from speechx.data.sampling import Position
from speechx.errors import UserError
from speechx.finetuning import Finetune, finetune
from speechx.models.encoder import EncoderConfig
from speechx.models.folder import open_folder, saved_dev_error
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.masking import Masking
from speechx.objectives.model import SpeechModel, start_from
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.text.vocabulary import Vocabulary
from speechx.transcription.loading import load
from tests.configs import load_config
from tests.conftest import (
    SMALL_CONFORMER,
    batches_of,
    finetune_config,
    finish,
    read_log,
    run_job,
    small_convolutional,
    small_filterbank,
    start,
    tone_wave,
    write_wav,
)

LETTERS = Vocabulary("characters", ("a", "b", "c", "d"))


def save_parent(folder, encoder):
    """A model folder of pretraining, with random weights."""
    torch.manual_seed(7)
    model = SpeechModel(encoder, {"wav2vec2": Wav2Vec2Config()}, {})
    model.save(folder, ["xx"])
    return model.state_dict()


def speller(encoder, letters=LETTERS, **settings):
    """A model with a fresh CTC head."""
    objective = CTCConfig(tokens="characters", **settings)
    return SpeechModel(encoder, {"ctc": objective}, {"ctc": letters})


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent") / "final"
    save_parent(folder, small_filterbank())
    return folder


def weights_of_every_step(config, monkeypatch):
    """The model after each step of a run (`eval_steps` 1)."""
    history = []

    def save(self, folder, languages, dev_error=None):
        if folder.name == "final":
            history.append({n: t.detach().clone() for n, t in self.state_dict().items()})
        original(self, folder, languages, dev_error)

    original = SpeechModel.save
    monkeypatch.setattr(SpeechModel, "save", save)
    finetune(config)
    return history


def moved(before, after, part):
    """Names of the tensors of a part that changed."""
    return {n for n in before if n.startswith(part) and not torch.equal(before[n], after[n])}


def of(history, part):
    return {n for n in history[0] if n.startswith(part)}


EXTRACTOR, HEAD = "encoder.feature_extractor.", "objectives.ctc."


def test_the_extractor_never_moves_and_the_encoder_waits_for_freeze_steps(
    parent, manifests, tmp_path, monkeypatch
):
    """Steps 1 to 3 train the head alone, 4 to 6 all but the feature extractor."""
    run = {"steps": 6, "eval_steps": 1}
    config = finetune_config(tmp_path, manifests, init=str(parent), freeze_steps=3, run=run)
    history = weights_of_every_step(config, monkeypatch)
    assert len(history) == 6
    given = open_folder(parent).weights
    encoder, extractor = of(history, "encoder."), of(history, EXTRACTOR)
    assert len(extractor) == 8
    for step in (0, 1, 2):
        assert all(torch.equal(history[step][name], given[name]) for name in encoder)
    for before, after in pairwise(history):
        assert moved(before, after, HEAD) == {f"{HEAD}head.weight", f"{HEAD}head.bias"}
    for step in (3, 4, 5):
        assert moved(history[step - 1], history[step], "encoder.") == encoder - extractor
    assert all(torch.equal(history[5][name], given[name]) for name in extractor)


def test_the_extractor_moves_if_it_is_not_frozen(parent, manifests, tmp_path, monkeypatch):
    changes = {"freeze_feature_extractor": False, "run": {"steps": 2, "eval_steps": 1}}
    config = finetune_config(tmp_path, manifests, init=str(parent), **changes)
    history = weights_of_every_step(config, monkeypatch)
    assert moved(*history, "encoder.") == of(history, "encoder.")


@pytest.mark.parametrize("init", [True, False])
def test_an_extractor_whose_gradient_is_scaled_by_0_is_frozen(
    parent, manifests, tmp_path, monkeypatch, init
):
    """Also where `freeze_feature_extractor` is false."""
    changes = {"freeze_feature_extractor": False, "run": {"steps": 2, "eval_steps": 1}}
    changes["encoder"] = {"features": {"gradient_scale": 0.0}}
    if init:
        changes["init"] = str(parent)
    history = weights_of_every_step(finetune_config(tmp_path, manifests, **changes), monkeypatch)
    assert moved(*history, "encoder.") == of(history, "encoder.") - of(history, EXTRACTOR)


def test_without_init_everything_trains_at_once(manifests, tmp_path, monkeypatch):
    """Also with freezing asked for: there is nothing worth keeping."""
    run = {"steps": 2, "eval_steps": 1}
    config = finetune_config(tmp_path, manifests, freeze_steps=99, run=run)
    history = weights_of_every_step(config, monkeypatch)
    assert moved(*history, "encoder.") == of(history, "encoder.")


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_raw_waveform_models_fine_tune_with_a_frozen_extractor(manifests, tmp_path, norm):
    given = save_parent(tmp_path / "parent", small_convolutional(norm))
    config = finetune_config(
        tmp_path / "run", manifests, init=str(tmp_path / "parent"), run={"steps": 2}
    )
    finetune(config)
    for name, tensor in open_folder(tmp_path / "run" / "final").weights.items():
        if name.startswith("encoder."):
            assert torch.equal(tensor, given[name]) == name.startswith(EXTRACTOR), name


def test_a_mask_embedding_that_masks_nothing_has_a_gradient():
    """A gradient of 0, which other processes wait for."""
    encoder = SpeechModel(small_filterbank(), {}, {}).encoder
    encoder(torch.randn(1, 9000)).context_BTD.square().sum().backward()
    gradient = encoder.mask_embedding.grad
    assert gradient is not None
    assert not gradient.any()


@pytest.fixture(scope="module")
def spelled(tmp_path_factory, manifests):
    """A model that learned the four tones from scratch."""
    encoder = merge(
        to_dict(small_filterbank()),
        {
            "features": {"gradient_scale": 1.0}, "input_dropout": 0.0,
            "context": {
                "embed_dim": 32, "ffn_dim": 64, "dropout": 0.0, "attention_dropout": 0.0,
                "activation_dropout": 0.0,
            },
        },
    )  # fmt: skip
    out = tmp_path_factory.mktemp("spelled") / "run"
    objective = {
        "dropout": 0.0, "time_masking": {"probability": 0.1, "span": 3},
        "channel_masking": {"probability": 0.0},
    }  # fmt: skip
    config = finetune_config(
        out, manifests, encoder=encoder, objective=objective, optim={"lr": 0.01},
        run={"steps": 120, "eval_steps": 30, "save_steps": 120},
    )  # fmt: skip
    return config, finetune(config)


def test_it_learns_to_spell(spelled):
    """From scratch: the character error on recordings of dev falls below 10 %."""
    config, best = spelled
    log = read_log(config.out)
    errors = [line["dev_cer"] for line in log if "dev_cer" in line]
    assert len(errors) == 4
    assert min(errors) < 0.1
    losses = [line["loss"] for line in log if "loss" in line]
    assert np.mean(losses[-5:]) < 0.2 * np.mean(losses[:5])
    last = [line for line in log if "dev_cer" in line][-1]
    assert {"dev_cer/xx", "dev_cer/yy", "dev_reference", "dev_hypothesis"} <= set(last)
    assert best == config.out / "best"


def loss_of(model, batch):
    """The metrics of one batch, without noise."""
    with torch.no_grad():
        loss = model.eval()({"ctc": batch}, None)["ctc"]
    return model.objective("ctc").metrics({k: float(v) for k, v in loss.totals.items()})


def test_it_starts_near_the_constant_predictor_and_below_an_even_head():
    """Every frame is read as blank, and the loss is far from that of a head without a prior."""
    torch.manual_seed(0)
    model = speller(small_filterbank())
    batch = labelled_batch([16_000, 13_000], [[1, 2, 3, 4, 1], [2, 2, 1]])
    fresh = loss_of(model, batch)
    torch.nn.init.zeros_(model.heads["ctc"].head.bias)
    even = loss_of(model, batch)
    assert fresh["blank_share"] == 1
    assert even["blank_share"] < 0.9
    assert fresh["loss"] < 0.6 * even["loss"]


def test_the_model_folder_opens_without_its_parent_and_transcribes(spelled, manifests):
    config, best = spelled
    assert load_config(Finetune, config.out / "config.yaml") == config
    recognizer = load(best, "cpu")
    assert recognizer.vocabulary == LETTERS
    dev = read_manifest(manifests[1])
    texts = [recognizer.transcribe(u.audio).text for u in dev]
    assert sum(text != u.text for text, u in zip(texts, dev, strict=True)) <= 2
    # The outputs of an utterance do not depend on the others in its batch.
    together = {i: "".join(span.token for span in spans) for i, (spans,) in recognizer.decode(dev)}
    assert [together[i] for i in range(len(dev))] == texts


def test_a_resumed_run_keeps_its_tokens(manifests, tmp_path):
    """Another corpus under the same path: a row of the head must not change its meaning."""
    utterances = read_manifest(manifests[0])
    mine = tmp_path / "mine.jsonl"
    write_manifest(mine, utterances)
    run = {"steps": 2, "save_steps": 1}
    config = finetune_config(tmp_path / "run", (mine, manifests[1]), run=run)
    finetune(config)
    other = [replace(u, text=(u.text or "").replace("b", "z")) for u in utterances]
    write_manifest(mine, other)
    with pytest.raises(UserError, match=r"--resume.*2 differ: b z"):
        finetune(config, resume=True)


@pytest.mark.parametrize(
    ("stop", "workers", "context"),
    [(2, 0, {"layer_drop": 0.3}), (5, 2, {"layer_drop": 0.3}), (5, 0, SMALL_CONFORMER)],
)
def test_a_killed_run_resumes_with_bit_equal_losses_across_the_freeze(
    manifests, tmp_path, stop, workers, context
):
    """Frozen for 4 of 8 steps, states every 2 steps; killed before or after the thaw."""
    encoder = merge(to_dict(small_filterbank()), {"context": context})
    save_parent(tmp_path / "parent", parse(EncoderConfig, encoder, "test"))

    def config(name):
        return finetune_config(
            tmp_path / name, manifests, init=str(tmp_path / "parent"), freeze_steps=4,
            run={"steps": 8, "eval_steps": 3, "save_steps": 2, "workers": workers},
        )  # fmt: skip

    killed = start(run_job, "finetune", config("killed"), False, stop, True)
    finetune(config("whole"))
    assert finish(killed) == [-9]
    again = config("killed")
    shutil.rmtree(tmp_path / "parent")
    finetune(again, resume=True)
    whole, resumed = (read_log(tmp_path / name) for name in ("whole", "killed"))
    assert [line["step"] for line in whole if "loss" in line] == list(range(1, 9))
    assert resumed == whole
    for folder in ("final", "best"):
        weights, others = (open_folder(tmp_path / n / folder).weights for n in ("whole", "killed"))
        for name, tensor in weights.items():
            assert torch.equal(others[name], tensor), name
    errors = [saved_dev_error(tmp_path / name / "best") for name in ("whole", "killed")]
    assert errors[0] == errors[1] == min(x["dev_cer"] for x in whole if "dev_cer" in x)


def run_that_gets_worse(out, manifests, spelled, resume=False, **run):
    """A run that starts from a model that can spell, and forgets it."""
    settings = {"steps": 4, "eval_steps": 1, "save_steps": 1, **run}
    config = finetune_config(
        out, manifests, init=str(spelled), optim={"lr": 0.3}, run=settings, health={"window": 100}
    )  # fmt: skip
    finetune(config, resume=resume)
    return [line["dev_cer"] for line in read_log(out) if "dev_cer" in line]


def test_best_is_the_lowest_error_and_final_the_newest(spelled, manifests, tmp_path, monkeypatch):
    """Also over a resume: a worse model of the resumed run does not replace the best."""
    out, best = tmp_path / "run", []
    save = SpeechModel.save

    def watched(self, folder, languages, dev_error=None):
        best.append(folder.name)
        save(self, folder, languages, dev_error)

    monkeypatch.setattr(SpeechModel, "save", watched)
    before = run_that_gets_worse(out, manifests, spelled[1])
    lowest = min(before)
    assert before[-1] > lowest
    assert best.count("best") == sum(e < min(before[:i], default=9) for i, e in enumerate(before))
    assert best.count("final") == 4
    kept = open_folder(out / "best").weights
    newest = open_folder(out / "final").weights
    assert not torch.equal(kept["objectives.ctc.head.bias"], newest["objectives.ctc.head.bias"])
    best.clear()
    after = run_that_gets_worse(out, manifests, spelled[1], resume=True, steps=7)
    assert len(after) == 7
    assert min(after[4:]) > lowest
    assert best == ["final"] * 3
    weights = open_folder(out / "best").weights
    assert all(torch.equal(weights[name], tensor) for name, tensor in kept.items())
    assert saved_dev_error(out / "best") == lowest


def test_a_run_killed_as_it_writes_its_best_writes_it_again(manifests, tmp_path, monkeypatch):
    run = {"steps": 3, "eval_steps": 3, "save_steps": 1}
    config = finetune_config(tmp_path / "run", manifests, run=run)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SpeechModel, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(config)
    assert not (tmp_path / "run" / "best").exists()
    best = finetune(config, resume=True)
    assert open_folder(best).vocabularies == {"ctc": LETTERS}


def labelled_batch(lengths, labels, number=3):
    width = max(*lengths, 1)
    return Batch(
        position=Position(0, number, number),
        wave_BS=torch.randn(len(lengths), width),
        lengths_B=torch.tensor(lengths),
        padded=True,
        ids=tuple(map(str, range(len(lengths)))),
        languages=("xx",) * len(lengths),
        labels_BU=torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(some) for some in labels], batch_first=True
        ),
        label_lengths_B=torch.tensor([len(some) for some in labels]),
    )


@pytest.mark.parametrize("make", [small_filterbank, small_convolutional])
@pytest.mark.parametrize("lengths", [[16_000, 9000, 3], [3, 2]])
def test_recordings_too_short_for_a_frame_are_counted_and_harm_nothing(make, lengths):
    torch.manual_seed(0)
    model = speller(make())
    batch = labelled_batch(lengths, [[1, 2], [3], [4]][: len(lengths)])
    draws, counts = model.configs["ctc"].draw(batch, np.random.default_rng(0), make())
    assert counts == {"utterances": len(lengths)}
    loss = model({"ctc": replace(batch, draws=draws, counts=counts)}, 0)["ctc"]
    (term,) = loss.terms
    term.sum.backward()
    short = sum(length < 400 for length in lengths)
    metrics = model.objective("ctc").metrics({k: float(v) for k, v in loss.totals.items()})
    assert metrics["infeasible"] == short
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert term.sum.isfinite()


def test_masks_stay_within_the_real_frames(tmp_path):
    encoder = small_filterbank()
    objective = CTCConfig(
        tokens="characters", time_masking=Masking(probability=0.65, span=5),
        channel_masking=Masking(probability=0.25, span=3),
    )  # fmt: skip
    batch = labelled_batch([16_000, 6000], [[1], [2]])
    one, again, other = (
        objective.draw(batch, np.random.default_rng(seed), encoder)[0] for seed in (3, 3, 4)
    )
    for name in ("mask_BT", "channel_mask_BD"):
        assert torch.equal(one[name], again[name])
        assert not torch.equal(one[name], other[name])
    frames = encoder.features.frames(6000)
    assert one["mask_BT"][1, :frames].any()
    assert not one["mask_BT"][1, frames:].any()
    assert one["channel_mask_BD"].shape == (2, encoder.context.embed_dim)
    off = Masking(probability=0.0)
    plain = CTCConfig(tokens="characters", time_masking=off, channel_masking=off)
    assert plain.draw(batch, np.random.default_rng(3), encoder)[0] == {}


def test_labels_longer_than_frames_are_left_out_of_the_run_and_listed(manifests, tmp_path, capsys):
    train = read_manifest(manifests[0])
    many = [replace(train[n % len(train)], id=f"{n}") for n in range(150)]
    write_manifest(tmp_path / "train.jsonl", [*many, replace(train[0], id="long", text="ab" * 99)])
    config = finetune_config(
        tmp_path / "run", (tmp_path / "train.jsonl", manifests[1]), run={"steps": 1}
    )
    finetune(config)
    assert "1 of 151" in capsys.readouterr().err
    listed = (tmp_path / "run" / "too_long.tsv").read_text().splitlines()
    frames = config.encoder.features.frames(round(train[0].duration * 16_000))
    assert listed[1:] == [f"long\t{frames}\t198"]


def test_a_fine_tuned_model_passes_on_the_rows_of_tokens_that_both_have(tmp_path):
    torch.manual_seed(0)
    old = speller(small_filterbank())
    torch.nn.init.normal_(old.heads["ctc"].head.weight)
    old.save(tmp_path / "old", ["xx"])
    new = speller(small_filterbank(), Vocabulary("characters", ("b", "d", "z")))
    head, before = new.heads["ctc"].head, old.heads["ctc"].head
    fresh = head.weight[3].detach().clone()
    continued, lines = start_from(new, open_folder(tmp_path / "old"))
    assert continued == []
    assert any("2 of 3 characters" in line for line in lines)
    for row, source in ((0, 0), (1, 2), (2, 4)):
        assert torch.equal(head.weight[row], before.weight[source])
        assert torch.equal(head.bias[row], before.bias[source])
    assert torch.equal(head.weight[3], fresh)
    for name, tensor in old.encoder.state_dict().items():
        assert torch.equal(new.encoder.state_dict()[name], tensor)
    (tmp_path / "old" / "vocabulary.json").unlink()
    with pytest.raises(UserError, match=r"old.*ctc.*vocabulary\.json"):
        start_from(new, open_folder(tmp_path / "old"))


def test_of_several_heads_each_goes_on_from_its_own(tmp_path):
    """By its name, else by the type of its tokens, else from the first of its kind."""
    phones = Vocabulary("phonemes", ("a", "b"))
    kinds = {"phones": CTCConfig(tokens="phonemes"), "letters": CTCConfig(tokens="characters")}
    vocabularies = {"phones": phones, "letters": LETTERS}
    old = SpeechModel(small_filterbank(), kinds, vocabularies)
    old.save(tmp_path / "old", ["xx"])
    saved = open_folder(tmp_path / "old")
    both = SpeechModel(small_filterbank(), kinds, vocabularies)
    start_from(both, saved)
    for name, tensor in old.state_dict().items():
        assert torch.equal(both.state_dict()[name], tensor), name
    for vocabulary, name in ((LETTERS, "letters"), (phones, "phones")):
        one = {"ctc": CTCConfig(tokens=vocabulary.token_type)}
        model = SpeechModel(small_filterbank(), one, {"ctc": vocabulary})
        start_from(model, saved)
        assert torch.equal(model.heads["ctc"].head.weight, old.heads[name].head.weight)
    kinds.pop("letters")
    SpeechModel(small_filterbank(), kinds, {"phones": phones}).save(tmp_path / "phones", ["xx"])
    model = SpeechModel(
        small_filterbank(), {"ctc": CTCConfig(tokens="characters")}, {"ctc": LETTERS}
    )
    _, lines = start_from(model, open_folder(tmp_path / "phones"))
    assert any("starts fresh" in line and "phonemes" in line for line in lines)
    languages = Vocabulary("languages", ("xx", "yy"))
    model = SpeechModel(small_filterbank(), {"id": LanguageIDConfig()}, {"id": languages})
    before = model.heads["id"].head.weight.detach().clone()
    start_from(model, saved)
    assert torch.equal(model.heads["id"].head.weight, before)


def test_tokens_of_dev_that_are_never_trained_are_named(manifests, tmp_path, capsys):
    dev = read_manifest(manifests[1])
    write_manifest(tmp_path / "dev.jsonl", [replace(dev[0], text="abzß"), *dev[1:]])
    config = finetune_config(
        tmp_path / "run", (manifests[0], tmp_path / "dev.jsonl"), run={"steps": 1}
    )
    finetune(config)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "never trained" in x]
    assert "2 tokens of dev" in line
    assert line.endswith("z ß")


def test_languages_of_dev_that_are_never_trained_are_named(manifests, tmp_path, capsys):
    dev = read_manifest(manifests[1])
    write_manifest(tmp_path / "dev.jsonl", [replace(dev[0], language="es"), *dev[1:]])
    for name, file in (("same", manifests[1]), ("other", tmp_path / "dev.jsonl")):
        finetune(finetune_config(tmp_path / name, (manifests[0], file), run={"steps": 1}))
        assert ("data.train has not: es" in capsys.readouterr().err) == (name == "other")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_long_recording_is_refused_before_it_is_one_row(split, manifests, tmp_path, capsys):
    """An hour with a text beside it seemed to hang: attention spans all of it."""
    at = ("train", "dev").index(split)
    first, *others = read_manifest(manifests[at])
    hour = replace(first, id="lecture", duration=3600.0)
    unlabelled = replace(first, id="silent", duration=7200.0, text=None)
    write_manifest(tmp_path / "m.jsonl", [hour, replace(first, duration=61.0), unlabelled, *others])
    paths = [*manifests[:at], tmp_path / "m.jsonl", *manifests[at + 1 :]]
    with pytest.raises(UserError) as error:
        finetune(finetune_config(tmp_path / "run", paths))
    count = len(others) + 2
    for fact in (
        f"2 of {count}", f"data.{split}", "data.max_seconds = 60", "lecture", "3600.0 s",
        str(first.audio),
    ):  # fmt: skip
        assert fact in str(error.value)
    write_exclusions(tmp_path / "long.tsv", [Exclusion("", first.language, "lecture")])
    data = {"exclude": [str(tmp_path / "long.tsv")]}
    with pytest.raises(UserError, match=rf"1 of .*{first.id} of 61"):
        finetune(finetune_config(tmp_path / "run2", paths, data=data))
    with pytest.raises(UserError, match=r"data: max_seconds .*above 0"):
        finetune_config(tmp_path, manifests, data={"max_seconds": 0})


def test_how_long_is_too_long_can_be_set(manifests, tmp_path):
    with pytest.raises(UserError, match=r"longer than data\.max_seconds = 0\.1"):
        finetune(finetune_config(tmp_path, manifests, data={"max_seconds": 0.1}))


def test_two_manifests_may_use_the_same_ids(tmp_path):
    """Each language numbers its utterances from 1; labels must stay with their audio."""
    random = np.random.default_rng(0)
    paths = []
    for language, letters in (("xx", "abab"), ("yy", "ccdd")):
        write_wav(tmp_path / language / "1.wav", tone_wave(letters, random))
        line = f'{{"id": "1", "audio": "1.wav", "duration": 0.72, "language": "{language}", '
        (tmp_path / language / "all.jsonl").write_text(line + f'"text": "{letters}"}}\n')
        paths.append(str(tmp_path / language / "all.jsonl"))
    config = finetune_config(
        tmp_path / "run", (tmp_path, tmp_path), data={"train": paths, "dev": paths},
        run={"steps": 1, "batch_seconds": 2, "max_seconds_per_device": 2},
    )  # fmt: skip
    batch = next(batches_of(config))
    texts = {
        language: LETTERS.join(LETTERS.decode(ids.tolist()))
        for language, ids in zip(batch.languages, batch.labels_BU, strict=True)
    }
    assert texts == {"xx": "abab", "yy": "ccdd"}
    finetune(config)


def test_phonemes_and_plain_keywords(manifests, tmp_path):
    best = finetune(
        out=tmp_path / "run",
        objective={"tokens": "phonemes"},
        encoder=to_dict(small_filterbank()),
        data={"train": [manifests[0]], "dev": [manifests[1]], "limit_minutes": 0.2},
        run={"steps": 1, "batch_seconds": 4, "max_seconds_per_device": 4, "device": "cpu"},
    )
    assert open_folder(best).vocabularies["ctc"].token_type == "phonemes"
    assert "dev_per" in read_log(tmp_path / "run")[-1]


def test_a_language_identification_is_fine_tuned_by_the_same_command(parent, manifests, tmp_path):
    best = finetune(
        out=tmp_path / "run",
        init=parent,
        objective="language_id",
        data={"train": [manifests[0]], "dev": [manifests[1]]},
        run={"steps": 2, "batch_seconds": 4, "max_seconds_per_device": 4, "device": "cpu"},
    )
    assert open_folder(best).vocabularies["language_id"].tokens == ("xx", "yy")
    last = read_log(tmp_path / "run")[-1]
    assert 0 <= last["dev_accuracy"] <= 1
    assert saved_dev_error(best) == pytest.approx(1 - last["dev_accuracy"])


def test_exclusion_lists_apply_to_training_and_dev(manifests, tmp_path, capsys):
    train, dev = (read_manifest(path) for path in manifests)
    gone = [Exclusion("", u.language, u.id) for u in (train[2], dev[0])]
    write_exclusions(tmp_path / "exclude.tsv", gone)
    data = {"exclude": [str(tmp_path / "exclude.tsv")], "corpus_alpha": 0.5}
    finetune(finetune_config(tmp_path / "run", manifests, data=data, run={"steps": 1}))
    err = capsys.readouterr().err
    assert "exclude.tsv leaves out 2 utterances (0.00090 h)" in err
    assert "finetune: 15 utterances" in err


def test_batches_keep_to_their_seconds(manifests, tmp_path):
    some = list(islice(batches_of(finetune_config(tmp_path, manifests)), 12))
    for batch in some:
        assert batch.wave_BS.numel() / 16_000 <= 5.0
    assert {language for batch in some for language in batch.languages} == {"xx", "yy"}


def test_speeds_change_from_epoch_to_epoch_and_batches_still_fit(manifests, tmp_path):
    config = finetune_config(tmp_path, manifests, data={"speed": [0.85, 1.15]})
    lengths = {}
    for batch in islice(batches_of(config), 40):
        assert batch.wave_BS.numel() / 16_000 <= 5.01
        for id, language, length in zip(batch.ids, batch.languages, batch.lengths_B, strict=True):
            lengths.setdefault((language, id), set()).add(int(length))
    ratios = [max(some) / min(some) for some in lengths.values() if len(some) > 2]
    assert ratios
    assert 1.01 < max(ratios) <= 1.15 / 0.85 * 1.001


@pytest.mark.parametrize("speed", [[1.1, 0.9], [0.2, 1.0], [1.0, 3.0]])
def test_impossible_speeds_are_refused(speed, manifests, tmp_path):
    with pytest.raises(UserError, match=r"data: speed .*0\.5 to 2"):
        finetune_config(tmp_path, manifests, data={"speed": speed})


def test_mistakes_are_one_line(parent, manifests, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        finetune_config(tmp_path, manifests, init=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=str(tmp_path)):
        finetune_config(tmp_path, manifests, init=str(tmp_path))
    narrow = {"init": str(parent), "encoder": {"context": {"ffn_dim": 32}}}
    with pytest.raises(UserError, match=f"{parent}.* of another shape"):
        finetune(finetune_config(tmp_path / "run", manifests, **narrow))
    with pytest.raises(UserError, match="new holds no saved state"):
        finetune(finetune_config(tmp_path / "new", manifests), resume=True)


def test_a_frozen_conformer_keeps_its_batch_statistics(manifests, tmp_path):
    encoder = merge(to_dict(small_filterbank()), {"context": SMALL_CONFORMER})
    first = finetune_config(tmp_path / "first", manifests, encoder=encoder, run={"steps": 1})
    init = finetune(first).parent / "final"
    config = finetune_config(
        tmp_path / "run", manifests, init=str(init), freeze_steps=3,
        run={"steps": 3, "eval_steps": 1},
    )  # fmt: skip
    finetune(config)
    before, after = (open_folder(f).weights for f in (init, tmp_path / "run" / "final"))
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert statistics
    for name in statistics:
        assert torch.equal(before[name], after[name]), name


def test_a_run_in_use_is_left_alone(manifests, tmp_path):
    out = tmp_path / "run"
    config = finetune_config(out, manifests, run={"steps": 1})
    out.mkdir()
    program = (
        "import sys, pathlib; from speechx.whole_file import only_user\n"
        "with only_user(pathlib.Path(sys.argv[1])) as alone: print(alone, flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(out)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout.readline() == "True\n"
    with pytest.raises(UserError, match="another run is active in"):
        finetune(config)
    other.communicate("\n")
    assert finetune(config).is_dir()


def test_a_file_is_no_configuration_in_python():
    with pytest.raises(TypeError, match="settings by keyword"):
        finetune("recipe.yaml")


def test_dev_that_is_training_data_is_warned_of(manifests, tmp_path, caplog):
    train, dev = manifests
    for name, splits, warned in (
        ("same", {"train": [str(train)], "dev": [str(train)]}, True),
        ("partly", {"train": [str(train), str(dev)], "dev": [str(dev)]}, True),
        ("apart", {"train": [str(train)], "dev": [str(dev)]}, False),
    ):
        caplog.clear()
        finetune(finetune_config(tmp_path / name, manifests, data=splits, run={"steps": 1}))
        assert ("learned dev by heart" in caplog.text) == warned
    some = read_manifest(dev)
    write_manifest(tmp_path / "copy.jsonl", some[:1])
    caplog.clear()
    splits = {"train": [str(train), str(tmp_path / "copy.jsonl")], "dev": [str(dev)]}
    finetune(finetune_config(tmp_path / "copy", manifests, data=splits, run={"steps": 1}))
    assert "1 of 4 utterances of data.dev" in caplog.text
