"""The filterbank feature extractor: exact lengths, energies at the tones, loudness taken out."""

from __future__ import annotations

import pytest
import torch

from speechx.models.features.convolutional import Convolution
from speechx.models.features.filterbank import FilterbankConfig, FilterbankExtractor

STACKS = {
    "default": FilterbankConfig().layers,
    "one": (Convolution(channels=3, kernel=1, stride=1),),
    "four times less": tuple(Convolution(channels=3, kernel=5, stride=2) for _ in range(2)),
}


@pytest.mark.parametrize("stack", STACKS)
def test_frames_equal_the_real_extractor(stack):
    config = FilterbankConfig(num_mel_bins=20, layers=STACKS[stack])
    extractor = FilterbankExtractor(config)
    field, stride = config.receptive_field, config.stride
    some = torch.randint(field, 30_000, (40,), generator=torch.Generator().manual_seed(0)).tolist()
    for samples in [field, field + 1, field + stride - 1, field + stride, *some]:
        with torch.no_grad():
            features_BTC, frames_B = extractor(torch.randn(1, samples), torch.tensor([samples]))
        assert features_BTC.shape[1] == config.frames(samples) == frames_B.item(), samples
    assert config.frames(field) == 1
    assert [config.frames(s) for s in range(0, field, 13)] == [0] * len(range(0, field, 13))
    assert all(config.frames(s) == 0 for s in (0, 1, field - 1))


def test_default_gives_50_frames_a_second():
    config = FilterbankConfig()
    assert config.stride == 320
    assert config.frames(10 * 16_000) == 496


def test_frames_of_padded_rows():
    config = FilterbankConfig(num_mel_bins=20)
    lengths = [8000, 3111, 500, 0]
    _, frames_B = FilterbankExtractor(config)(torch.randn(4, 8000), torch.tensor(lengths))
    assert frames_B.tolist() == [config.frames(n) for n in lengths]


def test_energy_stands_in_the_bin_of_the_tone():
    extractor = FilterbankExtractor(FilterbankConfig(num_mel_bins=40))
    time = torch.arange(16_000) / 16_000
    peaks_hz = (extractor.mel_FK.argmax(1) * 16_000 / 512).tolist()
    for hertz in (400.0, 1000.0, 3000.0):
        # The tone is in the second half only, so that mean 0 over time leaves it visible.
        wave = torch.sin(2 * torch.pi * hertz * time) * (time > 0.5) + 1e-3 * torch.randn(16_000)
        x_BFT, _ = extractor.log_mel(wave[None], None)
        rise_F = x_BFT[0, :, -20:].mean(1) - x_BFT[0, :, :20].mean(1)
        energy_F = extractor.mel_FK @ torch.fft.rfft(wave[8000:8512]).abs().square()
        assert abs(peaks_hz[int(energy_F.argmax())] - hertz) < 130
        assert rise_F[int(energy_F.argmax())] > 1.5


@pytest.mark.interop
@pytest.mark.parametrize("bins", [20, 80])
def test_mel_weights_equal_librosa(bins):
    """The HTK scale and peaks of 1, from 20 Hz to half the sampling rate."""
    librosa = pytest.importorskip("librosa")
    mel_FK = FilterbankExtractor(FilterbankConfig(num_mel_bins=bins)).mel_FK
    theirs_FK = librosa.filters.mel(
        sr=16_000, n_fft=512, n_mels=bins, fmin=20.0, fmax=8000.0, htk=True, norm=None
    )
    torch.testing.assert_close(mel_FK, torch.from_numpy(theirs_FK), atol=2e-5, rtol=0)


def test_each_bin_has_mean_0_and_variance_near_1_over_true_frames():
    extractor = FilterbankExtractor(FilterbankConfig(num_mel_bins=20))
    torch.manual_seed(0)
    wave_BS = torch.randn(2, 16_000) * torch.linspace(0.05, 1, 16_000)
    x_BFT, frames_B = extractor.log_mel(wave_BS, torch.tensor([16_000, 9000]))
    for row, frames in enumerate(frames_B.tolist()):
        true_FT = x_BFT[row, :, :frames]
        assert true_FT.mean(1).abs().max() < 1e-4
        assert (true_FT.std(1) - 1).abs().max() < 0.3
        assert (x_BFT[row, :, frames:] == 0).all()


def test_loudness_does_not_matter():
    extractor = FilterbankExtractor(FilterbankConfig(num_mel_bins=20))
    torch.manual_seed(0)
    wave_BS = torch.randn(1, 8000)
    expected = extractor(wave_BS)[0]
    for loudness in (30, 0.003):  # noise 50 dB below full scale is still above the floor
        torch.testing.assert_close(extractor(loudness * wave_BS)[0], expected, atol=1e-3, rtol=0)


def test_silence_and_gradients_are_finite():
    extractor = FilterbankExtractor(FilterbankConfig(num_mel_bins=20))
    features_BTC, _ = extractor(torch.zeros(1, 4000))
    features_BTC.sum().backward()
    assert features_BTC.isfinite().all()
    assert all(p.grad.isfinite().all() for p in extractor.parameters())


def test_buffers_are_not_saved():
    """Mel weights and window are functions of the config, so no checkpoint holds them."""
    names = set(FilterbankExtractor(FilterbankConfig(num_mel_bins=20)).state_dict())
    assert names == {
        f"{part}.{i}.{what}"
        for part in ("convs", "norms")
        for i in (0, 1)
        for what in ("weight", "bias")
    }
