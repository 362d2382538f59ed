"""How much there is of each language, and what alpha makes of it.

Languages are mixed with p proportional to hours^alpha (data/sampling.py). The share of a language
against its share of the hours is how often its utterances are repeated in an epoch, which has as
many hours as the corpus: at alpha 0 a language of 1 % among five is heard twenty times.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from speechx.data.manifest import Utterance
from speechx.data.sampling import shares
from speechx.data.utterance import hours
from speechx.doctor.checks import REPEATS, Case
from speechx.doctor.shelves import for_evaluation

ALPHAS = (0.0, 0.5, 1.0)


@dataclass(slots=True)
class Amount:
    """Of one language in one corpus."""

    utterances: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By split."""
    labelled: float = 0.0
    excluded: float = 0.0
    """Seconds that are not evaluated on and that the exclusion list names."""
    speakers: set[int] = field(default_factory=set)
    rates: Counter[int] = field(default_factory=Counter)
    """Utterances by sample rate."""

    @property
    def trained(self) -> float:
        """Seconds to train on: all but dev and test, and what is excluded."""
        whole = sum(s for split, s in self.seconds.items() if not for_evaluation(split))
        return max(0.0, whole - self.excluded)


@dataclass(frozen=True, slots=True)
class Share:
    """What a language gets of an epoch at one alpha, and how often each utterance is heard."""

    share: float
    repeats: float


class Balance:
    """Amounts by corpus and language."""

    def __init__(self) -> None:
        self.amounts: dict[tuple[str, str], Amount] = defaultdict(Amount)

    def read(self, split: str, u: Utterance) -> None:
        amount = self.amounts[u.corpus or "", u.language]
        amount.utterances += 1
        amount.seconds[split] += u.duration
        if u.labelled:
            amount.labelled += u.duration
        if u.speaker is not None:
            amount.speakers.add(hash(u.speaker))

    def exclude(self, split: str, u: Utterance) -> None:
        if not for_evaluation(split):
            self.amounts[u.corpus or "", u.language].excluded += u.duration

    def splits(self) -> list[str]:
        """Names of all splits, the most hours first."""
        total = self._total()
        return sorted(total, key=lambda split: -total[split])

    def _total(self) -> dict[str, float]:
        total: dict[str, float] = defaultdict(float)
        for amount in self.amounts.values():
            for split, seconds in amount.seconds.items():
                total[split] += seconds
        return total

    def languages(self) -> dict[str, float]:
        """Seconds to train on, over all corpora."""
        seconds: dict[str, float] = defaultdict(float)
        for (_, language), amount in sorted(self.amounts.items(), key=lambda item: item[0][1]):
            seconds[language] += amount.trained
        return {language: s for language, s in seconds.items() if s > 0}

    def shares(self, alpha: float) -> dict[str, Share]:
        seconds = self.languages()
        total = sum(seconds.values())
        share_L = shares(np.array(list(seconds.values())), alpha)
        return {
            language: Share(share, share * total / some)
            for (language, some), share in zip(seconds.items(), share_L.tolist(), strict=True)
        }

    def cases(self, alpha: float) -> Iterator[Case]:
        for language, share in self.shares(alpha).items():
            if share.repeats > REPEATS:
                said = hours(self.languages()[language])
                detail = f"{said} h, heard {share.repeats:.0f} times an epoch"
                yield Case("repeated_language", "", f"{detail} at alpha {alpha:g}", language)
        groups = sorted(self.amounts.items())
        for (corpus, language), amount in groups:
            low = {rate: n for rate, n in sorted(amount.rates.items()) if rate < 16_000}
            for rate, count in low.items():
                every = "all" if count == amount.rates.total() else f"{count} of"
                yield Case(
                    "low_rate", corpus,
                    f"{every} {amount.rates.total()} are {rate / 1000:g} kHz: band-limited to "
                    f"{rate / 2000:g} kHz, expect a higher error", language, count=count,
                )  # fmt: skip

    def table(self, alphas: Sequence[float] = ALPHAS) -> list[list[str]]:
        """The balance for people: a heading, a row a language, the sum."""
        splits = self.splits()
        many = len({corpus for corpus, _ in self.amounts}) > 1
        at = {alpha: self.shares(alpha) for alpha in alphas}
        heading = ["language", *(["corpus"] if many else []), *(f"{s} h" for s in splits)]
        heading += ["labelled h", "speakers", *(f"alpha {a:g}" for a in alphas)]
        rows = [heading]
        last = ""
        for (corpus, language), a in sorted(self.amounts.items(), key=lambda i: i[0][::-1]):
            cells = [language, *([corpus or "-"] if many else [])]
            cells += [_hours(a.seconds.get(split, 0.0)) for split in splits]
            cells += [_hours(a.labelled), str(len(a.speakers) or "-")]
            for alpha in alphas:
                share = at[alpha].get(language)
                again = language == last
                cells.append("" if again else "-" if share is None else
                             f"{share.share:.1%} x{share.repeats:.3g}")  # fmt: skip
            rows.append(cells)
            last = language
        seconds = self._total()
        total = ["total", *([""] if many else []), *(_hours(seconds[s]) for s in splits)]
        total += [_hours(sum(a.labelled for a in self.amounts.values()))]
        total += [str(sum(len(a.speakers) for a in self.amounts.values()) or "-")]
        return [*rows, [*total, *([""] * len(alphas))]]


def _hours(seconds: float) -> str:
    return hours(seconds) if seconds else "-"
