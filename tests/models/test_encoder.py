"""The encoder: rows too short for a frame, masked frames and channels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from speechx.models.encoder import Encoder, mean_square
from tests.conftest import small_causal, small_convolutional, small_filterbank

ENCODERS = {
    "group": lambda: small_convolutional("group"),
    "layer": lambda: small_convolutional("layer"),
    "filterbank": small_filterbank,
    "cpc": lambda: small_causal("cpc"),
    "wav2vec": lambda: small_causal("wav2vec"),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_row_too_short_for_a_frame_leaves_its_neighbours_alone(kind):
    torch.manual_seed(3)
    model = Encoder(ENCODERS[kind]())
    wave_BS = torch.randn(2, 6000)
    wave_BS[1, 3:] = 0
    model.eval()
    with torch.no_grad():
        both = model(wave_BS, torch.tensor([6000, 3]))
        alone = model(wave_BS[:1])
        nothing = model(wave_BS[1:, :3], torch.tensor([3]))
    assert both.frames_B.tolist() == [alone.context_BTD.shape[1], 0]
    assert both.context_BTD.isfinite().all()
    torch.testing.assert_close(both.context_BTD[0], alone.context_BTD[0], atol=1e-4, rtol=0)
    assert nothing.frames_B.tolist() == [0]
    model.train()
    output = model(wave_BS, torch.tensor([6000, 3]))
    output.context_BTD[0].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_masked_frames_are_replaced_and_masked_channels_are_zero():
    """The context cannot see the features under the mask; targets still come from them."""
    torch.manual_seed(4)
    model = Encoder(small_filterbank()).eval()
    features = {}
    model.context.register_forward_pre_hook(lambda _, given: features.update(x=given[0]))
    wave_BS = torch.randn(2, 8000)
    frames = model.config.features.frames(8000)
    mask_BT = torch.zeros(2, frames, dtype=torch.bool)
    mask_BT[:, 4:9] = True
    channels_BD = torch.zeros(2, 16, dtype=torch.bool)
    channels_BD[1, 3:6] = True
    with torch.no_grad():
        plain = model(wave_BS)
        output = model(wave_BS, mask_BT=mask_BT, channel_mask_BD=channels_BD)
    assert torch.equal(features["x"][0, 4:9], model.mask_embedding.expand(5, -1))
    assert (features["x"][1, :, 3:6] == 0).all()
    assert (features["x"][0, :, 3:6] != 0).any()
    assert torch.equal(output.features.features_BTC, plain.features.features_BTC)


@pytest.mark.parametrize("kind", ENCODERS)
def test_extract_and_contextualize_are_its_two_halves(kind):
    torch.manual_seed(5)
    model = Encoder(ENCODERS[kind]()).eval()
    wave_BS, lengths_B = torch.randn(2, 6000), torch.tensor([6000, 4000])
    mask_BT = torch.zeros(2, model.config.features.frames(6000), dtype=torch.bool)
    mask_BT[:, 2:5] = True
    with torch.no_grad():
        whole = model(wave_BS, lengths_B, mask_BT)
        halves = model.contextualize(model.extract(wave_BS, lengths_B), mask_BT)
    assert torch.equal(whole.context_BTD, halves.context_BTD)
    assert len(whole.hidden) == model.config.context.num_layers + 1
    normed_BTC = model.feature_norm(whole.features.raw_BTC)
    assert torch.equal(normed_BTC, whole.features.features_BTC)


@pytest.mark.parametrize("kind", ENCODERS)
def test_in_training_every_parameter_has_a_gradient(kind):
    """Other processes wait for it, with and without a mask."""
    model = Encoder(ENCODERS[kind]()).train()
    frames = model.config.features.frames(6000)
    for mask_BT in (None, torch.arange(frames).expand(2, -1) % 2 == 0):
        model.zero_grad()
        model(torch.randn(2, 6000), mask_BT=mask_BT).context_BTD.square().sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_the_mean_square_is_summed_over_real_frames():
    x_BTC = torch.randn(2, 5, 3)
    expected = x_BTC[0].square().mean(1).sum() + x_BTC[1, :2].square().mean(1).sum()
    torch.testing.assert_close(mean_square(x_BTC, torch.tensor([5, 2])), expected)
    torch.testing.assert_close(mean_square(x_BTC, None), 5 * 2 * x_BTC.square().mean())


@pytest.mark.parametrize("kind", ENCODERS)
def test_padding_changes_nothing(kind):
    torch.manual_seed(6)
    model = Encoder(ENCODERS[kind]()).eval()
    wave_BS, lengths_B = torch.randn(3, 6000), torch.tensor([6000, 4001, 2403])
    for wave_S, length in zip(wave_BS, lengths_B, strict=True):
        wave_S[length:] = float("nan")  # padding is never read
    with torch.no_grad():
        both = model(wave_BS, lengths_B)
        for row, length in enumerate(lengths_B.tolist()):
            alone = model(wave_BS[row : row + 1, :length])
            frames = model.config.features.frames(length)
            assert both.frames_B[row] == frames == alone.context_BTD.shape[1]
            for ours, theirs in (
                (both.context_BTD, alone.context_BTD),
                (both.features.features_BTC, alone.features.features_BTC),
            ):
                torch.testing.assert_close(ours[row, :frames], theirs[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["cpc", "wav2vec"])
def test_without_a_projection_the_context_network_gets_the_features_as_they_are(kind):
    model = Encoder(small_causal(kind)).eval()
    given = []
    model.context.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    with torch.no_grad():
        output = model(torch.randn(1, 6000))
    assert torch.equal(given[0], output.features.raw_BTC)
    assert torch.equal(given[0], output.features.features_BTC)
    with pytest.raises(ValueError, match="channels of the last layer"):
        replace(small_causal(kind), context=replace(small_causal(kind).context, embed_dim=16))
