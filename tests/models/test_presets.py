"""The presets are the published models, counted in parameters, and what their papers set."""

from __future__ import annotations

import pytest
import torch

from speechx.config import parse
from speechx.errors import UserError
from speechx.interchange import names
from speechx.models.context.conformer import Conformer
from speechx.models.features.filterbank import FilterbankConfig
from speechx.models.presets import PRESETS, preset
from speechx.objectives import AnyObjective
from speechx.objectives.cpc import CPCConfig
from speechx.objectives.model import SpeechModel
from speechx.objectives.wav2vec import Wav2VecConfig
from speechx.objectives.wav2vec2 import Wav2Vec2Config

SIZES = {  # parameters with the quantizer and its projections
    "base": 95_044_608,
    "large": 317_390_592,
    "xlsr_300m": 317_390_592,
    "xls_r_1b": 965_514_752,
    "xls_r_2b": 2_162_932_352,
}
# What the `config.json` of wav2vec2-base, -large-lv60, -xls-r-300m, -xls-r-1b and -xls-r-2b state.
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


PACKAGES = {
    "transformers": (hugging_face_model, lambda _, head: names.HUGGING_FACE, set()),
    "fairseq2": (fairseq2_model, names.fairseq2, {"quantizer.num_updates"}),
    "torchaudio": (torchaudio_model, lambda _, head: names.TORCHAUDIO, set()),
}


def model(name):
    """The preset with its contrastive objective."""
    chosen = PRESETS[name]()
    objective = parse(Wav2Vec2Config, dict(chosen.objectives.get("wav2vec2", {})), "test")
    return SpeechModel(chosen.encoder, {"wav2vec2": objective}, {})


@pytest.fixture(scope="module")
def models():
    with torch.device("meta"):  # where they need no memory
        return {name: model(name) for name in SIZES}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_published_models(name, models):
    assert sum(p.numel() for p in models[name].parameters()) == SIZES[name]


@pytest.mark.interop
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", SIZES)
def test_every_tensor_has_the_shape_it_has_elsewhere(name, package, models):
    """The other packages' models, from their own factories; torchaudio's is an encoder alone."""
    build, table, without = PACKAGES[package]
    with torch.device("meta"):
        theirs = build(name)
    given = {n: t for n, t in theirs.state_dict().items() if n not in without}
    shapes = {
        n: t.shape
        for n, t in names.to_ours(given, table(PRESETS[name]().encoder, False), package).items()
    }
    own = {n: t.shape for n, t in models[name].state_dict().items()}
    if package == "torchaudio":
        own = {n: s for n, s in own.items() if n.startswith("encoder.")}
        del own["encoder.mask_embedding"]
    assert shapes == own
    numbers = sum(t.numel() for t in given.values())
    print(f"{package} {name}: {len(shapes)} tensors, {numbers:,} numbers on both sides")
    assert package == "torchaudio" or numbers == SIZES[name]


def test_base_and_xlsr_differ_as_published():
    base, xlsr = PRESETS["base"]().encoder, PRESETS["xlsr_300m"]().encoder
    features = [(e.features.norm, e.features.bias, e.features.gradient_scale) for e in (base, xlsr)]
    assert features == [("group", False, 0.1), ("layer", True, 1.0)]
    assert (base.context.norm, xlsr.context.norm) == ("post", "pre")
    assert (base.context.num_heads, xlsr.context.num_heads) == (12, 16)
    assert (base.context.layer_drop, xlsr.context.layer_drop) == (0.05, 0.0)
    assert (base.normalize, xlsr.normalize) == (False, True)
    assert (PRESETS["large"]().encoder.context.dropout, xlsr.context.dropout) == (0.0, 0.1)


def test_the_objectives_differ_as_published(models):
    base, large, xlsr = (models[n].configs["wav2vec2"] for n in ("base", "large", "xlsr_300m"))
    assert [c.quantizer.dim for c in (base, large, xlsr)] == [256, 768, 768]
    assert [c.features_penalty for c in (base, large, xlsr)] == [10.0, 0.0, 0.0]
    assert [c.gumbel_temperature.floor for c in (base, large, xlsr)] == [0.5, 0.1, 0.1]
    assert [c.target_dropout for c in (base, large, xlsr)] == [0.1, 0.0, 0.1]


