"""Files of the other packages are read here, files of ours are read by them.

The other side is always their own code: its models, its `save_pretrained`, tokenizers, asset cards,
converters. `prove` runs both on the same clips.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import pytest
import torch
import yaml

from speechx.data.batches import normalize
from speechx.errors import UserError
from speechx.interchange import names
from speechx.interchange.conversion import convert
from speechx.interchange.opening import open_as, open_model
from speechx.interchange.proof import prove
from speechx.models.features.convolutional import seven_convolutions
from speechx.models.folder import open_folder
from speechx.models.quantizer import GumbelTemperature, QuantizerConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import Vocabulary
from tests.conftest import SMALL_QUANTIZER, small_convolutional
from tests.models.reference_models import pretraining_model

pytestmark = pytest.mark.interop

NORMS = ("group", "layer")
SYMBOLS = ("<pad>", "<s>", "</s>", "<unk>", "|", "e", "t", "а")
LETTERS = Vocabulary("characters", (" ", "e", "t", "а"))
TOLERANCE = 1e-5


def roughen(module):
    """Moves every parameter, so that no bias is 0 and no norm's weight is 1."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module.eval()


def quantizing(encoder):
    """A model as published with the norm of its feature extractor."""
    changes = {"quantizer": QuantizerConfig(**SMALL_QUANTIZER)}
    if encoder.features.norm == "layer":
        changes |= {"features_penalty": 0.0, "gumbel_temperature": GumbelTemperature(floor=0.1)}
    else:
        changes |= {"gumbel_temperature": GumbelTemperature()}
    return roughen(pretraining_model(encoder, num_negatives=100, **changes))


def writing(encoder, words=LETTERS):
    config = CTCConfig(tokens=words.token_type)
    return roughen(SpeechModel(encoder, {"ctc": config}, {"ctc": words}))


def ours(folder, norm, head):
    encoder = small_convolutional(norm)
    (writing(encoder) if head else quantizing(encoder)).save(folder, ("ru",))
    return open_folder(folder)


def published():
    """As wide as the base model, so that its 12 heads are known, and small in all other ways."""
    small = small_convolutional("group", num_layers=1)
    sizes = {"embed_dim": 768, "num_heads": 12, "position_kernel": 8, "position_groups": 16}
    return quantizing(replace(small, context=replace(small.context, **sizes)))


def proved(saved, path, format, *expected):
    proof = prove(saved, path, format)
    print(proof)
    assert max(row.difference for row in proof.rows) < TOLERANCE
    assert {row.what for row in proof.rows} == {"outputs", *expected}


