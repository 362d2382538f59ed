"""What a run leaves on disk: folders that open by themselves, or one line about the mistake."""

from __future__ import annotations

import pytest
import torch
import yaml

from speechx.data.sampling import Position
from speechx.errors import UserError
from speechx.models.folder import load_weights, open_folder
from speechx.models.quantizer import QuantizerConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.model import SpeechModel
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.text.vocabulary import Vocabulary
from speechx.training.distributed import Ranks
from speechx.training.health import HealthMemory
from speechx.training.optim import Optim, build_optimizer
from speechx.training.state import TrainState, load_state, open_run, save_state, write_config
from tests.conftest import SMALL_QUANTIZER, small_convolutional, small_filterbank

ALONE = Ranks(0, 1, torch.device("cpu"))
PHONES = Vocabulary("phonemes", ("a", "tʃ"))
LANGUAGES = Vocabulary("languages", ("es", "it"))


def pretraining_model(encoder=None):
    objective = Wav2Vec2Config(quantizer=QuantizerConfig(**SMALL_QUANTIZER))
    return SpeechModel(encoder or small_filterbank(), {"wav2vec2": objective}, {})


def ctc_model():
    return SpeechModel(small_filterbank(), {"ctc": CTCConfig(tokens="phonemes")}, {"ctc": PHONES})


@pytest.fixture
def pretrained(tmp_path):
    model = pretraining_model()
    model.save(tmp_path / "pre" / "final", ["es", "it"])
    return tmp_path / "pre" / "final", model


@pytest.fixture
def finetuned(tmp_path):
    model = ctc_model()
    model.save(tmp_path / "fine" / "best", ["es"])
    return tmp_path / "fine" / "best", model


def test_a_model_folder_opens_by_itself(pretrained, finetuned):
    folder, model = pretrained
    saved = open_folder(folder)
    assert (saved.languages, saved.vocabularies) == (("es", "it"), {})
    assert saved.of_kind("wav2vec2") == "wav2vec2"
    assert saved.encoder == model.encoder.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(saved.weights[name], tensor)
    again, _ = SpeechModel.from_saved(saved)
    assert again.configs == model.configs
    folder, model = finetuned
    saved = open_folder(folder)
    assert (saved.of_kind("ctc"), saved.of_kind("wav2vec2")) == ("ctc", None)
    assert saved.vocabularies == {"ctc": PHONES}
    again, _ = SpeechModel.from_saved(saved)
    wave_BS, lengths_B = torch.randn(1, 5000), torch.tensor([5000])
    outputs = [
        m.eval().heads["ctc"].log_probabilities(m.encoder, wave_BS, lengths_B)[0]
        for m in (model, again)
    ]
    assert torch.equal(*outputs)


def test_a_model_folder_holds_all_objectives_and_vocabularies(tmp_path):
    objectives = {
        "speech": Wav2Vec2Config(quantizer=QuantizerConfig(**SMALL_QUANTIZER)),
        "phones": CTCConfig(tokens="phonemes"),
        "language": LanguageIDConfig(),
    }
    vocabularies = {"phones": PHONES, "language": LANGUAGES}
    model = SpeechModel(small_filterbank(), objectives, vocabularies)
    model.save(tmp_path / "final", ["es"])
    again, _ = SpeechModel.from_saved(open_folder(tmp_path / "final"))
    assert again.configs == objectives
    assert {name: head.vocabulary for name, head in again.heads.items()} == vocabularies
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_model_folder_holds_plain_files(pretrained, finetuned):
    files = ["README.md", "config.yaml", "model.safetensors"]
    assert sorted(p.name for p in pretrained[0].iterdir()) == files
    assert sorted(p.name for p in finetuned[0].iterdir()) == [*files, "vocabulary.json"]
    text = (finetuned[0] / "config.yaml").read_text()
    assert str(finetuned[0].parent.parent) not in text
    about = yaml.safe_load(text)
    assert about["format"] == 2
    assert list(about["objectives"]) == ["ctc"]
    assert b"pickle" not in (finetuned[0] / "model.safetensors").read_bytes()[:2000]


def test_saving_again_replaces_the_folder_whole(finetuned):
    folder, model = finetuned
    (folder / "left_over.txt").write_text("old")
    with torch.no_grad():
        model.heads["ctc"].head.bias.add_(1)
    model.save(folder, ["es"])
    weights = open_folder(folder).weights
    assert torch.equal(weights["objectives.ctc.head.bias"], model.heads["ctc"].head.bias)
    assert not (folder / "left_over.txt").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["best"]


class Unwritable:
    """A language that has no place in YAML."""


