"""Phone feature error rate: how far from the reference the phones are in articulation.

PanPhon's feature edit distance (Mortensen et al. 2016) of an utterance, with 24 features of +1, 0
or -1 for each segment: to replace a segment costs the mean of half the differences, to insert or
delete one the mean of 1 for a feature that is + or - and 1/2 for one that is 0. The headline is

    rate = sum of distances / sum of reference segments          (corpus-level)

Two policies prepare the segments:

    articulation   phones in our one spelling of IPA (`speechx.text.articulation`); a symbol without
                   features (a tone, a symbol that is not IPA) is a segment of its own, which costs
                   1 to insert, to delete or to replace
    prism          as PRiSM (Bharadwaj et al. 2026) scores phone recognition, and ZIPA and POWSM
                   before it: spaces and ASCII punctuation stripped, NFD, ɡ for g, PanPhon's
                   segments; what PanPhon does not know is dropped, and counted here

PRiSM also reports the mean Hamming distance of an utterance (`hamming_mean`; to replace costs the
share of features that differ, to insert or delete 1) and the phone error rate of the same segments
(`phones`).

    N utterances · S different segments · R segments of a reference · H segments of a hypothesis
    · F features
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from speechx.decoding.scoring import Rate, Scored, check_references, interval, score
from speechx.errors import UserError
from speechx.text.articulation import features, plain_segments, segments
from speechx.text.phone_policies import relaxed
from speechx.text_table import text_table
from speechx.wording import most_frequent, percent, percent_range

FeaturePolicy = Literal["articulation", "prism"]
PREPARED: dict[FeaturePolicy, str] = {
    "articulation": "one spelling of IPA, a symbol without features is a segment that costs 1",
    "prism": "prism: spaces and ASCII punctuation stripped, NFD, ɡ for g, segments of PanPhon, "
    "other symbols dropped",
}
PART = "\n"  # between a phone of several segments and the number of one; no phone holds it


@dataclass(frozen=True, slots=True)
class FeatureRate:
    """A feature error rate and what it was made of. `rate`, `low` and `high` are fractions; `low`
    and `high` bound the 95 % bootstrap interval, as in `Rate`."""

    distance: float
    segments: int
    rate: float
    low: float
    high: float
    utterances: int
    resampled: str


@dataclass(frozen=True, slots=True)
class FeatureScore:
    """`macro` is the mean of the languages' rates."""

    metric: str
    policy: str
    overall: FeatureRate
    macro: float
    languages: dict[str, FeatureRate]
    hamming_mean: float
    """Hamming feature edit distance of an utterance, in segments, on average."""
    phones: Rate
    """Segments that are equal or not: a phone error rate."""
    without_features: dict[str, int]
    """Symbols of both sides that have no features, and how often."""

    @property
    def error(self) -> float:
        return self.overall.rate

    def to_dict(self) -> dict[str, Any]:
        """The same, as JSON types."""
        return asdict(self)

    def table(self) -> str:
        """Aligned plain text: a row per language, then the averages and the policy."""
        rows = [
            [
                *(self.metric.upper(), "rate", "95 % interval", "distance", "segments"),
                *("utterances", "resampled"),
            ]
        ]
        rows += [_row(language, rate) for language, rate in self.languages.items()]
        rows.append(_row("overall", self.overall))
        rows.append(["language mean", percent(self.macro)])
        lines = [
            text_table(rows),
            f"mean Hamming distance of an utterance {self.hamming_mean:.3f}; "
            f"phone error rate of these segments {percent(self.phones.rate)}",
        ]
        if self.without_features:
            lines.append(f"without features: {most_frequent(self.without_features)}")
        return "\n".join([*lines, self.policy])


def feature_score(
    utterances: Sequence[Scored],
    policy: FeaturePolicy = "articulation",
    *,
    prepared: str = "as given",
    resamples: int = 1000,
    seed: int = 0,
) -> FeatureScore:
    """The feature error rate of phones; `prepared` describes how they were prepared, as in `score`.
    Raises UserError if the references of a language have no segments, or if the package panphon is
    not installed."""
    unknown: Counter[str] = Counter()
    cut = _plain if policy == "prism" else _articulated
    segmented = [
        Scored(u.id, u.language, u.speaker, cut(u.reference, unknown), cut(u.hypothesis, unknown))
        for u in utterances
    ]
    _require_segments(utterances, segmented)
    distances = _Distances({s for u in segmented for s in (*u.reference, *u.hypothesis)}, policy)
    found_N2 = np.array([distances.of(u.reference, u.hypothesis) for u in segmented])
    distance_N, hamming_N = found_N2[:, 0], found_N2[:, 1]
    length_N = np.array([len(u.reference) for u in segmented])

    def rate(chosen: Sequence[int]) -> FeatureRate:
        some = [segmented[n] for n in chosen]
        total, count = float(distance_N[chosen].sum()), int(length_N[chosen].sum())
        low, high, resampled = interval(distance_N[chosen], length_N[chosen], some, resamples, seed)
        ids = {(u.language, u.id) for u in some}
        return FeatureRate(total, count, total / count, low, high, len(ids), resampled)

    languages = {
        language: rate([n for n, u in enumerate(segmented) if u.language == language])
        for language in sorted({u.language for u in segmented})
    }
    how = PREPARED[policy] if policy == "prism" else f"{prepared}; {PREPARED[policy]}"
    return FeatureScore(
        metric="pfer",
        policy=f"PFER: feature edit distance of PanPhon / reference segments, corpus-level; "
        f"prepared: {how}; interval: 95 % percentile bootstrap, {resamples} draws of speakers if "
        f"known, else of utterances, seed {seed}",
        overall=rate(range(len(segmented))),
        macro=float(np.mean([each.rate for each in languages.values()])),
        languages=languages,
        hamming_mean=float(hamming_N.mean()),
        phones=score(segmented, "per", prepared=how, resamples=resamples, seed=seed).overall,
        without_features=dict(unknown.most_common()),
    )


