"""The proof of a conversion holds for its own file and fails for any other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechx.config import read_yaml, to_dict
from speechx.errors import UserError
from speechx.interchange import fairseq, fairseq2, hugging_face, reference_packages, torchaudio
from speechx.interchange.proof import Unproved, available, clips, prove
from speechx.models.folder import SavedModel
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import Vocabulary
from tests.models.reference_models import KINDS, pretraining_model, roughen, small

pytestmark = pytest.mark.interop
VOCABULARIES = {
    "characters": Vocabulary("characters", (" ", "'", "a", "b", "ž")),
    "phonemes": Vocabulary("phonemes", ("aː", "b", "t͡ʃ", "ʒ")),
}
FORMATS = {
    "hugging_face": hugging_face,
    "fairseq": fairseq,
    "fairseq2": fairseq2,
    "torchaudio": torchaudio,
}
SMALL = {
    "conv_dim": [24] * 7, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_conv_pos_embedding_groups": 8,
}  # fmt: skip


def model(kind, vocabulary=None):
    """A small random model as `open_model` gives it, with a quantizer or with a head."""
    torch.manual_seed(0)
    if vocabulary is None:
        made = pretraining_model(small(kind))
    else:
        objective = CTCConfig(tokens=vocabulary.token_type)
        made = SpeechModel(small(kind), {"ctc": objective}, {"ctc": vocabulary})
    roughen(made)
    return SavedModel(
        folder=Path("model"),
        encoder=made.encoder.config,
        weights={name: tensor.detach() for name, tensor in made.state_dict().items()},
        objectives={name: to_dict(config) for name, config in made.configs.items()},
        vocabularies={} if vocabulary is None else {"ctc": vocabulary},
        languages=("xx",),
    )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", [None, *VOCABULARIES])
def test_a_written_file_is_proved(format, kind, head, tmp_path):
    saved = model(kind, VOCABULARIES.get(head))
    FORMATS[format].write(saved, tmp_path)
    assert available(format)
    proof = prove(saved, tmp_path, format)
    print(f"{format} {kind} {head or 'pretraining'}\n{proof}")
    whats = {row.what for row in proof.rows}
    second = "CTC logits" if head else "contrastive loss"
    assert whats == {"outputs", second} - (
        {"contrastive loss"} if format == "torchaudio" else set()
    )
    assert max(row.difference for row in proof.rows) < 1e-5


def test_a_bare_encoder_is_proved_by_its_outputs(tmp_path):
    """`Wav2Vec2Model.save_pretrained`, as others publish it: neither quantizer nor head."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    theirs = roughen(Wav2Vec2Model(Wav2Vec2Config(**SMALL)))
    theirs.save_pretrained(tmp_path)
    saved = hugging_face.read(tmp_path)
    proof = prove(saved, tmp_path, "hugging_face")
    print(proof)
    assert [row.what for row in proof.rows] == ["outputs"]
    assert max(row.difference for row in proof.rows) < 1e-5


def test_a_state_dict_without_an_asset_card_is_read_with_our_settings(tmp_path):
    saved = model("large", VOCABULARIES["phonemes"])
    fairseq2.write(saved, tmp_path)
    card = tmp_path / "card.yaml"
    symbols = read_yaml(card)["labels"]
    card.unlink()
    lines = "".join(f"{symbol} 1\n" for symbol in symbols[4:])
    (tmp_path / "dict.txt").write_text(lines, encoding="utf-8")
    assert max(row.difference for row in prove(saved, tmp_path, "fairseq2").rows) < 1e-5


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name",
    [
        "encoder.feature_extractor.layers.3.conv.weight",
        "encoder.context.layers.1.attention.key.weight",
    ],
)
def test_one_wrong_tensor_fails_the_proof(format, name, tmp_path):
    """The weight of another layer: all shapes and names fit, only the numbers differ."""
    saved = model("large")
    FORMATS[format].write(saved, tmp_path)
    other = name.replace("layers.3", "layers.2").replace("layers.1", "layers.0")
    swapped = replace(saved, weights={**saved.weights, name: saved.weights[other]})
    with pytest.raises(UserError, match=r"not the same model: outputs differ by .* expected less"):
        prove(swapped, tmp_path, format)


@pytest.mark.parametrize("format", ["hugging_face", "fairseq", "fairseq2"])
@pytest.mark.parametrize(
    "name", ["objectives.wav2vec2.quantizer.codebook", "objectives.wav2vec2.project_q.weight"]
)
def test_the_contrastive_loss_shows_a_wrong_quantizer(format, name, tmp_path):
    """Outputs alone would not: a codebook with its groups exchanged, a projection turned."""
    saved = model("large")
    FORMATS[format].write(saved, tmp_path)
    turned = saved.weights[name].flip(0)
    with pytest.raises(UserError, match="not the same model: contrastive loss differ by"):
        prove(replace(saved, weights={**saved.weights, name: turned}), tmp_path, format)


