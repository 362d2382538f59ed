"""Prediction of later frames from a context that does not know them: what CPC and wav2vec share.

B utterances · T frames · C feature channels · K steps · D = embed_dim
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE
from speechx.config import config, require_not_negative, require_positive
from speechx.data.reading import ROUNDING
from speechx.models.encoder import EncoderConfig
from speechx.objectives.objective import (
    LogLine,
    Loss,
    Objective,
    ObjectiveConfig,
    Panel,
    Signature,
    Term,
)

CAUSAL = ("lstm", "causal_convolutions")  # context networks that do not see later frames
AT_CHANCE = 0.95  # of the bits of a guess, above which a loaded model has learned nothing


@config
class FutureLimits:
    """From which value on a number of the log is a signature."""

    chance: float = 0.005
    """E101: the loss is within this share of chance."""
    variance: float = 1e-4
    """E103: the variance of the features is below this."""

    def __post_init__(self) -> None:
        require_not_negative(self, "chance", "variance")


@config
class FutureConfig(ObjectiveConfig):
    num_steps: int = 12
    """Frames that are predicted from each context."""
    limits: FutureLimits = FutureLimits()

    def __post_init__(self) -> None:
        require_positive(self, "num_steps")

    def first_step(self, encoder: EncoderConfig) -> int:
        """Distance from a context to the first frame that is predicted from it."""
        return 1

    def require(self, encoder: EncoderConfig, least_seconds: float) -> None:
        if encoder.context.kind not in CAUSAL:
            raise ValueError(
                f"objective {self.kind} predicts later frames, but a {encoder.context.kind} has "
                f"seen them: set encoder.context.kind to {' or '.join(CAUSAL)}, or preset to "
                f"{self.kind}"
            )
        # Durations in manifests are rounded: a row may be a little shorter than they say.
        frames = encoder.features.frames(int(ROUNDING * least_seconds * SAMPLE_RATE))
        needed = self.first_step(encoder) + self.num_steps
        if frames < needed:
            raise ValueError(
                f"data.min_seconds = {least_seconds:g}, less a tenth for rounding, is {frames} "
                f"frames of this encoder, but {needed} are needed to predict {self.num_steps} steps"
            )

    def signatures(self) -> tuple[Signature, ...]:
        audio = "lower optim.lr, or use more audio per step (run.batch_seconds)"
        constant = "lower optim.lr; check the audio (silence, copies of a recording)"
        return (
            Signature("E103", "trivial solution", constant, self._constant_features),
            Signature("E101", "chance level", audio, self._chance_level, after_warmup=True),
        )

    def panels(self) -> tuple[Panel, ...]:
        accuracy = ("accuracy", "accuracy_first", "accuracy_last", "dev_accuracy")
        return (
            Panel("loss, bits per prediction", ("bits", "dev_bits", "chance_bits")),
            Panel("accuracy", accuracy, scale="from zero"),
            Panel("validation, bits per language", ("dev_bits/*",)),
            Panel(
                "variance of the features", ("feature_variance",), self.limits.variance,
                "constant", scale="logarithmic",
            ),
        )  # fmt: skip

    def _constant_features(self, line: LogLine) -> str:
        if line.values["feature_variance"] >= self.limits.variance:
            return ""
        return f"the features are constant ({self._shown(line)})"

    def _chance_level(self, line: LogLine) -> str:
        if line.values["bits"] < (1 - self.limits.chance) * line.values["chance_bits"]:
            return ""
        return f"the loss is that of a guess ({self._shown(line)})"

    def _shown(self, line: LogLine) -> str:
        values = line.values
        return (
            f"{values['bits']:.3f} bits, chance is {values['chance_bits']:.3f}; accuracy "
            f"{values['accuracy']:.3f}, feature variance {values['feature_variance']:.2g}"
        )


class FutureObjective(Objective):
    headline: ClassVar[tuple[str, ...]] = ("bits", "chance_bits", "accuracy")

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Per prediction: bits, the bits of a guess, and the share of predictions whose true frame
        scores highest, of all steps, of the first and of the last one."""
        predictions = totals["predictions"]
        return {
            "bits": totals["loss"] / predictions / math.log(2),
            "accuracy": totals["correct"] / predictions,
            "accuracy_first": totals["correct_first"] / totals["first"],
            "accuracy_last": totals["correct_last"] / totals["last"],
            "chance_bits": totals["chance_bits"] / predictions,
            "feature_variance": totals["feature_variance"] / predictions,
        }

    def untrained(self, metrics: Mapping[str, float]) -> str:
        if metrics["bits"] <= AT_CHANCE * metrics["chance_bits"]:
            return ""
        return (
            f"is at chance on this audio ({metrics['bits']:.3f} of {metrics['chance_bits']:.3f} "
            "bits): its predictors were not restored, or it was trained with another `normalize`, "
            "or hardly trained, or these recordings hold no speech"
        )


def future_loss(
    nats: Tensor, right: Sequence[Tensor], chance_bits: Tensor, features_BTC: Tensor, **more: float
) -> Loss:
    """The sum over all predictions as a loss; `right`, of each step, where the true frame scores
    highest; `chance_bits` is a sum too, and `more` are further totals."""
    features_BTC = features_BTC.detach().float()
    variance = features_BTC.flatten(0, 1).var(0, correction=0).mean()  # over frames
    variance = variance.clamp(min=1e-12)  # is drawn on a logarithmic axis
    numbers = [float(each.numel()) for each in right]
    correct_K = torch.stack([each.sum() for each in right])
    more |= {"predictions": sum(numbers), "first": numbers[0], "last": numbers[-1]}
    totals = {
        "loss": nats.detach(),
        "correct": correct_K.sum(),
        "correct_first": correct_K[0],
        "correct_last": correct_K[-1],
        "chance_bits": chance_bits,
        "feature_variance": variance * sum(numbers),
        **{name: torch.tensor(number) for name, number in more.items()},
    }
    return Loss((Term(nats, "predictions"),), totals)