def _require_segments(utterances: Sequence[Scored], segmented: Sequence[Scored]) -> None:
    check_references(utterances)
    try:
        check_references(segmented)
    except UserError:
        lost = sorted(
            {u.language for u in segmented} - {u.language for u in segmented if u.reference}
        )
        raise UserError(
            f"no reference of {', '.join(lost)} has a segment that PanPhon knows, so it has no "
            "feature error rate; give references that are phones in IPA"
        ) from None


def _plain(phones: Sequence[str], unknown: Counter[str]) -> list[str]:
    found, dropped = plain_segments("".join(phones))
    unknown.update(dropped)
    return found


def _articulated(phones: Sequence[str], unknown: Counter[str]) -> list[str]:
    """The segments of phones; segment n of a phone of several has its number behind PART."""
    parts: list[str] = []
    for phone in relaxed(phones, "strict"):
        number = len(segments(phone))
        if not number:
            unknown[phone] += 1
        parts += [phone] if number < 2 else [f"{phone}{PART}{part}" for part in range(number)]
    return parts


def _features(segment: str, policy: FeaturePolicy) -> tuple[int, ...] | None:
    """The features of a segment; None if it has none."""
    if policy == "prism":
        return features(segment)
    phone, _, part = segment.partition(PART)
    found = segments(phone)
    return found[int(part or 0)] if found else None


class _Distances:
    """Costs between all segments that occur."""

    def __init__(self, occurring: set[str], policy: FeaturePolicy) -> None:
        names = sorted(occurring)
        self.number = {name: s for s, name in enumerate(names)}
        found = [_features(name, policy) for name in names]
        width = max((len(each) for each in found if each), default=1)
        bare_S = np.array([each is None for each in found], dtype=bool)
        value_SF = np.array([each or (1,) * width for each in found], dtype=np.int8)
        value_SF = value_SF.reshape(len(names), width)
        self.gap_S = np.where(value_SF == 0, 0.5, 1.0).mean(1)
        half, differ = np.zeros((2, len(names), len(names)))
        for value_S in value_SF.T:
            apart = np.abs(value_S[:, None] - value_S[None, :])
            half += apart / (2 * width)
            differ += (apart > 0) / width
        costs_one = (bare_S[:, None] | bare_S[None, :]) & ~np.eye(len(names), dtype=bool)
        half[costs_one] = differ[costs_one] = 1.0
        self.half, self.differ = half, differ

    def of(self, reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[float, float]:
        """The feature edit distance, and the Hamming feature edit distance."""
        r_R = np.array([self.number[s] for s in reference], dtype=np.int64)
        h_H = np.array([self.number[s] for s in hypothesis], dtype=np.int64)
        pairs = np.ix_(r_R, h_H)
        ones_R, ones_H = np.ones(len(r_R)), np.ones(len(h_H))
        return (
            _edit_distance(self.half[pairs], self.gap_S[r_R], self.gap_S[h_H]),
            _edit_distance(self.differ[pairs], ones_R, ones_H),
        )


def _edit_distance(replace_RH: np.ndarray, delete_R: np.ndarray, insert_H: np.ndarray) -> float:
    """The least cost of edits. Rows of the table are computed as a whole: after subtracting the
    cumulative cost of insertions, a row is a running minimum."""
    inserted = np.concatenate([[0.0], np.cumsum(insert_H)])
    row = inserted
    for replace_H, delete in zip(replace_RH, delete_R, strict=True):
        best = row + delete
        best[1:] = np.minimum(best[1:], row[:-1] + replace_H)
        row = inserted + np.minimum.accumulate(best - inserted)
    return float(row[-1])


def _row(name: str, rate: FeatureRate) -> list[str]:
    interval = percent_range(rate.low, rate.high)
    numbers = [f"{rate.distance:.2f}", str(rate.segments), str(rate.utterances)]
    return [name, percent(rate.rate), interval, *numbers, rate.resampled]
