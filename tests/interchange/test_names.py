"""The tables of names: whole, one-to-one, and the same in both directions."""

from __future__ import annotations

import pytest
import torch

from speechx.errors import UserError
from speechx.interchange import names
from speechx.models.quantizer import QuantizerConfig
from tests.conftest import SMALL_QUANTIZER, small_convolutional
from tests.models.reference_models import ctc_model, pretraining_model

TABLES = {
    "fairseq": names.fairseq,
    "hugging_face": lambda _, head: names.HUGGING_FACE,
    "fairseq2": names.fairseq2,
    "torchaudio": lambda _, head: names.TORCHAUDIO,
}


def model(norm, head):
    if head:
        return ctc_model(small_convolutional(norm), 5)
    quantizer = QuantizerConfig(**SMALL_QUANTIZER)
    return pretraining_model(small_convolutional(norm), quantizer=quantizer)


@pytest.mark.parametrize("format", TABLES)
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("head", [False, True], ids=["quantizer", "head"])
def test_every_tensor_goes_there_and_comes_back(format, norm, head):
    own = model(norm, head).state_dict()
    if format == "torchaudio":  # an encoder and a head
        own = {n: t for n, t in own.items() if n.startswith(("encoder.", names.HEAD))}
        own.pop("encoder.mask_embedding")
    table = TABLES[format](small_convolutional(norm), head)
    theirs = names.to_theirs(own, table)
    assert len(theirs) == len(own)
    back = names.to_ours(theirs, table, "the file")
    assert set(back) == set(own)
    assert all(torch.equal(back[n], own[n]) for n in own)


def test_examples_of_every_format():
    """Written by hand from checkpoints that exist."""
    layer, group = small_convolutional("layer"), small_convolutional("group")
    for table, theirs, ours in (
        (names.fairseq(group, False), "mask_emb", "encoder.mask_embedding"),
        (names.fairseq(group, False), "feature_extractor.conv_layers.0.2.weight",
         "encoder.feature_extractor.layers.0.norm.weight"),
        (names.fairseq(layer, False), "feature_extractor.conv_layers.6.2.1.bias",
         "encoder.feature_extractor.layers.6.norm.bias"),
        (names.fairseq(layer, True), "w2v_encoder.w2v_model.encoder.layers.11.fc2.weight",
         "encoder.context.layers.11.down.weight"),
        (names.fairseq(layer, True), "w2v_encoder.w2v_model.encoder.pos_conv.0.weight_g",
         "encoder.context.position.weight_g"),
        (names.fairseq(layer, True), "w2v_encoder.proj.bias", "objectives.ctc.head.bias"),
        (names.HUGGING_FACE, "wav2vec2.encoder.layers.23.final_layer_norm.weight",
         "encoder.context.layers.23.ffn_norm.weight"),
        (names.HUGGING_FACE,
         "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1",
         "encoder.context.position.weight_v"),
        (names.fairseq2(group, True), "encoder_frontend.layer_norm.bias",
         "encoder.context.norm.bias"),
        (names.fairseq2(layer, False), "encoder.layer_norm.bias",
         "encoder.context.norm.bias"),
        (names.fairseq2(layer, False), "final_proj.bias", "objectives.wav2vec2.project_hid.bias"),
        (names.fairseq2(layer, True), "final_proj.bias", "objectives.ctc.head.bias"),
        (names.TORCHAUDIO, "encoder.transformer.layers.3.feed_forward.output_dense.bias",
         "encoder.context.layers.3.down.bias"),
    ):  # fmt: skip
        assert names.our_name(theirs, table) == ours


def test_a_tensor_without_a_place_is_named():
    theirs = names.to_theirs(model("layer", True).state_dict(), names.HUGGING_FACE)
    with pytest.raises(UserError, match=r"file holds 1 of \d+ tensors .* \(first: projector\.bias"):
        names.to_ours({**theirs, "projector.bias": torch.zeros(1)}, names.HUGGING_FACE, "file")


def test_a_tap_of_zeros_in_a_folded_convolution_stays_zero():
    place = "wav2vec2.encoder.pos_conv_embed.conv.weight"
    folded = torch.randn(6, 3, 4)
    folded[:, :, 2] = 0
    ours = names.to_ours({place: folded}, names.HUGGING_FACE, "file")
    norm, direction = (ours[f"{names.POSITION}.{leaf}"] for leaf in ("weight_g", "weight_v"))
    whole = norm * direction / direction.norm(dim=(0, 1), keepdim=True)
    worst = (whole - folded).abs().max()
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-6
    assert norm[0, 0, 2] == 0


def test_the_codebook_is_split_into_its_groups():
    """Row g*V + v of theirs is entry v of group g."""
    own = model("layer", False).state_dict()
    theirs = names.to_theirs(own, names.HUGGING_FACE)["quantizer.codevectors"]
    assert theirs.shape == (1, 20, 4)
    assert torch.equal(theirs[0, 13], own["objectives.wav2vec2.quantizer.codebook"][1, 3])
    with pytest.raises(UserError, match="codebook of shape"):
        names.to_ours(
            {"quantizer.codevectors": torch.zeros(1, 20, 3), "project_q.weight": torch.zeros(8, 9)},
            names.HUGGING_FACE,
            "the file",
        )
