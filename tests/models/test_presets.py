"""The presets are the published models, counted in parameters; and how a YAML file changes them."""

from __future__ import annotations

import pytest
import torch

from speechx.config import parse, to_dict
from speechx.errors import UserError
from speechx.models.filterbank import FilterbankConfig
from speechx.models.presets import PRESETS, expand
from speechx.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2Pretraining
from tests.models.hugging_face import their_config


def parameters(make):
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())


def test_sizes_are_those_of_the_published_models():
    """94.4 million in the paper's Base and 315 in Large, and the heads of pretraining."""
    sizes = {
        name: parameters(lambda name=name: Wav2Vec2Pretraining(PRESETS[name]()))
        for name in ("base", "large", "xlsr_300m")
    }
    assert sizes["base"] == 95_044_608
    assert sizes["large"] == sizes["xlsr_300m"] == 317_390_592


@pytest.mark.interop
@pytest.mark.parametrize("name", ["base", "large"])
def test_sizes_are_those_of_hugging_face(name):
    transformers = pytest.importorskip("transformers")
    theirs = parameters(lambda: transformers.Wav2Vec2ForPreTraining(their_config(PRESETS[name]())))
    assert parameters(lambda: Wav2Vec2Pretraining(PRESETS[name]())) == theirs


def test_base_and_xlsr_differ_as_published():
    base, xlsr = PRESETS["base"](), PRESETS["xlsr_300m"]()
    assert (base.encoder.norm, base.encoder.bias, base.encoder.gradient_scale) == (
        "group", False, 0.1,
    )  # fmt: skip
    assert (xlsr.encoder.norm, xlsr.encoder.bias, xlsr.encoder.gradient_scale) == (
        "layer", True, 1.0,
    )  # fmt: skip
    assert (base.transformer.norm, xlsr.transformer.norm) == ("post", "pre")
    assert (base.transformer.heads, xlsr.transformer.heads) == (12, 16)
    assert (base.transformer.layer_drop, xlsr.transformer.layer_drop) == (0.05, 0.0)
    assert (base.normalize, xlsr.normalize) == (False, True)
    assert (base.quantizer.width, xlsr.quantizer.width) == (256, 768)
    large = PRESETS["large"]()
    assert (large.transformer.dropout, xlsr.transformer.dropout) == (0.0, 0.1)


def test_tiny_is_about_two_million():
    model = Wav2Vec2Pretraining(PRESETS["tiny"]())
    assert 1.5e6 < sum(p.numel() for p in model.parameters()) < 2.5e6


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_by_name_is_that_preset(name):
    assert parse(Wav2Vec2Config, expand(name), "test") == PRESETS[name]()
    assert parse(Wav2Vec2Config, expand({"preset": name}), "test") == PRESETS[name]()


def test_changes_are_laid_over_the_preset():
    model = parse(Wav2Vec2Config, expand({"preset": "large", "transformer": {"blocks": 3}}), "test")
    assert model.transformer.blocks == 3
    assert model.transformer.width == 1024
    assert model.encoder == PRESETS["large"]().encoder


def test_without_a_preset_it_is_base():
    assert parse(Wav2Vec2Config, expand({"normalize": True}), "test").transformer.blocks == 12


def test_another_kind_of_encoder_replaces_the_one_of_the_preset():
    model = parse(
        Wav2Vec2Config,
        expand({"preset": "base", "encoder": {"kind": "filterbank", "bins": 40}}),
        "test",
    )
    assert model.encoder == FilterbankConfig(bins=40)
    assert to_dict(model)["encoder"]["kind"] == "filterbank"


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"'huge'.*tiny, base, large, xlsr_300m"):
        expand("huge")
