"""The contrastive objective of wav2vec 2.0 and XLSR (Baevski et al. 2020, section 3.2): which of
K+1 quantized frames was masked here?

    loss = sum over masked frames of -log( exp(cos(c, q) / kappa) / sum_q~ exp(cos(c, q~) / kappa) )
        + diversity * N * (G*V - perplexity) / (G*V)
        + features_penalty * sum over all frames of the mean square of the raw features

q~ runs over the true target and K negatives from other masked frames of the same utterance. The
first two terms are divided by the global number N of masked frames, the third by the global number
of frames. One quantizer serves all languages. For 100 negatives chance is ln(101): 4.615 nats,
6.658 bits.

The diversity term is not additive by nature: it is a function of the mean softmax of one
micro-batch. K micro-batches therefore give the mean of K diversity terms, and not the diversity
term of one big batch.

    B utterances · S samples · T frames · L layers · M masked frames · K negatives
    · J = K + 1 candidates · C feature channels · D = embed_dim · Q quantized width · G groups
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.audio.files import SAMPLE_RATE
from speechx.config import config, require_fraction, require_not_negative, require_positive
from speechx.data.batches import Batch
from speechx.data.reading import ROUNDING
from speechx.models.encoder import Encoder, EncoderConfig, EncoderOutput, mean_square
from speechx.models.quantizer import GumbelTemperature, ProductQuantizer, QuantizerConfig
from speechx.objectives.masking import Masking, span_mask
from speechx.objectives.negatives import sample_negatives
from speechx.objectives.objective import (
    LogLine,
    Loss,
    Objective,
    ObjectiveConfig,
    Panel,
    Signature,
    Term,
)
from speechx.text.vocabulary import Vocabulary

AT_CHANCE = 0.95  # of the bits of a guess, above which a loaded model has learned nothing
COLLAPSED = 1.1  # codes per group, below which a loaded quantizer has collapsed


@config
class ContrastiveLimits:
    """From which value on a number of the log is a signature."""

    chance: float = 0.005
    """E101: the contrastive term is within this share of chance."""
    codes: float = 4.0
    """E102: code perplexity per group is below this (or below a quarter of the entries)."""
    accuracy: float = 0.97
    """E103: accuracy is above this while code perplexity falls or the loss is near 0."""
    variance: float = 1e-4
    """E103: the variance of the features is below this."""
    saturated: float = 0.995
    """E104: soft perplexity is above this share of all codes ..."""
    vanished: float = 1e-3
    """... and the gradient norm of the choice of codes is below this, in nats per frame."""

    def __post_init__(self) -> None:
        require_not_negative(
            self, "chance", "codes", "accuracy", "variance", "saturated", "vanished"
        )


@config
class Wav2Vec2Config(ObjectiveConfig):
    kind: Literal["wav2vec2"] = "wav2vec2"
    masking: Masking = Masking()
    quantizer: QuantizerConfig = QuantizerConfig()
    num_negatives: int = 100
    logit_temperature: float = 0.1
    gumbel_temperature: GumbelTemperature = GumbelTemperature()
    diversity: float = 0.1
    """Weight of the diversity term."""
    features_penalty: float = 10.0
    """Weight of the feature penalty: 10 for base, 0 for large and XLSR."""
    target_dropout: float = 0.1
    """Dropout of the features that are quantized."""
    limits: ContrastiveLimits = ContrastiveLimits()

    def __post_init__(self) -> None:
        require_positive(self, "num_negatives", "logit_temperature")
        require_not_negative(self, "diversity", "features_penalty")
        require_fraction(self, "target_dropout")
        if self.masking.min_spans < 2:
            raise ValueError("masking.min_spans must be at least 2, so that there are negatives")

    @property
    def part(self) -> str:
        return "quantizer"

    @property
    def chance_bits(self) -> float:
        """Bits of a guess among the target and all negatives."""
        return math.log2(1 + self.num_negatives)

    def draw(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Masks with equally many frames in every row, so that targets form a rectangle, and
        negatives."""
        frames = [encoder.features.frames(int(n)) for n in batch.lengths_B]
        mask_BT = span_mask(frames, max(frames), self.masking, random, same_count=True)
        masked = int(mask_BT[0].sum())
        negatives_BMK = sample_negatives(len(mask_BT), masked, self.num_negatives, random)
        draws = {"mask_BT": mask_BT, "negatives_BMK": negatives_BMK}
        counts = {"masked frames": len(mask_BT) * masked, "frames": sum(frames)}
        return {name: torch.from_numpy(drawn) for name, drawn in draws.items()}, counts

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> Wav2Vec2:
        return Wav2Vec2(self, encoder)

    def require(self, encoder: EncoderConfig, least_seconds: float) -> None:
        # Durations in manifests are rounded: a row may be a little shorter than they say.
        frames = encoder.features.frames(int(ROUNDING * least_seconds * SAMPLE_RATE))
        if frames <= self.masking.min_spans:
            raise ValueError(
                f"data.min_seconds = {least_seconds:g}, less a tenth for rounding, is {frames} "
                f"frames of this encoder, but a row needs at least {self.masking.min_spans + 1} so "
                f"that {self.masking.min_spans} can be masked"
            )

    def continued(self) -> Wav2Vec2Config:
        held = replace(self.gumbel_temperature, start=self.gumbel_temperature.floor)
        return replace(self, gumbel_temperature=held)

    def signatures(self) -> tuple[Signature, ...]:
        masking = "lower optim.lr; check the masking and the audio (silence, copies of a recording)"
        diversity = "lower optim.lr, raise objective.diversity or run.batch_seconds"
        rate = "lower optim.lr; codes that nothing chooses do not recover"
        audio = "lower optim.lr, or use more audio per step (run.batch_seconds)"
        return (
            Signature("E103", "trivial solution", masking, self._constant_features),
            Signature("E102", "collapse", diversity, self._collapse),
            Signature("E104", "saturated quantizer", rate, self._saturated),
            Signature("E103", "trivial solution", masking, self._too_good),
            Signature("E101", "chance level", audio, self._chance_level, after_warmup=True),
        )

    def panels(self) -> tuple[Panel, ...]:
        codes, limits = self.quantizer.num_codes, self.limits
        chance = self.chance_bits
        return (
            Panel(
                "loss, bits per masked frame", ("bits", "dev_bits", "chance_bits"), chance, "chance"
            ),
            Panel("accuracy", ("accuracy", "dev_accuracy"), scale="from zero"),
            Panel(
                f"perplexity, share of {codes} codes",
                ("code_perplexity", "soft_perplexity", "dev_code_perplexity"),
                self._floor, "collapse", share_of=codes, scale="share",
            ),
            Panel(
                "negatives equal to the positive", ("negatives_equal_positive",), scale="from zero"
            ),
            Panel("validation, bits per language", ("dev_bits/*",), chance, "chance"),
            Panel(
                "variance of the features", ("feature_variance",), limits.variance, "constant",
                scale="logarithmic",
            ),
            Panel(
                "gradient norm of the choice of codes", ("quantizer_gradient",), limits.vanished,
                "vanished", scale="logarithmic",
            ),
        )  # fmt: skip

    @property
    def _floor(self) -> float:
        """Code perplexity below which the quantizer has collapsed."""
        return min(self.limits.codes, self.quantizer.num_entries / 4) * self.quantizer.num_groups

    def _constant_features(self, line: LogLine) -> str:
        if line.values["feature_variance"] >= self.limits.variance:
            return ""
        return f"the features are constant ({self._shown(line)}; {line.values['bits']:.3f} bits)"

    def _collapse(self, line: LogLine) -> str:
        codes = line.values["code_perplexity"]
        groups, floor = self.quantizer.num_groups, self._floor
        if codes >= floor or self._undecided(line):
            return ""
        equal = line.values["negatives_equal_positive"]
        return (
            f"code perplexity is {codes:.3f}, below {floor:g}; {groups} is one code per group for "
            f"everything ({self._shown(line)}; {equal:.0%} of negatives equal the positive)"
        )

    def _saturated(self, line: LogLine) -> str:
        gradient = line.values["quantizer_gradient"]
        if gradient >= self.limits.vanished or not self._undecided(line):
            return ""
        return (
            "soft perplexity is at its maximum and the gradient that chooses codes has vanished "
            f"({gradient:.1g}; {self._shown(line)})"
        )

    def _too_good(self, line: LogLine) -> str:
        values, most = line.values, line.highest.get("code_perplexity", 0.0)
        fallen = values["code_perplexity"] < 0.8 * most
        near_zero = values["bits"] < 0.01 * self.chance_bits
        if values["accuracy"] <= self.limits.accuracy or not (fallen or near_zero):
            return ""
        return (
            f"accuracy {values['accuracy']:.3f} and {values['bits']:.3f} bits are too good to be "
            f"true ({self._shown(line)}; code perplexity was {most:.1f})"
        )

    def _chance_level(self, line: LogLine) -> str:
        bits, chance = line.values["bits"], line.values["chance_bits"]
        if bits < (1 - self.limits.chance) * chance:
            return ""
        return (
            f"the contrastive loss is {bits:.3f} bits, chance is {chance:.3f} bits: "
            f"log2(1+{self.num_negatives}) = {self.chance_bits:.3f}, less where negatives equal "
            f"the positive ({self._shown(line)})"
        )

    def _undecided(self, line: LogLine) -> bool:
        most = self.limits.saturated * self.quantizer.num_codes
        return line.values["soft_perplexity"] > most

    def _shown(self, line: LogLine) -> str:
        values = line.values
        return (
            f"code perplexity {values['code_perplexity']:.1f} and soft perplexity "
            f"{values['soft_perplexity']:.1f} of {self.quantizer.num_codes}, feature variance "
            f"{values['feature_variance']:.2g}"
        )


