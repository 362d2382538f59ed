"""Settings about recordings and symbols of a Hugging Face folder: read from whichever file has
them, honoured or refused by name, written back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import speechx
from speechx.errors import UserError
from speechx.interchange import hugging_face, proof
from speechx.interchange.conversion import convert
from speechx.interchange.opening import FOREIGN, open_model
from speechx.models.folder import open_folder, save_model
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import Vocabulary
from tests.conftest import small_convolutional

PROCESSOR, PREPROCESSOR = "processor_config.json", "preprocessor_config.json"
TOKENIZER, CONFIG, VOCAB = "tokenizer_config.json", "config.json", "vocab.json"
LETTERS = Vocabulary("characters", (" ", "'", *"ABCDE"))
AUDIO = {
    "do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1, "padding_side": "right", "padding_value": 0.0,
    "return_attention_mask": False, "sampling_rate": 16000,
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A CTC model of each norm in a folder of transformers, with rows of 4 specials before | ' A B
    C D E."""
    folder = tmp_path_factory.mktemp("written")
    for norm in ("group", "layer"):
        torch.manual_seed(0)
        config = CTCConfig(tokens="characters")
        model = SpeechModel(small_convolutional(norm), {"ctc": config}, {"ctc": LETTERS})
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        # A head that writes: large weights, and no row that is the best on average.
        head = model.objectives["ctc"].head
        with torch.no_grad():
            context_BTD = model.eval().encoder(torch.from_numpy(wave())[None]).context_BTD
            head.weight.normal_()
            head.bias.copy_(-(context_BTD.mean(1) @ head.weight.T)[0])
        model.save(folder / "ours", ())
        saved = open_folder(folder / "ours")
        shutil.rmtree(folder / "ours")
        (folder / norm).mkdir()
        hugging_face.write(saved, folder / norm)
        about = json.loads((folder / norm / CONFIG).read_text())
        del about["normalize_epsilon"], about["feature_grad_mult"], about["languages"]
        put(folder / norm / CONFIG, about)
    return folder


@pytest.fixture
def there(written, tmp_path, monkeypatch):
    """A copy to change, and no other packages."""

    def copy(norm="layer"):
        shutil.copytree(written / norm, tmp_path / "hf")
        return tmp_path / "hf"

    monkeypatch.setattr(proof, "available", lambda format: False)
    return copy


def wave(level=1.0):
    random = np.random.default_rng(0)
    time_S = np.arange(24_000) / 16_000
    swell_S = np.sin(2 * np.pi * 3 * time_S) * np.sin(2 * np.pi * 700 * time_S * time_S)
    return (level * (0.1 * swell_S + 0.02 * random.standard_normal(24_000))).astype(np.float32)


