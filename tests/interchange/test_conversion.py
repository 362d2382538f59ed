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

from speechx.config import parse
from speechx.errors import UserError
from speechx.interchange import hugging_face, proof
from speechx.interchange.conversion import FORMATS, convert
from speechx.interchange.opening import PARTS, open_as, open_model
from speechx.models.context.conformer import ConformerConfig
from speechx.models.folder import open_folder, save_model, write_decoding
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.model import SpeechModel, start_from
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.text.vocabulary import Vocabulary
from tests.conftest import SMALL_QUANTIZER, small_convolutional, small_filterbank
from tests.mms_folders import mms_folder, opened

LETTERS = Vocabulary("characters", (" ", "a", "б", "'"))
PHONES = Vocabulary("phonemes", ("aɪ", "tʃ", "ʊ"))
FOREIGN = [format for format in FORMATS if format != "speechx"]


def small(norm):
    """Its dropouts all differ, so that one that is mixed up is seen."""
    config = small_convolutional(norm)
    return replace(
        config,
        context=replace(
            config.context,
            dropout=0.11,
            attention_dropout=0.12,
            activation_dropout=0.13,
            layer_drop=0.14,
        ),
        features=replace(config.features, gradient_scale=0.3),
        input_dropout=0.15,
    )


def objective(norm):
    """As published with this norm."""
    published = {"features_penalty": 0.0, "gumbel_temperature": {"floor": 0.1}}
    return parse(
        Wav2Vec2Config,
        {
            "quantizer": SMALL_QUANTIZER,
            "target_dropout": 0.16,
            "logit_temperature": 0.2,
            **(published if norm == "layer" else {}),
        },
        "test",
    )


def pretrained(norm):
    return SpeechModel(small(norm), {"wav2vec2": objective(norm)}, {})


def fine_tuned(norm):
    words = {"group": LETTERS, "layer": PHONES}[norm]
    config = CTCConfig(tokens=words.token_type)
    return SpeechModel(small(norm), {"ctc": config}, {"ctc": words})


def roughen(model):
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Four speechx folders: base-like and XLSR-like, pretraining and CTC."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for norm in ("group", "layer"):
        roughen(pretrained(norm)).save(folder / f"{norm}_pretraining", ("ru", "kk"))
        roughen(fine_tuned(norm)).save(folder / f"{norm}_ctc", ("ru", "kk"))
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
    before = open_folder(models / name)
    target = there(format, name)
    assert open_as(target, PARTS)[0] == format
    lost = {"torchaudio": ("encoder.mask_embedding", "objectives.wav2vec2")}.get(format, ())
    if format == "torchaudio":
        assert "torchaudio has no place for" in capsys.readouterr().err
    after = open_model(target, ["mask_embedding"] if lost else [])
    kept = {n: t for n, t in before.weights.items() if not n.startswith(lost)}
    assert set(after.weights) == set(kept)
    assert all(torch.equal(after.weights[n], kept[n]) for n in kept)
    assert after.vocabularies == before.vocabularies
    assert after.languages == before.languages
    features = after.encoder.features
    if format == "torchaudio":  # has no such setting
        features = replace(features, gradient_scale=0.3)
    assert replace(after.encoder, features=features) == before.encoder
    if before.vocabularies:
        (token_type,) = {words.token_type for words in before.vocabularies.values()}
        assert after.objectives == {"ctc": {"kind": "ctc", "tokens": token_type}}
    elif format == "torchaudio":
        assert after.objectives == {}
    else:
        assert after.objectives == before.objectives


def test_a_second_conversion_gives_the_speechx_folder_again(models, there, tmp_path, capsys):
    convert(there("fairseq"), tmp_path / "back")
    ours, back = open_folder(models / "layer_pretraining"), open_folder(tmp_path / "back")
    assert replace(back, folder=ours.folder, weights={}) == replace(ours, weights={})
    assert all(torch.equal(back.weights[n], t) for n, t in ours.weights.items())
    shown = capsys.readouterr().err
    for part in ("feature_extractor 28/28", "context 37/37", "wav2vec2 7/7"):
        assert part in shown, shown


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
def test_filterbank_and_conformer_models_exist_only_here(tmp_path, format, unproved):
    conformer = ConformerConfig(num_layers=1, embed_dim=16, ffn_dim=24, num_heads=2)
    encoders = {
        "filterbank": small_filterbank(),
        "conformer": replace(small("layer"), context=conformer),
    }
    for kind, encoder in encoders.items():
        SpeechModel(encoder, {"wav2vec2": objective("layer")}, {}).save(tmp_path / kind, ())
        with pytest.raises(UserError, match=f"{kind}.*cannot be written as"):
            convert(tmp_path / kind, tmp_path / "out", format)
        convert(tmp_path / kind, tmp_path / f"{kind}_copy")
    assert not (tmp_path / "out").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


