"""What a run leaves on disk: folders that open by themselves, or say in one line why not."""

from __future__ import annotations

import pytest
import torch
import yaml

from speechx.errors import UserError
from speechx.models.ctc import CTC
from speechx.models.wav2vec2 import Wav2Vec2Pretraining
from speechx.text.vocabulary import Vocabulary
from speechx.training.checkpoint import (
    load_state,
    load_weights,
    open_model,
    open_run,
    save_model,
    save_state,
)
from speechx.training.optim import Optim, build_optimizer
from tests.conftest import small_convolutional, small_filterbank

VOCABULARY = Vocabulary("phonemes", ("a", "tʃ"))


@pytest.fixture
def pretrained(tmp_path):
    model = Wav2Vec2Pretraining(small_filterbank())
    save_model(tmp_path / "pre" / "final", "pretraining", model, model.config, ["es", "it"])
    return tmp_path / "pre" / "final", model


@pytest.fixture
def finetuned(tmp_path):
    model = CTC(small_filterbank(), len(VOCABULARY))
    folder = tmp_path / "fine" / "best"
    save_model(folder, "ctc", model, model.trunk.config, ["es"], VOCABULARY)
    return folder, model


def test_a_model_folder_opens_by_itself(pretrained, finetuned):
    folder, model = pretrained
    saved = open_model(folder)
    assert (saved.kind, saved.languages, saved.vocabulary) == ("pretraining", ("es", "it"), None)
    assert saved.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(saved.weights[name], tensor)
    folder, model = finetuned
    saved = open_model(folder, "ctc")
    assert (saved.kind, saved.vocabulary) == ("ctc", VOCABULARY)
    again = CTC(saved.config, len(saved.vocabulary))
    load_weights(again, saved.weights, str(folder))
    wave_BS, lengths_B = torch.randn(1, 5000), torch.tensor([5000])
    expected = model.eval()(wave_BS, lengths_B).logits_BTV
    assert torch.equal(again.eval()(wave_BS, lengths_B).logits_BTV, expected)


def test_a_model_folder_holds_three_plain_files(pretrained, finetuned):
    assert sorted(p.name for p in pretrained[0].iterdir()) == ["config.yaml", "model.safetensors"]
    assert sorted(p.name for p in finetuned[0].iterdir()) == [
        "config.yaml", "model.safetensors", "vocabulary.json",
    ]  # fmt: skip
    text = (finetuned[0] / "config.yaml").read_text()
    assert str(finetuned[0].parent.parent) not in text
    assert yaml.safe_load(text)["format"] == 1
    assert b"pickle" not in (finetuned[0] / "model.safetensors").read_bytes()[:2000]


def test_saving_again_replaces_the_folder_whole(finetuned):
    folder, model = finetuned
    (folder / "left_over.txt").write_text("old")
    with torch.no_grad():
        model.head.bias.add_(1)
    save_model(folder, "ctc", model, model.trunk.config, ["es"], VOCABULARY)
    assert torch.equal(open_model(folder).weights["head.bias"], model.head.bias)
    assert not (folder / "left_over.txt").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["best"]


