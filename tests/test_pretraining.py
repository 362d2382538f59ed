"""Pretraining as a whole, on tones: it learns, resumes to the bit and continues from a parent."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from speechx.config import to_dict
from speechx.data.corpus import Corpus
from speechx.data.exclusion import Exclusion, write_exclusions
from speechx.data.manifest import read_manifest, write_manifest
from speechx.data.utterance import Utterance
from speechx.errors import UserError
from speechx.interchange.conversion import convert
from speechx.models.folder import open_folder
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.model import SpeechModel, layer_keep, start_from
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.pretraining import Pretrain, pretrain
from speechx.text.vocabulary import Vocabulary
from speechx.training.validation import metrics_by_language
from tests.configs import load_config
from tests.conftest import (
    SMALL_CONFORMER,
    SMALL_QUANTIZER,
    batches_of,
    finish,
    pretrain_config,
    read_log,
    run_job,
    small_convolutional,
    small_filterbank,
    start,
    write_wav,
)


def steps_of(out):
    """The lines of the log about training steps."""
    return [line for line in read_log(out) if "gradient_norm" in line]


def dev_bits(model, config, manifests):
    """Bits per masked frame on the validation data."""
    dev, seed = Corpus.of(read_manifest(manifests[1])), config.run.seed
    metrics = metrics_by_language(model.eval(), "wav2vec2", dev, config.data, seed)
    return metrics["overall"]["bits"]


@pytest.fixture(scope="module")
def parent(tmp_path_factory, manifests):
    """A pretrained model: 100 steps on tones, with a seed that leaves the plateau in them."""
    out = tmp_path_factory.mktemp("parent") / "run"
    run = {"steps": 100, "eval_steps": 50, "save_steps": 100, "seed": 2}
    config = pretrain_config(out, manifests, optim={"lr": 0.02}, run=run)
    return config, pretrain(config)


def test_it_learns(parent, manifests):
    """From the training log, and on validation data that it was not trained on."""
    config, final = parent
    steps = steps_of(config.out)
    chance = math.log2(config.objective.num_negatives + 1)
    early, late = (np.mean([line["bits"] for line in part]) for part in (steps[:5], steps[-10:]))
    assert abs(early - chance) < 0.6
    assert late < early - 0.4
    accuracy = np.mean([line["accuracy"] for line in steps[-10:]])
    assert accuracy > 1.6 / 11  # by luck it is 1 in 11
    # No collapse: codes are in use, and negatives differ from the positive.
    assert steps[-1]["code_perplexity"] > 10
    assert steps[-1]["negatives_equal_positive"] < 0.1
    torch.manual_seed(0)
    fresh = SpeechModel(config.encoder, {"wav2vec2": config.objective}, {})
    before = dev_bits(fresh, config, manifests)
    validated = [line["dev_bits"] for line in read_log(config.out) if "dev_bits" in line]
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
    # The loss is nats of all terms: diversity is at most 0.1, the penalty of this encoder is small.
    assert line["loss"] > line["bits"] * math.log(2)
    last = read_log(config.out)[-1]
    assert {"dev_bits", "dev_accuracy", "dev_bits/xx", "dev_bits/yy"} <= set(last)
    assert min(last["dev_bits/xx"], last["dev_bits/yy"]) <= last["dev_bits"]
    assert max(last["dev_bits/xx"], last["dev_bits/yy"]) >= last["dev_bits"]


def test_the_run_folder_holds_its_config_and_a_model(parent):
    config, final = parent
    assert load_config(Pretrain, config.out / "config.yaml") == config
    saved = open_folder(final)
    assert saved.languages == ("xx", "yy")
    assert saved.encoder == config.encoder
    assert list(saved.objectives) == ["wav2vec2"]


def test_continued_pretraining_starts_where_the_parent_ended(parent, manifests, tmp_path, capsys):
    """Promise 20: the quantizer really is restored, so the loss at step 0 is not chance."""
    config, final = parent
    child = pretrain_config(
        tmp_path / "child", manifests, init=str(final), optim={"lr": 1e-12},
        run={"steps": 1, "seed": config.run.seed},
    )  # fmt: skip
    assert child.encoder == config.encoder
    assert child.objective == config.objective
    model = SpeechModel(child.encoder, {"wav2vec2": child.objective}, {})
    start_from(model, open_folder(final))
    parents = read_log(config.out)[-1]["dev_bits"]
    assert dev_bits(model, child, manifests) == pytest.approx(parents, abs=1e-6)
    # And the command does the same: one step with a learning rate of nothing.
    pretrain(child)
    assert read_log(child.out)[-1]["dev_bits"] == pytest.approx(parents, abs=1e-5)
    err = capsys.readouterr().err
    assert "quantizer 3/3" in err
    # It logged the same before that step, per language.
    table = [line.split() for line in err.splitlines() if line.split()[:1] in (["xx"], ["overall"])]
    assert [name for name, *_ in table] == ["xx", "overall"]
    assert float(table[1][1]) == pytest.approx(parents, abs=1e-3)


def test_a_model_whose_quantizer_was_not_restored_is_refused(parent, manifests, tmp_path, capsys):
    """Users take a wrong import for a hard corpus: the loss at chance, thousands of steps long."""
    config, final = parent
    saved = open_folder(final)
    torch.manual_seed(0)
    model = SpeechModel(saved.encoder, {"wav2vec2": config.objective}, {})
    model.encoder.load_state_dict(saved.part("encoder."))
    model.save(tmp_path / "wrong", ["xx"])
    init = {"init": str(tmp_path / "wrong"), "run": {"steps": 1}}
    with pytest.raises(UserError, match=r"chance .*bits.*allow_chance_level"):
        pretrain(pretrain_config(tmp_path / "child", manifests, **init))
    assert "before step 1" in capsys.readouterr().err
    pretrain(pretrain_config(tmp_path / "forced", manifests, allow_chance_level=True, **init))


def without(parts, model, folder):
    """A model folder in which the tensors of some parts are missing."""
    from safetensors.torch import load_file, save_file

    model.save(folder, ["xx"])
    weights = load_file(folder / "model.safetensors")
    kept = {n: t for n, t in weights.items() if not any(part in n for part in parts)}
    save_file(kept, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("format", ["hugging_face", "fairseq", "fairseq2"])
def test_models_of_other_toolkits_are_continued_from(format, manifests, tmp_path, capsys):
    torch.manual_seed(0)
    model = SpeechModel(small_convolutional("layer"), {"wav2vec2": Wav2Vec2Config()}, {})
    model.save(tmp_path / "ours", ["xx"])
    convert(tmp_path / "ours", tmp_path / "theirs", format)
    settings = {"optim": {"lr": 1e-12}, "run": {"steps": 1}, "allow_chance_level": True}
    child = pretrain_config(
        tmp_path / "child", manifests, init=str(tmp_path / "theirs"), **settings
    )
    assert child.objective.features_penalty == 0  # of the large models, as its layer norms are
    final = open_folder(pretrain(child))
    for name, tensor in model.state_dict().items():
        assert torch.allclose(final.weights[name], tensor, atol=1e-6), name
    err = capsys.readouterr().err
    assert "quantizer 3/3" in err
    assert "before step 1" in err


def test_a_parent_without_a_quantizer_must_be_allowed(manifests, tmp_path, capsys):
    torch.manual_seed(0)
    vocabulary = Vocabulary("phonemes", ("a",))
    objectives = {"ctc": CTCConfig(tokens="phonemes")}
    model = SpeechModel(small_filterbank(), objectives, {"ctc": vocabulary})
    folder = without(["mask_embedding"], model, tmp_path / "ctc")
    settings = {"init": str(folder), "run": {"steps": 1}}
    settings["objective"] = {"quantizer": SMALL_QUANTIZER}
    with pytest.raises(UserError, match=r"no quantizer.*--allow-missing quantizer"):
        pretrain_config(tmp_path / "child", manifests, **settings)  # before any data is read
    settings["allow_missing"] = ["quantizer"]
    with pytest.raises(UserError, match="mask_embedding"):
        pretrain(pretrain_config(tmp_path / "child", manifests, **settings))
    settings["allow_missing"] = ["mask_embedding", "quantizer"]
    pretrain(pretrain_config(tmp_path / "child", manifests, **settings))
    err = capsys.readouterr().err
    assert "quantizer, which starts fresh" in err
    assert "mask_embedding 0/1 (rest starts fresh)" in err


def test_a_language_too_short_to_try_the_parent_on_is_named(parent, manifests, tmp_path, capsys):
    _, final = parent
    dev = read_manifest(manifests[1])
    short = [replace(u, duration=0.3) for u in dev if u.language == "yy"]
    write_manifest(tmp_path / "dev.jsonl", [u for u in dev if u.language == "xx"] + short)
    paths = manifests[0], tmp_path / "dev.jsonl"
    pretrain(pretrain_config(tmp_path / "child", paths, init=str(final), run={"steps": 1}))
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("yy")]
    assert "0.5 s" in line


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({}, True),
        ({"restart_schedules": True}, False),
        ({"init": None}, False),
        ({"init": "encoder", "allow_missing": ["quantizer"]}, False),
        ({"allow_missing": ["quantizer"]}, True),
    ],
    ids=["continued", "again", "fresh", "fresh quantizer", "quantizer that may be missing"],
)
def test_a_continued_run_holds_the_temperature_at_its_floor(
    parent, manifests, tmp_path, monkeypatch, changes, held
):
    """And the saved model keeps its whole schedule, so that a child of it may start it again."""
    from speechx.config import merge

    _, final = parent
    if changes.get("init"):
        model, _ = SpeechModel.from_saved(open_folder(final))
        changes = {**changes, "init": str(without(["objectives."], model, tmp_path / "encoder"))}
    temperature = {"start": 2.0, "floor": 0.3, "decay": 0.9}
    settings = {
        "init": str(final), "run": {"steps": 1}, "objective": {"gumbel_temperature": temperature},
    }  # fmt: skip
    child = pretrain_config(tmp_path / "child", manifests, **merge(settings, changes))
    used, sample = [], F.gumbel_softmax

    def watched(logits, tau, hard):
        used.append(tau)
        return sample(logits, tau=tau, hard=hard)

    monkeypatch.setattr(F, "gumbel_softmax", watched)
    model, _ = SpeechModel.from_saved(open_folder(pretrain(child)))
    assert set(used) == {0.3 if held else 2.0}
    assert model.configs["wav2vec2"].gumbel_temperature.start == 2.0


def test_changes_to_the_parents_model_are_laid_over_it(parent, manifests, tmp_path, capsys):
    _, final = parent
    changed = {"encoder": {"context": {"dropout": 0.3}}, "preset": "large"}
    child = pretrain_config(tmp_path / "child", manifests, init=str(final), **changed)
    assert child.encoder.context.dropout == 0.3
    assert child.encoder.features == small_filterbank().features
    assert "'large'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("workers", "context"),
    [(0, {"layer_drop": 0.3}), (2, {"layer_drop": 0.3}), (0, SMALL_CONFORMER)],
)
def test_a_killed_run_resumes_with_bit_equal_losses(tmp_path, manifests, workers, context):
    """SIGKILL at step 5 of 8, the last state at step 4, log lines of one step. A conformer has
    batch statistics too."""

    def config(name):
        run = {"steps": 8, "workers": workers, "eval_steps": 3}
        return pretrain_config(tmp_path / name, manifests, run=run, encoder={"context": context})

    killed = start(run_job, "pretrain", config("killed"), False, 5, True)
    pretrain(config("whole"))
    assert finish(killed) == [-9]
    assert not (tmp_path / "killed" / "state" / "step_8").exists()
    pretrain(config("killed"), resume=True)
    whole, resumed = (read_log(tmp_path / name) for name in ("whole", "killed"))
    assert [line["step"] for line in whole if "loss" in line] == list(range(1, 9))
    assert resumed == whole
    weights, others = (open_folder(tmp_path / n / "final").weights for n in ("whole", "killed"))
    for name, tensor in weights.items():
        assert torch.equal(others[name], tensor), name


def test_a_resumed_run_does_not_need_its_parent(parent, manifests, tmp_path):
    """`init` is opened once. The run goes on from its own folder, by its own configuration."""
    _, final = parent
    shutil.copytree(final, tmp_path / "copy")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"init: {tmp_path / 'copy'}\n"
        f"data: {{train: [{manifests[0]}], dev: [{manifests[1]}], min_seconds: 0.5}}\n"
        "optim: {lr: 0.005}\n"
        "run: {steps: 6, batch_seconds: 6, max_seconds_per_device: 3, device: cpu, log_steps: 1,\n"
        "  eval_steps: 2, save_steps: 2}\n"
    )

    def outs(name):
        return [f"out={tmp_path / name}", "optim.warmup_ratio=0"]

    pretrain(load_config(Pretrain, recipe, outs("whole")))
    run_job("pretrain", load_config(Pretrain, recipe, outs("part")), stop_at=4)
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(UserError, match="copy"):
        load_config(Pretrain, recipe, outs("new"))
    # The setting that the first command had beside the recipe need not be repeated.
    config = load_config(Pretrain, recipe, [f"out={tmp_path / 'part'}"], resume=True)
    pretrain(config, resume=True)
    assert read_log(tmp_path / "part") == read_log(tmp_path / "whole")


def test_a_resumed_run_logs_the_settings_that_change(manifests, tmp_path, capsys):
    config = pretrain_config(tmp_path / "run", manifests)
    run_job("pretrain", config, stop_at=4)
    capsys.readouterr()
    file = config.out / "config.yaml"
    pretrain(load_config(Pretrain, file, ["optim.lr=0.001"], resume=True), resume=True)
    changed = [x for x in capsys.readouterr().err.splitlines() if "before" in x and "now" in x]
    assert len(changed) == 1
    for fact in ("optim.lr", "0.005", "0.001"):
        assert fact in changed[0]
    rates = [line["lr"] for line in steps_of(config.out)]
    assert rates[4] == pytest.approx(0.001 * 2 / 6)
    assert rates[3] == pytest.approx(0.005 * 3 / 6)
    assert load_config(Pretrain, file, resume=True).optim.lr == 0.001


def test_a_resumed_run_names_what_its_file_says_otherwise_and_nothing_else(
    manifests, tmp_path, capsys
):
    config = pretrain_config(tmp_path / "run", manifests)
    run_job("pretrain", config, stop_at=4)
    given = {**to_dict(config), "objective": "wav2vec2", "preset": "base", "init": None}
    given["optim"] = {"lr": f"{config.optim.lr:.1e}", "clip": 3.5}  # 5.0e-03 is text in YAML
    given["run"] = {"steps": config.run.steps}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(given))
    capsys.readouterr()
    load_config(Pretrain, tmp_path / "recipe.yaml", resume=True)
    lines = [x for x in capsys.readouterr().err.splitlines() if "--resume" in x]
    assert len(lines) == 1
    for fact in ("optim.clip=2.0", "not 3.5", "optim.clip=..."):
        assert fact in lines[0]


def test_draws_depend_on_the_batch_and_not_on_the_rank(tmp_path, manifests):
    config = pretrain_config(tmp_path, manifests)
    alone = list(islice(batches_of(config), 2))
    of_ranks = [next(batches_of(config, world=2, rank=rank)) for rank in range(2)]
    for batch, other in zip(alone, of_ranks, strict=True):
        assert batch.ids == other.ids
        assert torch.equal(batch.draws["mask_BT"], other.draws["mask_BT"])
        assert torch.equal(batch.draws["negatives_BMK"], other.draws["negatives_BMK"])
        masks_B = batch.draws["mask_BT"].sum(1)
        assert len(set(masks_B.tolist())) == 1
        assert batch.counts["masked frames"] == int(masks_B.sum())
        assert batch.counts["frames"] == batch.draws["mask_BT"].numel()
    masks = [batch.draws["mask_BT"] for batch in alone]
    assert masks[0].shape != masks[1].shape or not torch.equal(*masks)


def test_dropped_layers_depend_on_the_step_alone():
    """All ranks and micro-batches of a step drop the same layers."""
    encoder = small_filterbank()
    assert layer_keep(encoder, 1, 5) is None
    encoder = replace(encoder, context=replace(encoder.context, layer_drop=0.5))
    assert layer_keep(encoder, 1, 5) == layer_keep(encoder, 1, 5)
    kept = Counter(tuple(layer_keep(encoder, 1, step)) for step in range(400))
    assert len(kept) == 4
    assert max(kept.values()) < 140


def test_exclusion_lists_apply_to_training_and_validation(tmp_path, manifests, capsys):
    """Lines that name no utterance here are counted."""
    train, dev = (read_manifest(path) for path in manifests)
    gone = [Exclusion("", u.language, u.id, "silent") for u in (train[0], train[9], dev[1])]
    write_exclusions(tmp_path / "exclude.tsv", [*gone, Exclusion("", "xx", "nowhere")])
    data = {"exclude": [str(tmp_path / "exclude.tsv")]}
    config = pretrain_config(tmp_path / "run", manifests, data=data, run={"steps": 1})
    pretrain(config)
    err = capsys.readouterr().err
    assert "exclude.tsv leaves out 3 utterances (0.0011 h); 1 of its 4 lines" in err
    assert "pretrain: 14 utterances" in err
    fewer = tmp_path / "dev.jsonl"
    write_manifest(fewer, [u for u in dev if u is not dev[1]])
    same = pretrain_config(tmp_path / "same", (manifests[0], fewer), data=data, run={"steps": 1})
    pretrain(same)
    assert read_log(same.out)[-1] == read_log(config.out)[-1]
    everything = [Exclusion("", u.language, u.id) for u in train]
    write_exclusions(tmp_path / "exclude.tsv", everything)
    with pytest.raises(UserError, match=r"every utterance.*"):
        pretrain(pretrain_config(tmp_path / "none", manifests, data=data))


def test_corpora_are_mixed_too_and_parquet_trains_the_same(tmp_path, manifests):
    """Corpus `rare` is one utterance of 16; with corpus_alpha 0 it is half of the audio."""
    some = read_manifest(manifests[0])
    named = [replace(u, corpus="rare" if i == 3 else "usual") for i, u in enumerate(some)]
    used = Counter()
    for form in ("jsonl", "parquet"):
        paths = tmp_path / f"train.{form}", manifests[1]
        write_manifest(paths[0], named)
        data = {"corpus_alpha": 0.0}
        config = pretrain_config(tmp_path / form, paths, data=data, run={"steps": 2})
        for batch in islice(batches_of(config), 60):
            used.update(batch.ids)
        pretrain(config)
    assert used[named[3].id] / used.total() == pytest.approx(0.5, abs=0.1)
    assert read_log(tmp_path / "jsonl") == read_log(tmp_path / "parquet")


def test_batches_are_cropped_to_their_seconds(tmp_path, manifests):
    config = pretrain_config(tmp_path, manifests, data={"crop_seconds": 1.0})
    for batch in islice(batches_of(config), 12):
        assert batch.seconds <= 3.0
        assert batch.wave_BS.shape[1] <= 16_000
        assert len(set(batch.lengths_B.tolist())) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_raw_waveform_models_train_too(tmp_path, manifests, norm, precision):
    encoder = to_dict(small_convolutional(norm))
    run = {"steps": 2, "precision": precision}
    config = pretrain_config(tmp_path, manifests, encoder=encoder, run=run)
    final = open_folder(pretrain(config))
    assert all(tensor.isfinite().all() for tensor in final.weights.values())
    torch.manual_seed(config.run.seed)
    fresh = SpeechModel(config.encoder, {"wav2vec2": config.objective}, {}).state_dict()
    still = [n for n, t in final.weights.items() if torch.equal(t, fresh[n])]
    assert still == []


def test_bfloat16_starts_with_the_losses_of_float32_and_auto_is_one_of_them(tmp_path, manifests):
    losses = {}
    for precision in ("float32", "bfloat16", "auto"):
        run = {"steps": 3, "precision": precision}
        config = pretrain_config(tmp_path / precision, manifests, run=run, optim={"lr": 1e-6})
        pretrain(config)
        losses[precision] = [line["loss"] for line in read_log(config.out)[:3]]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)
    assert losses["bfloat16"] != losses["float32"]
    assert losses["auto"] in (losses["bfloat16"], losses["float32"])


def test_plain_keywords_are_enough(tmp_path, manifests):
    final = pretrain(
        out=tmp_path / "run",
        preset="tiny",
        encoder=to_dict(small_filterbank()),
        data={"train": [manifests[0]], "min_seconds": 0.5},
        run={"steps": 1, "batch_seconds": 2, "max_seconds_per_device": 2, "device": "cpu"},
    )
    model, _ = SpeechModel.from_saved(open_folder(final))
    assert model.configs["wav2vec2"].quantizer.num_entries == 64


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
        tmp_path / "some", manifests, data={"min_seconds": limit, "dev": []}, run={"steps": 1}
    )
    pretrain(config)
    assert f"{below} of 16 rows are shorter than {limit:g} s" in capsys.readouterr().err
    for split, dev in (("validation", [str(manifests[1])]), ("training", [])):
        data = {"min_seconds": 9, "dev": dev}
        text = complaint(pretrain_config(tmp_path / "none", manifests, data=data))
        assert f"{split} data" in text
        assert "data.min_seconds = 9" in text


def test_joining_makes_short_recordings_long_enough(tmp_path, manifests):
    data = {"min_seconds": 2, "join_seconds": 2.5}
    config = pretrain_config(
        tmp_path, (manifests[0], manifests[0]), data=data, run={"steps": 1}
    )  # fmt: skip
    some = islice(batches_of(config), 6)
    assert all(batch.lengths_B.min() >= 2 * 16_000 for batch in some)
    pretrain(config)
    assert "dev_bits" in read_log(config.out)[-1]


def test_a_language_too_short_to_validate_leaves_the_others(tmp_path, manifests):
    dev = read_manifest(manifests[1])
    short = [replace(u, duration=0.3) for u in dev if u.language == "yy"]
    write_manifest(tmp_path / "dev.jsonl", [u for u in dev if u.language == "xx"] + short)
    paths = manifests[0], tmp_path / "dev.jsonl"
    pretrain(pretrain_config(tmp_path / "run", paths, run={"steps": 1}))
    values = read_log(tmp_path / "run")[-1]
    assert values["dev_bits/xx"] == values["dev_bits"]
    assert "dev_bits/yy" not in values


def test_mistakes_are_one_line(tmp_path, manifests):
    lost = tmp_path / "lost.jsonl"
    assert "lost.jsonl" in complaint(pretrain_config(tmp_path, (lost, manifests[1])))
    with pytest.raises(UserError, match="nowhere"):
        pretrain_config(tmp_path, manifests, init=str(tmp_path / "nowhere"))
    config = pretrain_config(tmp_path / "new", manifests)
    with pytest.raises(UserError, match="new holds no saved state"):
        pretrain(config, resume=True)
    pretrain_config(tmp_path, manifests)
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in complaint(pretrain_config(tmp_path / "file", manifests))


def test_a_run_folder_in_use_is_left_alone(tmp_path, manifests):
    config = pretrain_config(tmp_path / "run", manifests, run={"steps": 2})
    pretrain(config)
    before = read_log(config.out)
    text = complaint(config)
    for fact in (str(config.out), "step 2", "--resume"):
        assert fact in text
    assert read_log(config.out) == before


def test_languages_have_their_share_of_the_audio(tmp_path):
    """Equal hours that can be used: in clips that are used whole, and in clips that are cropped
    to a third beside clips that are too short."""
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
    data = {"dev": [], "crop_seconds": 2.0, "min_seconds": 1.0, "alpha": 0.5}
    config = pretrain_config(tmp_path / "out", (train, train), data=data)
    used = Counter()
    for batch in islice(batches_of(config), 60):
        used.update(batch.languages)
    assert used["bb"] / used.total() == pytest.approx(0.5, abs=0.06)
