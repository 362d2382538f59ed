"""The tables of names: whole, one-to-one, and the same in both directions."""

from __future__ import annotations

import pytest
import torch

from speechx.errors import UserError
from speechx.interchange import names
from speechx.models.ctc import CTC
from speechx.models.wav2vec2 import Wav2Vec2Pretraining
from tests.conftest import small_convolutional

TABLES = {
    "fairseq": names.fairseq,
    "hugging_face": names.hugging_face,
    "fairseq2": names.fairseq2,
    "torchaudio": names.torchaudio,
}


def model(norm, kind):
    config = small_convolutional(norm)
    return Wav2Vec2Pretraining(config) if kind == "pretraining" else CTC(config, 5)


@pytest.mark.parametrize("format", TABLES)
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", ["pretraining", "ctc"])
def test_every_tensor_goes_there_and_comes_back(format, norm, kind):
    own = model(norm, kind).state_dict()
    if format == "torchaudio":  # a trunk and a head
        own = {n: t for n, t in own.items() if n.startswith(("trunk.", "head."))}
        own.pop("trunk.mask_vector")
    table = TABLES[format](small_convolutional(norm), kind)
    theirs = names.to_theirs(own, table)
    assert len(theirs) == len(own)
    back = names.to_ours(theirs, table, "the file")
    assert set(back) == set(own)
    assert all(torch.equal(back[n], own[n]) for n in own)


def test_examples_of_every_format():
    """Written by hand from checkpoints that exist."""
    layer, group = small_convolutional("layer"), small_convolutional("group")
    for table, theirs, ours in (
        (names.fairseq(group, "pretraining"), "mask_emb", "trunk.mask_vector"),
        (names.fairseq(group, "pretraining"), "feature_extractor.conv_layers.0.2.weight",
         "trunk.encoder.blocks.0.norm.weight"),
        (names.fairseq(layer, "pretraining"), "feature_extractor.conv_layers.6.2.1.bias",
         "trunk.encoder.blocks.6.norm.bias"),
        (names.fairseq(layer, "ctc"), "w2v_encoder.w2v_model.encoder.layers.11.fc2.weight",
         "trunk.transformer.blocks.11.down.weight"),
        (names.fairseq(layer, "ctc"), "w2v_encoder.w2v_model.encoder.pos_conv.0.weight_g",
         "trunk.transformer.position.gain"),
        (names.fairseq(layer, "ctc"), "w2v_encoder.proj.bias", "head.bias"),
        (names.HUGGING_FACE, "wav2vec2.encoder.layers.23.final_layer_norm.weight",
         "trunk.transformer.blocks.23.feed_norm.weight"),
        (names.HUGGING_FACE,
         "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1",
         "trunk.transformer.position.direction"),
        (names.fairseq2(group, "ctc"), "encoder_frontend.layer_norm.bias",
         "trunk.transformer.norm.bias"),
        (names.fairseq2(layer, "pretraining"), "encoder.layer_norm.bias",
         "trunk.transformer.norm.bias"),
        (names.fairseq2(layer, "pretraining"), "final_proj.bias", "project_context.bias"),
        (names.fairseq2(layer, "ctc"), "final_proj.bias", "head.bias"),
        (names.TORCHAUDIO, "encoder.transformer.layers.3.feed_forward.output_dense.bias",
         "trunk.transformer.blocks.3.down.bias"),
    ):  # fmt: skip
        assert names.our_name(theirs, table) == ours


def test_a_tensor_without_a_place_is_named():
    theirs = names.to_theirs(model("layer", "ctc").state_dict(), names.HUGGING_FACE)
    with pytest.raises(UserError, match=r"file holds 1 of \d+ tensors .* \(first: projector\.bias"):
        names.to_ours({**theirs, "projector.bias": torch.zeros(1)}, names.HUGGING_FACE, "file")


def test_a_tap_of_zeros_in_a_folded_convolution_stays_zero():
    place = "wav2vec2.encoder.pos_conv_embed.conv.weight"
    folded = torch.randn(6, 3, 4)
    folded[:, :, 2] = 0
    ours = names.to_ours({place: folded}, names.HUGGING_FACE, "file")
    gain, direction = (ours[f"{names.POSITION}.{leaf}"] for leaf in ("gain", "direction"))
    whole = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
    worst = (whole - folded).abs().max()
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-6
    assert gain[0, 0, 2] == 0


def test_the_codebook_is_split_into_its_groups():
    """Row g*V + v of theirs is entry v of group g."""
    own = model("layer", "pretraining").state_dict()
    theirs = names.to_theirs(own, names.HUGGING_FACE)["quantizer.codevectors"]
    assert theirs.shape == (1, 20, 4)
    assert torch.equal(theirs[0, 13], own["quantizer.codebook_GVQ"][1, 3])
    with pytest.raises(UserError, match="codebook of shape"):
        names.to_ours(
            {"quantizer.codevectors": torch.zeros(1, 20, 3), "project_q.weight": torch.zeros(8, 9)},
            names.HUGGING_FACE,
            "the file",
        )