def test_a_save_that_fails_leaves_the_old_folder(finetuned):
    folder, model = finetuned
    before = open_folder(folder).weights["objectives.ctc.head.bias"]
    with torch.no_grad():
        model.heads["ctc"].head.bias.add_(1)
    with pytest.raises(yaml.YAMLError):
        model.save(folder, [Unwritable()])
    assert torch.equal(open_folder(folder).weights["objectives.ctc.head.bias"], before)
    assert [p.name for p in folder.parent.iterdir()] == ["best"]


def complaint(folder):
    with pytest.raises(UserError) as caught:
        open_folder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_that_are_no_models(tmp_path, pretrained, finetuned):
    assert "nowhere" in complaint(tmp_path / "nowhere")
    assert "config.yaml" in complaint(tmp_path)
    # A user who gives the folder of a run learns where its model is.
    assert str(pretrained[0]) in complaint(pretrained[0].parent)
    (pretrained[0] / "model.safetensors").unlink()
    assert "model.safetensors" in complaint(pretrained[0])


def test_damaged_files(finetuned):
    folder, _ = finetuned
    whole = (folder / "model.safetensors").read_bytes()
    for damaged in (b"", b"no tensors here", whole[: len(whole) // 2]):
        (folder / "model.safetensors").write_bytes(damaged)
        assert "model.safetensors cannot be read" in complaint(folder)
    (folder / "model.safetensors").write_bytes(whole)
    vocabulary = (folder / "vocabulary.json").read_text()
    (folder / "vocabulary.json").write_text("{")
    assert "vocabulary.json" in complaint(folder)
    (folder / "vocabulary.json").unlink()
    with pytest.raises(UserError, match=r"ctc.*vocabulary"):
        SpeechModel.from_saved(open_folder(folder))
    (folder / "vocabulary.json").write_text(vocabulary)
    config = (folder / "config.yaml").read_text()
    for old, new, fact in (
        ("format: 2", "format: 99", "format 2"),
        ("num_layers: 2", "num_layers: many", "context.num_layers"),
        ("kind: ctc", "king: ctc", "kind"),
    ):
        (folder / "config.yaml").write_text(config.replace(old, new))
        assert fact in complaint(folder)
    (folder / "config.yaml").write_text(config.replace("tokens: phonemes", "tokens: words"))
    with pytest.raises(UserError, match=r"ctc.*tokens"):
        SpeechModel.from_saved(open_folder(folder))


def test_nothing_starts_from_chance_where_weights_were_asked_for(pretrained):
    folder, _ = pretrained
    weights = open_folder(folder).weights
    report = load_weights(pretraining_model(), weights, "it")
    for part in ("feature_extractor 8/8", "wav2vec2 7/7", "context 37/37", "mask_embedding 1/1"):
        assert part in report
    codebook = "objectives.wav2vec2.quantizer.codebook"
    fewer = {n: t for n, t in weights.items() if n != codebook}
    with pytest.raises(UserError, match=f"1 tensors missing .*{codebook}"):
        load_weights(pretraining_model(), fewer, "it")
    more = {**weights, "adapter": torch.zeros(1)}
    with pytest.raises(UserError, match=r"1 tensors left over .*adapter"):
        load_weights(pretraining_model(), more, "it")
    with pytest.raises(UserError, match="it does not fit this model"):
        load_weights(pretraining_model(small_convolutional()), weights, "it")
    wide = {**weights, "objectives.wav2vec2.project_q.bias": torch.zeros(99)}
    with pytest.raises(UserError, match=r"1 tensors of another shape .*project_q"):
        load_weights(pretraining_model(), wide, "it")


def test_a_refused_load_changes_nothing(pretrained):
    folder, _ = pretrained
    weights = open_folder(folder).weights
    model = pretraining_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights["objectives.wav2vec2.project_q.bias"] = torch.zeros(99)
    with pytest.raises(UserError):
        load_weights(model, weights, "it")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_parts_named_fresh_may_be_absent(pretrained):
    folder, model = pretrained
    encoder = {n: t for n, t in open_folder(folder).weights.items() if n.startswith("encoder.")}
    fresh = ctc_model()
    head = fresh.heads["ctc"].head.weight.detach().clone()
    report = load_weights(fresh, encoder, "it", fresh=("objectives.ctc.",))
    assert "ctc 0/2 (rest starts fresh)" in report
    assert torch.equal(fresh.heads["ctc"].head.weight, head)
    assert torch.equal(fresh.encoder.mask_embedding, model.encoder.mask_embedding)


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(6, 4)).square().sum().backward()
    optimizer.step()


def test_a_state_continues_weights_moments_and_buffers_to_the_bit(tmp_path):
    def fresh():
        return torch.nn.Sequential(
            torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)
        )

    torch.manual_seed(0)
    model = fresh()
    optimizer = build_optimizer(model, [], Optim(lr=0.1))
    for seed in range(3):
        step(model, optimizer, seed)
    state = TrainState(
        step=3,
        positions={"a": Position(1, 2, 7), "b": Position(0, 3, 7)},
        micro_seconds={"a": 2.0, "b": 1.5},
        totals={"a/loss": torch.tensor(0.25, dtype=torch.float64)},
        health=HealthMemory(highest={"bits": 3.0}, healthy=2, lr_scale=0.5),
        audio_errors={"tried": 9.0, "failed": 1.0, "first": "u: gone"},
    )
    save_state(tmp_path, model, optimizer, state, ALONE)
    for seed in range(3, 6):
        step(model, optimizer, seed)
    other = fresh()
    continued = build_optimizer(other, [], Optim(lr=0.1))
    assert load_state(tmp_path, other, continued, ALONE) == state
    for seed in range(3, 6):
        step(other, continued, seed)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_the_newest_state_and_the_healthy_one_are_kept_and_a_half_written_one_is_ignored(tmp_path):
    model = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(model, [], Optim())
    state = TrainState()
    for state.step in (9, 10, 100):
        save_state(tmp_path, model, optimizer, state, ALONE)
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["step_100"]
    state.health.healthy, state.step = 100, 110
    save_state(tmp_path, model, optimizer, state, ALONE)
    assert {p.name for p in (tmp_path / "state").iterdir()} == {"step_100", "step_110"}
    (tmp_path / "state" / ".step_200").mkdir()
    assert load_state(tmp_path, model, optimizer, ALONE).step == 110


