"""Folders of MMS: a language chooses an adapter, a head and a vocabulary."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechx.errors import UserError
from speechx.interchange import proof
from speechx.interchange.conversion import convert
from speechx.interchange.opening import open_model
from speechx.models.adapters import is_adapter
from speechx.objectives.model import SpeechModel
from speechx.transcription.loading import load
from tests.mms_folders import VOCABULARIES, change, mms_folder, opened

ADAPTER_FILE = "adapter.eng.safetensors"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mms")
    mms_folder(folder / "many")
    mms_folder(folder / "english", target="eng")
    return folder


@pytest.fixture
def there(written, tmp_path):
    """A copy to change."""

    def copy(name="many"):
        return shutil.copytree(written / name, tmp_path / "mms-1b")

    return copy


def wave():
    return (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)


def logits(saved):
    """(T, V) of the only head, for a recording as it is."""
    model, _ = SpeechModel.from_saved(saved)
    with torch.inference_mode():
        output = model.eval().encoder(torch.from_numpy(wave())[None], torch.tensor([16_000]))
        return model.objectives["ctc"].logits(output)[0][0]


class TestChoice:
    @pytest.mark.parametrize("name", VOCABULARIES)
    def test_a_language_has_its_own_adapter_and_symbols(self, written, name):
        saved = opened(written / "many", name)
        symbols = [" " if s == "|" else s for s in VOCABULARIES[name][4:]]
        assert list(saved.vocabularies["ctc"].tokens) == symbols
        assert saved.language == name
        assert saved.adapter.startswith(f"adapter.{name}.")
        assert "sha256" in saved.adapter
        assert logits(saved).shape[1] == len(symbols) + 1

    def test_an_alignment_names_language_and_adapter(self, written):
        model = load(written / "many", "cpu", language="en")
        heard = model.transcribe(wave())
        found = model.align(wave(), "ab", every_word=True)
        assert (found.language, found.adapter) == (heard.language, heard.adapter)
        assert found.language == "eng"

    def test_languages_differ_and_so_do_their_hashes(self, written):
        one, two = (opened(written / "many", f"uz-{s}") for s in ("Cyrl", "Latn"))
        assert one.adapter.split("sha256")[1] != two.adapter.split("sha256")[1]
        assert not torch.equal(logits(one)[:, 1], logits(two)[:, 1])

    def test_codes_and_names(self, written):
        for word in ("yo", "Yoruba", "YOR", "yor_Latn"):
            assert opened(written / "many", word).language == "yor"

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("fra", "among its 4"),
            ("yorr", "yor"),
            ("uz", "uzb-script_cyrillic, uzb-script_latin"),
            (None, "4 languages.*eng.*yor"),
        ],
    )
    def test_what_cannot_be_chosen(self, written, word, expected):
        with pytest.raises(UserError, match=expected):
            opened(written / "many", word)

    def test_without_a_language_the_one_in_the_weights(self, written):
        given = opened(written / "english")
        assert given.language == "eng"
        assert given.adapter.startswith("model.safetensors")
        assert any("no language was given" in note for note in given.notes)
        assert torch.equal(logits(given), logits(opened(written / "english", "en")))

    def test_without_a_language_the_only_one(self, there):
        folder = there()
        for name in VOCABULARIES:
            if name != "yor":
                (folder / f"adapter.{name}.safetensors").unlink()
        assert opened(folder).language == "yor"

    def test_an_adapter_that_is_not_there_is_named(self, there):
        folder = there()
        (folder / "adapter.uzb-script_latin.safetensors").unlink()
        with pytest.raises(UserError, match=r"adapter\.uzb-script_latin\.safetensors"):
            opened(folder, "uzb-script_latin")

    def test_a_fine_tuned_folder_of_one_language(self, there):
        """A vocabulary without a language's name, and no file for the adapter."""
        folder = there("english")
        rows = json.loads((folder / "vocab.json").read_text())["eng"]
        (folder / "vocab.json").write_text(json.dumps(rows))
        wanted = logits(opened(folder, "eng"))
        for file in folder.glob("adapter.*"):
            file.unlink()
        change(folder / "tokenizer_config.json", target_lang=None)
        assert torch.equal(logits(opened(folder)), wanted)

    def test_the_encoder_alone(self, written):
        saved = open_model(written / "many")
        assert saved.adapters == tuple(sorted(VOCABULARIES))
        assert not saved.objectives
        assert not any(is_adapter(name) for name in saved.weights)


