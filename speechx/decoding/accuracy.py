"""Accuracy and confusions of a classifier.

C classes
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from speechx.decoding.scoring import Scored, check_references
from speechx.text_table import text_table
from speechx.wording import percent, percent_range

MOST_CONFUSIONS = 10  # that a table shows


@dataclass(frozen=True, slots=True)
class Share:
    """How many of a group of utterances are right. `rate`, `low` and `high` are fractions; `low`
    and `high` bound the 95 % Wilson interval."""

    correct: int
    utterances: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    metric: str
    policy: str
    overall: Share
    macro: float
    """Mean of the languages' accuracies."""
    languages: dict[str, Share]
    confusions: dict[str, dict[str, int]]
    """Utterances by their language, then by the answer; an empty answer is no answer."""

    @property
    def error(self) -> float:
        """Selects `best`: lower is better."""
        return 1 - self.overall.rate

    def to_dict(self) -> dict[str, Any]:
        """The same, as JSON types."""
        return asdict(self)

    def table(self) -> str:
        """Aligned plain text: a row per language, the averages, the most frequent confusions."""
        rows = [["accuracy", "rate", "95 % interval", "correct", "utterances"]]
        rows += [_row(language, share) for language, share in self.languages.items()]
        rows.append(_row("overall", self.overall))
        rows.append(["language mean", percent(self.macro)])
        wrong = [
            (count, truth, answer)
            for truth, answers in self.confusions.items()
            for answer, count in answers.items()
            if answer != truth
        ]
        wrong.sort(key=lambda each: (-each[0], each[1:]))
        shown = [
            f"{truth} taken for {answer or 'nothing'}: {count}"
            for count, truth, answer in wrong[:MOST_CONFUSIONS]
        ]
        return "\n".join([text_table(rows), *shown, self.policy])


def accuracy(utterances: Sequence[Scored], prepared: str = "as given") -> Accuracy:
    """Scores one-token hypotheses against one-token references. `prepared` is part of the policy,
    as in `score`."""
    check_references(utterances)
    confusions: dict[str, Counter[str]] = {}
    for u in utterances:
        answer = " ".join(u.hypothesis)
        confusions.setdefault(" ".join(u.reference), Counter())[answer] += 1
    languages = {
        truth: share(answers[truth], answers.total())
        for truth, answers in sorted(confusions.items())
    }
    correct = sum(each.correct for each in languages.values())
    return Accuracy(
        metric="accuracy",
        policy=f"accuracy: right answers / utterances; prepared: {prepared}; "
        "interval: 95 % Wilson score",
        overall=share(correct, len(utterances)),
        macro=float(np.mean([each.rate for each in languages.values()])),
        languages=languages,
        confusions={truth: dict(sorted(a.items())) for truth, a in sorted(confusions.items())},
    )


def share(correct: int, utterances: int) -> Share:
    """The share with its Wilson score interval (Wilson 1927)."""
    z, n, p = 1.96, utterances, correct / utterances
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = max(0.0, float(centre - half)), min(1.0, float(centre + half))
    return Share(correct, utterances, p, low, high)


def _row(name: str, share: Share) -> list[str]:
    interval = percent_range(share.low, share.high)
    return [name, percent(share.rate), interval, str(share.correct), str(share.utterances)]
