"""Configuration: all mistakes at once, in the user's words; YAML that loads to an equal object."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from speechx import finetuning, pretraining
from speechx.config import dump, merge, override, parse, read_yaml, to_dict
from speechx.errors import UserError
from speechx.models.filterbank import FilterbankConfig
from speechx.pretraining import Pretrain
from speechx.training.optim import Optim

LEAST = {"out": "runs/x", "data": {"train": ["a.jsonl"]}, "run": {"steps": 10}}
LEAST_FINETUNE = merge(LEAST, {"units": "characters", "data": {"dev": ["b.jsonl"]}})


def complaint(**changes):
    """What a user reads who wrote `changes` into a pretraining recipe."""
    with pytest.raises(UserError) as caught:
        pretraining.complete(merge(LEAST, changes), "recipe.yaml")
    text = str(caught.value)
    assert text.startswith("recipe.yaml: ")
    assert "\n" not in text
    assert "pydantic" not in text
    return text.removeprefix("recipe.yaml: ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optim": {"rat": 1}}, "unknown key 'optim.rat' (did you mean 'rate'?)"),
        ({"run": {"stpes": 10}}, "unknown key 'run.stpes' (did you mean 'steps'?)"),
        ({"optm": {}}, "unknown key 'optm' (did you mean 'optim'?)"),
        ({"Optim": {}}, "unknown key 'Optim' (did you mean 'optim'?)"),
        ({"optim": {"Rate": 1}}, "unknown key 'optim.Rate' (did you mean 'rate'?)"),
        ({"model": {"transfomer": {}}}, "'model.transfomer' (did you mean 'transformer'?)"),
        (
            {"model": {"encoder": {"kind": "filterbank", "binz": 3}}},
            "unknown key 'model.encoder.binz' (did you mean 'bins'?)",
        ),
        (
            {"model": {"encoder": {"layers": [{"kernal": 3, "channels": 1, "stride": 1}]}}},
            "unknown key 'model.encoder.layers.0.kernal' (did you mean 'kernel'?)",
        ),
    ],
)
def test_a_misspelt_key_is_told_the_nearest(changes, said):
    assert said in complaint(**changes)


def test_a_key_like_no_other_is_told_all_known_ones():
    said = complaint(masking={"xyz": 1})
    assert said == "unknown key 'masking.xyz' (known keys: probability, span, min_spans)"


def test_several_mistakes_are_told_at_once():
    said = complaint(
        optim={"rate": "fast", "wramup": 0.1}, run={"steps": 0.5}, masking={"probability": 2}
    )
    assert len(said.split("; ")) == 4
    for part in ("optim.rate", "'fast'", "did you mean 'warmup'", "run.steps", "probability"):
        assert part in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optim": {"rate": -0.1}}, "optim: rate must be above 0, but is -0.1"),
        ({"optim": {"rate": 0}}, "optim: rate must be above 0, but is 0.0"),
        ({"optim": {"rate": float("nan")}}, "optim: rate must be above 0, but is nan"),
        (
            {"optim": {"schedule": "tri_stage", "warmup": 0.7, "hold": 0.4}},
            "must not exceed 1 together",
        ),
        ({"optim": {"warmup": 1.1}}, "must not exceed 1 together"),
        ({"optim": {"rate": float("inf")}}, "optim: rate must be finite"),
        ({"optim": {"betas": [0.9, 1.5]}}, "optim: betas must be at least 0 and below 1"),
        ({"optim": {"weight_decay": float("nan")}}, "weight_decay must not be negative"),
        ({"run": {"seed": -1}}, "run: seed must not be negative"),
        ({"run": {"batch_seconds": float("nan")}}, "run: batch_seconds must be above 0"),
        ({"data": {"crop_seconds": float("inf")}}, "data: crop_seconds must be finite"),
        ({"model": {"transformer": {"heads": 0}}}, "transformer: heads must be above 0"),
        ({"model": {"quantizer": {"groups": 0}}}, "quantizer: groups must be above 0"),
        ({"contrastive": {"diversity": -1}}, "contrastive: diversity must not be negative"),
        ({"masking": {"min_spans": 1}}, "min_spans must be at least 2"),
        ({"optim": None}, "optim: input should be a dictionary"),
        ({"run": {"steps": 0}}, "run: steps must be above 0, but is 0"),
        ({"run": {"precision": "fp16"}}, "run.precision: input should be 'float32' or 'bfloat16'"),
        ({"data": {"alpha": 1.5}}, "data: alpha must be between 0 and 1, but is 1.5"),
        ({"data": {"train": []}}, "data: train needs at least one manifest"),
        ({"data": {"min_seconds": 30}}, "0 < min_seconds <= crop_seconds"),
        ({"data": {"min_seconds": 0.03}}, "a row needs at least 3 so that 2 can be hidden"),
        ({"model": {"transformer": {"heads": 7}}}, "width 768 must be a multiple of heads 7"),
        ({"model": {"encoder": {"kind": "filterbnk"}}}, "model.encoder.kind"),
        ({"model": None}, "model: input should be a dictionary"),
        ({"temperature": {"floor": 3}}, "start >= floor"),
    ],
)
def test_impossible_values_are_told_with_their_place(changes, said):
    assert said in complaint(**changes)


def test_what_is_missing_is_named():
    with pytest.raises(UserError) as caught:
        pretraining.complete({}, "empty.yaml")
    assert str(caught.value) == (
        "empty.yaml: 'out' is required; 'data' is required; 'run' is required"
    )


@pytest.mark.parametrize("optim", [None, 3])
def test_an_empty_section_of_a_finetuning_recipe_is_no_crash(optim):
    with pytest.raises(UserError, match="optim: input should be a dictionary"):
        finetuning.complete({**LEAST_FINETUNE, "optim": optim}, "recipe.yaml")


def test_finetuning_has_its_own_usual_optimizer():
    config = finetuning.complete({**LEAST_FINETUNE, "optim": {"warmup": 0.2}}, "recipe.yaml")
    assert config.optim == Optim(rate=1e-4, schedule="tri_stage", warmup=0.2, epsilon=1e-8)
    pretrain = pretraining.complete(LEAST, "recipe.yaml")
    assert pretrain.optim == Optim()


@pytest.mark.parametrize("preset", ["tiny", "base", "large", "xlsr_300m", "xls_r_1b", "xls_r_2b"])
def test_dumped_yaml_parses_to_an_equal_object(preset, tmp_path):
    changes = {
        "model": preset, "optim": {"rate": 1e-5, "betas": [0.8, 0.95]}, "data": {"alpha": 0.3},
    }  # fmt: skip
    config = pretraining.complete(merge(LEAST, changes), "test")
    (tmp_path / "config.yaml").write_text(dump(config))
    assert parse(Pretrain, read_yaml(tmp_path / "config.yaml"), "config.yaml") == config
    assert pretraining.load_config(tmp_path / "config.yaml") == config
    labelled = finetuning.complete(merge(LEAST_FINETUNE, {"model": preset}), "test")
    assert finetuning.complete(yaml.safe_load(dump(labelled)), "test") == labelled


def test_a_preset_is_written_out_with_its_changes(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "out: runs/x\n"
        "model: {preset: tiny, transformer: {blocks: 2}}\n"
        "data: {train: [a.jsonl]}\n"
        "run: {steps: 5}\n"
    )
    config = pretraining.load_config(
        tmp_path / "recipe.yaml", ["model.transformer.width=64", "optim.rate=1e-3", "run.seed=7"]
    )
    assert isinstance(config.model.encoder, FilterbankConfig)
    assert (config.model.transformer.blocks, config.model.transformer.width) == (2, 64)
    assert (config.optim.rate, config.run.seed) == (0.001, 7)
    assert config.out == Path("runs/x")
    assert "preset" not in dump(config)


def test_overrides():
    raw = {"a": {"b": 1, "c": [1]}, "d": 2}
    changed = override(raw, ["a.b=2", "a.c=[3, 4]", "e.f.g=x", "d=null", "a.h=a=b", "k="])
    assert changed == {
        "a": {"b": 2, "c": [3, 4], "h": "a=b"}, "d": None, "e": {"f": {"g": "x"}}, "k": None,
    }  # fmt: skip
    assert raw == {"a": {"b": 1, "c": [1]}, "d": 2}
    for bad in ("a.b", "=3", ""):
        with pytest.raises(UserError, match="key=value"):
            override(raw, [bad])


def test_merge_keeps_what_is_not_named_and_replaces_another_kind():
    below = {"x": {"kind": "one", "a": 1, "b": {"c": 2}}}
    assert merge(below, {"x": {"b": {"d": 3}}})["x"] == {
        "kind": "one", "a": 1, "b": {"c": 2, "d": 3},
    }  # fmt: skip
    assert merge(below, {"x": {"kind": "one", "a": 5}})["x"]["b"] == {"c": 2}
    assert merge(below, {"x": {"kind": "two", "z": 1}})["x"] == {"kind": "two", "z": 1}
    assert below == {"x": {"kind": "one", "a": 1, "b": {"c": 2}}}


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml does not exist"):
        read_yaml(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("a: 1\nb: [1, 2\nc: 3\n")
    with pytest.raises(UserError, match=r"bad\.yaml:3: not valid YAML"):
        read_yaml(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(UserError, match="expected `key: value` lines, found a list"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "sound.yaml").write_bytes(b"RIFF\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "sound.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path)
    (tmp_path / "empty.yaml").write_text("")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_a_config_cannot_be_changed_by_accident():
    optim = Optim()
    with pytest.raises(FrozenInstanceError):
        optim.rate = 1.0
    assert parse(Optim, to_dict(optim), "test") == optim


def test_large_models_bring_the_loss_weights_of_their_papers(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("{out: x, data: {train: [a.jsonl]}, run: {steps: 1}}")

    def weights(*settings):
        config = pretraining.load_config(path, settings)
        return config.contrastive.penalty, config.temperature.floor

    assert weights("model=base") == (10, 0.5)
    assert weights("model=large") == weights("model=xls_r_1b") == (0, 0.1)
    assert weights("model=xlsr_300m", "contrastive.penalty=3", "temperature.floor=0.2") == (3, 0.2)


def test_settings_after_a_preset_change_that_preset(tmp_path):
    """`model=large model.a.b=c`, as a user types it, is not `base` with a.b=c."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**LEAST, "model": "tiny"}))
    changed = ["model=xlsr_300m", "model.transformer.layer_drop=0.05"]
    model = pretraining.load_config(path, changed).model
    assert (model.transformer.width, model.transformer.layer_drop) == (1024, 0.05)
    with pytest.raises(UserError, match="has no keys"):
        pretraining.load_config(path, ["run.steps.more=1"])
