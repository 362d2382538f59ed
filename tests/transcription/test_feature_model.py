"""The layers of a model: equal to transformers' hidden states, in windows, with exact times."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import speechx
from speechx.errors import UserError
from speechx.models.quantizer import QuantizerConfig
from speechx.objectives.model import SpeechModel
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from tests.conftest import (
    SMALL_CONFORMER,
    SMALL_QUANTIZER,
    small_convolutional,
    small_filterbank,
)


def pretrained(folder, encoder):
    torch.manual_seed(0)
    objective = Wav2Vec2Config(quantizer=QuantizerConfig(**SMALL_QUANTIZER))
    SpeechModel(encoder, {"wav2vec2": objective}, {}).save(folder, ["xx"])
    return folder


@pytest.fixture(scope="module")
def noise():
    return 0.1 * np.random.default_rng(0).standard_normal(2 * 16_000).astype(np.float32)


@pytest.mark.interop
@pytest.mark.parametrize("norm", ["group", "layer"], ids=["post-norm", "pre-norm"])
def test_layers_are_the_hidden_states_of_transformers(tmp_path, noise, norm):
    from transformers import Wav2Vec2Model

    from speechx.interchange.conversion import convert

    ours = pretrained(tmp_path / "ours", small_convolutional(norm, num_layers=3))
    convert(ours, tmp_path / "theirs", "hugging_face")
    theirs = Wav2Vec2Model.from_pretrained(tmp_path / "theirs").eval()
    given_S = (noise - noise.mean()) / np.sqrt(noise.var() + 1e-5) if norm == "layer" else noise
    with torch.inference_mode():
        states = theirs(torch.from_numpy(given_S)[None], output_hidden_states=True).hidden_states
    expected_TLD = torch.stack(states, 2)[0].numpy()
    ffn = {}
    for number, layer in enumerate(theirs.encoder.layers, start=1):
        layer.feed_forward.register_forward_hook(lambda *a, n=number: ffn.update({n: a[2]}))
    with torch.inference_mode():
        theirs(torch.from_numpy(given_S)[None])
    for model in map(speechx.load_encoder, (ours, tmp_path / "theirs")):
        found_TLD = model.features(noise)
        assert found_TLD.shape == (99, 4, 16)
        np.testing.assert_allclose(found_TLD, expected_TLD, atol=1e-5)
        for layer in range(4):
            np.testing.assert_allclose(
                model.features(noise, layer), expected_TLD[:, layer], atol=1e-5
            )
        fairseq_TLD = model.features(noise, "0,1,2,3", convention="fairseq")
        np.testing.assert_allclose(fairseq_TLD[:, :3], expected_TLD[:, :3], atol=1e-5)
        last_TD = torch.from_numpy(fairseq_TLD[:, 3])
        if norm == "layer":  # transformers adds the final norm to the last layer
            assert not np.allclose(last_TD, expected_TLD[:, 3], atol=0.1)
            last_TD = theirs.encoder.layer_norm(last_TD).detach()
        np.testing.assert_allclose(last_TD, expected_TLD[:, 3], atol=1e-5)
        before_TLD = model.features(noise, convention="before_residual")
        for number in (1, 2, 3):
            expected_TD = ffn[number][0].numpy()
            np.testing.assert_allclose(before_TLD[:, number - 1], expected_TD, atol=1e-5)


@pytest.mark.parametrize("kind", ["transformer", "conformer"])
def test_inference_and_a_batch_give_the_states_of_the_encoder(tmp_path, noise, kind):
    from dataclasses import replace

    from speechx.config import parse
    from speechx.models.context.conformer import ConformerConfig
    from speechx.transcription.layers import hidden_states

    encoder = small_filterbank()
    if kind == "conformer":
        encoder = replace(encoder, context=parse(ConformerConfig, SMALL_CONFORMER, "test"))
    model = speechx.load_encoder(pretrained(tmp_path / "model", replace(encoder, normalize=False)))
    trained, _ = SpeechModel.from_saved(speechx.models.folder.open_folder(tmp_path / "model"))
    wave_BS = torch.zeros(2, len(noise))
    wave_BS[0], wave_BS[1, :20_000] = torch.from_numpy(noise), torch.from_numpy(noise[:20_000])
    lengths_B = torch.tensor([len(noise), 20_000])
    for convention in ("hugging_face", "fairseq", "before_residual"):
        layers = (1, 2)
        with torch.inference_mode():
            found_BTLD, frames_B = hidden_states(
                trained.eval().encoder, layers, convention, wave_BS, lengths_B
            )
        for row, frames in enumerate(frames_B.tolist()):
            wave_S = wave_BS[row, : lengths_B[row]].numpy()
            expected_TLD = model.features(wave_S, layers, convention=convention)
            np.testing.assert_allclose(found_BTLD[row, :frames], expected_TLD, atol=1e-5)
    assert model.features(noise, "all").shape == model.features(noise, [0, 1, 2]).shape


def test_a_head_takes_nothing_away(tmp_path, noise):
    from tests.toy_models import toy_model

    recognizer = speechx.load(toy_model(tmp_path / "toy"))
    before = recognizer.log_probabilities(noise)
    features = recognizer.encoder.features(noise, 1)
    np.testing.assert_array_equal(
        features, speechx.load_encoder(tmp_path / "toy").features(noise, 1)
    )
    np.testing.assert_array_equal(recognizer.log_probabilities(noise), before)


def test_times_of_frames_follow_from_the_receptive_field(tmp_path):
    model = speechx.load_encoder(pretrained(tmp_path / "model", small_convolutional()))
    assert model.frame_step == 0.02
    assert model.first_centre == 200 / 16_000
    np.testing.assert_allclose(model.frame_times(3), [0.0125, 0.0325, 0.0525])
    # Only frames whose 400 samples hold the click are changed by it before the context network.
    quiet_S, click_S = np.zeros(16_000, np.float32), np.zeros(16_000, np.float32)
    click_S[8000] = 1
    raw = [model.encoder.encoder.feature_extractor(torch.from_numpy(w)[None])[0] for w in
           (quiet_S + 1e-3, click_S + 1e-3)]  # fmt: skip
    assert raw[0].shape == raw[1].shape == (1, 49, 12)
    near = np.abs(model.frame_times(49) - 8000 / 16_000) <= 0.0125
    assert near.sum() == 1 or near.sum() == 2


def test_a_long_recording_has_the_features_of_one_pass(tmp_path):
    from speechx.data.batches import normalize
    from speechx.transcription.layers import hidden_states
    from tests.toy_models import toy_model

    # A frame of this model sees less than the two seconds beside a window.
    local = toy_model(tmp_path / "local", encoder=small_convolutional("layer"), local=True)
    model = speechx.load_encoder(local)
    long_S = 0.1 * np.random.default_rng(1).standard_normal(70 * 16_000).astype(np.float32)
    whole_BS = torch.from_numpy(normalize(long_S))[None]
    with torch.inference_mode():
        one_pass, _ = hidden_states(model.encoder, (2,), "hugging_face", whole_BS, None)
    found_TD = model.features(iter(np.split(long_S, 7)), 2)
    assert len(found_TD) == model.config.features.frames(len(long_S))
    np.testing.assert_allclose(found_TD, one_pass[0, :, 0], atol=1e-3)


def test_what_is_no_layer(tmp_path, noise):
    model = speechx.load_encoder(pretrained(tmp_path / "model", small_convolutional()))
    for layer in (-1, 3, "x", "", [], [1, 1], True, "1,,2"):
        with pytest.raises(UserError, match="layer"):
            model.features(noise, layer)
    with pytest.raises(UserError, match="convention is 'keras'"):
        model.features(noise, 1, convention="keras")
    with pytest.raises(UserError, match="does not exist"):
        speechx.load_encoder(tmp_path / "nowhere")
    assert model.features(np.zeros(10, np.float32), 1).shape == (0, 16)