class TestOtherObjectives:
    """Other formats hold one quantizer or one CTC head; ours holds any objectives, by any name."""

    def folder(self, tmp_path, **objectives):
        languages = Vocabulary("languages", ("kk", "ru"))
        configs = {
            "contrast": objective("layer"),
            "phones": CTCConfig(tokens="phonemes"),
            "language": LanguageIDConfig(),
        }
        words = {"phones": PHONES, "language": languages}
        chosen = {name: configs[name] for name in objectives}
        torch.manual_seed(0)
        model = SpeechModel(small("layer"), chosen, {n: words[n] for n in chosen if n in words})
        roughen(model).save(tmp_path / "ours", ("ru",))
        return tmp_path / "ours"

    @pytest.mark.parametrize("format", FOREIGN)
    def test_a_head_is_written_and_the_rest_is_named(self, tmp_path, format, unproved, capsys):
        folder = self.folder(tmp_path, contrast=1, phones=1, language=1)
        before = open_folder(folder)
        convert(folder, tmp_path / "out", format)
        assert "no place for the objectives contrast, language" in capsys.readouterr().err
        after = open_model(tmp_path / "out", ["mask_embedding"])
        assert after.vocabularies == {"ctc": PHONES}
        head = before.weights["objectives.phones.head.weight"]
        assert torch.equal(after.weights["objectives.ctc.head.weight"], head)

    def test_all_stay_in_a_folder_of_ours(self, tmp_path):
        folder = self.folder(tmp_path, contrast=1, phones=1, language=1)
        convert(folder, tmp_path / "copy")
        before, after = open_folder(folder), open_folder(tmp_path / "copy")
        assert after.objectives == before.objectives
        assert after.vocabularies == before.vocabularies
        assert all(torch.equal(after.weights[n], t) for n, t in before.weights.items())

    def test_an_objective_that_no_format_holds(self, tmp_path, unproved):
        folder = self.folder(tmp_path, language=1)
        with pytest.raises(UserError, match="no quantizer to write"):
            convert(folder, tmp_path / "out", "hugging_face")
        convert(folder, tmp_path / "out", "torchaudio")
        assert open_model(tmp_path / "out", ["mask_embedding"]).objectives == {}


