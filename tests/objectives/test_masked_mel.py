"""Masking of the mel frames that the encoder gets, for BEST-RQ and masked autoencoding: patches
without gap or overlap, and nothing of a masked patch reaches the encoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.models.encoder import Encoder
from speechx.models.features.convolutional import Convolution
from speechx.models.features.filterbank import FilterbankConfig, FilterbankExtractor
from speechx.objectives.best_rq import BestRQConfig
from speechx.objectives.masked_autoencoding import MaskedAutoencodingConfig
from speechx.objectives.masked_mel import encode_masked, patch_size, patches_of
from tests.conftest import small_convolutional, small_filterbank

ENCODER = replace(small_filterbank(), input_dropout=0.0)
PAPER = FilterbankConfig(
    layers=tuple(Convolution(channels=8, kernel=3, stride=2) for _ in range(2))
)


def batch_of(lengths=(16_000, 16_000)):
    wave_BS = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1))
    padded = len(set(lengths)) > 1
    names = tuple("abcd"[: len(lengths)])
    return Batch(Position(), wave_BS, torch.tensor(lengths), padded, names, ("xx",) * len(lengths))


@pytest.mark.parametrize(
    ("features", "first", "width"),
    # A frame of the first sees 7 mel frames, and the two in the middle are its own. The second has
    # 40 ms frames of 7 mel frames.
    [(ENCODER.features, 2, 2), (PAPER, 1, 4)],
)
def test_patches_lie_in_the_middle_of_what_frames_see(features, first, width):
    mel_BFT = torch.arange(100.0).expand(1, features.num_mel_bins, 100)
    patches_BTWF = patches_of(mel_BFT, features)
    samples = 400 + 99 * 160
    assert patches_BTWF.shape == (1, features.frames(samples), width, features.num_mel_bins)
    found = patches_BTWF[0, :, :, 0].flatten()
    assert found.tolist() == list(range(first, first + len(found)))


def test_the_encoder_sees_what_replaces_masked_patches_and_the_rest_as_it_is():
    torch.manual_seed(0)
    encoder = Encoder(ENCODER).eval()
    batch, size = batch_of(), patch_size(ENCODER)
    frames = ENCODER.features.frames(16_000)
    mask_BT = torch.zeros(2, frames, dtype=torch.bool)
    mask_BT[:, 10:20] = True
    noise_BMN = torch.randn(2, 10, size)
    output, true_BMN = encode_masked(encoder, batch, mask_BT, noise_BMN, None)
    plain = encoder(batch.wave_BS)
    mel_BFT, _ = encoder.feature_extractor.log_mel(batch.wave_BS, None)
    assert torch.equal(true_BMN[0, 0].view(2, -1), mel_BFT[0, :, 22:24].T)
    # Frame 9 sees the patch of frame 10, frame 7 does not.
    same = (output.features.raw_BTC == plain.features.raw_BTC).all(2)
    assert same[:, :8].all()
    assert same[:, 22:].all()
    assert not same[:, 10:20].any()
    # With the true patches in their place, nothing changes.
    again, _ = encode_masked(encoder, batch, mask_BT, true_BMN, None)
    assert torch.equal(again.context_BTD, plain.context_BTD)


def test_other_audio_behind_the_mask_changes_nothing_but_the_target():
    """No leak: the masked samples are no input. Normalisation is over the whole recording, so both
    recordings have the same frames in another order."""
    torch.manual_seed(0)
    encoder = Encoder(ENCODER).eval()
    extractor = encoder.feature_extractor
    assert isinstance(extractor, FilterbankExtractor)
    batch = batch_of((16_000,))
    mel_BFT, _ = extractor.log_mel(batch.wave_BS, None)
    other_BFT = mel_BFT.clone()
    other_BFT[:, :, 32:42] = mel_BFT[:, :, 32:42].flip(2)
    mask_BT = torch.zeros(1, ENCODER.features.frames(16_000), dtype=torch.bool)
    mask_BT[:, 15:20] = True
    contexts, targets = [], []
    for given in (mel_BFT, other_BFT):
        extractor.log_mel = lambda wave_BS, lengths_B, given=given: (given, lengths_B)
        instead = torch.zeros(1, 5, patch_size(ENCODER))
        output, true_BMN = encode_masked(encoder, batch, mask_BT, instead, None)
        contexts.append(output.context_BTD)
        targets.append(true_BMN)
    assert torch.equal(*contexts)
    assert not torch.equal(*targets)


def test_rows_of_other_lengths_are_equal_to_rows_alone():
    torch.manual_seed(0)
    encoder = Encoder(ENCODER).eval()
    batch = batch_of((16_000, 9_000))
    mask_BT = torch.zeros(2, ENCODER.features.frames(16_000), dtype=torch.bool)
    mask_BT[:, 3:9] = True
    instead = torch.zeros(2, 6, patch_size(ENCODER))
    output, true_BMN = encode_masked(encoder, batch, mask_BT, instead, None)
    frames = ENCODER.features.frames(9_000)
    alone = replace(batch_of((9_000,)), wave_BS=batch.wave_BS[1:, :9_000])
    one, true_1MN = encode_masked(encoder, alone, mask_BT[1:, :frames], instead[1:], None)
    torch.testing.assert_close(output.context_BTD[1:, :frames], one.context_BTD)
    torch.testing.assert_close(true_BMN[1:], true_1MN)


@pytest.mark.parametrize("config", [BestRQConfig(), MaskedAutoencodingConfig()])
@pytest.mark.parametrize(
    ("encoder", "seconds", "says"),
    [(small_convolutional(), 1.0, "filterbank"), (small_filterbank(), 0.06, "min_seconds")],
)
def test_what_it_cannot_learn_from_is_refused(config, encoder, seconds, says):
    with pytest.raises(ValueError, match=says):
        config.require(encoder, seconds)


@pytest.mark.parametrize("config", [BestRQConfig(num_codes=20), MaskedAutoencodingConfig()])
def test_every_row_has_as_many_masked_frames(config):
    batch = batch_of((16_000, 16_000, 16_000))
    draws, counts = config.draw(batch, np.random.default_rng(0), ENCODER)
    masked_B = draws["mask_BT"].sum(1)
    assert len(set(masked_B.tolist())) == 1
    assert counts == {"masked frames": int(masked_B.sum())}
