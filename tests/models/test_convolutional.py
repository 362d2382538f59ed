"""The convolutional feature extractor: exact lengths, norms without padding, gradient scale."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechx.models.features.convolutional import (
    Convolution,
    ConvolutionalConfig,
    ConvolutionalExtractor,
    masked_channel_norm,
    scale_gradient,
    seven_convolutions,
)


@pytest.mark.parametrize(
    ("samples", "frames"),
    [
        (0, 0), (3, 0), (399, 0), (400, 1), (719, 1), (720, 2), (16_000, 49), (32_000, 99),
        (160_000, 499), (250_000, 781), (320_000, 999),
    ],
)  # fmt: skip
def test_frames_of_wav2vec2(samples, frames):
    assert ConvolutionalConfig().frames(samples) == frames


def test_frames_stride_and_receptive_field_of_wav2vec2():
    config = ConvolutionalConfig()
    assert (config.stride, config.receptive_field) == (320, 400)
    assert config.frames(config.receptive_field) == 1
    assert config.frames(config.receptive_field - 1) == 0


STACKS = {
    "wav2vec2": seven_convolutions(1),
    "one": (Convolution(channels=1, kernel=4, stride=3),),
    "stride above kernel": (
        Convolution(channels=1, kernel=2, stride=5),
        Convolution(channels=1, kernel=3, stride=1),
    ),
    "wide kernels": tuple(Convolution(channels=1, kernel=k, stride=2) for k in (7, 5, 3)),
}


@pytest.mark.parametrize("stack", STACKS)
def test_frames_equal_real_convolutions(stack):
    config = ConvolutionalConfig(layers=STACKS[stack])
    convs = nn.Sequential(*(nn.Conv1d(1, 1, c.kernel, c.stride) for c in config.layers))
    field = config.receptive_field
    some = torch.randint(field, 12_000, (60,), generator=torch.Generator().manual_seed(0)).tolist()
    for samples in [
        *range(field, field + 3 * config.stride, 7),
        field,
        field + config.stride,
        *some,
    ]:
        with torch.no_grad():
            assert config.frames(samples) == convs(torch.zeros(1, 1, samples)).shape[2], samples
    with pytest.raises(RuntimeError, match="size"):
        convs(torch.zeros(1, 1, field - 1))
    assert [config.frames(s) for s in range(field)] == [0] * field


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_extractor_gives_as_many_frames_as_its_config_says(norm):
    config = ConvolutionalConfig(layers=seven_convolutions(4), norm=norm)
    extractor = ConvolutionalExtractor(config)
    samples = [5000, 400, 399, 1, 0, 2177]
    features_BTC, frames_B = extractor(torch.randn(len(samples), 5000), torch.tensor(samples))
    assert frames_B.tolist() == [config.frames(n) for n in samples]
    assert features_BTC.shape == (len(samples), config.frames(5000), 4)
    assert extractor(torch.randn(1, 800))[1] is None


def test_masked_group_norm_equals_torch_group_norm_of_each_row_alone():
    torch.manual_seed(0)
    norm = nn.GroupNorm(5, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x_BCT, lengths_B = 3 + 2 * torch.randn(3, 5, 20), torch.tensor([20, 7, 12])
    normed_BCT = masked_channel_norm(x_BCT, lengths_B, norm)
    for row, length in enumerate(lengths_B.tolist()):
        alone = norm(x_BCT[row : row + 1, :, :length])
        torch.testing.assert_close(normed_BCT[row : row + 1, :, :length], alone)
    # Without the mask the statistics of a padded row are others: the reason for it.
    assert (norm(x_BCT)[1, :, :7] - normed_BCT[1, :, :7]).abs().max() > 0.1


def test_only_the_first_convolution_of_a_group_model_is_normalised():
    group = ConvolutionalExtractor(ConvolutionalConfig(layers=seven_convolutions(4)))
    layer = ConvolutionalExtractor(ConvolutionalConfig(layers=seven_convolutions(4), norm="layer"))
    assert [type(b.norm) for b in group.layers] == [nn.GroupNorm] + [type(None)] * 6
    assert [type(b.norm) for b in layer.layers] == [nn.LayerNorm] * 7


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize(("scale", "tolerance"), [(0.25, 0), (4.0, 0), (0.1, 1e-5)])
def test_gradient_scale_is_exact(norm, scale, tolerance):
    """The same forward, and `scale` times the gradient: to the bit for powers of two."""

    def gradients(gradient_scale):
        torch.manual_seed(0)
        config = ConvolutionalConfig(
            layers=seven_convolutions(4), norm=norm, bias=True, gradient_scale=gradient_scale
        )
        extractor = ConvolutionalExtractor(config)
        features, _ = extractor(torch.randn(2, 1500))
        features.square().sum().backward()
        return features.detach(), [p.grad for p in extractor.parameters()]

    (plain, full), (same, scaled) = gradients(1.0), gradients(scale)
    assert torch.equal(plain, same)
    for one, other in zip(full, scaled, strict=True):
        torch.testing.assert_close(other, scale * one, rtol=tolerance, atol=tolerance)
        assert one.abs().max() > 0


def test_gradient_scale_0_cuts_the_graph_and_1_is_the_tensor_itself():
    x = torch.ones(3, requires_grad=True)
    assert not scale_gradient(x * 2, 0).requires_grad
    assert scale_gradient(x, 1) is x
    (scale_gradient(x, 0.25) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [0.25, 0.5, 0.75]


def test_a_convolution_without_stride_is_refused():
    with pytest.raises(ValueError, match="stride must be above 0"):
        Convolution(channels=4, kernel=3, stride=0)
    with pytest.raises(ValueError, match="at least one convolution"):
        ConvolutionalConfig(layers=())