class TestMissingParts:
    """Nothing starts from chance unless it was named."""

    def encoder_only(self, folder):
        weights = load_file(folder / "model.safetensors")
        encoder = {n.removeprefix("wav2vec2."): t for n, t in weights.items() if "wav2vec2." in n}
        save_file(encoder, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    def start(self, saved, allow_missing=()):
        """A pretraining run with `init` this model."""
        model = SpeechModel(saved.encoder, {"wav2vec2": objective("layer")}, {})
        return start_from(model, saved, allow_missing)

    def test_an_encoder_alone_has_no_objectives(self, there, tmp_path, capsys):
        folder = self.encoder_only(there("hugging_face"))
        saved = open_model(folder)
        assert saved.objectives == {}
        assert all(name.startswith("encoder.") for name in saved.weights)
        with pytest.raises(UserError, match=r"has no quantizer.*--allow-missing quantizer"):
            self.start(saved)
        continued, lines = self.start(saved, ["quantizer"])
        assert continued == []
        assert "context 37/37" in lines[0]
        with pytest.raises(UserError, match=r"has no quantizer.*--allow-missing quantizer"):
            convert(folder, tmp_path / "out")
        convert(folder, tmp_path / "out", allow_missing=["quantizer"])
        shown = capsys.readouterr().err
        assert "context 37/37" in shown
        assert "no quantizer, so none is written" in shown

    def test_a_quantizer_that_is_not_there_does_not_come_to_be(self, there, tmp_path):
        """One at chance that was saved would count as trained from then on."""
        folder, out = self.encoder_only(there("hugging_face")), tmp_path / "out"
        convert(folder, out, allow_missing=["quantizer"])
        saved = open_model(out)
        assert all(name.startswith("encoder.") for name in saved.weights)
        assert saved.objectives == {}
        assert saved.encoder == small("layer")
        with pytest.raises(UserError, match="out has no quantizer"):
            self.start(saved)
        for source in (out, folder):
            for format in ("fairseq", "hugging_face", "fairseq2"):
                with pytest.raises(UserError, match="one at chance would pass for a trained one"):
                    convert(source, tmp_path / "again", format, allow_missing=["quantizer"])
        assert not (tmp_path / "again").exists()
        convert(out, tmp_path / "again", "torchaudio")

    def test_our_folders_open_without_other_formats(self, tmp_path, monkeypatch):
        """With the objectives that their config describes, by the folder or a file in it."""
        pretrained("layer").save(tmp_path / "whole", ())
        whole = open_folder(tmp_path / "whole")
        encoder = {n: t for n, t in whole.weights.items() if n.startswith("encoder.")}
        save_model(tmp_path / "encoder", encoder, whole.encoder, {}, {}, ())
        monkeypatch.setattr(torch, "load", None)
        for folder in (tmp_path / "whole", tmp_path / "encoder"):
            for path in (folder, str(folder), folder / "config.yaml", folder / "model.safetensors"):
                saved = open_model(path)
                assert saved.folder == folder
                assert saved.weights.keys() == open_folder(folder).weights.keys()
        assert open_model(tmp_path / "encoder").objectives == {}

    def test_a_part_of_a_quantizer_is_none(self, there, tmp_path):
        folder = there("hugging_face")
        weights = load_file(folder / "model.safetensors")
        del weights["project_hid.bias"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match="has no quantizer"):
            open_model(folder)
        saved = open_model(folder, ["quantizer"])
        assert saved.objectives == {}
        assert all(name.startswith("encoder.") for name in saved.weights)
        assert any("quantizer" in note for note in saved.notes)
        convert(folder, tmp_path / "out", allow_missing=["quantizer"])
        assert open_folder(tmp_path / "out").objectives == {}

    def test_one_part_alone_is_a_list_of_one(self, there):
        folder = there("torchaudio")
        assert open_model(folder, "mask_embedding").objectives == {}
        for other in (True, 3, {"quantizer": True}):
            with pytest.raises(UserError, match="expected a list of mask_embedding, quantizer"):
                open_model(folder, other)
        with pytest.raises(UserError, match="1 cannot be missing"):
            open_model(folder, [1])

    def test_an_encoder_alone_of_fairseq2_has_no_head(self, there):
        folder = there("fairseq2")
        content = torch.load(folder / "model.pt")
        parts = ("quantizer.", "final_")
        content["model"] = {n: t for n, t in content["model"].items() if not n.startswith(parts)}
        torch.save(content, folder / "model.pt")
        saved = open_model(folder)
        assert saved.objectives == {}
        assert all(name.startswith("encoder.") for name in saved.weights)

    def test_the_advice_is_a_command_that_works(self, there, tmp_path):
        """Each --allow-missing takes one part."""
        folder = there("torchaudio")
        with pytest.raises(UserError, match=r"--allow-missing mask_embedding\b"):
            open_model(folder)
        with pytest.raises(UserError, match=r"--allow-missing mask_embedding\b"):
            convert(folder, tmp_path / "out", allow_missing=["quantizer"])
        convert(folder, tmp_path / "out", allow_missing=["mask_embedding", "quantizer"])
        assert open_folder(tmp_path / "out").weights["encoder.mask_embedding"].shape == (16,)

    def test_torchaudio_has_no_mask_embedding(self, there, tmp_path, capsys):
        folder = there("torchaudio", "layer_ctc")
        with pytest.raises(UserError, match="has no mask_embedding"):
            convert(folder, tmp_path / "out")
        convert(folder, tmp_path / "out", allow_missing=["mask_embedding"])
        assert "mask_embedding 0/1 (rest starts fresh)" in capsys.readouterr().err
        assert open_folder(tmp_path / "out").vocabularies == {"ctc": PHONES}

    def test_a_ctc_model_becomes_a_pretraining_model_only_if_allowed(self, there):
        saved = open_model(there("fairseq", "layer_ctc"))
        with pytest.raises(UserError, match="has no quantizer"):
            self.start(saved)
        continued, lines = self.start(saved, ["quantizer"])
        assert continued == []
        assert "context 37/37" in lines[0]

    def test_a_foreign_model_is_the_start_of_a_run(self, there):
        """Its quantizer continues; its head gives the rows of tokens that both have."""
        continued, _ = self.start(open_model(there("hugging_face")))
        assert continued == ["wav2vec2"]
        saved = open_model(there("hugging_face", "group_ctc"))
        words = Vocabulary("characters", ("a", "c", " "))
        config = CTCConfig(tokens="characters")
        model = SpeechModel(saved.encoder, {"ctc": config}, {"ctc": words})
        start_from(model, saved)
        theirs = saved.weights["objectives.ctc.head.weight"]
        head = model.objectives["ctc"].head
        for row, other in ((0, 0), (1, 2), (3, 1)):
            assert torch.equal(head.weight[row], theirs[other])

    def test_other_parts_cannot_be_missing(self, there):
        with pytest.raises(UserError, match="'encoder' cannot be missing") as refused:
            open_model(there("fairseq2"), ["encoder"])
        assert all(part in str(refused.value) for part in PARTS)
        assert {"mask_embedding", "quantizer", "ctc", "language_id"} <= set(PARTS)
        folder = there("hugging_face")
        weights = load_file(folder / "model.safetensors")
        del weights["wav2vec2.encoder.layers.1.attention.k_proj.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"lacks 1 tensors .*layers\.1\.attention\.key\.weight"):
            open_model(folder, ["quantizer"])


class TestRefused:
    def test_truncated_safetensors(self, there):
        folder = there("hugging_face")
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
            open_model(folder)

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
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
            ("num_attention_heads", 3, "must be a multiple of num_heads 3"),
            ("hidden_act", "relu", "hidden_act is 'relu'; speechx has 'gelu' only"),
            ("model_type", "hubert", "describes a 'hubert' model"),
            ("adapter_attn_dim", 16, "adapter_attn_dim is 16, but there is no adapter"),
            ("feat_extract_norm", "batch", "feat_extract_norm is 'batch', which speechx does not"),
        ],
    )
    def test_settings_that_contradict_the_tensors(self, there, key, value, expected):
        folder = there("hugging_face")
        about = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**about, key: value}))
        with pytest.raises(UserError, match=expected):
            open_model(folder)

    def test_a_head_of_another_size(self, there):
        folder = there("hugging_face", "group_ctc")
        rows = json.loads((folder / "vocab.json").read_text())
        (folder / "vocab.json").write_text(json.dumps({**rows, "x": len(rows)}))
        with pytest.raises(UserError, match="has 9 symbols, but the head has 8 rows"):
            open_model(folder)
        about = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**about, "vocab_size": 32}))
        with pytest.raises(UserError, match="vocab_size is 32, but the tensors have 8"):
            open_model(folder)

    def test_folders_and_files_that_are_no_models(self, tmp_path, there):
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="holds no model: expected"):
            open_model(tmp_path / "empty")
        with pytest.raises(UserError, match="does not exist"):
            open_model(tmp_path / "nothing")
        (tmp_path / "text.pt").write_text("not a checkpoint")
        with pytest.raises(UserError, match="truncated or no file of torch"):
            open_model(tmp_path / "text.pt")
        (tmp_path / "whisper").mkdir()
        (tmp_path / "whisper" / "config.json").write_text('{"model_type": "whisper"}')
        with pytest.raises(UserError, match="describes a 'whisper' model"):
            open_model(tmp_path / "whisper")
        torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "other.pt")
        with pytest.raises(UserError, match="its first tensor is weight"):
            open_model(tmp_path / "other.pt")
        run = tmp_path / "run"
        shutil.copytree(there("hugging_face"), run / "final")
        with pytest.raises(UserError, match=r"did you mean .*final\?"):
            open_model(run)

    def test_an_impossible_temperature_of_the_contrastive_loss(self, there, tmp_path):
        content = torch.load(there("fairseq") / "model.pt")
        content["cfg"]["model"]["logit_temp"] = 0.0
        torch.save(content, tmp_path / "cold.pt")
        with pytest.raises(UserError, match=r"logit_temperature must be above 0"):
            open_model(tmp_path / "cold.pt")

    def test_a_model_with_more_than_ours_has(self, there, tmp_path):
        file = there("fairseq") / "model.pt"
        content = torch.load(file)
        content["model"]["target_glu.0.weight"] = torch.zeros(2, 2)
        torch.save(content, tmp_path / "glu.pt")
        with pytest.raises(UserError, match=r"1 of \d+ tensors that .* \(first: target_glu"):
            open_model(tmp_path / "glu.pt")

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
    saved = open_model(folder, ["mask_embedding", "quantizer"])
    ours = open_folder(models / "layer_pretraining").weights
    position = "encoder.context.position"
    if spelling != "folded":
        for leaf in ("weight_g", "weight_v"):
            assert torch.equal(saved.weights[f"{position}.{leaf}"], ours[f"{position}.{leaf}"])

    def whole(weights):
        g, v = weights[f"{position}.weight_g"], weights[f"{position}.weight_v"]
        return g * v / v.norm(dim=(0, 1), keepdim=True)

    worst = (whole(saved.weights) - whole(ours)).abs().max() / whole(ours).abs().max()
    print(f"{format} {spelling}: the weight differs by {worst:.1e} of its largest value")
    assert worst < 1e-6