def put(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def change(path, **changes):
    put(path, {**(json.loads(path.read_text()) if path.is_file() else {}), **changes})


def symbols(folder, rows):
    """Names the first rows of the head, and leaves out the others."""
    put(folder / VOCAB, rows)
    change(folder / CONFIG, vocab_size=len(rows))
    weights = load_file(folder / "model.safetensors")
    for name in ("lm_head.weight", "lm_head.bias"):
        weights[name] = weights[name][: len(rows)].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


class TestRecordings:
    @pytest.mark.parametrize("normalize", [True, False])
    @pytest.mark.parametrize("file", [PROCESSOR, PREPROCESSOR, TOKENIZER])
    def test_whichever_file_has_the_settings(self, there, file, normalize):
        """transformers 5, transformers 4, and the first releases."""
        folder = there("group")
        (folder / PREPROCESSOR).unlink()
        given = {**AUDIO, "do_normalize": normalize}
        inner = {"feature_extractor": given, "processor_class": "Wav2Vec2Processor"}
        change(folder / file, **(inner if file == PROCESSOR else given))
        saved = open_model(folder)
        assert saved.encoder.normalize is normalize
        assert saved.encoder.normalize_epsilon == 1e-7
        assert not any("normalize" in note for note in saved.notes)

    def test_without_the_setting_the_default_of_transformers_is_assumed_and_logged(self, there):
        folder = there("group")
        (folder / PREPROCESSOR).unlink()
        saved = open_model(folder)
        assert saved.encoder.normalize is True
        assert any("assumed encoder.normalize: true" in note for note in saved.notes)

    def test_files_that_disagree(self, there):
        folder = there()
        put(folder / PROCESSOR, {"feature_extractor": AUDIO})
        assert open_model(folder).encoder.normalize is True
        change(folder / PREPROCESSOR, do_normalize=False)
        with pytest.raises(
            UserError,
            match=r"do_normalize is true in processor_config\.json, but false in preproc.*correct",
        ):
            open_model(folder)
        (folder / PREPROCESSOR).unlink()
        change(folder / TOKENIZER, do_normalize=False)
        saved = open_model(folder)
        assert saved.encoder.normalize is True
        assert any("but false in tokenizer_config.json" in note for note in saved.notes)

    @pytest.mark.parametrize("level", [1.0, 0.01], ids=["loud", "quiet"])
    def test_a_model_opens_as_its_package_prepares_recordings(self, there, level):
        """The constant beside the variance is a tenth of it at -50 dBFS."""
        folder, wave_S = there(), wave(level)
        opened = speechx.load(folder, device="cpu")
        given_S = (wave_S - wave_S.mean()) / np.sqrt(wave_S.var() + 1e-7)
        (wanted_TV,) = opened._run(torch.from_numpy(given_S)[None], torch.tensor([len(wave_S)]))
        assert np.allclose(opened.log_probabilities(wave_S), wanted_TV, atol=1e-4)


class TestRefused:
    @pytest.mark.parametrize(
        ("file", "key", "value", "expected"),
        [
            (PREPROCESSOR, "sampling_rate", 8000, "sampling_rate is 8000; speechx needs 16000"),
            (PREPROCESSOR, "feature_size", 80, "feature_size is 80; speechx needs 1"),
            (PREPROCESSOR, "do_normalize", "no", 'do_normalize is "no"; expected true or false'),
            (
                PREPROCESSOR,
                "feature_extractor_type",
                "SeamlessM4TFeatureExtractor",
                "feature_extractor_type is 'SeamlessM4TFeatureExtractor'; expected 'Wav2Vec2",
            ),
            (CONFIG, "add_adapter", True, "add_adapter is True; speechx has False only"),
            (CONFIG, "hidden_act", "gelu_new", "hidden_act is 'gelu_new'; speechx has 'gelu' only"),
            (CONFIG, "feat_extract_activation", "relu", "feat_extract_activation is 'relu'"),
            (CONFIG, "layer_norm_eps", 1e-12, "layer_norm_eps is 1e-12; speechx has 1e-05 only"),
            (CONFIG, "quantization_config", {"load_in_8bit": True}, "quantization_config is"),
            (CONFIG, "adapter_attn_dim", 16, "adapter_attn_dim is 16"),
            (
                CONFIG,
                "architectures",
                ["Wav2Vec2ForSequenceClassification"],
                "architectures is Wav2Vec2ForSequenceClassification; expected one of",
            ),
            (TOKENIZER, "tokenizer_class", "WhisperTokenizer", "'WhisperTokenizer'; expected one"),
            (TOKENIZER, "replace_word_delimiter_char", "", "replace_word_delimiter_char is ''"),
            (TOKENIZER, "do_lower_case", "true", "do_lower_case is 'true'; expected true or false"),
        ],
    )
    def test_what_cannot_be_honoured(self, there, file, key, value, expected):
        folder = there()
        change(folder / file, **{key: value})
        with pytest.raises(UserError, match=expected) as refused:
            open_model(folder)
        assert file in str(refused.value)

    def test_an_adapter_beside_the_weights(self, there):
        folder = there()
        put(folder / "adapter_config.json", {"peft_type": "LORA"})
        with pytest.raises(UserError, match=r"adapter_config\.json: .*merge it"):
            open_model(folder)

    @pytest.mark.parametrize(("format", "key"), [("fairseq", "task"), ("torchaudio", "")])
    def test_another_sampling_rate_elsewhere(self, there, tmp_path, format, key):
        convert(there(), tmp_path / "there", format)
        file = tmp_path / "there/model.pt"
        if key:
            content = torch.load(file)
            content["cfg"][key]["sample_rate"] = 8000
            torch.save(content, file)
        else:
            about = tmp_path / "there/model.yaml"
            about.write_text(about.read_text() + "sample_rate: 8000\n")
        with pytest.raises(UserError, match="sample_rate is 8000; speechx has 16000 only"):
            open_model(file, ["mask_embedding"])

    @pytest.mark.parametrize(
        "kind", ["hubert", "wavlm", "data2vec-audio", "wav2vec2-conformer", "wav2vec2-bert"]
    )
    def test_other_architectures(self, there, kind):
        folder = there()
        change(folder / CONFIG, model_type=kind, position_embeddings_type="relative")
        with pytest.raises(UserError, match=f"describes a '{kind}' model"):
            open_model(folder)


class TestSymbols:
    def test_a_tokenizer_that_writes_lower_case(self, there, tmp_path):
        folder = there()
        change(folder / TOKENIZER, do_lower_case=True)
        saved = open_model(folder)
        assert saved.vocabularies["ctc"].tokens == (" ", "'", *"abcde")
        convert(folder, tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "back", "hugging_face")
        assert json.loads((tmp_path / "back" / TOKENIZER).read_text())["do_lower_case"] is True
        assert {"A", "|", "'"} < set(json.loads((tmp_path / "back" / VOCAB).read_text()))
        assert open_model(tmp_path / "back").vocabularies == saved.vocabularies

    def test_two_symbols_of_one_letter_are_refused(self, there):
        folder = there()
        rows = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *"ABCDa"]
        put(folder / VOCAB, {s: i for i, s in enumerate(rows)})
        change(folder / TOKENIZER, do_lower_case=True)
        with pytest.raises(UserError, match="must be distinct in a text, but A a are written as a"):
            open_model(folder)

    def test_a_letter_whose_lower_case_depends_on_its_place_is_refused(self, there):
        folder = there()
        rows = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *"ΑΒΓΔΣ"]
        put(folder / VOCAB, {s: i for i, s in enumerate(rows)})
        assert "Σ" in open_model(folder).vocabularies["ctc"].tokens
        change(folder / TOKENIZER, do_lower_case=True)
        with pytest.raises(UserError, match=r"do_lower_case is true, and Σ .* set it to false"):
            open_model(folder)

    @pytest.mark.parametrize("boundary", ["|", "_", "[SPACE]"])
    def test_both_kinds_of_space(self, there, tmp_path, boundary):
        folder = there()
        rows = ["<pad>", "<s>", "</s>", "<unk>", boundary, " ", *"abcd"]
        symbols(folder, {s: i for i, s in enumerate(rows)})
        change(folder / TOKENIZER, word_delimiter_token=boundary)
        saved = open_model(folder)
        tokens = saved.vocabularies["ctc"].tokens
        assert tokens[0] == " "
        assert [token.isspace() for token in tokens] == [True, True, *[False] * 4]
        assert any("are both the space" in note for note in saved.notes)
        outputs_TV = speechx.load(folder, device="cpu").log_probabilities(wave())
        theirs = [" " if row == 1 else "xx abcd"[row] for row in range(7)]
        best = [int(row) for row in torch.from_numpy(outputs_TV).argmax(1).unique_consecutive()]
        text = "".join(theirs[row] for row in best if row)
        assert {1, 2} < set(best)
        assert speechx.load(folder).transcribe(wave()).text == " ".join(text.split())
        convert(folder, tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "back", "hugging_face")
        assert {" ", "|"} < set(json.loads((tmp_path / "back" / VOCAB).read_text()))
        assert open_model(tmp_path / "back").vocabularies == saved.vocabularies

    def test_a_space_that_nobody_replaced(self, there):
        folder = there()
        rows = ["<pad>", "<s>", "</s>", "<unk>", " ", "a", "b", "c", "d", "ch"]
        symbols(folder, {s: i for i, s in enumerate(rows)})
        assert open_model(folder).vocabularies == {
            "ctc": Vocabulary("characters", (" ", "a", "b", "c", "d", "ch"))
        }

    @pytest.mark.parametrize("end", ["  94802", " 94802 ", " 94802 #fairseq:overwrite", " 94802\r"])
    def test_a_dictionary_of_fairseq_with_spaces_behind_its_symbols(self, there, tmp_path, end):
        convert(there(), tmp_path / "fairseq", "fairseq")
        (file,) = (tmp_path / "fairseq").glob("dict.*.txt")
        lines = file.read_text().splitlines()
        text = "".join(line.removesuffix(" 1") + end + "\n" for line in lines)
        file.write_text(text, newline="")
        assert open_model(tmp_path / "fairseq").vocabularies == {"ctc": LETTERS}

    def test_rows_without_a_symbol_are_counted(self, there):
        """A head as wide as a multiple of eight, or as tokens that were added and lost."""
        folder = there()
        put(folder / VOCAB, {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "": 5, "A": 6})
        saved = open_model(folder)
        assert saved.vocabularies == {"ctc": Vocabulary("characters", (" ", "A"))}
        assert len(saved.weights["objectives.ctc.head.bias"]) == 3
        assert any("4 of 11 rows of the head have no symbol" in note for note in saved.notes)
        assert any("'' left out" in note for note in saved.notes)

    @pytest.mark.parametrize(
        "given",
        [
            {"added_tokens_decoder": ["<s>"]},
            {"added_tokens_decoder": {"x": {"content": "q"}}},
            {"added_tokens_decoder": {"1": {}}},
            {"added_tokens_decoder": {"1": None}},
            {"pad_token": {"lstrip": False}},
            {"pad_token": ["<pad>"]},
            {"word_delimiter_token": {}},
        ],
        ids=str,
    )
    def test_tokens_in_no_known_form_are_refused_by_name(self, there, given):
        folder = there()
        change(folder / TOKENIZER, **given)
        with pytest.raises(UserError, match=rf"{TOKENIZER}: {min(given)} .*; expected"):
            open_model(folder)

    def test_no_added_tokens(self, there):
        folder = there()
        change(folder / TOKENIZER, added_tokens_decoder=None)
        assert open_model(folder)

    def test_added_tokens_without_a_row_are_named(self, there):
        folder = there()
        put(folder / "added_tokens.json", {"<s>": 11, "</s>": 12, "[laugh]": 13})
        rows = json.loads((folder / VOCAB).read_text())
        rows["X"], rows["Y"] = rows.pop("<s>"), rows.pop("</s>")
        put(folder / VOCAB, rows)
        saved = open_model(folder)
        assert {"X", "Y"} < set(saved.vocabularies["ctc"].tokens)
        assert any(note.endswith("no row for: [laugh]") for note in saved.notes)

    def test_a_vocabulary_of_one_of_several_languages(self, there):
        folder = there()
        rows = json.loads((folder / VOCAB).read_text())
        put(folder / VOCAB, {"tur": rows, "deu": {"ä": 0}})
        with pytest.raises(UserError, match="vocabulary for each language"):
            open_model(folder)
        change(folder / TOKENIZER, target_lang="tur")
        assert open_model(folder).vocabularies == {"ctc": LETTERS}

    @pytest.mark.parametrize("where", [TOKENIZER, CONFIG])
    def test_phones_with_a_boundary_that_is_not_written(self, there, tmp_path, where):
        folder = there()
        rows = ["<pad>", "<s>", "</s>", "<unk>", "|", "aɪ", "tʃ", "s", "t"]
        symbols(folder, {s: i for i, s in enumerate(rows)})
        (folder / TOKENIZER).unlink()
        change(folder / where, tokenizer_class="Wav2Vec2PhonemeCTCTokenizer")
        change(folder / TOKENIZER, do_phonemize=True, word_delimiter_token="|")
        opened = speechx.load(folder, device="cpu")
        assert opened.vocabulary.token_type == "phonemes"
        best_T = torch.from_numpy(opened.log_probabilities(wave())).argmax(1).unique_consecutive()
        spoken = [rows[row + 3] for row in best_T.tolist() if row > 1]
        assert 1 in best_T
        assert opened.transcribe(wave()).text.split() == spoken
        convert(folder, tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "back", "hugging_face")
        assert open_model(tmp_path / "back").vocabularies == {"ctc": opened.vocabulary}


