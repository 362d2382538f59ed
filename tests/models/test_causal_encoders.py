"""The parts of CPC and wav2vec (2019): exact lengths, norms, contexts that see no later frame."""

from __future__ import annotations

import pytest
import torch

from speechx.models.context.causal_convolutions import (
    CausalConvolutions,
    CausalConvolutionsConfig,
)
from speechx.models.context.lstm import LSTM, LSTMConfig
from speechx.models.features.convolutional import Convolution
from speechx.models.features.cpc import ChannelNorm, CPCFeatures, CPCFeaturesConfig, padding
from speechx.models.features.wav2vec import Wav2VecFeatures, Wav2VecFeaturesConfig


def convolutions(*shapes):
    return tuple(Convolution(channels=4, kernel=k, stride=s) for k, s in shapes)


def test_a_window_of_cpc_is_128_frames_of_ten_milliseconds():
    config = CPCFeaturesConfig()
    assert [padding(layer) for layer in config.layers] == [3, 2, 1, 1, 1]
    assert (config.frames(20480), config.stride, config.receptive_field) == (128, 160, 465)
    assert config.centre == 79.5  # the middle of samples 0 to 159
    assert [config.frames(160 * n) for n in (0, 1, 10, 1000)] == [0, 1, 10, 1000]


@pytest.mark.parametrize(
    "features",
    [
        CPCFeaturesConfig(layers=convolutions((10, 5), (8, 4), (4, 2))),
        CPCFeaturesConfig(layers=convolutions((5, 3), (2, 4), (7, 1))),
        Wav2VecFeaturesConfig(layers=convolutions((10, 5), (8, 4), (1, 1))),
    ],
)
def test_frames_equal_real_convolutions(features):
    make = CPCFeatures if features.kind == "cpc" else Wav2VecFeatures
    model = make(features)
    field = features.receptive_field
    for samples in [*range(field, field + 3 * features.stride, 3), 4001, 7777]:
        found, frames_B = model(torch.randn(1, samples), torch.tensor([samples]))
        assert found.shape[1] == int(frames_B) == features.frames(samples)


def test_channel_norm_takes_the_unbiased_variance_of_the_channels():
    norm = ChannelNorm(4, epsilon=0.0)
    torch.nn.init.constant_(norm.weight, 2.0)
    torch.nn.init.constant_(norm.bias, 1.0)
    found = norm(torch.tensor([[[1.0], [2.0], [3.0], [6.0]]]))[0, :, 0]
    deviation = (14 / 3) ** 0.5  # of 1 2 3 6, whose mean is 3
    torch.testing.assert_close(found, 1 + 2 * torch.tensor([-2.0, -1.0, 0.0, 3.0]) / deviation)


def test_log_compression_and_relu_leave_nothing_negative():
    found, _ = Wav2VecFeatures(Wav2VecFeaturesConfig(layers=convolutions((10, 5))))(
        torch.randn(1, 4000)
    )
    assert (found >= 0).all()
    assert found.max() < 3  # log(1 + x) of normed values


def test_an_lstm_sees_no_later_frame():
    model = LSTM(LSTMConfig(num_layers=2, embed_dim=6)).eval()
    x = torch.randn(1, 20, 6)
    changed = x.clone()
    changed[:, 12:] = torch.randn(1, 8, 6)
    (before, hidden), (after, _) = model(x), model(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert (before[:, 12] != after[:, 12]).any()
    assert len(hidden) == 3


def test_causal_convolutions_see_no_later_frame_but_in_their_norms():
    """Their statistics belong to the recording, as in the paper."""
    model = CausalConvolutions(CausalConvolutionsConfig(embed_dim=6, kernels=(3, 2))).eval()
    x = torch.randn(1, 20, 6, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "speechx.models.context.causal_convolutions.recording_norm", lambda x, frames, norm: x
        )
        context, hidden = model(x)
    context[0, 10].sum().backward()
    seen = x.grad[0].abs().sum(1).nonzero()[:, 0].tolist()
    assert seen == [7, 8, 9, 10]  # kernels of 3 and 2 frames
    assert len(hidden) == 3


@pytest.mark.parametrize("kernels", [(), (2, 0)])
def test_kernels_that_are_none_are_refused(kernels):
    with pytest.raises(ValueError, match="at least one number of frames"):
        CausalConvolutionsConfig(kernels=kernels)