def test_half_precision_is_read_as_float32(there):
    folder = there("hugging_face")
    weights = load_file(folder / "model.safetensors")
    save_file({n: t.half() for n, t in weights.items()}, folder / "model.safetensors")
    assert {t.dtype for t in open_model(folder).weights.values()} == {torch.float32}


def test_parts_of_large_hugging_face_models(there, tmp_path):
    folder = there("hugging_face")
    weights = load_file(folder / "model.safetensors")
    before = open_model(folder).weights
    for file in folder.glob("model*"):
        file.unlink()
    names = sorted(weights)
    index = {}
    for part, chosen in (("a", names[::2]), ("b", names[1::2])):
        torch.save({n: weights[n] for n in chosen}, folder / f"pytorch_model-{part}.bin")
        index |= dict.fromkeys(chosen, f"pytorch_model-{part}.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    after = open_model(folder).weights
    assert set(after) == set(before)
    assert all(torch.equal(after[n], before[n]) for n in before)


def test_torchaudio_files_without_settings_are_read_as_published(there, tmp_path):
    """Sizes from the tensors; the number of heads of an unpublished width cannot be known."""
    folder = there("torchaudio")
    shutil.copy(folder / "model.pt", tmp_path / "alone.pt")
    with pytest.raises(UserError, match="do not show the number of attention heads"):
        open_model(tmp_path / "alone.pt", ["mask_embedding"])
    about = yaml.safe_load((folder / "model.yaml").read_text())
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump({"model": about["model"]}))
    saved = open_model(tmp_path / "alone.pt", ["mask_embedding"])
    assert saved.encoder.context.num_heads == 2
    assert any("normalize: true" in note for note in saved.notes)


