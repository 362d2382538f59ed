"""Configuration: all mistakes at once, in the user's words; YAML that loads to an equal object."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from speechx.config import dump, merge, override, parse, read_yaml, to_dict
from speechx.errors import UserError
from speechx.finetuning import Finetune
from speechx.models.features.filterbank import FilterbankConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.masking import Masking
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.pretraining import Pretrain
from speechx.training.optim import Optim
from tests.configs import load_config, make_config

LEAST = {"out": "runs/x", "data": {"train": ["a.jsonl"]}, "run": {"steps": 10}}
LEAST_FINETUNE = merge(
    LEAST, {"objective": {"kind": "ctc", "tokens": "characters"}, "data": {"dev": ["b.jsonl"]}}
)
TASKS = {
    "out": "runs/x",
    "preset": "tiny",
    "tasks": {
        "speech": {"objective": "wav2vec2", "data": {"train": ["a.jsonl"]}},
        "phones": {
            "objective": {"kind": "ctc", "tokens": "phonemes"},
            "data": {"train": ["b.jsonl"], "dev": ["c.jsonl"]},
            "weight": 0.3,
            "batch_seconds": 30,
        },
        "language": {
            "objective": "language_id",
            "data": {"train": ["b.jsonl"], "dev": ["c.jsonl"]},
        },
    },
    "run": {"steps": 10},
}


def complaint(**changes):
    """What a user reads who wrote `changes` into a pretraining recipe."""
    with pytest.raises(UserError) as caught:
        make_config(Pretrain, merge(LEAST, changes), "recipe.yaml")
    text = str(caught.value)
    assert text.startswith("recipe.yaml: ")
    assert "\n" not in text
    assert "pydantic" not in text
    return text.removeprefix("recipe.yaml: ")


@pytest.mark.parametrize(
    ("changes", "unknown", "nearest"),
    [
        ({"optim": {"lrr": 1}}, "optim.lrr", "lr"),
        ({"run": {"stpes": 10}}, "run.stpes", "steps"),
        ({"optm": {}}, "optm", "optim"),
        ({"Optim": {}}, "Optim", "optim"),
        ({"optim": {"Lr": 1}}, "optim.Lr", "lr"),
        ({"encoder": {"contxt": {}}}, "encoder.contxt", "context"),
        ({"encoder": {"context": {"num_layer": 3}}}, "encoder.context.num_layer", "num_layers"),
        (
            {"encoder": {"features": {"kind": "filterbank", "num_mel_binz": 3}}},
            "encoder.features.num_mel_binz",
            "num_mel_bins",
        ),
        (
            {"encoder": {"features": {"layers": [{"kernal": 3, "channels": 1, "stride": 1}]}}},
            "encoder.features.layers.0.kernal",
            "kernel",
        ),
        ({"objective": {"diversty": 1}}, "objective.diversty", "diversity"),
        ({"objective": {"quantizer": {"dimm": 1}}}, "objective.quantizer.dimm", "dim"),
    ],
)
def test_the_error_about_an_unknown_key_names_the_nearest_known_one(changes, unknown, nearest):
    assert f"unknown key {unknown!r} (did you mean {nearest!r}?)" in complaint(**changes)


def test_the_error_about_a_key_that_resembles_none_lists_all():
    text = complaint(objective={"masking": {"xyz": 1}})
    for fact in ("objective.masking.xyz", "probability", "span", "min_spans"):
        assert fact in text


def test_all_mistakes_are_shown_at_once():
    text = complaint(
        optim={"lr": "fast", "wramup_ratio": 0.1}, run={"steps": 0.5},
        objective={"masking": {"probability": 2}},
    )  # fmt: skip
    assert len(text.split("; ")) == 4
    for part in ("optim.lr", "'fast'", "warmup_ratio", "run.steps", "objective.masking"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "place", "fact"),
    [
        ({"optim": {"lr": -0.1}}, "optim: lr", "-0.1"),
        ({"optim": {"lr": 0}}, "optim: lr", "above 0"),
        ({"optim": {"lr": float("nan")}}, "optim: lr", "nan"),
        ({"optim": {"lr": float("inf")}}, "optim: lr", "finite"),
        (
            {"optim": {"schedule": "tri_stage", "warmup_ratio": 0.7, "hold_ratio": 0.4}},
            "optim: warmup_ratio and hold_ratio",
            "1",
        ),
        ({"optim": {"warmup_ratio": 1.1}}, "optim: warmup_ratio", "1"),
        ({"optim": {"betas": [0.9, 1.5]}}, "optim: betas", "1.5"),
        ({"optim": {"weight_decay": float("nan")}}, "optim: weight_decay", "nan"),
        ({"run": {"seed": -1}}, "run: seed", "-1"),
        ({"run": {"batch_seconds": float("nan")}}, "run: batch_seconds", "above 0"),
        ({"run": {"steps": 0}}, "run: steps", "above 0"),
        ({"run": {"precision": "fp16"}}, "run.precision", "'float32', 'bfloat16' or 'auto'"),
        ({"data": {"crop_seconds": float("inf")}}, "data: crop_seconds", "finite"),
        ({"data": {"alpha": 1.5}}, "data: alpha", "1.5"),
        ({"data": {"train": []}}, "data: train", "manifest"),
        ({"data": {"min_seconds": 30}}, "data: ", "min_seconds <= crop_seconds"),
        ({"data": {"min_seconds": 0.03}}, "data.min_seconds", "3"),
        ({"data": {"limit_minutes": 3.0}}, "data.limit_minutes", "unlabelled"),
        ({"data": {"speed": [0.9, 1.1]}}, "data.speed", "unlabelled"),
        ({"encoder": {"context": {"num_heads": 0}}}, "encoder.context: num_heads", "above 0"),
        ({"encoder": {"context": {"num_heads": 7}}}, "encoder.context: embed_dim", "768"),
        ({"encoder": {"features": {"kind": "filterbnk"}}}, "encoder.features.kind", "filterbank"),
        ({"encoder": None}, "encoder", "dictionary"),
        ({"optim": None}, "optim", "dictionary"),
        ({"objective": {"quantizer": {"num_groups": 0}}}, "quantizer: num_groups", "above 0"),
        ({"objective": {"diversity": -1}}, "diversity", "-1"),
        ({"objective": {"masking": {"min_spans": 1}}}, "masking.min_spans", "2"),
        ({"objective": {"gumbel_temperature": {"floor": 3}}}, "gumbel_temperature", "start"),
        ({"objective": {"kind": "wav2vec3"}}, "objective", "wav2vec2"),
    ],
)
def test_the_error_about_an_impossible_value_names_its_place(changes, place, fact):
    text = complaint(**changes)
    assert place in text
    assert fact in text


def test_what_is_missing_is_named():
    with pytest.raises(UserError) as caught:
        make_config(Pretrain, {}, "empty.yaml")
    assert str(caught.value) == "empty.yaml: 'out' is required; 'run' is required"
    for missing in ("data", "objective"):
        raw = {key: value for key, value in LEAST_FINETUNE.items() if key != missing}
        with pytest.raises(UserError, match=f"recipe.yaml: .*{'tokens' * (missing != 'data')}"):
            make_config(Finetune, raw, "recipe.yaml")
    with pytest.raises(UserError, match=r"data\.dev"):
        make_config(Finetune, merge(LEAST_FINETUNE, {"data": {"dev": []}}), "recipe.yaml")


def test_finetuning_needs_an_objective_with_labels():
    with pytest.raises(UserError, match="speechx pretrain"):
        make_config(Finetune, {**LEAST, "objective": "wav2vec2"}, "recipe.yaml")


@pytest.mark.parametrize("optim", [None, 3])
def test_an_empty_section_of_a_finetuning_recipe_is_an_error(optim):
    with pytest.raises(UserError, match=r"optim: .*dictionary"):
        make_config(Finetune, {**LEAST_FINETUNE, "optim": optim}, "recipe.yaml")


def test_finetuning_has_its_own_usual_optimizer():
    config = make_config(
        Finetune, {**LEAST_FINETUNE, "optim": {"warmup_ratio": 0.2}}, "recipe.yaml"
    )
    assert config.optim == Optim(lr=1e-4, schedule="tri_stage", warmup_ratio=0.2, epsilon=1e-8)
    pretrain = make_config(Pretrain, LEAST, "recipe.yaml")
    assert pretrain.optim == Optim()


@pytest.mark.parametrize("preset", ["tiny", "base", "large", "xlsr_300m", "xls_r_1b", "xls_r_2b"])
def test_dumped_yaml_parses_to_an_equal_object(preset, tmp_path):
    changes = {
        "preset": preset, "optim": {"lr": 1e-5, "betas": [0.8, 0.95]}, "data": {"alpha": 0.3},
    }  # fmt: skip
    config = make_config(Pretrain, merge(LEAST, changes), "test")
    (tmp_path / "config.yaml").write_text(dump(config))
    assert parse(Pretrain, read_yaml(tmp_path / "config.yaml"), "config.yaml") == config
    assert load_config(Pretrain, tmp_path / "config.yaml") == config
    labelled = make_config(Finetune, merge(LEAST_FINETUNE, {"preset": preset}), "test")
    assert make_config(Finetune, yaml.safe_load(dump(labelled)), "test") == labelled


def test_a_preset_is_written_out_with_its_changes(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "out: runs/x\n"
        "preset: tiny\n"
        "encoder: {context: {num_layers: 2}}\n"
        "data: {train: [a.jsonl]}\n"
        "run: {steps: 5}\n"
    )
    settings = ["encoder.context.embed_dim=64", "optim.lr=1e-3", "run.seed=7"]
    config = load_config(Pretrain, tmp_path / "recipe.yaml", settings)
    assert isinstance(config.encoder.features, FilterbankConfig)
    assert (config.encoder.context.num_layers, config.encoder.context.embed_dim) == (2, 64)
    assert (config.optim.lr, config.run.seed) == (0.001, 7)
    assert config.objective.quantizer.num_entries == 64
    assert config.out == Path("runs/x")
    assert yaml.safe_load(dump(config))["encoder"]["context"]["ffn_dim"] == 768


def test_several_tasks_have_their_own_objectives_and_shares_of_a_step():
    config = make_config(Pretrain, TASKS, "recipe.yaml")
    speech, phones, language = config.all_tasks().values()
    assert isinstance(speech.objective, Wav2Vec2Config)
    assert speech.objective.quantizer.num_entries == 64  # of the preset
    assert isinstance(phones.objective, CTCConfig)
    assert isinstance(language.objective, LanguageIDConfig)
    assert (speech.weight, phones.weight) == (1.0, 0.3)
    # 5760 + 30 + 5760 seconds of audio, of which 87.5 fit one device at once.
    for world in (1, 4):
        accumulate = config.accumulate(world)
        assert accumulate == -(-11550 // (87.5 * world))
        shares = [config.micro_seconds(task, world) for task in (speech, phones, language)]
        assert sum(shares) <= 87.5
        assert [s * accumulate * world for s in shares] == pytest.approx([5760, 30, 5760])
    assert config.seed_of(0) == config.run.seed
    assert len({config.seed_of(index) for index in range(3)}) == 3
    again = make_config(Pretrain, yaml.safe_load(dump(config)), "config.yaml")
    assert again == config
    assert list(again.tasks) == ["speech", "phones", "language"]
    assert make_config(Finetune, TASKS, "recipe.yaml").all_tasks() == config.all_tasks()


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"objective": "wav2vec2"}, ("tasks", "objective")),
        ({"tasks": {"a b": TASKS["tasks"]["speech"]}}, ("'a b'", "letters")),
        ({"tasks": {"phones": {"wieght": 1}}}, ("tasks.phones.wieght", "weight")),
        ({"tasks": {"phones": {"weight": 0}}}, ("tasks.phones", "weight", "above 0")),
        ({"tasks": {"phones": {"data": {"dev": []}}}}, ("tasks.phones", "data.dev")),
        ({"tasks": {"speech": {"data": {"min_seconds": 0.03}}}}, ("min_seconds", "0.03")),
    ],
)
def test_mistakes_in_tasks_name_the_task(changes, facts):
    with pytest.raises(UserError) as caught:
        make_config(Pretrain, merge(TASKS, changes), "recipe.yaml")
    for fact in facts:
        assert fact in str(caught.value)


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
        optim.lr = 1.0
    assert parse(Optim, to_dict(optim), "test") == optim


def test_large_models_bring_the_loss_weights_of_their_papers(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("{out: x, data: {train: [a.jsonl]}, run: {steps: 1}}")

    def weights(*settings):
        objective = load_config(Pretrain, path, settings).objective
        return objective.features_penalty, objective.gumbel_temperature.floor

    assert weights("preset=base") == (10, 0.5)
    assert weights("preset=large") == weights("preset=xls_r_1b") == (0, 0.1)
    changes = ("objective.features_penalty=3", "objective.gumbel_temperature.floor=0.2")
    assert weights("preset=xlsr_300m", *changes) == (3, 0.2)


def test_settings_beside_a_preset_change_that_preset(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**LEAST, "preset": "tiny"}))
    changed = ["preset=xlsr_300m", "encoder.context.layer_drop=0.05"]
    context = load_config(Pretrain, path, changed).encoder.context
    assert (context.embed_dim, context.layer_drop) == (1024, 0.05)
    with pytest.raises(UserError, match="has no keys"):
        load_config(Pretrain, path, ["run.steps.more=1"])
    with pytest.raises(UserError, match=r"'huge'.*xlsr_300m"):
        load_config(Pretrain, path, ["preset=huge"])


def test_a_section_given_in_part_keeps_the_other_defaults_of_its_objective():
    """Masks of channels span 64 (wav2vec 2.0, section 4.3), masks of frames 10."""
    part = {"channel_masking": {"probability": 0.5}, "time_masking": {"probability": 0.75}}
    config = make_config(Finetune, merge(LEAST_FINETUNE, {"objective": part}), "recipe.yaml")
    assert config.objective.channel_masking == Masking(probability=0.5, span=64, min_spans=0)
    assert config.objective.time_masking == Masking(probability=0.75, span=10, min_spans=2)
    tasks = {"tasks": {"language": {"objective": {"kind": "language_id", **part}}}}
    config = make_config(Pretrain, merge(TASKS, tasks), "recipe.yaml")
    assert config.tasks["language"].objective.time_masking.min_spans == 0


@pytest.fixture
def begun(tmp_path):
    """The configuration of a run that has written its folder, and its recipe."""
    recipe = merge(TASKS, {"out": str(tmp_path / "run")})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    config = load_config(Pretrain, tmp_path / "recipe.yaml", ["optim.lr=0.003"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(dump(config))
    return config, tmp_path / "recipe.yaml"


def test_a_resumed_run_has_its_own_configuration(begun):
    config, recipe = begun
    assert load_config(Pretrain, recipe, resume=True) == config
    assert make_config(Pretrain, {"out": str(config.out)}, resume=True) == config
    changed = ["optim.lr=0.001", "tasks.phones.weight=0.5", "run.steps=20"]
    resumed = load_config(Pretrain, recipe, changed, resume=True)
    assert (resumed.optim.lr, resumed.run.steps) == (0.001, 20)
    assert resumed.tasks["phones"].weight == 0.5
    assert resumed.tasks["speech"] == config.tasks["speech"]


def test_a_resumed_run_keeps_its_model(begun, tmp_path):
    _, recipe = begun
    with pytest.raises(UserError, match=r"--resume.*'tiny'.*'base'"):
        load_config(Pretrain, recipe, ["preset=base"], resume=True)
    nowhere = [f"out={tmp_path / 'nowhere'}"]
    with pytest.raises(UserError, match="nowhere holds no saved state"):
        load_config(Pretrain, recipe, nowhere, resume=True)


def test_a_key_stands_once_and_merge_keys_work(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &x {lr: 1, clip: 2}\nb: {<<: *x, lr: 3}\n")
    assert read_yaml(tmp_path / "a.yaml")["b"] == {"lr": 3, "clip": 2}
    (tmp_path / "b.yaml").write_text("run:\n  steps: 1\n  seed: 1\n  steps: 2\n")
    with pytest.raises(UserError, match=r"b.yaml:4: .*'steps' is given twice"):
        read_yaml(tmp_path / "b.yaml")
