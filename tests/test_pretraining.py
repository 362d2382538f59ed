"""Pretraining as a whole, on tones: it learns, resumes to the bit and continues from a parent."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechx.config import to_dict
from speechx.data.corpus import Corpus
from speechx.data.exclusion import Exclusion, write_exclusions
from speechx.data.manifest import read_manifest, write_manifest
from speechx.data.sampling import Position
from speechx.data.utterance import Utterance
from speechx.errors import UserError
from speechx.interchange.conversion import convert
from speechx.models.ctc import CTC
from speechx.models.wav2vec2 import Wav2Vec2Pretraining
from speechx.pretraining import Pretraining, batches, load_config, pretrain
from speechx.text.vocabulary import Vocabulary
from speechx.training.checkpoint import load_weights, open_model, save_model
from speechx.training.distributed import Machine
from tests.conftest import (
    finish,
    pretrain_config,
    read_log,
    run_job,
    small_convolutional,
    small_filterbank,
    start,
    write_wav,
)

HERE = Machine(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def parent(tmp_path_factory, manifests):
    """A pretrained model: 100 steps on tones, with a seed that leaves the plateau in so few."""
    out = tmp_path_factory.mktemp("parent") / "run"
    run = {"steps": 100, "eval_steps": 50, "save_steps": 100, "seed": 2}
    config = pretrain_config(out, manifests, optim={"rate": 0.02}, run=run)
    return config, pretrain(config)


def test_it_learns(parent):
    """From the training log and from the validation data that it never heard."""
    config, final = parent
    steps = [line for line in read_log(config.out) if "bits" in line]
    chance = math.log2(config.contrastive.negatives + 1)
    early, late = (np.mean([line["bits"] for line in part]) for part in (steps[:5], steps[-10:]))
    assert abs(early - chance) < 0.6
    assert late < early - 0.4
    accuracy = np.mean([line["accuracy"] for line in steps[-10:]])
    assert accuracy > 1.6 / 11  # by luck it is 1 in 11
    # No collapse: codes are in use, and negatives differ from the positive.
    assert steps[-1]["code_perplexity"] > 10
    assert steps[-1]["negatives_equal_positive"] < 0.1
    fresh = Wav2Vec2Pretraining(config.model)
    task = Pretraining(config, ["xx", "yy"], HERE)
    with torch.no_grad():
        before = task.validate(fresh.eval(), 0)["valid_bits"]
    validated = [line["valid_bits"] for line in read_log(config.out) if "valid_bits" in line]
    assert len(validated) == 2
    assert validated[-1] < before - 0.3
    assert final == config.out / "final"


def test_the_log_is_in_stated_units(parent):
    config, _ = parent
    line = read_log(config.out)[0]
    assert 2 <= line["code_perplexity"] <= 20
    assert 2 <= line["soft_perplexity"] <= 20
    assert 0 <= line["negatives_equal_positive"] <= 1
    assert 0.3 < line["masked_share"] < 0.7
    # The loss is nats of all terms: diversity is at most 0.1, the energy of this encoder is small.
    assert line["loss"] > line["bits"] * math.log(2)
    last = read_log(config.out)[-1]
    assert {"valid_bits", "valid_accuracy", "valid_bits/xx", "valid_bits/yy"} <= set(last)
    assert min(last["valid_bits/xx"], last["valid_bits/yy"]) <= last["valid_bits"]
    assert max(last["valid_bits/xx"], last["valid_bits/yy"]) >= last["valid_bits"]


def test_the_run_folder_holds_its_config_and_a_model(parent):
    config, final = parent
    assert load_config(config.out / "config.yaml") == config
    saved = open_model(final, "pretraining")
    assert saved.languages == ("xx", "yy")
    assert saved.config == config.model


def test_continued_pretraining_starts_where_the_parent_ended(parent, manifests, tmp_path, capsys):
    """Promise 20: the quantizer really is restored, so the loss at step 0 is not chance."""
    config, final = parent
    child = pretrain_config(
        tmp_path / "child", manifests, init=str(final), optim={"rate": 1e-12},
        run={"steps": 1, "seed": config.run.seed},
    )  # fmt: skip
    assert child.model == config.model
    model = Wav2Vec2Pretraining(child.model).eval()
    load_weights(model, open_model(final).weights, "parent")
    task = Pretraining(child, ["xx", "yy"], HERE)
    with torch.no_grad():
        bits = task.validate(model, 0)["valid_bits"]
    parents = read_log(config.out)[-1]["valid_bits"]
    assert bits == pytest.approx(parents, abs=1e-6)
    # And the command does the same: one step with a rate of nothing.
    pretrain(child)
    assert read_log(child.out)[-1]["valid_bits"] == pytest.approx(parents, abs=1e-5)
    err = capsys.readouterr().err
    assert "quantizer 3/3" in err
    # Before that step it has said so, per language.
    table = [line.split() for line in err.splitlines() if line.split()[:1] in (["xx"], ["all"])]
    assert [name for name, *_ in table] == ["xx", "all"]
    assert float(table[1][1]) == pytest.approx(parents, abs=1e-3)


def test_a_model_whose_quantizer_was_not_restored_is_refused(parent, manifests, tmp_path, capsys):
    """Users take a wrong import for a hard corpus: the loss at chance, thousands of steps long."""
    _, final = parent
    saved = open_model(final)
    torch.manual_seed(0)
    model = Wav2Vec2Pretraining(saved.config)
    fresh = {n: t for n, t in model.state_dict().items() if not n.startswith("trunk.")}
    model.load_state_dict({**saved.weights, **fresh})
    save_model(tmp_path / "wrong", "pretraining", model, saved.config, ["xx"])
    child = pretrain_config(tmp_path / "child", manifests, init=str(tmp_path / "wrong"))
    with pytest.raises(UserError, match=r"is at chance on this audio \(.* of \d\.\d+ bits\)"):
        pretrain(child)
    assert "before step 1" in capsys.readouterr().err


@pytest.mark.interop
@pytest.mark.parametrize("format", ["hugging_face", "fairseq", "fairseq2"])
def test_models_of_other_toolkits_are_continued_from(format, manifests, tmp_path, capsys):
    torch.manual_seed(0)
    model = Wav2Vec2Pretraining(small_convolutional("layer"))
    save_model(tmp_path / "ours", "pretraining", model, model.config, ["xx"])
    convert(tmp_path / "ours", tmp_path / "theirs", format)
    settings = {"optim": {"rate": 1e-12}, "run": {"steps": 1}, "accept_chance": True}
    child = pretrain_config(
        tmp_path / "child", manifests, init=str(tmp_path / "theirs"), **settings
    )
    assert child.contrastive.penalty == 0  # of the large models, as its layer norms are
    final = open_model(pretrain(child))
    for name, tensor in model.state_dict().items():
        assert torch.allclose(final.weights[name], tensor, atol=1e-6), name
    err = capsys.readouterr().err
    assert "quantizer 3/3" in err
    assert "before step 1" in err


def test_a_parent_without_a_quantizer_must_be_allowed(manifests, tmp_path, capsys):
    torch.manual_seed(0)
    model = Wav2Vec2Pretraining(small_convolutional("layer"))
    save_model(tmp_path / "ours", "pretraining", model, model.config, ["xx"])
    convert(tmp_path / "ours", tmp_path / "trunk", "torchaudio")
    settings = {"init": str(tmp_path / "trunk"), "run": {"steps": 1}}
    with pytest.raises(UserError, match="--allow-missing mask_vector --allow-missing quantizer"):
        pretrain_config(tmp_path / "child", manifests, **settings)
    allowed = {"allow_missing": ["mask_vector", "quantizer"]}
    pretrain(pretrain_config(tmp_path / "child", manifests, **settings, **allowed))
    assert "quantizer 0/3 (rest starts fresh)" in capsys.readouterr().err


def test_a_language_too_short_to_try_the_parent_on_is_named(parent, manifests, tmp_path, capsys):
    _, final = parent
    valid = read_manifest(manifests[1])
    short = [replace(u, duration=0.3) for u in valid if u.language == "yy"]
    write_manifest(tmp_path / "dev.jsonl", [u for u in valid if u.language == "xx"] + short)
    dev = manifests[0], tmp_path / "dev.jsonl"
    pretrain(pretrain_config(tmp_path / "child", dev, init=str(final), run={"steps": 1}))
    assert "yy            not tried: no row of 0.5 s" in capsys.readouterr().err


def test_a_continued_run_holds_the_temperature_at_its_floor(parent, manifests, tmp_path):
    _, final = parent
    seen = []

    class Listening(Pretraining):
        def _sums(self, model, prepared, temperature, keep_L):
            seen.append(temperature)
            raise StopIteration

    settings = {"temperature": {"start": 2.0, "floor": 0.3, "decay": 0.9}, "init": str(final)}
    for name, changes in (
        ("held", {}),
        ("again", {"restart_temperature": True}),
        ("fresh", {"init": None}),
    ):
        config = pretrain_config(tmp_path / name, manifests, **{**settings, **changes})
        task = Listening(config, ["xx", "yy"], HERE)
        with pytest.raises(StopIteration):
            task.sums(None, SimpleNamespace(keep_L=None), 1)
    assert seen == pytest.approx([0.3, 1.8, 1.8])


def test_changes_to_the_parents_model_are_laid_over_it(parent, manifests, tmp_path):
    _, final = parent
    changed = {"transformer": {"dropout": 0.3}, "preset": "large"}
    child = pretrain_config(tmp_path / "child", manifests, init=str(final), model=changed)
    assert child.model.transformer.dropout == 0.3
    assert child.model.encoder == small_filterbank().encoder


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_run_resumes_with_bit_equal_losses(tmp_path, manifests, workers):
    """SIGKILL at step 5 of 8, the last state at step 4, log lines of one step."""

    def config(name):
        run = {"steps": 8, "workers": workers, "eval_steps": 3}
        model = {"transformer": {"layer_drop": 0.3}}
        return pretrain_config(tmp_path / name, manifests, run=run, model=model)

    killed = start(run_job, "pretrain", config("killed"), False, 5, True)
    pretrain(config("whole"))
    assert finish(killed) == [-9]
    assert not (tmp_path / "killed" / "state" / "step_8").exists()
    pretrain(config("killed"), resume=True)
    whole, resumed = (read_log(tmp_path / name) for name in ("whole", "killed"))
    assert [line["step"] for line in whole if "loss" in line] == list(range(1, 9))
    assert resumed == whole
    weights, others = (open_model(tmp_path / n / "final").weights for n in ("whole", "killed"))
    for name, tensor in weights.items():
        assert torch.equal(others[name], tensor), name


def test_what_is_random_depends_on_the_batch_and_not_on_step_or_rank(tmp_path, manifests):
    """Masks and negatives. LayerDrop depends on the step: all ranks drop the same blocks."""
    model = {"transformer": {"layer_drop": 0.5}}
    config = pretrain_config(tmp_path, manifests, model=model)
    task = Pretraining(config, ["xx"], HERE)
    other = Pretraining(config, ["xx"], Machine(1, 2, torch.device("cpu")))
    source = batches(config, Corpus.read(manifests[:1]), HERE)(Position())
    first, second = next(source), next(source)
    one, again = task.prepare(first, 3), other.prepare(first, 9)
    assert torch.equal(one.mask_BT, again.mask_BT)
    assert torch.equal(one.negatives_BMK, again.negatives_BMK)
    next_ = task.prepare(second, 3)
    assert one.mask_BT.shape != next_.mask_BT.shape or not torch.equal(one.mask_BT, next_.mask_BT)
    assert one.keep_L == next_.keep_L
    assert len({str(task.prepare(first, step).keep_L) for step in range(20)}) == 4
    assert one.targets == int(one.mask_BT.sum())
    assert len(set(one.mask_BT.sum(1).tolist())) == 1


def test_lists_of_what_to_leave_out_are_honoured(tmp_path, manifests, capsys):
    """In training and in validation; said with the lines that are about nothing here."""
    train, dev = (read_manifest(path) for path in manifests)
    gone = [Exclusion("", u.language, u.id, "silent") for u in (train[0], train[9], dev[1])]
    write_exclusions(tmp_path / "exclude.tsv", [*gone, Exclusion("", "xx", "nowhere")])
    data = {"exclude": [str(tmp_path / "exclude.tsv")]}
    config = pretrain_config(tmp_path / "run", manifests, data=data, run={"steps": 1})
    pretrain(config)
    err = capsys.readouterr().err
    assert "pretrain: exclude.tsv leaves out 3 utterances (0.0011 h); 1 of its 4 lines are" in err
    assert "pretrain: 14 utterances" in err
    task = Pretraining(config, ["xx", "yy"], HERE)
    assert [u.id for u in task.valid] == [u.id for u in dev if u is not dev[1]]
    everything = [Exclusion("", u.language, u.id) for u in train]
    write_exclusions(tmp_path / "exclude.tsv", everything)
    with pytest.raises(UserError, match="every utterance of the manifests is on the list"):
        pretrain(pretrain_config(tmp_path / "none", manifests, data=data))


def test_corpora_are_mixed_too_and_parquet_trains_the_same(tmp_path, manifests):
    """Corpus `rare` is one utterance of 16; with corpus_alpha 0 it is half of what is heard."""
    some = read_manifest(manifests[0])
    named = [replace(u, corpus="rare" if i == 3 else "usual") for i, u in enumerate(some)]
    heard = Counter()
    for form in ("jsonl", "parquet"):
        paths = tmp_path / f"train.{form}", manifests[1]
        write_manifest(paths[0], named)
        data = {"corpus_alpha": 0.0}
        config = pretrain_config(tmp_path / form, paths, data=data, run={"steps": 2})
        for batch in islice(batches(config, Corpus.read(paths[:1]), HERE)(Position()), 60):
            heard.update(batch.ids)
        pretrain(config)
    assert heard[named[3].id] / heard.total() == pytest.approx(0.5, abs=0.1)
    assert read_log(tmp_path / "jsonl") == read_log(tmp_path / "parquet")
    with pytest.raises(UserError, match="corpus_alpha must be between 0 and 1, but is 2"):
        pretrain_config(tmp_path, paths, data={"corpus_alpha": 2.0})


def test_batches_are_cropped_to_their_seconds(tmp_path, manifests):
    config = pretrain_config(tmp_path, manifests, data={"crop_seconds": 1.0})
    source = batches(config, Corpus.read(manifests[:1]), HERE)(Position())
    for batch in islice(source, 12):
        assert batch.seconds <= 3.0
        assert batch.wave_BS.shape[1] <= 16_000
        assert len(set(batch.lengths_B.tolist())) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_raw_waveform_models_train_too(tmp_path, manifests, norm, precision):
    model = to_dict(small_convolutional(norm))
    run = {"steps": 2, "precision": precision}
    config = pretrain_config(tmp_path, manifests, model=model, run=run)
    final = open_model(pretrain(config))
    assert all(tensor.isfinite().all() for tensor in final.weights.values())
    torch.manual_seed(config.run.seed)
    fresh = Wav2Vec2Pretraining(config.model).state_dict()
    still = [n for n, t in final.weights.items() if torch.equal(t, fresh[n])]
    assert still == []


def test_bfloat16_starts_with_the_losses_of_float32(tmp_path, manifests):
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = {"steps": 3, "precision": precision}
        config = pretrain_config(tmp_path / precision, manifests, run=run, optim={"rate": 1e-6})
        pretrain(config)
        losses[precision] = [line["loss"] for line in read_log(config.out)[:3]]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)
    assert losses["bfloat16"] != losses["float32"]


def test_plain_keywords_are_enough(tmp_path, manifests):
    final = pretrain(
        out=tmp_path / "run",
        model=to_dict(small_filterbank()),
        data={"train": [manifests[0]], "min_seconds": 0.5},
        run={"steps": 1, "batch_seconds": 2, "device_seconds": 2, "device": "cpu"},
    )
    assert open_model(final).kind == "pretraining"


def complaint(config):
    with pytest.raises(UserError) as caught:
        pretrain(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_short_rows_are_counted_and_all_short_is_an_error(tmp_path, manifests, capsys):
    durations = sorted(u.duration for u in read_manifest(manifests[0]))
    limit = (durations[4] + durations[5]) / 2
    below = sum(duration < limit for duration in durations)
    config = pretrain_config(
        tmp_path / "some", manifests, data={"min_seconds": limit, "valid": []}, run={"steps": 1}
    )
    pretrain(config)
    assert (
        f"{below} of 16 rows are shorter than {limit:g} s and left out" in capsys.readouterr().err
    )
    config = pretrain_config(tmp_path / "none", manifests, data={"min_seconds": 9})
    assert "every row of the validation data is shorter than data.min_seconds = 9" in (
        complaint(config)
    )
    config = pretrain_config(tmp_path / "none", manifests, data={"min_seconds": 9, "valid": []})
    assert "every row of the training data is shorter than data.min_seconds = 9" in (
        complaint(config)
    )


def test_joining_makes_short_recordings_long_enough(tmp_path, manifests):
    data = {"min_seconds": 2, "join_seconds": 2.5}
    config = pretrain_config(tmp_path, (manifests[0], manifests[0]), data=data)
    source = batches(config, Corpus.read(manifests[:1]), HERE)(Position())
    assert all(batch.lengths_B.min() >= 2 * 16_000 for batch in islice(source, 6))
    task = Pretraining(config, ["xx", "yy"], HERE)
    with torch.no_grad():
        assert "valid_bits" in task.validate(Wav2Vec2Pretraining(config.model).eval(), 0)


def test_a_language_too_short_to_validate_leaves_the_others(tmp_path, manifests):
    valid = read_manifest(manifests[1])
    short = [replace(u, duration=0.3) for u in valid if u.language == "yy"]
    write_manifest(tmp_path / "dev.jsonl", [u for u in valid if u.language == "xx"] + short)
    config = pretrain_config(tmp_path, (manifests[0], tmp_path / "dev.jsonl"))
    task = Pretraining(config, ["xx", "yy"], HERE)
    with torch.no_grad():
        values = task.validate(Wav2Vec2Pretraining(config.model).eval(), 0)
    assert set(values) == {"valid_bits", "valid_accuracy", "valid_bits/xx"}


def test_mistakes_are_one_line(tmp_path, manifests):
    lost = tmp_path / "lost.jsonl"
    assert "lost.jsonl" in complaint(pretrain_config(tmp_path, (lost, manifests[1])))
    with pytest.raises(UserError, match=r"model .*nowhere does not exist"):
        pretrain_config(tmp_path, manifests, init=str(tmp_path / "nowhere"))
    model = CTC(small_filterbank(), 2)
    vocabulary = Vocabulary("phonemes", ("a",))
    save_model(tmp_path / "ctc", "ctc", model, model.trunk.config, ["xx"], vocabulary)
    with pytest.raises(UserError, match="holds a ctc model, but a pretrained model"):
        pretrain_config(tmp_path, manifests, init=str(tmp_path / "ctc"))
    config = pretrain_config(tmp_path / "new", manifests)
    with pytest.raises(UserError, match="holds no saved state"):
        pretrain(config, resume=True)


def test_languages_have_their_share_of_what_is_heard(tmp_path):
    """Equal hours that can be used: in clips that are heard whole, and in clips that are cropped
    to a third beside ones that are too short."""
    lengths = {"aa": [2.0] * 60, "bb": [6.0] * 20 + [0.5] * 100}
    train = tmp_path / "train.jsonl"
    write_manifest(
        train,
        [
            Utterance(id=f"{name}{i}", audio=tmp_path / "a.wav", duration=s, language=name)
            for name, seconds in lengths.items()
            for i, s in enumerate(seconds)
        ],
    )
    write_wav(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(6 * 16_000))
    data = {"valid": [], "crop_seconds": 2.0, "min_seconds": 1.0, "alpha": 0.5}
    config = pretrain_config(tmp_path / "out", (train, train), data=data)
    source = batches(config, Corpus.read([train]), HERE)
    heard = Counter()
    for batch in islice(source(Position()), 60):
        heard.update(batch.languages)
    assert heard["bb"] / heard.total() == pytest.approx(0.5, abs=0.06)
