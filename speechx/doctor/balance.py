"""How much audio each language has, and what the mix of languages makes of it.

Training draws languages with p proportional to hours^alpha (data/sampling.py). An epoch has as many
hours as the corpus. It repeats each utterance of a language by the share of the language divided by
its share of the hours: at alpha 0, a language with 1 % of the hours in a corpus of five languages
is repeated twenty times.

    L languages
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechx.data.manifest import Utterance, stream_manifest
from speechx.data.sampling import shares
from speechx.data.utterance import hours
from speechx.doctor.checks import REPEATS, Case
from speechx.doctor.manifests import for_evaluation
from speechx.text_table import text_table

ALPHAS = (0.0, 0.5, 1.0)


@dataclass(slots=True)
class Amount:
    """Amounts of one language in one corpus, in seconds."""

    utterances: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # by split
    labelled: float = 0.0
    excluded: float = 0.0  # on the exclusion list, without dev and test
    speakers: set[int] = field(default_factory=set)
    rates: Counter[int] = field(default_factory=Counter)  # utterances by sample rate

    @property
    def trained(self) -> float:
        """Seconds to train on: without dev, test and excluded utterances."""
        whole = sum(s for split, s in self.seconds.items() if not for_evaluation(split))
        return max(0.0, whole - self.excluded)


@dataclass(frozen=True, slots=True)
class EpochShare:
    """The share of a language in an epoch, and how often the epoch repeats each utterance."""

    share: float
    repeats: float


class Balance:
    """Amounts by corpus and language."""

    def __init__(self) -> None:
        self.amounts: dict[tuple[str, str], Amount] = defaultdict(Amount)

    def of(self, u: Utterance) -> Amount:
        return self.amounts[u.corpus or "", u.language]

    def read(self, split: str, u: Utterance) -> None:
        amount = self.of(u)
        amount.utterances += 1
        amount.seconds[split] += u.duration
        amount.labelled += u.duration if u.labelled else 0.0
        if u.speaker is not None:
            amount.speakers.add(hash(u.speaker))

    def exclude(self, split: str, u: Utterance) -> None:
        if not for_evaluation(split):
            self.of(u).excluded += u.duration

    def languages(self) -> dict[str, float]:
        """Seconds to train on, over all corpora."""
        seconds: dict[str, float] = defaultdict(float)
        for (_, language), amount in sorted(self.amounts.items(), key=lambda item: item[0][1]):
            seconds[language] += amount.trained
        return {language: s for language, s in seconds.items() if s > 0}

    def shares(self, alpha: float) -> dict[str, EpochShare]:
        seconds = self.languages()
        total = sum(seconds.values())
        share_L = shares(np.array(list(seconds.values())), alpha)
        return {
            language: EpochShare(share, share * total / own)
            for (language, own), share in zip(seconds.items(), share_L.tolist(), strict=True)
        }

    def cases(self, alpha: float) -> Iterator[Case]:
        seconds = self.languages()
        for language, share in self.shares(alpha).items():
            if share.repeats > REPEATS:
                detail = (
                    f"{hours(seconds[language])} h, repeated {share.repeats:.0f} times an epoch"
                )
                yield Case("repeated_language", "", f"{detail} at alpha {alpha:g}", language)
        for (corpus, language), amount in sorted(self.amounts.items()):
            total = amount.rates.total()
            for rate, count in sorted(amount.rates.items()):
                if rate < 16_000:
                    some = f"{'all' if count == total else f'{count} of'} {total} are at"
                    band = f"{rate / 1000:g} kHz: band-limited to {rate / 2000:g} kHz"
                    detail = f"{some} {band}, expect a higher error"
                    yield Case("low_rate", corpus, detail, language, count=count)

    def table(self, alphas: Sequence[float] = ALPHAS) -> list[list[str]]:
        """A heading, a row per corpus and language, and the sum."""
        total = Amount()
        for (corpus, language), a in self.amounts.items():
            total.utterances += a.utterances
            for split, seconds in a.seconds.items():
                total.seconds[split] += seconds
            total.labelled += a.labelled
            total.speakers |= {hash((corpus, language, speaker)) for speaker in a.speakers}
        splits = sorted(total.seconds, key=lambda split: -total.seconds[split])
        several = len({corpus for corpus, _ in self.amounts}) > 1
        at = [self.shares(alpha) for alpha in alphas]

        def row(language: str, corpus: str, a: Amount, mix: Sequence[str]) -> list[str]:
            by_split = [_hours(a.seconds.get(split, 0.0)) for split in splits]
            whole = hours(sum(a.seconds.values()))
            return [language, *([corpus] if several else []), f"{a.utterances:,}", whole,
                    *(by_split if len(splits) > 1 else []), _hours(a.labelled),
                    str(len(a.speakers) or "-"), *mix]  # fmt: skip

        heading = ["language", *(["corpus"] if several else []), "utterances", "hours"]
        heading += [f"{split} h" for split in splits] if len(splits) > 1 else []
        heading += ["labelled h", "speakers"]
        rows = [[*heading, *(f"alpha {alpha:g}" for alpha in alphas)]]
        for (corpus, language), a in sorted(self.amounts.items(), key=lambda item: item[0][::-1]):
            known = [mixed.get(language) for mixed in at]
            mix = [f"{s.share:.1%} x{s.repeats:.3g}" if s else "-" for s in known]
            rows.append(row(language, corpus or "-", a,
                            mix if rows[-1][0] != language else [""] * len(at)))  # fmt: skip
        return [*rows, row("total", "", total, [""] * len(at))]


def summary(manifests: Sequence[Path]) -> str:
    """Utterances, hours and speakers of each language in manifests, for `speechx data summary`."""
    balance = Balance()
    for path in manifests:
        for u in stream_manifest(path):
            balance.read(path.stem, u)
    return text_table(balance.table(alphas=()))


def _hours(seconds: float) -> str:
    return hours(seconds) if seconds else "-"
