"""Settings in other words, compared with what the tensors show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from speechx.config import flat, to_dict
from speechx.errors import UserError
from speechx.interchange import fairseq, fairseq2, hugging_face, settings, torchaudio
from speechx.models.context.conformer import ConformerConfig
from speechx.models.folder import SavedModel
from speechx.models.presets import PRESETS
from tests.conftest import small_convolutional, small_filterbank
from tests.models.reference_models import QUANTIZER, pretraining_model

WORDS = {
    "fairseq": fairseq.WORDS,
    "hugging_face": hugging_face.WORDS,
    "fairseq2": fairseq2.WORDS,
    "torchaudio": torchaudio.WORDS,
}


def is_wav2vec2(name):
    """Whether other toolkits have such a model."""
    encoder = to_dict(PRESETS[name]().encoder)
    kinds = encoder["features"]["kind"], encoder["context"]["kind"]
    return kinds == ("convolutional", "transformer")


def published(name):
    """A preset as a model that was read, without its weights."""
    preset = PRESETS[name]()
    objectives = {"wav2vec2": {"kind": "wav2vec2", **preset.objectives.get("wav2vec2", {})}}
    return SavedModel(Path(name), preset.encoder, {}, objectives)


@pytest.mark.parametrize("format", WORDS)
@pytest.mark.parametrize("preset", [name for name in PRESETS if is_wav2vec2(name)])
def test_settings_that_are_written_are_read_again(format, preset):
    saved = published(preset)
    settings_here = settings.settings_of(saved)
    ours = WORDS[format].ours(WORDS[format].theirs(saved), "the file")
    assert ours == {name: settings_here[name] for name in WORDS[format].names.values()}


def test_their_values():
    base, large = published("base"), published("large")
    assert hugging_face.WORDS.theirs(large)["do_stable_layer_norm"] is True
    assert hugging_face.WORDS.theirs(large)["codevector_dim"] == 768
    assert fairseq.WORDS.theirs(base)["extractor_mode"] == "default"
    assert fairseq2.WORDS.theirs(large)["norm_order"] == "PRE"
    assert torchaudio.WORDS.theirs(base)["extractor_mode"] == "group_norm"


def test_a_model_without_a_quantizer_has_no_settings_of_one():
    theirs = hugging_face.WORDS.theirs(replace(published("large"), objectives={}))
    assert not any("codevector" in name for name in theirs)
    assert theirs["hidden_size"] == 1024


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_tensors_show_all_sizes_but_strides_and_heads(norm):
    encoder = small_convolutional(norm)
    measured = settings.measure(pretraining_model(encoder).state_dict(), "the file")
    known = flat({"encoder": to_dict(encoder), "objective": {"quantizer": to_dict(QUANTIZER)}})
    for layer in known["encoder.features.layers"]:
        del layer["stride"]
    assert measured == {name: known[name] for name in measured}
    sizes = [n for n in known if n.startswith(("objective.quantizer", "encoder.context"))]
    assert {n.removeprefix("encoder.context.") for n in sizes if n not in measured} == {
        "kind", "num_heads", "norm", "dropout", "attention_dropout", "activation_dropout",
        "layer_drop", "adapter_dim",
    }  # fmt: skip


def test_heads_and_strides_of_the_published_models():
    for preset in [name for name in PRESETS if is_wav2vec2(name)]:
        encoder = PRESETS[preset]().encoder
        assert settings.heads_of(encoder.context.embed_dim, "") == encoder.context.num_heads
        layers = to_dict(encoder)["features"]["layers"]
        bare = [{"channels": r["channels"], "kernel": r["kernel"]} for r in layers]
        assert settings.strides_of(bare, "") == layers
    with pytest.raises(UserError, match="100 is none of the published widths"):
        settings.heads_of(100, "the file")
    with pytest.raises(UserError, match=r"kernels \[9\] are not"):
        settings.strides_of([{"channels": 4, "kernel": 9}], "the file")


def test_filterbanks_and_conformers_are_refused_by_name():
    conformer = replace(small_convolutional("layer"), context=ConformerConfig())
    for encoder, kind in ((small_filterbank(), "filterbank"), (conformer, "conformer")):
        with pytest.raises(UserError, match=rf"{kind}.* cannot be written as fairseq"):
            settings.check_writable(encoder, "fairseq")
