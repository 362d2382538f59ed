"""Conversion between five formats: exact in every tensor, refused when it cannot be right."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from speechx.errors import UserError
from speechx.interchange import proof
from speechx.interchange.conversion import FORMATS, convert, detect, fresh, open_any
from speechx.models.ctc import CTC
from speechx.models.wav2vec2 import Wav2Vec2Pretraining
from speechx.text.vocabulary import Vocabulary
from speechx.training.checkpoint import load_weights, open_model, save_model
from tests.conftest import small_convolutional, small_filterbank

LETTERS = Vocabulary("characters", (" ", "a", "б", "'"))
PHONES = Vocabulary("phonemes", ("aɪ", "tʃ", "ʊ"))
NAMES = ["group_pretraining", "layer_pretraining", "group_ctc", "layer_ctc"]
FOREIGN = [format for format in FORMATS if format != "speechx"]


def small(norm):
    """Its dropouts all differ, so that one that is mixed up is seen."""
    config = small_convolutional(norm)
    return replace(
        config,
        transformer=replace(
            config.transformer,
            dropout=0.11,
            attention_dropout=0.12,
            activation_dropout=0.13,
            layer_drop=0.14,
        ),
        encoder=replace(config.encoder, gradient_scale=0.3),
        input_dropout=0.15,
        target_dropout=0.16,
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Four speechx folders: base-like and XLSR-like, pretraining and CTC."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for norm in ("group", "layer"):
        config = small(norm)
        vocabulary = {"group": LETTERS, "layer": PHONES}[norm]
        for name, model, words in (
            ("pretraining", Wav2Vec2Pretraining(config), None),
            ("ctc", CTC(config, len(vocabulary)), vocabulary),
        ):
            for parameter in model.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
            save_model(folder / f"{norm}_{name}", name, model, config, ("ru", "kk"), words)
    return folder


@pytest.fixture
def unproved(monkeypatch):
    """Without the packages of the other formats."""
    monkeypatch.setattr(proof, "available", lambda format: False)


@pytest.fixture
def there(models, tmp_path, unproved):
    """A model in another format."""

    def make(format, name="layer_pretraining"):
        target = tmp_path / f"{format}_{name}"
        convert(models / name, target, format)
        return target

    return make


@pytest.mark.parametrize(
    "name", ["group_pretraining", "layer_pretraining", "group_ctc", "layer_ctc"]
)
@pytest.mark.parametrize("format", FOREIGN)
def test_there_and_back_every_tensor_and_setting_is_the_same(
    models, there, tmp_path, format, name, capsys
):
    before = open_model(models / name)
    target = there(format, name)
    assert detect(target) == format
    lost = {"torchaudio": ("trunk.mask_vector", "quantizer", "project_")}.get(format, ())
    if format == "torchaudio":
        assert "torchaudio has no place for" in capsys.readouterr().err
    after = open_any(target, allow_missing=["mask_vector"] if lost else [])
    kept = {n: t for n, t in before.weights.items() if not n.startswith(lost)}
    assert set(after.weights) == set(kept)
    assert all(torch.equal(after.weights[n], kept[n]) for n in kept)
    assert after.kind == before.kind
    assert after.vocabulary == before.vocabulary
    assert after.languages == before.languages
    if format == "torchaudio":  # neither of these settings, and no quantizer
        config = replace(
            after.config,
            target_dropout=before.config.target_dropout,
            encoder=replace(after.config.encoder, gradient_scale=0.3),
            quantizer=before.config.quantizer,
        )
    elif before.kind == "ctc" and format == "fairseq2":
        config = replace(after.config, quantizer=before.config.quantizer)
    else:
        config = after.config
    assert config == before.config


def test_a_second_conversion_gives_the_speechx_folder_again(models, there, tmp_path, capsys):
    convert(there("fairseq"), tmp_path / "back")
    ours, back = open_model(models / "layer_pretraining"), open_model(tmp_path / "back")
    assert replace(back, folder=ours.folder, weights={}) == replace(ours, weights={})
    assert all(torch.equal(back.weights[n], t) for n, t in ours.weights.items())
    said = capsys.readouterr().err
    for part in ("encoder 28/28", "transformer 37/37", "quantizer 3/3", "project_targets 2/2"):
        assert part in said, said


@pytest.mark.parametrize("format", FOREIGN)
def test_a_target_is_never_overwritten(there, models, format, tmp_path):
    target = there(format)
    with pytest.raises(UserError, match="is there already and is not overwritten"):
        convert(models / "group_pretraining", target, format)
    with pytest.raises(UserError, match="written as a folder"):
        convert(models / "group_pretraining", tmp_path / "new.pt", format)
    with pytest.raises(UserError, match="no format 'onnx'"):
        convert(models / "group_pretraining", tmp_path / "new", "onnx")


@pytest.mark.parametrize("format", FOREIGN)
def test_a_filterbank_model_exists_only_here(tmp_path, format, unproved):
    config = small_filterbank()
    save_model(tmp_path / "tiny", "pretraining", Wav2Vec2Pretraining(config), config, ())
    with pytest.raises(UserError, match="filterbank encoder, which"):
        convert(tmp_path / "tiny", tmp_path / "out", format)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


class TestMissingParts:
    """Nothing starts from chance unless it was named."""

    def encoder_only(self, folder):
        weights = load_file(folder / "model.safetensors")
        trunk = {n.removeprefix("wav2vec2."): t for n, t in weights.items() if "wav2vec2." in n}
        save_file(trunk, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    def test_an_encoder_alone_is_no_pretraining_model(self, there, tmp_path, capsys):
        folder = self.encoder_only(there("hugging_face"))
        with pytest.raises(UserError, match=r"has no quantizer .*--allow-missing quantizer"):
            open_any(folder, "pretraining")
        with pytest.raises(UserError, match="has no quantizer"):
            convert(folder, tmp_path / "out")
        convert(folder, tmp_path / "out", allow_missing=["quantizer"])
        said = capsys.readouterr().err
        assert "transformer 37/37" in said
        assert "no quantizer, so none is written" in said

    def test_a_quantizer_that_is_not_there_does_not_come_to_be(self, there, tmp_path):
        """One at chance that was saved would count as trained from then on."""
        folder, out = self.encoder_only(there("hugging_face")), tmp_path / "out"
        convert(folder, out, allow_missing=["quantizer"])
        assert all(name.startswith("trunk.") for name in open_model(out).weights)
        with pytest.raises(UserError, match=r"out has no quantizer .*--allow-missing quantizer"):
            open_any(out, "pretraining")
        with pytest.raises(UserError, match="out has no quantizer"):
            convert(out, tmp_path / "again", "fairseq")
        saved = open_any(out, "pretraining", "quantizer")
        assert saved.config.quantizer == small("layer").quantizer
        assert open_any(out).weights.keys() == saved.weights.keys()
        for format in ("fairseq", "hugging_face", "fairseq2"):
            with pytest.raises(UserError, match="one at chance would pass for a trained one"):
                convert(folder, tmp_path / "again", format, allow_missing=["quantizer"])
        assert not (tmp_path / "again").exists()
        convert(out, tmp_path / "again", "torchaudio")

    def test_a_filterbank_model_is_ours_with_or_without_one(self, tmp_path, unproved):
        config = small_filterbank()
        save_model(tmp_path / "tiny", "pretraining", Wav2Vec2Pretraining(config), config, ())
        convert(tmp_path / "tiny", tmp_path / "copy")
        whole = load_file(tmp_path / "copy" / "model.safetensors")
        trunk = {name: t for name, t in whole.items() if name.startswith("trunk.")}
        assert len(whole) - len(trunk) == 7
        save_file(trunk, tmp_path / "copy" / "model.safetensors")
        with pytest.raises(UserError, match=r"has no quantizer \(7 tensors"):
            open_any(tmp_path / "copy", "pretraining")
        assert open_any(tmp_path / "copy").weights.keys() == trunk.keys()

    def test_a_part_of_a_quantizer_is_none(self, there, tmp_path):
        folder = there("hugging_face")
        weights = load_file(folder / "model.safetensors")
        del weights["project_hid.bias"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        convert(folder, tmp_path / "out", allow_missing=["quantizer"])
        assert all(name.startswith("trunk.") for name in open_model(tmp_path / "out").weights)

    def test_one_part_alone_is_a_list_of_one(self, there):
        assert fresh("mask_vector") == fresh(["mask_vector"]) == ("trunk.mask_vector",)
        folder = there("fairseq", "layer_ctc")
        assert open_any(folder, "pretraining", "quantizer").kind == "pretraining"
        for other in (True, 3, {"quantizer": True}):
            with pytest.raises(UserError, match="expected a list of quantizer, mask_vector"):
                open_any(folder, "pretraining", other)
        with pytest.raises(UserError, match="1 cannot be missing"):
            open_any(folder, "pretraining", [1])

    def test_an_encoder_alone_of_fairseq2_has_no_head_to_ask_symbols_for(self, there, tmp_path):
        folder = there("fairseq2")
        content = torch.load(folder / "model.pt")
        parts = ("quantizer.", "final_")
        content["model"] = {n: t for n, t in content["model"].items() if not n.startswith(parts)}
        torch.save(content, folder / "model.pt")
        assert open_any(folder).kind == "pretraining"
        with pytest.raises(UserError, match="has no quantizer"):
            open_any(folder, "pretraining")
        saved = open_any(folder, "pretraining", ["quantizer"])
        assert all(name.startswith("trunk.") for name in saved.weights)

    def test_the_advice_is_a_command_that_works(self, there, tmp_path):
        """Each --allow-missing takes one part."""
        folder = there("torchaudio")
        with pytest.raises(UserError) as refused:
            open_any(folder, "pretraining")
        said = str(refused.value)
        assert "--allow-missing mask_vector --allow-missing quantizer, or" in said
        assert said.endswith("allow_missing: [mask_vector, quantizer]")

    def test_without_a_kind_an_encoder_will_do(self, there):
        folder = self.encoder_only(there("hugging_face"))
        saved = open_any(folder)
        assert saved.kind == "pretraining"
        assert all(name.startswith("trunk.") for name in saved.weights)
        model = Wav2Vec2Pretraining(saved.config)
        report = load_weights(model, saved.weights, "", fresh(["quantizer"]))
        assert "transformer 37/37, quantizer 0/3 (rest starts fresh)" in report

    def test_torchaudio_has_no_mask_vector(self, there, tmp_path):
        folder = there("torchaudio", "layer_ctc")
        with pytest.raises(UserError, match="has no mask_vector"):
            convert(folder, tmp_path / "out")
        convert(folder, tmp_path / "out", allow_missing=["mask_vector"])
        assert open_model(tmp_path / "out", "ctc").vocabulary == PHONES

    def test_a_ctc_model_becomes_a_pretraining_model_only_if_told(self, there):
        folder = there("fairseq", "layer_ctc")
        with pytest.raises(UserError, match="holds a ctc model, but a pretrained model"):
            open_any(folder, "pretraining")
        saved = open_any(folder, "pretraining", ["quantizer"])
        assert "the CTC head is left out" in saved.notes
        assert "head.weight" not in saved.weights

    def test_a_pretraining_model_does_not_transcribe(self, there):
        with pytest.raises(UserError, match="holds a pretraining model, but a fine-tuned"):
            open_any(there("fairseq2"), "ctc")

    def test_other_parts_cannot_be_missing(self, there):
        with pytest.raises(UserError, match="'encoder' cannot be missing"):
            open_any(there("fairseq2"), None, ["encoder"])
        folder = there("hugging_face")
        weights = load_file(folder / "model.safetensors")
        del weights["wav2vec2.encoder.layers.1.attention.k_proj.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"lacks 1 tensors .*blocks\.1\.attention\.key\.weight"):
            open_any(folder, None, ["quantizer"])


class TestRefused:
    def test_truncated_safetensors(self, there):
        folder = there("hugging_face")
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
            open_any(folder)

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("hidden_size", 24, "hidden_size is 24, but the tensors have 16"),
            ("num_hidden_layers", 3, "num_hidden_layers is 3, but the tensors have 2"),
            ("intermediate_size", 30, "intermediate_size is 30, but the tensors have 24"),
            (
                "feat_extract_norm",
                "group",
                "feat_extract_norm is group, but the tensors",
            ),
            ("conv_bias", False, "conv_bias is False, but the tensors have True"),
            ("num_conv_pos_embeddings", 8, "num_conv_pos_embeddings is 8, but the tensors have 16"),
            ("num_codevectors_per_group", 9, "num_codevectors_per_group is 9, but the tensors"),
            ("codevector_dim", 16, "codevector_dim is 16, but the tensors have"),
            ("conv_kernel", [10, 3, 3, 3, 3, 2, 3], "conv_dim is 12x10 12x3 12x3 12x3 12x3 12x2"),
            ("num_attention_heads", 3, "must be a multiple of heads 3"),
            ("hidden_act", "relu", "hidden_act is 'relu'; speechx has 'gelu' only"),
            (
                "contrastive_logits_temperature",
                0.2,
                r"contrastive_logits_temperature is 0\.2; speechx has 0\.1 only",
            ),
            ("model_type", "hubert", "describes a 'hubert' model"),
            ("adapter_attn_dim", 16, "MMS model with an adapter per language"),
            ("feat_extract_norm", "batch", "feat_extract_norm is 'batch', which speechx does not"),
        ],
    )
    def test_settings_that_contradict_the_tensors(self, there, key, value, said):
        folder = there("hugging_face")
        about = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**about, key: value}))
        with pytest.raises(UserError, match=said):
            open_any(folder)

    def test_a_head_of_another_size(self, there):
        folder = there("hugging_face", "group_ctc")
        rows = json.loads((folder / "vocab.json").read_text())
        (folder / "vocab.json").write_text(json.dumps({**rows, "x": len(rows)}))
        with pytest.raises(UserError, match="has 9 symbols, but the head has 8 rows"):
            open_any(folder)
        about = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**about, "vocab_size": 32}))
        with pytest.raises(UserError, match="vocab_size is 32, but the tensors have 8"):
            open_any(folder)

    def test_folders_and_files_that_are_no_models(self, tmp_path, there):
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="holds no model: expected"):
            open_any(tmp_path / "empty")
        with pytest.raises(UserError, match="does not exist"):
            open_any(tmp_path / "nothing")
        (tmp_path / "text.pt").write_text("not a checkpoint")
        with pytest.raises(UserError, match="truncated or no file of torch"):
            open_any(tmp_path / "text.pt")
        (tmp_path / "whisper").mkdir()
        (tmp_path / "whisper" / "config.json").write_text('{"model_type": "whisper"}')
        with pytest.raises(UserError, match="describes a 'whisper' model"):
            open_any(tmp_path / "whisper")
        torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "other.pt")
        with pytest.raises(UserError, match="its first tensor is weight"):
            open_any(tmp_path / "other.pt")
        run = tmp_path / "run"
        shutil.copytree(there("hugging_face"), run / "final")
        with pytest.raises(UserError, match=r"did you mean .*final\?"):
            open_any(run)

    def test_another_temperature_of_the_contrastive_loss(self, there, tmp_path):
        content = torch.load(there("fairseq") / "model.pt")
        content["cfg"]["model"]["logit_temp"] = 0.5
        torch.save(content, tmp_path / "warm.pt")
        with pytest.raises(UserError, match=r"logit_temp is 0\.5; speechx has 0\.1 only"):
            open_any(tmp_path / "warm.pt")

    def test_a_model_with_more_than_ours_has(self, there, tmp_path):
        file = there("fairseq") / "model.pt"
        content = torch.load(file)
        content["model"]["target_glu.0.weight"] = torch.zeros(2, 2)
        torch.save(content, tmp_path / "glu.pt")
        with pytest.raises(UserError, match=r"1 of \d+ tensors that .* \(first: target_glu"):
            open_any(tmp_path / "glu.pt")

    def test_a_proof_is_insisted_on(self, models, tmp_path, unproved):
        with pytest.raises(UserError, match="--prove: no package that reads fairseq2"):
            convert(models / "group_ctc", tmp_path / "out", "fairseq2", prove=True)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spelling", ["g_v", "parametrizations", "folded"])
@pytest.mark.parametrize("format", FOREIGN)
def test_all_spellings_of_the_weight_norm_are_read(there, models, tmp_path, format, spelling):
    folder = there(format)
    file = folder / ("model.safetensors" if format == "hugging_face" else "model.pt")
    content = load_file(file) if file.suffix == ".safetensors" else torch.load(file)
    weights = content.get("model", content)
    (name,) = [n for n in weights if n.endswith("weight_g")]
    place = name.removesuffix("weight_g")
    gain, direction = weights.pop(name), weights.pop(f"{place}weight_v")
    if spelling == "g_v":
        weights |= {f"{place}weight_g": gain, f"{place}weight_v": direction}
    elif spelling == "parametrizations":
        weights[f"{place}parametrizations.weight.original0"] = gain
        weights[f"{place}parametrizations.weight.original1"] = direction
    else:
        weights[f"{place}weight"] = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
    if file.suffix == ".safetensors":
        save_file(weights, file, metadata={"format": "pt"})
    else:
        torch.save(content, file)
    saved = open_any(folder, allow_missing=["mask_vector", "quantizer"])
    ours = open_model(models / "layer_pretraining").weights
    position = "trunk.transformer.position"
    if spelling != "folded":
        for leaf in ("gain", "direction"):
            assert torch.equal(saved.weights[f"{position}.{leaf}"], ours[f"{position}.{leaf}"])

    def whole(weights):
        g, v = weights[f"{position}.gain"], weights[f"{position}.direction"]
        return g * v / v.norm(dim=(0, 1), keepdim=True)

    worst = (whole(saved.weights) - whole(ours)).abs().max() / whole(ours).abs().max()
    print(f"{format} {spelling}: the weight differs by {worst:.1e} of its largest value")
    assert worst < 1e-6


def test_half_precision_is_read_as_float32(there):
    folder = there("hugging_face")
    weights = load_file(folder / "model.safetensors")
    save_file({n: t.half() for n, t in weights.items()}, folder / "model.safetensors")
    assert {t.dtype for t in open_any(folder).weights.values()} == {torch.float32}


def test_parts_of_large_hugging_face_models(there, tmp_path):
    folder = there("hugging_face")
    weights = load_file(folder / "model.safetensors")
    before = open_any(folder).weights
    for file in folder.glob("model*"):
        file.unlink()
    names = sorted(weights)
    index = {}
    for part, chosen in (("a", names[::2]), ("b", names[1::2])):
        torch.save({n: weights[n] for n in chosen}, folder / f"pytorch_model-{part}.bin")
        index |= dict.fromkeys(chosen, f"pytorch_model-{part}.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    after = open_any(folder).weights
    assert set(after) == set(before)
    assert all(torch.equal(after[n], before[n]) for n in before)


def test_torchaudio_files_without_settings_are_read_as_published(there, tmp_path):
    """Sizes from the tensors; the number of heads of an unpublished width cannot be known."""
    folder = there("torchaudio")
    shutil.copy(folder / "model.pt", tmp_path / "alone.pt")
    with pytest.raises(UserError, match="do not show the number of attention heads"):
        open_any(tmp_path / "alone.pt", None, ["mask_vector"])
    about = yaml.safe_load((folder / "model.yaml").read_text())
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump({"model": about["model"]}))
    saved = open_any(tmp_path / "alone.pt", None, ["mask_vector"])
    assert saved.config.transformer.heads == 2
    assert any(note.startswith("assumed normalize: true") for note in saved.notes)


def test_the_same_file_by_its_own_name(there):
    folder = there("hugging_face")
    assert detect(folder / "config.json") == "hugging_face"
    assert open_any(folder / "model.safetensors").kind == "pretraining"
    pt = there("fairseq", "group_ctc") / "model.pt"
    assert detect(pt) == "fairseq"
    assert open_any(Path(pt)).vocabulary == LETTERS