def test_a_save_that_fails_leaves_the_old_folder(finetuned, monkeypatch):
    folder, model = finetuned
    before = open_model(folder).weights["head.bias"]
    with torch.no_grad():
        model.head.bias.add_(1)
    monkeypatch.setattr(Vocabulary, "save", lambda self, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_model(folder, "ctc", model, model.trunk.config, ["es"], VOCABULARY)
    assert torch.equal(open_model(folder).weights["head.bias"], before)


def complaint(folder, kind=None):
    with pytest.raises(UserError) as caught:
        open_model(folder, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_that_are_no_models(tmp_path, pretrained, finetuned):
    assert "nowhere does not exist" in complaint(tmp_path / "nowhere")
    assert "it has no config.yaml" in complaint(tmp_path)
    # The run's folder instead of the model in it is told where the model is.
    assert f"did you mean {pretrained[0]}?" in complaint(pretrained[0].parent)
    (pretrained[0] / "model.safetensors").unlink()
    assert "it has no model.safetensors" in complaint(pretrained[0])


def test_the_wrong_kind_is_told_what_to_do(pretrained, finetuned):
    said = complaint(pretrained[0], "ctc")
    assert "holds a pretraining model" in said
    assert "speechx finetune" in said
    said = complaint(finetuned[0], "pretraining")
    assert "holds a ctc model" in said
    assert "quantizer" in said


def test_damaged_files(finetuned):
    folder, _ = finetuned
    whole = (folder / "model.safetensors").read_bytes()
    for damaged in (b"", b"no tensors here", whole[: len(whole) // 2]):
        (folder / "model.safetensors").write_bytes(damaged)
        assert "model.safetensors cannot be read" in complaint(folder)
    (folder / "model.safetensors").write_bytes(whole)
    vocabulary = (folder / "vocabulary.json").read_text()
    (folder / "vocabulary.json").unlink()
    assert "vocabulary" in complaint(folder)
    (folder / "vocabulary.json").write_text(vocabulary)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("format: 1", "format: 99"))
    assert "format 1" in complaint(folder)
    (folder / "config.yaml").write_text(config.replace("blocks: 2", "blocks: many"))
    assert "transformer.blocks" in complaint(folder)


def test_nothing_starts_from_chance_where_weights_were_asked_for(pretrained):
    folder, model = pretrained
    weights = open_model(folder).weights
    report = load_weights(Wav2Vec2Pretraining(model.config), weights, "it")
    for part in ("encoder 8/8", "quantizer 3/3", "project_targets 2/2", "transformer 37/37"):
        assert part in report
    fewer = {n: t for n, t in weights.items() if n != "quantizer.codebook_GVQ"}
    with pytest.raises(UserError, match=r"1 tensors missing \(first: quantizer.codebook_GVQ\)"):
        load_weights(Wav2Vec2Pretraining(model.config), fewer, "it")
    with pytest.raises(UserError, match=r"1 tensors left over \(first: adapter\)"):
        load_weights(
            Wav2Vec2Pretraining(model.config), {**weights, "adapter": torch.zeros(1)}, "it"
        )
    with pytest.raises(UserError, match=r"it does not fit this model: .* left over"):
        load_weights(Wav2Vec2Pretraining(small_convolutional()), weights, "it")
    wide = {**weights, "project_targets.bias": torch.zeros(99)}
    with pytest.raises(UserError, match=r"1 tensors of another shape \(first: project_targets"):
        load_weights(Wav2Vec2Pretraining(model.config), wide, "it")


def test_a_refused_load_changes_nothing(pretrained):
    folder, _ = pretrained
    weights = open_model(folder).weights
    model = Wav2Vec2Pretraining(small_filterbank())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights["project_targets.bias"] = torch.zeros(99)
    with pytest.raises(UserError):
        load_weights(model, weights, "it")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_parts_named_fresh_may_be_absent(pretrained):
    folder, model = pretrained
    trunk = {n: t for n, t in open_model(folder).weights.items() if n.startswith("trunk.")}
    fresh = CTC(model.config, 4)
    head = fresh.head.weight.detach().clone()
    report = load_weights(fresh, trunk, "it", fresh=("head.",))
    assert "head 0/2 (rest starts fresh)" in report
    assert torch.equal(fresh.head.weight, head)
    assert torch.equal(fresh.trunk.mask_vector, model.trunk.mask_vector)


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(6, 4)).square().sum().backward()
    optimizer.step()


def test_state_continues_weights_and_moments_to_the_bit(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    optimizer = build_optimizer(model, Optim(rate=0.1))
    for seed in range(3):
        step(model, optimizer, seed)
    save_state(tmp_path, 3, model, optimizer, {"taken": 7, "totals": {"loss": 0.1}})
    for seed in range(3, 6):
        step(model, optimizer, seed)
    other = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    continued = build_optimizer(other, Optim(rate=0.1))
    assert load_state(tmp_path, other, continued) == {
        "step": 3, "taken": 7, "totals": {"loss": 0.1},
    }  # fmt: skip
    for seed in range(3, 6):
        step(other, continued, seed)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_newest_state_is_kept_and_a_half_written_one_ignored(tmp_path):
    model = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(model, Optim())
    for number in (9, 10, 100):
        save_state(tmp_path, number, model, optimizer, {})
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["step_100"]
    (tmp_path / "state" / ".step_200").mkdir()
    assert load_state(tmp_path, model, optimizer)["step"] == 100


@pytest.mark.parametrize(
    ("other", "first"),
    [
        (lambda: torch.nn.Linear(2, 3), "2 tensors differ (first: bias)"),
        (lambda: torch.nn.Linear(2, 2, bias=False), "1 tensors differ (first: bias)"),
        (lambda: torch.nn.Sequential(torch.nn.Linear(2, 2)), "4 tensors differ (first: 0.bias)"),
    ],
    ids=["wider", "fewer", "others"],
)
def test_resuming_another_model_is_one_line(tmp_path, other, first):
    model = torch.nn.Linear(2, 2)
    save_state(tmp_path, 3, model, build_optimizer(model, Optim()), {})
    changed = other()
    with pytest.raises(UserError) as caught:
        load_state(tmp_path, changed, build_optimizer(changed, Optim()))
    assert first in str(caught.value)
    assert "step_3 is of another model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_resuming_what_never_began_is_one_line(tmp_path):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match="holds no saved state to continue from"):
        load_state(tmp_path, model, build_optimizer(model, Optim()))


def test_settings_of_the_optimizer_come_from_the_configuration(tmp_path):
    """Moments are restored; rates, decay and betas are those of the command that resumes."""
    model = CTC(small_filterbank(), 4)
    optimizer = build_optimizer(model, Optim(head_scale=1, weight_decay=0.01))
    model(torch.randn(1, 9000), torch.tensor([9000])).logits_BTV.square().sum().backward()
    optimizer.step()
    save_state(tmp_path, 1, model, optimizer, {})
    changed = Optim(head_scale=7, weight_decay=0.5, betas=(0.5, 0.6))
    resumed = build_optimizer(model, changed)
    load_state(tmp_path, model, resumed)
    fresh = build_optimizer(model, changed)
    for group, wanted in zip(resumed.param_groups, fresh.param_groups, strict=True):
        for key in ("scale", "weight_decay", "betas", "eps"):
            assert group[key] == wanted[key]
    moments = resumed.state[model.head.weight]["exp_avg"]
    assert torch.equal(moments, optimizer.state[model.head.weight]["exp_avg"])


def test_a_run_folder_is_continued_or_left_alone(tmp_path):
    config, said = Optim(), []
    out = tmp_path / "run"
    open_run(out, config, False, said.append)
    (out / "state" / "step_4").mkdir(parents=True)
    with pytest.raises(UserError, match=r"earlier run \(state of step 4\): continue it with"):
        open_run(out, config, False, said.append)
    open_run(out, config, True, said.append)
    assert said == []
    open_run(out, Optim(rate=1.0), True, said.append)
    assert said == ["--resume with another rate: 0.0005 before, 1.0 now"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        open_run(tmp_path / "file", config, False, said.append)