@pytest.mark.parametrize("format", FORMATS)
def test_the_logits_show_exchanged_tokens(format, tmp_path):
    saved = model("base", VOCABULARIES["characters"])
    FORMATS[format].write(saved, tmp_path)
    tokens = saved.vocabularies["ctc"].tokens
    exchanged = Vocabulary("characters", (tokens[0], *tokens[:0:-1]))
    exchanged = replace(saved, vocabularies={"ctc": exchanged})
    with pytest.raises(UserError, match="not the same model: CTC logits differ by"):
        prove(exchanged, tmp_path, format)


def test_the_other_flavour_of_norm_fails_the_proof(tmp_path):
    """Settings count as much as weights: pre-norm and post-norm have the same tensors."""
    saved = model("large")
    torchaudio.write(saved, tmp_path)
    post = replace(
        saved,
        encoder=replace(saved.encoder, context=replace(saved.encoder.context, norm="post")),
    )
    with pytest.raises(UserError, match="not the same model: outputs"):
        prove(post, tmp_path, "torchaudio")


def test_not_a_number_is_a_difference(tmp_path):
    saved = model("base")
    torchaudio.write(saved, tmp_path)
    weights = {**saved.weights, "encoder.post_extract_proj.bias": torch.full((32,), torch.nan)}
    with pytest.raises(UserError, match="not the same model"):
        prove(replace(saved, weights=weights), tmp_path, "torchaudio")


def test_a_file_that_the_other_package_cannot_read_is_not_proved(tmp_path):
    """Transformers would draw a missing tensor; the others raise."""
    from safetensors.torch import load_file, save_file

    saved = model("base")
    hugging_face.write(saved, tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["project_hid.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"finds other tensors.*project_hid\.bias"):
        prove(saved, tmp_path, "hugging_face")
    for format in ("fairseq2", "torchaudio"):
        torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "model.pt")
        with pytest.raises(Unproved, match=f"nothing is proved: {format} cannot read "):
            prove(saved, tmp_path / "model.pt", format)


def test_one_package_that_cannot_read_a_file_does_not_hide_what_another_finds(
    tmp_path, monkeypatch
):
    """fairseq's files have two readers."""

    def unable(*_):
        raise RuntimeError("no such layer")

    saved = model("base")
    fairseq.write(saved, tmp_path)
    monkeypatch.setitem(reference_packages.READERS, ("fairseq", "fairseq2"), unable)
    proof = prove(saved, tmp_path, "fairseq")
    assert [(row.by, row.what) for row in proof.rows] == [
        ("fairseq converter of torchaudio 2.9.0", "outputs")
    ]
    assert str(proof).endswith(f"fairseq2 cannot read {tmp_path}: no such layer")
    turned = {
        **saved.weights,
        "encoder.post_extract_proj.weight": saved.weights["encoder.post_extract_proj.weight"].flip(
            0
        ),
    }
    with pytest.raises(UserError, match="not the same model"):
        prove(replace(saved, weights=turned), tmp_path, "fairseq")


def test_a_card_cannot_make_fairseq2_run_a_pickle(tmp_path, capfd):
    """`restrict: false` in an asset card would let the file it names run its program."""

    class Harm:
        def __reduce__(self):
            return print, ("harm is done",)

    saved = model("base")
    fairseq2.write(saved, tmp_path)
    card = tmp_path / "card.yaml"
    card.write_text(card.read_text(encoding="utf-8") + "restrict: false\n", encoding="utf-8")
    torch.save({"model": Harm()}, tmp_path / "model.pt")
    with pytest.raises(Unproved, match="fairseq2 cannot read"):
        prove(saved, tmp_path, "fairseq2")
    assert "harm" not in capfd.readouterr().out


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert not available("hugging_face")
    with pytest.raises(Unproved, match="needs transformers, which cannot be imported"):
        prove(model("base"), tmp_path, "hugging_face")


def test_clips_differ_in_length_and_are_always_the_same():
    first, second = clips(small("large")), clips(small("large"))
    assert len({clip.wave_BS.shape[1] for clip in first}) == 5
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.wave_BS, other.wave_BS)
        for name in ("mask_BT", "negatives_BMK"):
            assert torch.equal(one.draws[name], other.draws[name])
        assert one.wave_BS.std() == pytest.approx(1, abs=1e-3)
    assert clips(small("base"))[0].wave_BS.std() < 0.3


def test_another_temperature_of_the_contrastive_loss_is_proved(tmp_path):
    """It is a setting of every format with a quantizer."""
    saved = model("large")
    warm = {"wav2vec2": {**saved.objectives["wav2vec2"], "logit_temperature": 0.5}}
    for format in ("hugging_face", "fairseq2"):
        folder = tmp_path / format
        folder.mkdir()
        FORMATS[format].write(replace(saved, objectives=warm), folder)
        assert (
            max(
                row.difference
                for row in prove(replace(saved, objectives=warm), folder, format).rows
            )
            < 1e-5
        )
        with pytest.raises(UserError, match="not the same model: contrastive loss differ by"):
            prove(saved, folder, format)