def test_the_heads_of_xls_r_stay_sixteen():
    """So a head is 64 wide in 300M, 80 in 1B and 120 in 2B; no tensor's shape shows it."""
    wide = [PRESETS[n]().encoder.context for n in ("xlsr_300m", "xls_r_1b", "xls_r_2b")]
    assert [c.num_heads for c in wide] == [16, 16, 16]
    assert [c.embed_dim // c.num_heads for c in wide] == [64, 80, 120]


def test_tiny_is_about_two_million():
    assert isinstance(PRESETS["tiny"]().encoder.features, FilterbankConfig)
    assert 1.5e6 < sum(p.numel() for p in model("tiny").parameters()) < 2.5e6


def test_conformers_have_the_sizes_of_their_names():
    for name, millions in (("tiny_conformer", 2.0), ("conformer_600m", 605)):
        with torch.device("meta"):
            context = Conformer(PRESETS[name]().encoder.context)
        size = sum(p.numel() for p in context.parameters()) / 1e6
        assert size == pytest.approx(millions, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in ("best_rq", "w2v_bert", "masked_autoencoding")
        for name in ("tiny", "tiny_conformer", "conformer_600m")
    ],
)
def test_presets_fit_the_objectives_of_masked_mel_frames_and_codes(kind, name):
    chosen = PRESETS[name]()
    settings = {"kind": kind, **chosen.objectives.get(kind, {})}
    parse(AnyObjective, settings, "test").require(chosen.encoder, 2.0)


@pytest.mark.parametrize(
    ("name", "encoder", "objective"),
    [
        ("cpc", 1_317_120 + 526_336, 15_813_120),
        ("wav2vec", 5_779_456 + 23_611_392, 3_146_240 + 11 * 512),
    ],
)
def test_models_of_later_frames_have_the_sizes_of_the_published_code(name, encoder, objective):
    """Without the mask embedding, which only fine-tuning uses; all steps of wav2vec have a bias."""
    chosen = PRESETS[name]()
    config = {"cpc": CPCConfig, "wav2vec": Wav2VecConfig}[name]()
    with torch.device("meta"):
        built = SpeechModel(chosen.encoder, {name: config}, {})
    sizes = {
        part: sum(p.numel() for n, p in built.named_parameters() if n.startswith(part))
        for part in ("encoder", "objectives")
    }
    embedding = built.encoder.mask_embedding.numel()
    assert sizes == {"encoder": encoder + embedding, "objectives": objective}
    small = PRESETS[f"tiny_{name}"]()
    settings = parse(type(config), dict(small.objectives.get(name, {})), "test")
    settings.require(small.encoder, 1.5)
    with torch.device("meta"):
        built = SpeechModel(small.encoder, {name: settings}, {})
    assert 2e5 < sum(p.numel() for p in built.parameters()) < 6e5


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_by_name_is_that_preset(name):
    assert preset(name) == PRESETS[name]()


def test_changes_are_laid_over_the_preset():
    large = PRESETS["large"]()
    changed = large.with_context(num_layers=3).with_objective("wav2vec2", quantizer={"dim": 512})
    assert changed.encoder.context.num_layers == 3
    assert changed.encoder.context.embed_dim == 1024
    assert changed.encoder.features == large.encoder.features
    assert changed.objectives["wav2vec2"]["quantizer"] == {"dim": 512}
    assert changed.objectives["wav2vec2"]["features_penalty"] == 0.0
    assert large == PRESETS["large"]()


@pytest.mark.parametrize("name", ["huge", None, 3])
def test_an_unknown_preset_is_named_with_the_known_ones(name):
    with pytest.raises(
        UserError, match=rf"{name!r}.*tiny, base, large, xlsr_300m, xls_r_1b, xls_r_2b"
    ):
        preset(name)
