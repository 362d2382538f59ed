"""BEST-RQ (Chiu et al. 2022, section 3): which code would a frozen random quantizer give to the
patch that was masked here?

    loss = sum over masked frames of the mean over codebooks of -log softmax(W_k c)[code_k]

The targets are codes of the patches of the unmasked mel frames (`masked_mel`), which have mean 0
and variance 1 in every bin: without that, few codes are used. Masked patches are replaced by normal
noise before the encoder. Nothing is contrasted, and the quantizer never trains. USM (Zhang et al.
2023) predicts 16 codebooks, each with a softmax of its own. The sum is divided by the global number
of masked frames.

A model that ignores what it reads can still learn how frequent each code is. The logged
`chance_bits` are what is left of its loss then: those of the mean of the predictions of a
micro-batch.

    B utterances · T frames · L layers · M masked frames, of a row or of all rows · N numbers of a
    patch · K codebooks · V codes of each · D = embed_dim
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_not_negative, require_positive
from speechx.data.batches import Batch
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.models.random_projection import RandomProjection
from speechx.objectives.masked_mel import MaskedMelConfig, encode_masked, patch_size
from speechx.objectives.objective import LogLine, Loss, Objective, Panel, Signature, Term
from speechx.text.vocabulary import Vocabulary

AT_CHANCE = 0.98  # of the bits of a guess above which a loaded model has learned nothing


@config
class BestRQLimits:
    """From which value on a number of the log is a signature."""

    chance: float = 0.005
    """E101: the loss is within this share of that of the mean prediction."""
    codes: float = 0.1
    """E102: code perplexity is below this share of all codes, or of the masked frames if these are
    fewer."""

    def __post_init__(self) -> None:
        require_not_negative(self, "chance", "codes")


@config
class BestRQConfig(MaskedMelConfig):
    kind: Literal["best_rq"] = "best_rq"
    num_codebooks: int = 1
    """16 in USM."""
    num_codes: int = 8192
    """Of each codebook."""
    dim: int = 16
    """Width of a code."""
    noise: float = 0.1
    """Standard deviation of the noise in place of masked patches."""
    limits: BestRQLimits = BestRQLimits()

    def __post_init__(self) -> None:
        require_positive(self, "num_codebooks", "num_codes", "dim")
        require_not_negative(self, "noise")

    def draw(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        mask_BT, masked = self.draw_mask(batch, random, encoder)
        size = (len(mask_BT), masked, patch_size(encoder))
        noise_BMN = self.noise * random.standard_normal(size, np.float32)
        draws = {"mask_BT": mask_BT, "noise_BMN": torch.from_numpy(noise_BMN)}
        return draws, {"masked frames": mask_BT.shape[0] * masked}

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> BestRQ:
        return BestRQ(self, encoder)

    def signatures(self) -> tuple[Signature, ...]:
        codes = "check the audio (silence, copies of a recording), or use fewer objective.num_codes"
        rate = "lower optim.lr, or use more audio per step (run.batch_seconds)"
        return (
            Signature("E102", "collapse", codes, self._collapse),
            Signature("E101", "chance level", rate, self._chance_level, after_warmup=True),
        )

    def panels(self) -> tuple[Panel, ...]:
        perplexities = ("code_perplexity", "predicted_perplexity", "dev_code_perplexity")
        return (
            Panel("loss, bits per masked frame", ("bits", "dev_bits", "chance_bits")),
            Panel("accuracy", ("accuracy", "dev_accuracy"), scale="from zero"),
            Panel("perplexity of the codes", perplexities, scale="from zero"),
            Panel("share of codes in use", ("codes_in_use",), scale="share"),
            Panel("validation, bits per language", ("dev_bits/*",)),
        )

    def _collapse(self, line: LogLine) -> str:
        codes, most = line.values["code_perplexity"], line.values["most_codes"]
        if codes >= self.limits.codes * most:
            return ""
        return (
            f"the targets are few: code perplexity {codes:.1f}, where {most:.0f} codes are "
            f"possible ({self._shown(line)})"
        )

    def _chance_level(self, line: LogLine) -> str:
        if line.values["bits"] < (1 - self.limits.chance) * line.values["chance_bits"]:
            return ""
        return f"the predictions do not depend on the frames ({self._shown(line)})"

    def _shown(self, line: LogLine) -> str:
        values = line.values
        return (
            f"{values['bits']:.3f} bits, chance is {values['chance_bits']:.3f}; accuracy "
            f"{values['accuracy']:.3f}, {values['codes_in_use']:.0%} of {self.num_codes} codes in "
            f"use, perplexity of the predictions {values['predicted_perplexity']:.1f}"
        )


class BestRQ(Objective):
    """The frozen quantizer, and a softmax for each codebook."""

    headline: ClassVar[tuple[str, ...]] = ("bits", "chance_bits", "accuracy", "code_perplexity")

    def __init__(self, config: BestRQConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        books, codes = config.num_codebooks, config.num_codes
        self.quantizer = RandomProjection(patch_size(encoder), books, codes, config.dim)
        self.head = nn.Linear(encoder.context.embed_dim, books * codes)

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        mask_BT, noise_BMN = batch.draws["mask_BT"], batch.draws["noise_BMN"]
        output, true_BMN = encode_masked(encoder, batch, mask_BT, noise_BMN, layer_keep_L)
        codes_MK = self.quantizer(true_BMN.flatten(0, 1))  # of all rows
        books, size = self.config.num_codebooks, self.config.num_codes
        logits_MKV = self.head(output.context_BTD[mask_BT]).float().unflatten(1, (books, size))
        loss = F.cross_entropy(logits_MKV.flatten(0, 1), codes_MK.flatten(), reduction="sum")
        loss, masked, predicted_MKV = loss / books, len(codes_MK), logits_MKV.detach().softmax(2)
        predicted_MK, guess_KV = predicted_MKV.argmax(2), predicted_MKV.mean(0)
        share_KV, predicted_KV = (_shares(codes, size) for codes in (codes_MK, predicted_MK))
        totals = {
            "loss": loss.detach(),
            "correct": (predicted_MK == codes_MK).float().mean(1).sum(),
            "chance_bits": -(share_KV * guess_KV.log2()).nansum(1).mean() * masked,
            "code_perplexity": _entropy(share_KV).exp().mean() * masked,
            "predicted_perplexity": _entropy(predicted_KV).exp().mean() * masked,
            "codes_in_use": (share_KV > 0).float().mean() * masked,
            "most_codes": torch.tensor(float(min(size, masked) * masked)),
            "masked": torch.tensor(float(masked)),
            "frames": torch.tensor(float(mask_BT.numel())),
        }
        return Loss((Term(loss, "masked frames"),), totals)

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Per masked frame and codebook: bits, the bits of a guess, accuracy; perplexities and the
        share of codes in use, of a micro-batch."""
        values = {name: total / totals["masked"] for name, total in totals.items()}
        return {
            "bits": values["loss"] / math.log(2),
            "accuracy": values["correct"],
            **{name: values[name] for name in (
                "chance_bits", "code_perplexity", "predicted_perplexity", "codes_in_use",
                "most_codes",
            )},
            "masked_share": totals["masked"] / totals["frames"],
        }  # fmt: skip

    def untrained(self, metrics: Mapping[str, float]) -> str:
        if metrics["bits"] <= AT_CHANCE * metrics["chance_bits"]:
            return ""
        return (
            f"is at chance on this audio ({metrics['bits']:.3f} of {metrics['chance_bits']:.3f} "
            "bits): its quantizer or its head was not restored, or it was hardly trained, or these "
            "recordings hold no speech"
        )


def _shares(codes_MK: Tensor, size: int) -> Tensor:
    """How frequent each code is, (K, V)."""
    count_KV = torch.zeros(codes_MK.shape[1], size, device=codes_MK.device)
    count_KV.scatter_add_(1, codes_MK.T, torch.ones_like(codes_MK.T, dtype=count_KV.dtype))
    return count_KV / len(codes_MK)


def _entropy(share_KV: Tensor) -> Tensor:
    """In nats, of each codebook (K,)."""
    return -(share_KV * share_KV.clamp(min=1e-12).log()).sum(1)