def test_the_same_file_by_its_own_name(there):
    folder = there("hugging_face")
    assert open_as(folder / "config.json")[0] == "hugging_face"
    assert open_model(folder / "model.safetensors").of_kind("wav2vec2") == "wav2vec2"
    pt = there("fairseq", "group_ctc") / "model.pt"
    assert open_as(pt)[0] == "fairseq"
    assert open_model(Path(pt)).vocabularies == {"ctc": LETTERS}


def test_a_config_yaml_of_another_program_does_not_hide_a_model_of_transformers(models, tmp_path):
    ours = shutil.copytree(models / "group_ctc", tmp_path / "ours")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    hugging_face.write(open_folder(ours), theirs)
    for content in ("trainer: {gpus: 2}\n", "- a list\n", "broken: [", ""):
        (theirs / "config.yaml").write_text(content)
        assert open_as(theirs)[0] == "hugging_face"
    (ours / "config.json").write_text("{}")
    assert open_as(ours)[0] == "speechx"


def test_what_a_model_has_beside_its_weights_is_kept(models, tmp_path, unproved):
    source = shutil.copytree(models / "group_ctc", tmp_path / "source")
    (source / "times_ctc.safetensors").write_bytes(b"times")
    (source / "lm_ctc.safetensors").write_bytes(b"model")
    write_decoding(source, "ctc", {"lm_weight": 2.0})
    for given in (source, source / "model.safetensors"):
        target = tmp_path / f"of_{given.name}"
        convert(given, target)
        assert (target / "times_ctc.safetensors").read_bytes() == b"times"
        assert (target / "lm_ctc.safetensors").read_bytes() == b"model"
        assert open_folder(target).decoding == {"ctc": {"lm_weight": 2.0}}
    many = mms_folder(tmp_path / "many", target="eng")
    convert(many, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "again")
    for folder in (many, tmp_path / "ours", tmp_path / "again"):
        assert opened(folder).language == "eng"
    (tmp_path / "ours/adapters/eng.safetensors").unlink()
    with pytest.raises(UserError, match="one must be chosen"):
        opened(tmp_path / "ours")