@pytest.mark.parametrize(
    ("other", "facts"),
    [
        (lambda: torch.nn.Linear(2, 3), ("2 tensors", "bias")),
        (lambda: torch.nn.Linear(2, 2, bias=False), ("1 tensors", "bias")),
        (lambda: torch.nn.Sequential(torch.nn.Linear(2, 2)), ("4 tensors", "0.bias")),
    ],
    ids=["wider", "fewer", "others"],
)
def test_resuming_another_model_is_one_line(tmp_path, other, facts):
    model = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(model, [], Optim())
    save_state(tmp_path, model, optimizer, TrainState(step=3), ALONE)
    changed = other()
    with pytest.raises(UserError) as caught:
        load_state(tmp_path, changed, build_optimizer(changed, [], Optim()), ALONE)
    for fact in (*facts, "step_3", "another model"):
        assert fact in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_of_the_optimizer_come_from_the_configuration(tmp_path):
    """Moments are restored; learning rates, decay and betas are set by the resumed command."""
    model = ctc_model()
    heads, head = ["objectives.ctc."], model.heads["ctc"].head
    optimizer = build_optimizer(model, heads, Optim(head_lr_scale=1, weight_decay=0.01))
    wave_BS, lengths_B = torch.randn(1, 9000), torch.tensor([9000])
    outputs, _ = model.heads["ctc"].log_probabilities(model.encoder, wave_BS, lengths_B)
    outputs.square().sum().backward()
    optimizer.step()
    save_state(tmp_path, model, optimizer, TrainState(step=1), ALONE)
    changed = Optim(head_lr_scale=7, weight_decay=0.5, betas=(0.5, 0.6))
    resumed = build_optimizer(model, heads, changed)
    load_state(tmp_path, model, resumed, ALONE)
    fresh = build_optimizer(model, heads, changed)
    for group, wanted in zip(resumed.param_groups, fresh.param_groups, strict=True):
        for key in ("scale", "weight_decay", "betas", "eps"):
            assert group[key] == wanted[key]
    moments = resumed.state[head.weight]["exp_avg"]
    assert moments.any()
    assert torch.equal(moments, optimizer.state[head.weight]["exp_avg"])


def test_a_run_folder_is_continued_or_left_alone(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match="run holds no saved state"):
        open_run(out, True, ALONE)
    open_run(out, False, ALONE)
    (out / "state" / "step_4").mkdir(parents=True)
    with pytest.raises(UserError, match=r"step 4.*--resume"):
        open_run(out, False, ALONE)
    open_run(out, True, ALONE)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"out={tmp_path / 'file'}"):
        open_run(tmp_path / "file", False, ALONE)


def test_a_resumed_run_names_each_setting_that_changed(tmp_path, capsys):
    write_config(tmp_path, Optim(), False)
    write_config(tmp_path, Optim(), True)
    assert capsys.readouterr().err == ""
    write_config(tmp_path, Optim(lr=1.0), True)
    message = capsys.readouterr().err
    for fact in ("lr", "0.0005", "1.0"):
        assert fact in message
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["lr"] == 1.0