class TestWrittenBack:
    @pytest.mark.parametrize("normalize", [True, False])
    @pytest.mark.parametrize("mask", [True, False])
    def test_the_settings_of_recordings(self, there, tmp_path, normalize, mask):
        folder = there("group")
        given = {**AUDIO, "do_normalize": normalize, "return_attention_mask": mask}
        (folder / PREPROCESSOR).unlink()
        put(folder / PROCESSOR, {"feature_extractor": given})
        convert(folder, tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "back", "hugging_face")
        assert json.loads((tmp_path / "back" / PREPROCESSOR).read_text()) == given
        assert open_model(tmp_path / "back").encoder == open_model(folder).encoder

    def test_a_folder_of_before_has_the_constant_of_before(self, there, tmp_path):
        convert(there(), tmp_path / "ours")
        saved = open_folder(tmp_path / "ours")
        assert saved.encoder.normalize_epsilon == 1e-7
        lines = (tmp_path / "ours/config.yaml").read_text().splitlines(keepends=True)
        old = [line for line in lines if "normalize_epsilon" not in line]
        (tmp_path / "ours/config.yaml").write_text("".join(old))
        assert open_folder(tmp_path / "ours").encoder.normalize_epsilon == 1e-5

    def test_another_constant_is_logged(self, there, tmp_path, capsys):
        convert(there(), tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "hf_again", "hugging_face")
        assert "variance" not in capsys.readouterr().err
        convert(tmp_path / "ours", tmp_path / "fs2", "fairseq2")
        assert "adds 1e-05 to the variance of a recording" in capsys.readouterr().err

    def test_settings_for_the_way_back_stay_in_the_folder(self, written, tmp_path):
        saved = hugging_face.read(written / "layer")
        save_model(
            tmp_path / "m", saved.weights, saved.encoder, saved.objectives, saved.vocabularies, (),
            foreign_settings={"do_lower_case": True},
        )  # fmt: skip
        assert open_folder(tmp_path / "m").foreign_settings == {"do_lower_case": True}


