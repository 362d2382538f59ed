"""The trunk: rows too short for a frame, masked frames and channels."""

from __future__ import annotations

import pytest
import torch
from speechx.models.wav2vec2 import Wav2Vec2

from tests.conftest import small_convolutional, small_filterbank

ENCODERS = {
    "group": lambda: small_convolutional("group"),
    "layer": lambda: small_convolutional("layer"),
    "filterbank": small_filterbank,
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_row_too_short_for_a_frame_leaves_its_neighbours_alone(kind):
    torch.manual_seed(3)
    model = Wav2Vec2(ENCODERS[kind]())
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
    trunk = model(wave_BS, torch.tensor([6000, 3]))
    trunk.context_BTD[0].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_masked_frames_are_hidden_and_masked_channels_are_zero():
    """What stands under the mask cannot be read from the context; targets still come from it."""
    torch.manual_seed(4)
    model = Wav2Vec2(small_filterbank()).eval()
    features = {}
    model.transformer.register_forward_pre_hook(lambda _, given: features.update(x=given[0]))
    wave_BS = torch.randn(2, 8000)
    frames = model.config.encoder.frames(8000)
    mask_BT = torch.zeros(2, frames, dtype=torch.bool)
    mask_BT[:, 4:9] = True
    channels_BD = torch.zeros(2, 16, dtype=torch.bool)
    channels_BD[1, 3:6] = True
    with torch.no_grad():
        plain = model(wave_BS)
        trunk = model(wave_BS, mask_BT=mask_BT, channel_mask_BD=channels_BD)
    assert torch.equal(features["x"][0, 4:9], model.mask_vector.expand(5, -1))
    assert (features["x"][1, :, 3:6] == 0).all()
    assert (features["x"][0, :, 3:6] != 0).any()
    assert torch.equal(trunk.features_BTC, plain.features_BTC)