def from_tokenizer(folder):
    """What transformers' own tokenizer and feature extractor leave in a folder."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    folder.mkdir()
    vocab = folder / "given.json"
    vocab.write_text(json.dumps({symbol: row for row, symbol in enumerate(SYMBOLS)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(vocab))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(do_normalize=True), tokenizer).save_pretrained(
        folder
    )
    vocab.unlink()


def their_config(norm, **more):
    """The transformers configuration of `small_convolutional(norm)`."""
    from transformers import Wav2Vec2Config

    large = norm == "layer"
    return Wav2Vec2Config(
        conv_dim=[12] * 7, conv_kernel=[10, 3, 3, 3, 3, 2, 2], conv_stride=[5, 2, 2, 2, 2, 2, 2],
        conv_bias=large, feat_extract_norm=norm, do_stable_layer_norm=large, hidden_size=16,
        intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, num_codevector_groups=2,
        num_codevectors_per_group=10, codevector_dim=8, proj_codevector_dim=8, **more,
    )  # fmt: skip


class TestHuggingFace:
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
    def test_a_pretraining_model_is_read(self, tmp_path, norm, safe):
        from transformers import Wav2Vec2ForPreTraining

        model = roughen(Wav2Vec2ForPreTraining(their_config(norm)))
        model.save_pretrained(tmp_path / "hf", safe_serialization=safe)
        saved = open_model(tmp_path / "hf")
        assert saved.objectives["wav2vec2"]["quantizer"] == SMALL_QUANTIZER
        assert any(note.startswith("assumed encoder.normalize") for note in saved.notes)
        proved(saved, tmp_path / "hf", "hugging_face", "contrastive loss")

    def test_an_encoder_alone_is_read(self, tmp_path):
        from transformers import Wav2Vec2Model

        model = roughen(Wav2Vec2Model(their_config("layer")))
        model.save_pretrained(tmp_path / "hf")
        proved(open_model(tmp_path / "hf"), tmp_path / "hf", "hugging_face")

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_ctc_model_is_read_with_its_vocabulary(self, tmp_path, norm):
        from transformers import Wav2Vec2ForCTC

        from_tokenizer(tmp_path / "hf")
        config = their_config(norm, vocab_size=len(SYMBOLS))
        model = roughen(Wav2Vec2ForCTC(config))
        model.save_pretrained(tmp_path / "hf")
        saved = open_model(tmp_path / "hf")
        assert saved.vocabularies == {"ctc": LETTERS}
        assert saved.encoder.normalize is True
        head = saved.weights["objectives.ctc.head.weight"]
        assert torch.equal(head, model.lm_head.weight[[0, 4, 5, 6, 7]])
        assert any(note.startswith("head rows of <s> </s> <unk> left out") for note in saved.notes)
        proved(saved, tmp_path / "hf", "hugging_face", "CTC logits")

    @pytest.mark.parametrize("norm", NORMS)
    def test_what_is_written_is_theirs(self, tmp_path, norm, capsys):
        for kind, more in (("quantizer", "contrastive loss"), ("head", "CTC logits")):
            saved = ours(tmp_path / kind, norm, kind == "head")
            convert(tmp_path / kind, tmp_path / f"{kind}_hf", "hugging_face", prove=True)
            proved(saved, tmp_path / f"{kind}_hf", "hugging_face", more)
            assert "proof of" in capsys.readouterr().err

    def test_their_processor_reads_the_same_text(self, tmp_path):
        from transformers import AutoModelForCTC, AutoProcessor

        torch.manual_seed(1)
        model = writing(small_convolutional("layer"))
        head = model.objectives["ctc"].head
        wave_S = (torch.randn(32_000) * torch.linspace(-9, 9, 32_000).sin()).numpy()
        # A head that distinguishes frames, so that there is text to compare.
        with torch.no_grad():
            wave_BS = torch.from_numpy(normalize(wave_S))[None]
            context_BTD = model.encoder(wave_BS).context_BTD
            head.weight.normal_()
            head.bias.copy_(-(context_BTD.mean(1) @ head.weight.T)[0])
        model.save(tmp_path / "ctc", ())
        convert(tmp_path / "ctc", tmp_path / "hf", "hugging-face")
        processor = AutoProcessor.from_pretrained(tmp_path / "hf")
        assert processor.feature_extractor.do_normalize is True
        given = processor(wave_S, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            logits = AutoModelForCTC.from_pretrained(tmp_path / "hf")(**given).logits
        theirs = processor.batch_decode(logits.argmax(2))[0]
        with torch.no_grad():
            read_BTV, _ = model.objectives["ctc"].log_probabilities(
                model.encoder, wave_BS, torch.tensor([32_000])
            )
        best = [int(token) for token in read_BTV[0].argmax(1).unique_consecutive()]
        # Ours writes one space where CTC gives several.
        assert " ".join(theirs.split()) == LETTERS.join(LETTERS.decode(best))
        assert len(set(theirs)) == 4

    def test_phonemes_keep_their_tokens(self, tmp_path):
        from transformers import AutoTokenizer

        phones = Vocabulary("phonemes", ("aɪ", "tʃ"))
        writing(small_convolutional("group"), phones).save(tmp_path / "ctc", ())
        convert(tmp_path / "ctc", tmp_path / "hf", "hugging_face")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
        assert tokenizer.decode([4, 4, 0, 5, 0, 5]) == "aɪ tʃ tʃ"
        assert open_model(tmp_path / "hf").vocabularies == {"ctc": phones}


class TestFairseq2:
    def model(self, norm, head):
        import soundfile  # noqa: F401
        from fairseq2.models.transformer import TransformerNormOrder
        from fairseq2.models.wav2vec2 import (
            Wav2Vec2Config,
            Wav2Vec2EncoderConfig,
            create_wav2vec2_model,
        )
        from fairseq2.models.wav2vec2.asr import Wav2Vec2AsrConfig, create_wav2vec2_asr_model

        large = norm == "layer"
        encoder = Wav2Vec2EncoderConfig(
            model_dim=16,
            feature_dim=12,
            layer_norm_features=not large,
            feature_extractor_layer_descs=[(12, 10, 5), (12, 3, 2), (12, 2, 2)],
            feature_extractor_bias=large,
            feature_extractor_layer_norm_convs=large,
            pos_conv_kernel_size=16,
            num_pos_conv_groups=4,
            num_encoder_layers=2,
            num_encoder_attn_heads=2,
            ffn_inner_dim=24,
            norm_order=TransformerNormOrder.PRE if large else TransformerNormOrder.POST,
        )
        if head:
            config = Wav2Vec2AsrConfig(encoder_config=encoder, target_vocab_size=8)
            return roughen(create_wav2vec2_asr_model(config))
        sizes = {"final_dim": 8, "quantized_dim": 8, "num_codebook_entries": 10}
        return roughen(create_wav2vec2_model(Wav2Vec2Config(encoder_config=encoder, **sizes)))

    def card(self, norm):
        large = norm == "layer"
        return {
            "model_config": {
                "encoder_config": {
                    "model_dim": 16,
                    "feature_dim": 12,
                    "layer_norm_features": not large,
                    "feature_extractor_layer_descs": [[12, 10, 5], [12, 3, 2], [12, 2, 2]],
                    "feature_extractor_bias": large,
                    "feature_extractor_layer_norm_convs": large,
                    "pos_conv_kernel_size": 16,
                    "num_pos_conv_groups": 4,
                    "num_encoder_layers": 2,
                    "num_encoder_attn_heads": 2,
                    "ffn_inner_dim": 24,
                    "norm_order": "PRE" if large else "POST",
                },
            },
            "checkpoint": "model.pt",
        }

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_pretraining_model_is_read(self, tmp_path, norm):
        torch.save({"model": self.model(norm, head=False).state_dict()}, tmp_path / "model.pt")
        card = self.card(norm)
        card["model_family"], card["model_arch"] = "wav2vec2", "base"
        card["model_config"] |= {"final_dim": 8, "quantized_dim": 8, "num_codebook_entries": 10}
        (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
        saved = open_model(tmp_path)
        assert saved.encoder.context.norm == {"group": "post", "layer": "pre"}[norm]
        proved(saved, tmp_path, "fairseq2", "contrastive loss")

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_ctc_model_is_read_with_the_tokens_beside_it(self, tmp_path, norm):
        torch.save({"model": self.model(norm, head=True).state_dict()}, tmp_path / "model.pt")
        card = self.card(norm)
        card["model_family"], card["model_arch"] = "wav2vec2_asr", "base_10h"
        card["model_config"]["target_vocab_size"] = 8
        (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
        with pytest.raises(UserError, match="CTC model without its symbols"):
            open_model(tmp_path)
        (tmp_path / "dict.txt").write_text("| 9\ne 5\nt 3\nа 1\n")
        saved = open_model(tmp_path)
        assert saved.vocabularies == {"ctc": LETTERS}
        proved(saved, tmp_path, "fairseq2", "CTC logits")

    @pytest.mark.parametrize("norm", NORMS)
    def test_what_is_written_is_theirs(self, tmp_path, norm, capsys):
        for kind, more in (("quantizer", "contrastive loss"), ("head", "CTC logits")):
            saved = ours(tmp_path / kind, norm, kind == "head")
            convert(tmp_path / kind, tmp_path / f"{kind}_fs2", "fairseq2", prove=True)
            proved(saved, tmp_path / f"{kind}_fs2", "fairseq2", more)

    def test_continuing_there_keeps_the_temperature_at_its_floor(self, tmp_path):
        ours(tmp_path / "ours", "layer", head=False)
        convert(tmp_path / "ours", tmp_path / "fs2", "fairseq2")
        updates = torch.load(tmp_path / "fs2/model.pt")["model"]["quantizer.num_updates"]
        about = yaml.safe_load((tmp_path / "fs2/card.yaml").read_text())["model_config"]
        start, floor, decay = about["codebook_sampling_temperature"]
        assert start * decay ** int(updates) <= floor < start * decay ** (int(updates) - 2)

    def test_the_tokenizer_beside_it_names_the_rows(self, tmp_path):
        """Once the labels are gone from the card, as in cards that others wrote."""
        ours(tmp_path / "ours", "layer", head=True)
        convert(tmp_path / "ours", tmp_path / "fs2", "fairseq2")
        card, tokenizer = yaml.safe_load_all((tmp_path / "fs2/card.yaml").read_text())
        assert card["tokenizer_ref"] == tokenizer["name"]
        del card["labels"], card["token_type"]
        cards = [{**card, "checkpoint": "https://models/other.pt"}, card, tokenizer]
        (tmp_path / "fs2/card.yaml").write_text(yaml.safe_dump_all(cards))
        saved = open_model(tmp_path / "fs2")
        assert saved.vocabularies == {"ctc": LETTERS}
        proved(saved, tmp_path / "fs2", "fairseq2", "CTC logits")

    def test_a_file_alone_is_read_as_published(self, tmp_path):
        """Omnilingual encoders come with a card that names an architecture."""
        published().save(tmp_path / "ours", ())
        convert(tmp_path / "ours", tmp_path / "fs2", "fairseq2")
        (tmp_path / "fs2/card.yaml").unlink()
        saved = open_model(tmp_path / "fs2")
        assert "dropouts of base" in saved.notes[0]
        assert saved.encoder.context.num_heads == 12
        proved(saved, tmp_path / "fs2", "fairseq2", "contrastive loss")
        about = {"model_family": "wav2vec2", "model_arch": "1b", "checkpoint": "model.pt"}
        (tmp_path / "fs2/card.yaml").write_text(yaml.safe_dump(about))
        assert open_model(tmp_path / "fs2").encoder == saved.encoder


class TestTorchaudio:
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("head", [False, True], ids=["encoder", "head"])
    def test_a_model_is_read(self, tmp_path, norm, head):
        from torchaudio.models import wav2vec2_model

        large = norm == "layer"
        arguments = {
            "extractor_mode": f"{norm}_norm",
            "extractor_conv_layer_config": [[12, 10, 5], [12, 3, 2], [12, 2, 2]],
            "extractor_conv_bias": large,
            "encoder_embed_dim": 16,
            "encoder_projection_dropout": 0.1,
            "encoder_pos_conv_kernel": 16,
            "encoder_pos_conv_groups": 4,
            "encoder_num_layers": 2,
            "encoder_num_heads": 2,
            "encoder_attention_dropout": 0.1,
            "encoder_ff_interm_features": 24,
            "encoder_ff_interm_dropout": 0.1,
            "encoder_dropout": 0.1,
            "encoder_layer_norm_first": large,
            "encoder_layer_drop": 0.1,
            "aux_num_out": 5 if head else None,
        }
        model = roughen(wav2vec2_model(**arguments))
        torch.save(model.state_dict(), tmp_path / "mine.pt")
        about = {"model": arguments, "normalize_waveform": large}
        if head:
            about["labels"] = ["-", "|", "e", "t", "а"]
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(about))
        saved = open_model(tmp_path / "mine.pt", ["mask_embedding"])
        assert saved.vocabularies == ({"ctc": LETTERS} if head else {})
        more = ["CTC logits"] if head else []
        proved(saved, tmp_path / "mine.pt", "torchaudio", *more)

    def test_a_file_alone_is_read_as_published(self, tmp_path):
        published().save(tmp_path / "ours", ())
        convert(tmp_path / "ours", tmp_path / "ta", "torchaudio")
        (tmp_path / "ta/model.yaml").unlink()
        saved = open_model(tmp_path / "ta", ["mask_embedding"])
        assert "assumed 12 heads, post-norm and the strides" in saved.notes[0]
        proved(saved, tmp_path / "ta", "torchaudio")

    @pytest.mark.parametrize("norm", NORMS)
    def test_what_is_written_is_theirs(self, tmp_path, norm):
        for kind, more in (("quantizer", []), ("head", ["CTC logits"])):
            saved = ours(tmp_path / kind, norm, kind == "head")
            convert(tmp_path / kind, tmp_path / f"{kind}_ta", "torchaudio", prove=True)
            proved(saved, tmp_path / f"{kind}_ta", "torchaudio", *more)


class TestFairseq:
    """fairseq installs on no recent Python; its files go through the converters of others."""

    @pytest.mark.parametrize("norm", NORMS)
    def test_what_is_written_is_what_their_converters_read(self, tmp_path, norm):
        for kind, more in (("quantizer", "contrastive loss"), ("head", "CTC logits")):
            saved = ours(tmp_path / kind, norm, kind == "head")
            convert(tmp_path / kind, tmp_path / f"{kind}_fs", "fairseq", prove=True)
            proved(saved, tmp_path / f"{kind}_fs", "fairseq", more)

    def test_an_old_checkpoint_with_args(self, tmp_path):
        """As XLSR-53 has it: argparse, the older file format, settings as a program."""
        saved = ours(tmp_path / "ours", "layer", head=False)
        args = argparse.Namespace(
            arch="wav2vec2", extractor_mode="layer_norm", encoder_layers=2, encoder_embed_dim=16,
            encoder_ffn_embed_dim=24, encoder_attention_heads=2, activation_fn="gelu", dropout=0.0,
            attention_dropout=0.0, activation_dropout=0.0, final_dim=8, layer_norm_first=True,
            conv_feature_layers="[(12, 10, 5)] + [(12, 3, 2)] * 4 + [(12,2,2)] + [(12,2,2)]",
            conv_bias=True, quantize_targets=True, feature_grad_mult=1.0, latent_vars=10,
            latent_groups=2, latent_dim=0, conv_pos=16, conv_pos_groups=4, normalize=True,
            latent_temp="(2.0,0.1,0.999995)", encoder_layerdrop=0.0, dropout_input=0.0,
            dropout_features=0.0, task="audio_pretraining",
        )  # fmt: skip
        weights = names.to_theirs(saved.weights, names.fairseq(saved.encoder, head=False))
        content = {
            "args": args,
            "model": weights,
            "extra_state": {"epoch": 3},
            "optimizer_history": [],
        }
        torch.save(content, tmp_path / "xlsr.pt", _use_new_zipfile_serialization=False)
        found, read = open_as(tmp_path / "xlsr.pt")
        assert found == "fairseq"
        assert read.encoder == saved.encoder
        assert read.objectives == saved.objectives
        assert all(torch.equal(read.weights[n], t) for n, t in saved.weights.items())
        proved(read, tmp_path / "xlsr.pt", "fairseq", "contrastive loss")

    def ctc(self, folder, head_rows, **more):
        """A fine-tuned checkpoint, its encoder's settings in w2v_args; rows 0.. of the head."""
        saved = ours(folder / "ours", "layer", head=True)
        matrix, bias = torch.arange(head_rows * 16.0), torch.arange(float(head_rows))
        head = {"weight": matrix.view(head_rows, 16) / 100, "bias": bias}
        weights = saved.weights | {f"{names.HEAD}.{leaf}": tensor for leaf, tensor in head.items()}
        convert(folder / "ours", folder / "written", "fairseq")
        cfg = torch.load(folder / "written/model.pt")["cfg"]
        inner = argparse.Namespace(**cfg["model"]["w2v_args"]["model"], normalize=True)
        args = argparse.Namespace(
            arch="wav2vec_ctc", w2v_args=inner, dropout=0.05, layerdrop=0.1, normalize=True
        )
        state = {
            "args": args,
            "model": names.to_theirs(weights, names.fairseq(saved.encoder, head=True)),
            **more,
        }
        (folder / "old").mkdir()
        torch.save(state, folder / "old/model.pt")
        return folder / "old"

    def test_the_blank_is_the_first_symbol_of_the_dictionary(self, tmp_path):
        folder = self.ctc(tmp_path, 7)
        with pytest.raises(UserError, match=r"without its dictionary: put dict\.ltr\.txt"):
            open_model(folder)
        (folder / "dict.ltr.txt").write_text("| 10\nE 9\nT 8\n")
        saved = open_model(folder)
        assert saved.vocabularies == {"ctc": Vocabulary("characters", (" ", "E", "T"))}
        assert saved.weights[f"{names.HEAD}.bias"].tolist() == [0, 4, 5, 6]
        assert saved.encoder.context.dropout == 0.05
        assert saved.encoder.context.layer_drop == 0.1
        proved(saved, folder, "fairseq", "CTC logits")
        (folder / "dict.ltr.txt").write_text("| 10\nE 9\n")
        with pytest.raises(UserError, match="has 6 symbols, but the head has 7 rows"):
            open_model(folder)

    def test_phone_dictionaries_and_a_blank_of_its_own(self, tmp_path):
        folder = self.ctc(tmp_path, 7)
        (folder / "dict.phn.txt").write_text("tʃ 10\naɪ 9\n<ctc_blank> 0\n")
        saved = open_model(folder)
        assert saved.vocabularies == {"ctc": Vocabulary("phonemes", ("tʃ", "aɪ"))}
        assert saved.weights[f"{names.HEAD}.bias"].tolist() == [6, 4, 5]

    def test_unispeech_has_its_tokens_first_and_the_blank_after_them(self, tmp_path):
        folder = self.ctc(tmp_path, 7)
        (folder / "vocab.json").write_text(json.dumps({"a": 1, "tʃ": 0, "o": 2}))
        saved = open_model(folder)
        assert saved.vocabularies == {"ctc": Vocabulary("phonemes", ("tʃ", "a", "o"))}
        assert saved.weights[f"{names.HEAD}.bias"].tolist() == [3, 0, 1, 2]
        assert "3 phonemes; the blank was row 3 (<s>)" in saved.notes

    @pytest.mark.parametrize("name", ["vocab_dict.json", "phones.json"])
    def test_a_phone_of_unispeech_without_a_name_is_left_out(self, tmp_path, name):
        folder = self.ctc(tmp_path, 7)
        (folder / name).write_text(json.dumps({"a": 1, "": 0, "o\u0303": 2}))
        saved = open_model(folder)
        assert saved.vocabularies == {"ctc": Vocabulary("phonemes", ("a", "o\u0303"))}
        assert saved.weights[f"{names.HEAD}.bias"].tolist() == [3, 1, 2]
        assert any(note.startswith("head rows of '' <pad> </s> <unk> left out") for note in
                   saved.notes)  # fmt: skip

    def test_a_dictionary_within_the_checkpoint(self, tmp_path):
        symbols = ["<s>", "<pad>", "</s>", "<unk>", "|", "E", "madeupword0000"]
        folder = self.ctc(tmp_path, 7, task_state={"target_dictionary": {"symbols": symbols}})
        assert open_model(folder).vocabularies == {"ctc": Vocabulary("characters", (" ", "E"))}

    def test_no_settings_of_the_encoder(self, tmp_path):
        folder = self.ctc(tmp_path, 7)
        content = torch.load(folder / "model.pt", weights_only=False)
        content["args"].w2v_args, content["args"].w2v_path = None, "/theirs/base.pt"
        torch.save(content, folder / "model.pt")
        with pytest.raises(UserError, match=r"has no w2v_args.*/theirs/base\.pt"):
            open_model(folder)

    @pytest.mark.parametrize(
        "text",
        [
            "__import__('os').system('true')",
            "[(1, 2)]",
            "[(3,)*9]",
            "[[(1, 1, 1)] * 99] * 99",
            "(" * 5000,
            "",
            "[(1,1,1)]" + "*100" * 5,
            "[(1, 1, 1)] * 301",
            "[(1, 1, 1)] * 99999999999",
        ],
    )
    def test_a_program_in_the_settings_is_not_run(self, tmp_path, text):
        ours(tmp_path / "ours", "layer", head=False)
        convert(tmp_path / "ours", tmp_path / "fs", "fairseq")
        content = torch.load(tmp_path / "fs/model.pt")
        content["cfg"]["model"]["conv_feature_layers"] = text
        torch.save(content, tmp_path / "fs/model.pt")
        with pytest.raises(
            UserError, match=r"conv_feature_layers (is|has \d+ convolutions)|the convolutions are"
        ):
            open_model(tmp_path / "fs")

    @pytest.mark.parametrize("format", ["fairseq", "fairseq2"])
    def test_widths_that_agree_need_no_projection(self, tmp_path, format, monkeypatch):
        # fairseq and fairseq2 then have none, which torchaudio's converter does not know.
        monkeypatch.setattr("speechx.interchange.proof.available", lambda format: False)
        small = small_convolutional("group")
        layers = seven_convolutions(16)
        model = quantizing(replace(small, features=replace(small.features, layers=layers)))
        model.save(tmp_path / "learned", ())
        with pytest.raises(UserError, match="has learned one"):
            convert(tmp_path / "learned", tmp_path / "out", format)
        with torch.no_grad():
            model.encoder.post_extract_proj.weight.copy_(torch.eye(16))
            model.encoder.post_extract_proj.bias.zero_()
        model.save(tmp_path / "plain", ())
        convert(tmp_path / "plain", tmp_path / "out", format)
        assert not any(
            ("proj." in n and "extract" in n) or "model_dim" in n
            for n in torch.load(tmp_path / "out/model.pt")["model"]
        )
        before, after = open_folder(tmp_path / "plain"), open_model(tmp_path / "out")
        assert all(torch.equal(after.weights[n], t) for n, t in before.weights.items())