VARIANTS = {
    "base_960h": ("group", {}, {"do_lower_case": False, "word_delimiter_token": "|"}, {}),
    "lower case": ("layer", {}, {"do_lower_case": True}, {}),
    "version 5": ("group", {}, {"backend": "custom"}, {"feature_extractor": AUDIO}),
    "not normalised": (
        "group", {}, {}, {"feature_extractor": {**AUDIO, "do_normalize": False}},
    ),
    "xls_r": (
        "layer", {"|": 0, "a": 1, "b": 2, "'": 3, "c": 4, "d": 5, "[UNK]": 6, "[PAD]": 7},
        {"pad_token": "[PAD]", "unk_token": "[UNK]"}, {},
    ),
    "both spaces": (
        "layer", {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, " ": 5, "a": 6, "b": 7},
        {}, {},
    ),
    "espeak": (
        "layer", {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "n": 4, "ai5": 5, "tʃ": 6},
        {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "do_phonemize": True,
         "phonemizer_lang": "en-us", "word_delimiter_token": None}, {},
    ),
    "espeak with words": (
        "layer", {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "s": 5, "tʃ": 6, "a": 7},
        {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "do_phonemize": True,
         "word_delimiter_token": "|"}, {},
    ),
}  # fmt: skip
"""As published models have them: norm, symbols, tokenizer, `processor_config.json`."""


