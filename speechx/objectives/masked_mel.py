"""Masking of the mel frames that the encoder gets, as in BEST-RQ (Chiu et al. 2022, section 3.1)
and in masked autoencoding.

Each frame of the encoder has a patch: the mel frames in the middle of what it sees, as many as lie
between two frames. Patches do not overlap and leave no gap. Where a frame is masked, its patch is
replaced before the convolutions; the patches of the original are what objectives predict.

    B utterances · S samples · T frames · L layers · M masked frames · C feature channels
    · F mel bins · W mel frames of a patch · N = W * F numbers of a patch
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE
from speechx.config import config
from speechx.data.batches import Batch
from speechx.data.reading import ROUNDING
from speechx.models.encoder import Encoder, EncoderConfig, EncoderOutput, Features
from speechx.models.features.filterbank import FilterbankConfig, FilterbankExtractor
from speechx.objectives.masking import Masking, span_mask
from speechx.objectives.objective import ObjectiveConfig

HOP = FilterbankConfig.hop


@config
class MaskedMelConfig(ObjectiveConfig):
    masking: Masking = Masking(probability=0.4, span=10, min_spans=1)
    """Spans of frames of the encoder. The paper masks 400 ms from 1 % of the mel frames on: 10
    frames of 40 ms, 20 frames of 20 ms."""

    def draw_mask(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[Tensor, int]:
        """A mask (B, T) with equally many frames in every row, and how many."""
        frames = [encoder.features.frames(int(n)) for n in batch.lengths_B]
        mask_BT = span_mask(frames, max(frames), self.masking, random, same_count=True)
        return torch.from_numpy(mask_BT), int(mask_BT[0].sum())

    def require(self, encoder: EncoderConfig, least_seconds: float) -> None:
        if not isinstance(encoder.features, FilterbankConfig):
            raise ValueError(
                f"objective {self.kind} masks mel frames, but encoder.features.kind is "
                f"{encoder.features.kind}: set it to filterbank, or preset to tiny or "
                "conformer_600m"
            )
        # Durations in manifests are rounded: a row may be a little shorter than they say.
        frames = encoder.features.frames(int(ROUNDING * least_seconds * SAMPLE_RATE))
        if frames <= self.masking.min_spans:
            raise ValueError(
                f"data.min_seconds = {least_seconds:g}, less a tenth for rounding, is {frames} "
                f"frames of this encoder, but a row needs at least {self.masking.min_spans + 1}"
            )


def patch_size(encoder: EncoderConfig) -> int:
    """Numbers of a patch."""
    assert isinstance(encoder.features, FilterbankConfig)
    return encoder.features.stride // HOP * encoder.features.num_mel_bins


def patches_of(mel_BFT: Tensor, features: FilterbankConfig) -> Tensor:
    """The patches (B, T, N) of all frames, a view of `mel_BFT`."""
    width, seen = features.stride // HOP, 1 + (features.receptive_field - features.window) // HOP
    first, frames = (seen - width) // 2, (mel_BFT.shape[2] - seen) // width + 1
    return mel_BFT.transpose(1, 2)[:, first : first + width * frames].unflatten(1, (frames, width))


def encode_masked(
    encoder: Encoder,
    batch: Batch,
    mask_BT: Tensor,
    instead_BMN: Tensor,
    layer_keep_L: Sequence[bool] | None,
) -> tuple[EncoderOutput, Tensor]:
    """The encoder's output with the patches of masked frames replaced, and the true patches of the
    masked frames (B, M, N)."""
    extractor, rows = encoder.feature_extractor, len(mask_BT)
    assert isinstance(extractor, FilterbankExtractor)
    mel_BFT, lengths_B = extractor.log_mel(batch.wave_BS, batch.padded_lengths_B)
    true_BMN = patches_of(mel_BFT, extractor.config)[mask_BT].flatten(1).unflatten(0, (rows, -1))
    masked_BFT = mel_BFT.clone()
    patches_BTWF = patches_of(masked_BFT, extractor.config)
    patches_BTWF[mask_BT] = instead_BMN.flatten(0, 1).view(-1, *patches_BTWF.shape[2:])
    raw_BTC, frames_B = extractor.convolve(masked_BFT, lengths_B)
    features = Features(encoder.feature_norm(raw_BTC), frames_B, raw_BTC)
    return encoder.contextualize(features, layer_keep_L=layer_keep_L), true_BMN
