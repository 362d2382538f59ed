"""Masked autoencoding of mel frames, the audio half of the first stage of Jain et al. (2024): what
were the mel frames that were masked here?

    loss = sum over masked frames of the mean over the patch of (decoder(c) - patch)^2

A patch is the mel frames of one frame of the encoder (`masked_mel`), which have mean 0 and variance
1 in every bin. Masked patches are replaced by 0, their mean, and the encoder sees all frames: its
convolutions have no frames to leave out (He et al. 2022 leave masked patches of images out). The
decoder is a narrow transformer, so that what is worth knowing stands in the encoder. The sum is
divided by the global number of masked frames.

A guess, the mean of each bin, has the variance of the patches as its error: the logged
`chance_error`.

    B utterances · S samples · T frames · L layers · M masked frames, of a row or of all rows
    · N numbers of a patch · D = embed_dim, or decoder_dim
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from speechx.config import config, require_not_negative, require_positive
from speechx.data.batches import Batch
from speechx.models.context.transformer import Transformer, TransformerConfig
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.objectives.masked_mel import MaskedMelConfig, encode_masked, patch_size
from speechx.objectives.objective import LogLine, Loss, Objective, Panel, Signature, Term
from speechx.text.vocabulary import Vocabulary

AT_CHANCE = 0.98  # of the error of a guess above which a loaded model has learned nothing


@config
class AutoencodingLimits:
    """From which value on a number of the log is a signature."""

    chance: float = 0.005
    """E101: the error is within this share of that of a guess."""
    variance: float = 1e-4
    """E103: the variance of the patches is below this."""

    def __post_init__(self) -> None:
        require_not_negative(self, "chance", "variance")


@config
class MaskedAutoencodingConfig(MaskedMelConfig):
    kind: Literal["masked_autoencoding"] = "masked_autoencoding"
    decoder_layers: int = 2
    decoder_dim: int = 256
    decoder_heads: int = 4
    limits: AutoencodingLimits = AutoencodingLimits()

    def __post_init__(self) -> None:
        require_positive(self, "decoder_layers", "decoder_dim", "decoder_heads")
        self.decoder()

    def decoder(self) -> TransformerConfig:
        """The transformer of the decoder."""
        return TransformerConfig(
            num_layers=self.decoder_layers, embed_dim=self.decoder_dim,
            ffn_dim=4 * self.decoder_dim, num_heads=self.decoder_heads, norm="pre",
            position_kernel=31, position_groups=self.decoder_heads, dropout=0.0,
            attention_dropout=0.0, layer_drop=0.0,
        )  # fmt: skip

    def draw(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        mask_BT, masked = self.draw_mask(batch, random, encoder)
        return {"mask_BT": mask_BT}, {"masked frames": mask_BT.shape[0] * masked}

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> MaskedAutoencoding:
        return MaskedAutoencoding(self, encoder)

    def signatures(self) -> tuple[Signature, ...]:
        audio = "check the audio (silence, copies of a recording)"
        rate = "lower optim.lr, or use more audio per step (run.batch_seconds)"
        return (
            Signature("E103", "trivial solution", audio, self._constant),
            Signature("E101", "chance level", rate, self._chance_level, after_warmup=True),
        )

    def panels(self) -> tuple[Panel, ...]:
        return (
            Panel("mean squared error", ("error", "dev_error", "chance_error"), scale="from zero"),
            Panel("validation, error per language", ("dev_error/*",), scale="from zero"),
        )

    def _constant(self, line: LogLine) -> str:
        if line.values["chance_error"] >= self.limits.variance:
            return ""
        return f"there is nothing to predict ({self._shown(line)})"

    def _chance_level(self, line: LogLine) -> str:
        if line.values["error"] < (1 - self.limits.chance) * line.values["chance_error"]:
            return ""
        return f"the error is that of the mean of each mel bin ({self._shown(line)})"

    def _shown(self, line: LogLine) -> str:
        error, chance = line.values["error"], line.values["chance_error"]
        return f"mean squared error {error:.4f}, of a guess {chance:.4f}"


class MaskedAutoencoding(Objective):
    """The decoder: a linear map, a narrow transformer and a linear map to patches."""

    headline: ClassVar[tuple[str, ...]] = ("error", "chance_error")

    def __init__(self, config: MaskedAutoencodingConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.project_in = nn.Linear(encoder.context.embed_dim, config.decoder_dim)
        self.decoder = Transformer(config.decoder())
        self.decoder.keep_hidden = False
        self.project_out = nn.Linear(config.decoder_dim, patch_size(encoder))

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        mask_BT = batch.draws["mask_BT"]
        masked = int(mask_BT[0].sum())
        zeros_BMN = batch.wave_BS.new_zeros(len(mask_BT), masked, patch_size(encoder.config))
        output, true_BMN = encode_masked(encoder, batch, mask_BT, zeros_BMN, layer_keep_L)
        decoded_BTD, _ = self.decoder(self.project_in(output.context_BTD), output.frames_B)
        guess_MN = self.project_out(decoded_BTD[mask_BT]).float()
        true_MN = true_BMN.flatten(0, 1)
        error = (guess_MN - true_MN).square().mean(1).sum()
        totals = {
            "error": error.detach(),
            "chance_error": true_MN.square().mean(1).sum(),
            "masked": torch.tensor(float(len(true_MN))),
            "frames": torch.tensor(float(mask_BT.numel())),
        }
        return Loss((Term(error, "masked frames"),), totals)

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """The mean squared error, and that of the mean of each bin; the share of masked frames."""
        masked = totals["masked"]
        return {
            "error": totals["error"] / masked,
            "chance_error": totals["chance_error"] / masked,
            "masked_share": masked / totals["frames"],
        }

    def untrained(self, metrics: Mapping[str, float]) -> str:
        if metrics["error"] <= AT_CHANCE * metrics["chance_error"]:
            return ""
        return (
            f"is at chance on this audio (mean squared error {metrics['error']:.4f}, of a guess "
            f"{metrics['chance_error']:.4f}): its decoder was not restored, or it was hardly "
            "trained, or these recordings hold no speech"
        )