class TestTokenizers:
    """What the tokenizers of Hugging Face models leave beside them."""

    def folder(self, tmp_path, rows, **about):
        from transformers import Wav2Vec2ForCTC

        model = roughen(Wav2Vec2ForCTC(their_config("layer", vocab_size=rows, **about)))
        model.save_pretrained(tmp_path / "hf")
        return tmp_path / "hf"

    def test_tokens_in_brackets_and_a_blank_at_the_end(self, tmp_path):
        folder = self.folder(tmp_path, 5, pad_token_id=4)
        vocab = {"a": 0, "b": 1, "|": 2, "[UNK]": 3, "[PAD]": 4}
        (folder / "vocab.json").write_text(json.dumps(vocab))
        unknown = {"content": "[UNK]", "lstrip": False}
        tokens = {"pad_token": "[PAD]", "unk_token": unknown}
        (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
        saved = open_model(folder)
        assert saved.vocabularies == {"ctc": Vocabulary("characters", ("a", "b", " "))}
        assert "the blank was row 4 ([PAD])" in saved.notes[1]
        proved(saved, folder, "hugging_face", "CTC logits")

    @pytest.mark.parametrize("rows", [5, 7], ids=["without rows", "with rows"])
    def test_tokens_that_were_added_later(self, tmp_path, rows):
        folder = self.folder(tmp_path, rows, pad_token_id=4)
        vocab = {"|": 0, "a": 1, "b": 2, "<unk>": 3, "<pad>": 4}
        (folder / "vocab.json").write_text(json.dumps(vocab))
        (folder / "added_tokens.json").write_text(json.dumps({"<s>": 5, "</s>": 6}))
        saved = open_model(folder)
        assert saved.vocabularies == {"ctc": Vocabulary("characters", (" ", "a", "b"))}
        assert len(saved.weights[f"{names.HEAD}.bias"]) == 4

    def test_a_blank_that_is_not_the_padding_is_refused(self, tmp_path):
        folder = self.folder(tmp_path, 3, pad_token_id=0)
        (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "<pad>": 2}))
        with pytest.raises(UserError, match=r"pad_token_id = 0 .* but <pad> is row 2"):
            open_model(folder)

    @pytest.mark.parametrize(
        ("vocab", "expected"),
        [
            ({"eng": {"a": 0}, "deu": {"a": 0}}, "a vocabulary for each language"),
            ({"a": 1, "b": 2, "<pad>": 3}, "rows are not numbered from 0 to 2"),
            ({"a": "x", "b": 1, "<pad>": 0}, "rows are not numbered from 0 to 2"),
            ([1, 2], "expected an object, found a list"),
        ],
    )
    def test_vocabularies_that_make_no_sense(self, tmp_path, vocab, expected):
        folder = self.folder(tmp_path, 3)
        with pytest.raises(UserError, match=r"a CTC head but no vocab\.json"):
            open_model(folder)
        (folder / "vocab.json").write_text(json.dumps(vocab))
        with pytest.raises(UserError, match=expected):
            open_model(folder)
