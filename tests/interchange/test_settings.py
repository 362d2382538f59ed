"""Settings in other words, compared with what the tensors show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speechx.config import flat, to_dict
from speechx.errors import UserError
from speechx.interchange import fairseq, fairseq2, hugging_face, settings, torchaudio
from speechx.models.presets import PRESETS, base, large, tiny
from speechx.models.wav2vec2 import Wav2Vec2Pretraining
from tests.conftest import small_convolutional

WORDS = {
    "fairseq": fairseq.WORDS,
    "hugging_face": hugging_face.WORDS,
    "fairseq2": fairseq2.ALL,
    "torchaudio": torchaudio.WORDS,
}


@pytest.mark.parametrize("format", WORDS)
@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "tiny"])
def test_what_is_written_is_read_again(format, preset):
    config = PRESETS[preset]()
    theirs = WORDS[format].theirs(config)
    ours = WORDS[format].ours(theirs, "the file")
    assert ours == {name: flat(to_dict(config))[name] for name in WORDS[format].names.values()}


def test_their_values():
    assert hugging_face.WORDS.theirs(large())["do_stable_layer_norm"] is True
    assert fairseq.WORDS.theirs(base())["extractor_mode"] == "default"
    assert fairseq2.ENCODER.theirs(large())["norm_order"] == "PRE"
    assert torchaudio.WORDS.theirs(base())["extractor_mode"] == "group_norm"


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_tensors_show_all_sizes_but_strides_and_heads(norm):
    config = replace(small_convolutional(norm), normalize=False)
    measured = settings.measure(Wav2Vec2Pretraining(config).state_dict(), "the file")
    said = flat(to_dict(config))
    for layer in said["encoder.layers"]:
        del layer["stride"]
    assert measured == {name: said[name] for name in measured}
    hidden = {"transformer.heads", "transformer.norm"}
    assert hidden.isdisjoint(measured)
    assert {n for n in said if n.startswith(("quantizer", "transformer"))} - set(measured) == {
        *hidden, "transformer.dropout", "transformer.attention_dropout", "transformer.layer_drop",
        "transformer.activation_dropout",
    }  # fmt: skip


def test_heads_and_strides_of_the_published_models():
    for preset in [name for name in PRESETS if name != "tiny"]:
        config = PRESETS[preset]()
        assert settings.heads_of(config.transformer.width, "") == config.transformer.heads
        layers = to_dict(config)["encoder"]["layers"]
        bare = [{"channels": r["channels"], "kernel": r["kernel"]} for r in layers]
        assert settings.strides_of(bare, "") == layers
    with pytest.raises(UserError, match="100 is none of the published widths"):
        settings.heads_of(100, "the file")
    with pytest.raises(UserError, match=r"kernels \[9\] are not those"):
        settings.strides_of([{"channels": 4, "kernel": 9}], "the file")


def test_a_filterbank_is_refused():
    with pytest.raises(UserError, match="filterbank encoder, which fairseq does not have"):
        settings.convolutions(tiny(), "fairseq")


def test_the_convolutions_of_fairseq_are_a_program_of_lists():
    """Multiplied five times by 100 they would fill the memory."""

    def rows(text):
        return fairseq._rows_of_text(text, "the file")

    assert rows("[(512, 10, 5)] + [(512, 3, 2)] * 2") == [[512, 10, 5], [512, 3, 2], [512, 3, 2]]
    assert rows([[512, 10, 5]]) == [[512, 10, 5]]
    assert len(rows("[(1, 1, 1)] * 300")) == 300
    for text, count in (
        ("[(1,1,1)]" + "*100" * 5, 10_000),
        ("[(1,1,1)] * 99999999999", 99999999999),
    ):
        with pytest.raises(UserError, match=f"has {count} convolutions; expected 300 at most"):
            rows(text)
