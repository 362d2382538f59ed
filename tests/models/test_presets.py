"""The presets are the published models, counted in parameters; and how a YAML file changes them."""

from __future__ import annotations

import pytest
import torch
from speechx.models.filterbank import FilterbankConfig
from speechx.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2Pretraining

from speechx.config import parse, to_dict
from speechx.errors import UserError
from speechx.interchange import names
from speechx.models.presets import PRESETS, expand

SIZES = {  # parameters with the heads of pretraining
    "base": 95_044_608,
    "large": 317_390_592,
    "xlsr_300m": 317_390_592,
    "xls_r_1b": 965_514_752,
    "xls_r_2b": 2_162_932_352,
}
# What the `config.json` of wav2vec2-base, -large-lv60, -xls-r-300m, -xls-r-1b and -xls-r-2b say.
LARGE = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "conv_bias": True, "feat_extract_norm": "layer",
    "do_stable_layer_norm": True, "codevector_dim": 768, "proj_codevector_dim": 768,
}  # fmt: skip
WIDE = {"num_hidden_layers": 48, "codevector_dim": 1024, "proj_codevector_dim": 1024}
HUGGING_FACE = {
    "base": {"codevector_dim": 256, "proj_codevector_dim": 256},
    "large": LARGE,
    "xlsr_300m": LARGE,
    "xls_r_1b": {**LARGE, **WIDE, "hidden_size": 1280, "intermediate_size": 5120},
    "xls_r_2b": {**LARGE, **WIDE, "hidden_size": 1920, "intermediate_size": 7680},
}
# An architecture that fairseq2 has, and what its configuration changes for XLS-R.
WIDE2 = {"num_encoder_layers": 48, "final_dim": 1024, "quantized_dim": 1024}
FAIRSEQ2 = {
    "base": ("base", {}),
    "large": ("large_lv60k", {}),
    "xlsr_300m": ("large_lv60k", {}),
    "xls_r_1b": ("large_lv60k", {**WIDE2, "model_dim": 1280, "ffn_inner_dim": 5120}),
    "xls_r_2b": ("large_lv60k", {**WIDE2, "model_dim": 1920, "ffn_inner_dim": 7680}),
}
TORCHAUDIO = {
    "base": "wav2vec2_base",
    "large": "wav2vec2_large_lv60k",
    "xlsr_300m": "wav2vec2_xlsr_300m",
    "xls_r_1b": "wav2vec2_xlsr_1b",
    "xls_r_2b": "wav2vec2_xlsr_2b",
}


def hugging_face_model(name):
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    return Wav2Vec2ForPreTraining(Wav2Vec2Config(**HUGGING_FACE[name]))


def fairseq2_model(name):
    import soundfile  # noqa: F401  fairseq2 needs the libsndfile that comes with it
    from fairseq2.models.wav2vec2 import create_wav2vec2_model, get_wav2vec2_model_hub

    arch, changes = FAIRSEQ2[name]
    config = get_wav2vec2_model_hub().get_arch_config(arch)
    for key, value in changes.items():
        owner = config if hasattr(config, key) else config.encoder_config
        assert hasattr(owner, key)
        setattr(owner, key, value)
    return create_wav2vec2_model(config)


def torchaudio_model(name):
    import torchaudio

    return getattr(torchaudio.models, TORCHAUDIO[name])()


PEERS = {
    "transformers": (hugging_face_model, names.hugging_face, set()),
    "fairseq2": (fairseq2_model, names.fairseq2, {"quantizer.num_updates"}),
    "torchaudio": (torchaudio_model, names.torchaudio, set()),
}


@pytest.fixture(scope="module")
def models():
    """Every preset with the heads of pretraining; on the meta device they weigh nothing."""
    with torch.device("meta"):
        return {name: Wav2Vec2Pretraining(PRESETS[name]()) for name in SIZES}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_published_models(name, models):
    assert sum(p.numel() for p in models[name].parameters()) == SIZES[name]


@pytest.mark.interop
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", SIZES)
def test_every_tensor_has_the_shape_it_has_elsewhere(name, peer, models):
    """The other packages' models, built by their own factories; torchaudio's is the trunk alone."""
    build, table, without = PEERS[peer]
    with torch.device("meta"):
        theirs = build(name)
    given = {n: t for n, t in theirs.state_dict().items() if n not in without}
    shapes = {
        n: t.shape
        for n, t in names.to_ours(given, table(PRESETS[name](), "pretraining"), peer).items()
    }
    own = {n: t.shape for n, t in models[name].state_dict().items()}
    if peer == "torchaudio":
        own = {n: s for n, s in own.items() if n.startswith("trunk.") and n != "trunk.mask_vector"}
    assert shapes == own
    numbers = sum(t.numel() for t in given.values())
    print(f"{peer} {name}: {len(shapes)} tensors, {numbers:,} numbers on both sides")
    assert peer == "torchaudio" or numbers == SIZES[name]


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


def test_the_heads_of_xls_r_stay_sixteen():
    """So a head is 64 wide in 300M, 80 in 1B and 120 in 2B; no tensor's shape would tell."""
    wide = {n: PRESETS[n]().transformer for n in ("xlsr_300m", "xls_r_1b", "xls_r_2b")}
    assert [t.heads for t in wide.values()] == [16, 16, 16]
    assert [t.width // t.heads for t in wide.values()] == [64, 80, 120]


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
    with pytest.raises(
        UserError, match=r"'huge'.*tiny, base, large, xlsr_300m, xls_r_1b, xls_r_2b"
    ):
        expand("huge")