class Wav2Vec2(Objective):
    """The quantizer that all languages share, and the two projections of the contrastive loss."""

    headline: ClassVar[tuple[str, ...]] = (
        "bits", "chance_bits", "accuracy", "code_perplexity",
    )  # fmt: skip

    def __init__(self, config: Wav2Vec2Config, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.quantizer.dim
        self.target_dropout = nn.Dropout(config.target_dropout)
        self.quantizer = ProductQuantizer(encoder.features.dim, config.quantizer)
        self.project_q = nn.Linear(dim, dim)
        self.project_hid = nn.Linear(encoder.context.embed_dim, dim)

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        """`step` sets the Gumbel temperature; without one the best code is taken, without noise."""
        mask_BT, lengths_B = batch.draws["mask_BT"], batch.padded_lengths_B
        output = encoder(batch.wave_BS, lengths_B, mask_BT, layer_keep_L=layer_keep_L)
        return self.contrast(output, output.context_BTD, batch, step)[0]

    def contrast(
        self, output: EncoderOutput, context_BTD: Tensor, batch: Batch, step: int | None
    ) -> tuple[Loss, Tensor]:
        """The loss of one layer's context, and the codes (B, M, G) of the masked frames."""
        mask_BT, negatives_BMK = batch.draws["mask_BT"], batch.draws["negatives_BMK"]
        rows = len(mask_BT)
        features, real_B = output.features, output.frames_B
        # (B, T, ...) -> (B, M, ...): equal counts per row make this a plain reshape.
        masked_BMC = self.target_dropout(features.features_BTC)[mask_BT].unflatten(0, (rows, -1))
        temperature = None if step is None else self.config.gumbel_temperature(step)
        quantized = self.quantizer(masked_BMC, temperature)
        context_BMD = context_BTD[mask_BT].unflatten(0, (rows, -1))
        loss = contrastive(
            self.project_hid(context_BMD),
            self.project_q(quantized.vectors_BMQ),
            quantized.codes_BMG,
            negatives_BMK,
            self.config.logit_temperature,
        )
        masked = negatives_BMK.shape[0] * negatives_BMK.shape[1]
        codes = self.config.quantizer.num_codes
        unused = (codes - quantized.soft_perplexity) / codes
        terms = [
            Term(loss.sum, "masked frames"),
            Term(masked * (self.config.diversity * unused), "masked frames"),
        ]
        if self.config.features_penalty:
            penalty = mean_square(features.raw_BTC, real_B)
            terms.append(Term(self.config.features_penalty * penalty, "frames"))
        variance = features.features_BTC.detach()[mask_BT].float().var(0, correction=0).mean()
        variance = variance.clamp(min=1e-12)  # is drawn on a logarithmic axis
        totals = {
            "loss": (terms[0].sum + terms[1].sum).detach(),
            "contrastive": loss.sum.detach(),
            "correct": loss.correct,
            "negatives_equal_positive": loss.negatives_equal_positive,
            "chance_bits": loss.chance_bits,
            "soft_perplexity": quantized.soft_perplexity.detach() * masked,
            "code_perplexity": quantized.code_perplexity.detach() * masked,
            "feature_variance": variance * masked,
            "masked": torch.tensor(float(masked)),
            "frames": torch.tensor(float(mask_BT.numel())) if real_B is None else real_B.sum(),
        }
        if self.config.features_penalty:
            totals["features_penalty"] = penalty.detach()
        return Loss(tuple(terms), totals), quantized.codes_BMG

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Per masked frame: bits, accuracy, shares; perplexities from num_groups to num_codes; the
        whole loss in nats."""
        masked = totals["masked"]
        loss = totals["loss"] / masked
        if "features_penalty" in totals:
            loss += self.config.features_penalty * totals["features_penalty"] / totals["frames"]
        return {
            "bits": totals["contrastive"] / masked / math.log(2),
            "accuracy": totals["correct"] / masked,
            "code_perplexity": totals["code_perplexity"] / masked,
            "soft_perplexity": totals["soft_perplexity"] / masked,
            "negatives_equal_positive": totals["negatives_equal_positive"] / masked,
            "chance_bits": totals["chance_bits"] / masked,
            "feature_variance": totals["feature_variance"] / masked,
            "loss": loss,
            "masked_share": masked / totals["frames"],
        }

    def watched_gradients(self) -> dict[str, list[nn.Parameter]]:
        return {"quantizer_gradient": list(self.quantizer.weight_proj.parameters())}

    def untrained(self, metrics: Mapping[str, float]) -> str:
        if metrics["bits"] > AT_CHANCE * metrics["chance_bits"]:
            return (
                f"is at chance on this audio ({metrics['bits']:.3f} of "
                f"{metrics['chance_bits']:.3f} bits): its quantizer or projections were not "
                "restored, or it was trained with another `normalize`, or hardly trained, or "
                "these recordings hold no speech"
            )
        if metrics["code_perplexity"] < COLLAPSED * self.config.quantizer.num_groups:
            return "has a collapsed quantizer: one code for everything on this audio"
        return ""


@dataclass(frozen=True, slots=True)
class ContrastiveSums:
    """Sums over the masked frames of a batch."""

    sum: Tensor
    """The contrastive term, in nats."""
    correct: Tensor
    """Frames whose true target scores highest; frames where all candidates tie are not counted."""
    negatives_equal_positive: Tensor
    """Share of negatives with the code of the positive, summed over frames: rises in a collapse."""
    chance_bits: Tensor
    """Bits of a guess among the candidates that are left: log2(1 + K(1 - share)) of each frame.
    Less than the same of the mean share, where it is silence that shares a code."""


def contrastive(
    context_BMQ: Tensor,
    targets_BMQ: Tensor,
    codes_BMG: Tensor,
    negatives_BMK: Tensor,
    temperature: float,
) -> ContrastiveSums:
    """The contrastive term; a negative with the codes of the positive gets the logit -inf."""
    rows, masked, count = negatives_BMK.shape
    with torch.autocast(context_BMQ.device.type, enabled=False):
        context_BMQ = F.normalize(context_BMQ.float(), dim=2)
        targets_BMQ = F.normalize(targets_BMQ.float(), dim=2)
        # All pairs of one utterance cost less than copying K candidate vectors for every frame.
        similarity_BMM = context_BMQ @ targets_BMQ.transpose(1, 2) / temperature
    positive_BM1 = similarity_BMM.diagonal(dim1=1, dim2=2)[:, :, None]
    negative_BMK = similarity_BMM.gather(2, negatives_BMK)
    equal_BMK = torch.ones_like(negatives_BMK, dtype=torch.bool)
    for codes_BM in codes_BMG.unbind(2):
        others_BMK = codes_BM.gather(1, negatives_BMK.flatten(1)).view(rows, masked, count)
        equal_BMK &= others_BMK == codes_BM[:, :, None]
    logits_BMJ = torch.cat([positive_BM1, negative_BMK.masked_fill(equal_BMK, -torch.inf)], 2)
    truth = torch.zeros(rows * masked, dtype=torch.long, device=logits_BMJ.device)
    loss = F.cross_entropy(logits_BMJ.flatten(0, 1), truth, reduction="sum")
    best_BM, worst_BM = logits_BMJ.argmax(2), logits_BMJ.argmin(2)
    return ContrastiveSums(
        sum=loss,
        correct=((best_BM == 0) & (worst_BM != 0)).sum(),
        negatives_equal_positive=equal_BMK.float().mean(2).sum(),
        chance_bits=(~equal_BMK).sum(2).add(1).float().log2().sum(),
    )