@pytest.mark.interop
class TestWithTransformers:
    """Their processor and model on raw audio, ours on the same folder: logits and text."""

    def theirs(self, folder, wave_S):
        import transformers

        extractor = transformers.Wav2Vec2FeatureExtractor
        if (folder / PROCESSOR).is_file():
            given = json.loads((folder / PROCESSOR).read_text())["feature_extractor"]
            extractor = extractor.from_dict(given)
        else:
            extractor = extractor.from_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, do_phonemize=False)
        model = transformers.Wav2Vec2ForCTC.from_pretrained(folder).eval()
        given = extractor(wave_S, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            logits_TV = model(given["input_values"]).logits[0]
        return logits_TV.log_softmax(1).numpy(), tokenizer.decode(logits_TV.argmax(1))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_raw_audio_in_and_text_out(self, written, tmp_path, variant):
        norm, rows, tokenizer, processor = VARIANTS[variant]
        folder = tmp_path / "hf"
        shutil.copytree(written / norm, folder)
        if rows:
            symbols(folder, rows)
            blank = rows.get("<pad>", rows.get("[PAD]"))
            change(folder / CONFIG, pad_token_id=blank)
            weights = load_file(folder / "model.safetensors")
            for symbol, row in rows.items():  # the published models never write these
                silent = symbol.startswith(("<", "[")) and row != blank
                weights["lm_head.bias"][row] += -1e4 if silent else 1e4 * (row in (1, 2, 3))
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        if tokenizer.get("pad_token") or "Phoneme" in tokenizer.get("tokenizer_class", ""):
            (folder / "special_tokens_map.json").unlink()
        change(folder / TOKENIZER, **tokenizer)
        if processor:
            (folder / PREPROCESSOR).unlink()
            put(folder / PROCESSOR, processor)
        opened = speechx.load(folder, device="cpu")
        for level in (1.0, 0.02):
            theirs_TV, text = self.theirs(folder, wave(level))
            ours = opened.transcribe(wave(level)).text
            assert ours.split() == text.split()
            assert len(set(text)) > 2
            ours_TV = opened.log_probabilities(wave(level))
            assert np.allclose(ours_TV.max(1), theirs_TV.max(1), atol=1e-3)
        convert(folder, tmp_path / "ours", prove=True)
        convert(tmp_path / "ours", tmp_path / "back", "hugging_face", prove=True)

    def test_a_setting_that_was_missed_fails_the_proof(self, written, tmp_path):
        """At the level of the clips a group norm would hide it."""
        saved = open_model(written / "group")
        other = replace(saved, encoder=replace(saved.encoder, normalize=True))
        for format in FOREIGN:
            (tmp_path / format).mkdir()
            FOREIGN[format].write(saved, tmp_path / format)
            with pytest.raises(UserError, match="not the same model"):
                proof.prove(other, tmp_path / format, format)
