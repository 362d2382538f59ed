"""Base classes of the objectives: a loss, with parameters of its own, on top of the encoder.

A new objective is one file: a frozen config with a `kind`, and a module.

    config.draw(batch, random, encoder)   in the loader's workers: everything random, and the counts
    config.build(encoder, vocabulary)     the module
    module(encoder, batch, step)          the loss of one micro-batch: sums, not means
    module.metrics(totals)                what the log shows, from sums over many micro-batches

Each term of a loss is a sum over targets. The counts of the targets are drawn with the batch, so
they are known before the backward pass: the loop adds them over ranks and micro-batches and divides
each term once per step by its own global count. K micro-batches or K processes then equal one big
batch for every term that is additive by nature.

    B utterances · L layers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from speechx.data.batches import Batch
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.text.vocabulary import TokenType, Vocabulary


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of the loss over a micro-batch."""

    sum: Tensor
    """A scalar to differentiate: a sum over targets, times the weight of the term."""
    count: str
    """Which count of the batch normalises it, as in "masked frames"."""


@dataclass(frozen=True, slots=True)
class Loss:
    terms: tuple[Term, ...]
    totals: dict[str, Tensor]
    """Sums for the log, detached and left on the device."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log, for signatures."""

    values: Mapping[str, float]
    highest: Mapping[str, float]
    """Highest value of each metric in the lines before."""
    before: Mapping[str, float]
    """Values of the line before; empty for the first."""
    progress: float
    """Step of the line as a share of the run."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A failure of a loss that shows exactly in the numbers of the log."""

    code: str
    name: str
    advice: str
    shows: Callable[[LogLine], str]
    """What the line shows of the failure, in words; empty if nothing."""
    after_warmup: bool = False
    """Counts from the end of the warm-up on, if that is later than `health.settled`."""
    at: float | None = None
    """Check only once, at this share of the run, instead of all lines, and only warn."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that `speechx health` draws together, and rows that stand together in its table."""

    title: str
    metrics: tuple[str, ...]
    """Keys of the log. A `*` stands for any characters: "dev_bits/*" is every language."""
    level: float | None = None
    """A value to compare the curves with, drawn as a dashed line ..."""
    level_name: str = ""
    """... with this name."""
    share_of: float = 1.0
    """Values and level are shown as a share of this number."""
    scale: Literal["from zero", "share", "logarithmic", "free"] = "free"
    """Of the vertical axis; "share" goes from 0 to 1."""

    @property
    def shown_level(self) -> float:
        """The level in the units of the curves."""
        assert self.level is not None
        return self.level / self.share_of


class ObjectiveConfig:
    """What every config of an objective offers; subclasses are frozen dataclasses with a `kind`."""

    __slots__ = ()

    kind: str

    @property
    def part(self) -> str:
        """The name of its parameters in messages and in `allow_missing`."""
        return self.kind

    @property
    def token_type(self) -> TokenType | None:
        """The labels that it needs; None: it learns from unlabelled speech."""
        return None

    @property
    def separate(self) -> bool:
        """Whether every language has tokens of its own."""
        return False

    def draw(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Everything random that `forward` needs, and the counts of its terms."""
        raise TypeError(f"{type(self).__name__} draws nothing")

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> Objective:
        """The module, with fresh parameters; `vocabulary` for objectives with labels."""
        raise TypeError(f"{type(self).__name__} builds nothing")

    def require(self, encoder: EncoderConfig, least_seconds: float) -> None:
        """Raises ValueError if this objective cannot learn from rows of `least_seconds`."""

    def frames_needed(self, labels: Sequence[object]) -> int:
        """The least number of frames that labels need."""
        return 0

    def continued(self) -> ObjectiveConfig:
        """The config for continuing a model trained with this objective: schedules at their end."""
        return self

    def signatures(self) -> tuple[Signature, ...]:
        """Failures of this loss that a run watches for; the more exact one first."""
        return ()

    def panels(self) -> tuple[Panel, ...]:
        """What `speechx health` shows of a run; by default every metric of the log by itself."""
        return ()


class Objective(nn.Module):
    """A loss with its own parameters on top of an encoder."""

    headline: ClassVar[tuple[str, ...]] = ()
    """Metrics that a validation shows, the most telling first; empty: all."""

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        """The loss of one micro-batch; `step` None evaluates without noise."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Values for the log, in stated units, from sums over micro-batches."""
        raise TypeError(f"{type(self).__name__} has no metrics")

    def watched_gradients(self) -> dict[str, list[nn.Parameter]]:
        """Groups of parameters whose gradient norm is logged under the name given."""
        return {}

    def untrained(self, metrics: Mapping[str, float]) -> str:
        """Why these metrics of a loaded model show that it was not restored; empty if they do not.
        The sentence goes on after the name of the model."""
        return ""