class TestDamage:
    def test_an_adapter_of_another_model(self, there):
        folder = there()
        weights = load_file(folder / ADAPTER_FILE)
        wide = {
            n: torch.cat([t, t], -1) if "linear_1.weight" in n else t for n, t in weights.items()
        }
        save_file({n: t.contiguous() for n, t in wide.items()}, folder / ADAPTER_FILE)
        with pytest.raises(UserError, match=r"adapter\.eng\.safetensors.* does not fit"):
            opened(folder, "eng")

    def test_an_adapter_of_fewer_layers(self, there):
        folder = there()
        weights = load_file(folder / ADAPTER_FILE)
        save_file({n: t for n, t in weights.items() if "layers.1." not in n}, folder / ADAPTER_FILE)
        with pytest.raises(UserError, match="does not fit"):
            opened(folder, "eng")

    def test_other_tensors_in_an_adapter(self, there):
        folder = there()
        save_file({"lora_A": torch.zeros(2)}, folder / ADAPTER_FILE)
        with pytest.raises(UserError, match=r"adapter\.eng\.safetensors .*lora_A"):
            opened(folder, "eng")

    @pytest.mark.parametrize("bias", [None, torch.zeros(2)])
    def test_a_head_without_its_whole_bias(self, there, bias):
        folder = there()
        weights = load_file(folder / ADAPTER_FILE) | {"lm_head.bias": bias}
        save_file({n: t for n, t in weights.items() if t is not None}, folder / ADAPTER_FILE)
        with pytest.raises(UserError, match="no whole head"):
            opened(folder, "eng")

    def test_a_file_that_git_lfs_left_as_a_pointer(self, there):
        folder = there()
        (folder / ADAPTER_FILE).write_text("version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(UserError, match=r"adapter\.eng\.safetensors"):
            opened(folder, "eng")

    def test_no_vocabulary_for_a_language(self, there):
        folder = there()
        rows = json.loads((folder / "vocab.json").read_text())
        del rows["eng"]
        (folder / "vocab.json").write_text(json.dumps(rows))
        with pytest.raises(UserError, match="no vocabulary for eng"):
            opened(folder, "eng")

    def test_a_vocabulary_of_another_size(self, there):
        folder = there()
        rows = json.loads((folder / "vocab.json").read_text())
        del rows["eng"]["c"], rows["eng"]["'"]
        rows["eng"]["x"] = 12
        (folder / "vocab.json").write_text(json.dumps(rows))
        with pytest.raises(UserError, match=r"vocab\.json"):
            opened(folder, "eng")


class TestConversion:
    @pytest.fixture(autouse=True)
    def _without_packages(self, monkeypatch):
        monkeypatch.setattr(proof, "available", lambda format: False)

    @pytest.mark.parametrize("name", ["many", "english"])
    def test_all_languages_are_kept(self, written, tmp_path, name):
        convert(written / name, tmp_path / "ours")
        for language in VOCABULARIES:
            theirs = opened(written / name, language)
            ours = opened(tmp_path / "ours", language)
            assert torch.equal(logits(ours), logits(theirs))
            assert ours.vocabularies == theirs.vocabularies
            assert ours.adapter.startswith(f"{language}.safetensors (sha256")

    def test_once_more_from_our_own_folder(self, written, tmp_path):
        convert(written / "many", tmp_path / "one")
        convert(tmp_path / "one", tmp_path / "two")
        files = sorted(p.name for p in (tmp_path / "one/adapters").iterdir())
        assert files == sorted(p.name for p in (tmp_path / "two/adapters").iterdir())

    def test_a_format_without_adapters(self, written, tmp_path):
        with pytest.raises(UserError, match="adapters for 4 languages"):
            convert(written / "many", tmp_path / "there", "fairseq2")

    def test_an_adapter_is_not_used_on_another_encoder(self, written, tmp_path):
        convert(written / "many", tmp_path / "one")
        weights = load_file(tmp_path / "one/model.safetensors")
        weights["encoder.context.norm.weight"] += 1
        save_file(weights, tmp_path / "one/model.safetensors")
        with pytest.raises(UserError, match="another encoder"):
            opened(tmp_path / "one", "yor")


class TestOtherModels:
    def test_a_language_that_a_model_was_trained_on(self, tmp_path):
        from tests.toy_models import toy_model

        folder = toy_model(tmp_path / "toy")  # its languages are xx
        assert opened(folder, "xx").language == "xx"
        with pytest.raises(UserError, match="no language 'fra'"):
            opened(folder, "fra")


@pytest.mark.interop
class TestTransformers:
    @pytest.mark.parametrize("name", [None, "eng", "yor", "uzb-script_cyrillic"])
    def test_logits_are_equal(self, written, name):
        from transformers import Wav2Vec2ForCTC

        folder = written / "english"
        theirs = Wav2Vec2ForCTC.from_pretrained(folder).eval()
        if name is not None:
            theirs.load_adapter(name, local_files_only=True)
        with torch.inference_mode():
            wanted_TV = theirs(torch.from_numpy(wave())[None]).logits[0]
        rows = [0, *range(4, wanted_TV.shape[1])]
        found_TV = logits(opened(folder, name))
        assert (found_TV - wanted_TV[:, rows]).abs().max() < 1e-4
        assert wanted_TV.std() > 0.1

    @pytest.mark.parametrize("name", ["many", "english"])
    def test_a_conversion_is_proved_in_one_language(self, written, tmp_path, caplog, name):
        with caplog.at_level("INFO", logger="speechx"):
            convert(written / name, tmp_path / "ours", prove=True)
        proved = [line for line in caplog.messages if "proof of" in line]
        assert any("CTC logits" in line for line in proved)
