"""Probabilities that are calibrated: of the words with 0.8, eight in ten are right.

The probability of a word is the product of the probabilities of its letters. A model whose
probabilities are too high or too low is corrected by one number that is fitted on dev:

    calibrated(p) = p ** temperature        above 1 if they are too high

The power maps 0 and 1 to themselves, keeps the order, and reaches every value in between. Two other
forms with one number were worse on real speech. A logit divided by a temperature stays above 0.5 if
it was there, but of a model at the beginning of training nine in ten words of 0.9 are wrong.
Dividing the outputs of frames is as good for words and worse for phones, and needs every frame
twice.

    N words or tokens
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from speechx.decoding.scoring import alignments
from speechx.text_table import text_table

BINS = 10
LARGEST = 20.0  # temperature; the smallest is 1/20
SMALLEST = 1e-6  # distance of a probability to 0 and 1 in the log-loss
STEPS = 60  # each makes the interval of the temperature smaller by a third


@dataclass(frozen=True, slots=True)
class Bin:
    """The words whose probability is from `low` on and below `high`."""

    low: float
    high: float
    count: int
    probability: float
    """Their mean probability ..."""
    right: float
    """... and the share of them that is right; equal if the model is calibrated."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well probabilities agree with the share of tokens that are right."""

    what: str
    """Words, phonemes or languages."""
    count: int
    temperature: float
    """With which the probabilities were made."""
    expected_calibration_error: float
    """Mean distance of probability and share right, over the words of all bins."""
    bins: tuple[Bin, ...]
    """Those that have words."""

    def to_dict(self) -> dict[str, Any]:
        """The same, as JSON types."""
        return asdict(self)

    def table(self) -> str:
        """Aligned plain text: a row per bin."""
        if not self.count:
            return f"The model wrote no {self.what}, so nothing is known of their probabilities."
        rows = [[f"probability of {self.what}", "count", "mean", "right"]]
        rows += [
            [f"{b.low:.1f} - {b.high:.1f}", str(b.count), f"{b.probability:.2f}", f"{b.right:.2f}"]
            for b in self.bins
        ]
        state = f"calibrated with temperature {self.temperature:.2f}"
        if self.temperature == 1:
            state = "not calibrated: speechx evaluate --calibrate, with dev data"
        error = f"expected calibration error: {self.expected_calibration_error:.3f} ({state})"
        return f"{text_table(rows)}\n{error}"


def word_probability(probabilities: Sequence[float]) -> float:
    """The probability that all tokens of a word are right; on real speech the order of words by it
    agrees better with what is right than by the mean."""
    return math.prod(probabilities)


def calibrated(probability: float, temperature: float) -> float:
    """The share of right ones among words or tokens of this probability, 0 to 1."""
    return float(probability**temperature)


def fit_temperature(probability_N: np.ndarray, right_N: np.ndarray) -> float:
    """The temperature with the least log-loss of "this word is right", for probabilities (N,) that
    are not calibrated and truths (N,).

    Its logarithm has a standard normal prior, so a handful of words hardly moves it from 1.
    """
    clipped_N = np.clip(np.asarray(probability_N, float), SMALLEST, 1.0)
    right_N = np.asarray(right_N, bool)

    def loss(logarithm: float) -> float:
        power_N = np.clip(clipped_N ** math.exp(logarithm), SMALLEST, 1 - SMALLEST)
        return logarithm**2 / 2 - float(np.log(np.where(right_N, power_N, 1 - power_N)).sum())

    low, high = -math.log(LARGEST), math.log(LARGEST)
    for _ in range(STEPS):
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    return round(math.exp((low + high) / 2), 4)


def reliability(
    what: str, probability_N: np.ndarray, right_N: np.ndarray, temperature: float = 1.0
) -> Reliability:
    """Bins of the probabilities (N,) after `temperature`, against truths (N,)."""
    p_N = np.asarray(probability_N, float) ** temperature
    bin_N = np.minimum((p_N * BINS).astype(int), BINS - 1)
    bins = tuple(
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=int(chosen_N.sum()),
            probability=float(p_N[chosen_N].mean()),
            right=float(right_N[chosen_N].mean()),
        )
        for number in range(BINS)
        if (chosen_N := bin_N == number).any()
    )
    error = sum(b.count * abs(b.probability - b.right) for b in bins) / max(len(p_N), 1)
    return Reliability(what, len(p_N), temperature, float(error), bins)


def right_tokens(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    """Which tokens of each hypothesis are right: equal to their partner in an alignment with the
    fewest edits."""
    found = []
    for hypothesis, chunks in zip(hypotheses, alignments(references, hypotheses), strict=True):
        right_N = np.zeros(len(hypothesis), bool)
        for chunk in chunks:
            if chunk.type == "equal":
                right_N[chunk.hyp_start_idx : chunk.hyp_end_idx] = True
        found.append(right_N)
    return found
