"""How alike the languages use the codes of the shared quantizer, in numbers.

Languages are compared by the Jensen-Shannon divergence of their code frequencies, in bits: 0 is
the same use, 1 is not one code in common. The frequencies of all groups, put end to end and divided
by G, are one distribution; its divergence is the mean of the divergences of the groups. (The V^G
combinations that the XLSR paper counts, Conneau et al. 2020, need far more audio.)

Two controls show how large a divergence has to be. *Halves*: the divergence of random halves of one
language is due to chance alone. Each half has half of the audio, so this is about twice the noise
of a comparison of languages. *Speakers*: the divergence of disjoint speakers of one language.
Languages that are not further apart than that may differ by their recordings only.

    N frames · G groups · V entries · L languages · K codes of all groups
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from speechx.diagnostics.unit_quality import UnitQuality

SPLITS = 10  # a control is the mean over this number of random halves
SMALL_SIDE = 0.2  # share of the frames that the smaller half needs
USED = 0.1  # a code counts as used from this multiple of an even share (1/V) on


@dataclass(frozen=True, slots=True)
class LanguageCodes:
    """The codes of one language's sample, with the piece and the speaker of every frame."""

    codes_NG: np.ndarray
    piece_N: np.ndarray
    speaker_N: np.ndarray
    """-1 where the speaker is not known."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Use:
    """How one language uses the codes. A control is None if there are no two parts to compare."""

    minutes: float
    frames: int
    speakers: int | None
    used: int
    perplexity: float
    """Sum over groups of exp(entropy), from G to G·V, as in the log of a pretraining run."""
    halves: float | None
    speakers_apart: float | None
    from_others: float | None
    """Median divergence from the other languages."""
    nearest: str | None
    counts_GV: np.ndarray

    @property
    def steady(self) -> bool:
        """Whether there is enough audio: its halves differ less than half as much as this
        language differs from most others."""
        if self.halves is None or self.from_others is None:
            return self.halves is not None
        return self.halves < self.from_others / 2


@dataclass(frozen=True, slots=True)
class Sharing:
    """The use of codes by all languages; matrices are in the order of `uses`."""

    groups: int
    entries: int
    uses: dict[str, Use]
    divergence_LL: np.ndarray
    used_by: list[int]
    """Number of codes that 0, 1, ... all languages use."""
    quality: Mapping[str, Mapping[str, UnitQuality]] = field(default_factory=dict)
    """Of the codes of a language, where its phones have times."""

    @property
    def between(self) -> float | None:
        """Median divergence of two languages."""
        return _median(self.divergence_LL[np.triu_indices(len(self.uses), 1)].tolist())

    @property
    def halves(self) -> float | None:
        return _median([use.halves for use in self.uses.values()])

    @property
    def speakers_apart(self) -> float | None:
        return _median([use.speakers_apart for use in self.uses.values()])

    def tree(self) -> np.ndarray:
        """Average linkage on the distance sqrt(divergence), a metric: scipy's (L-1, 4) matrix."""
        from scipy.cluster.hierarchy import linkage
        from scipy.spatial.distance import squareform

        distances = squareform(np.sqrt(self.divergence_LL), checks=False)
        return linkage(distances, "average", optimal_ordering=True)

    def alike(self) -> list[tuple[str, str]]:
        """Pairs of steady languages that are not further apart than the halves of one of them."""
        steady = [(i, name, use) for i, (name, use) in enumerate(self.uses.items()) if use.steady]
        return [
            (one, other)
            for (i, one, use), (j, other, others) in combinations(steady, 2)
            if self.divergence_LL[i, j] <= max(use.halves or 0, others.halves or 0)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for codebook.json."""
        within = {"halves": self.halves, "speakers": self.speakers_apart}
        return {
            "groups": self.groups,
            "entries": self.entries,
            "median_divergence": {"languages": self.between, **within},
            "codes_used_by": self.used_by,
            "languages": {
                name: {**asdict(use), "steady": use.steady, "counts_GV": use.counts_GV.tolist()}
                for name, use in self.uses.items()
            },
            "order": list(self.uses),
            "divergence": self.divergence_LL.round(6).tolist(),
            "alike": self.alike(),
            "tree": self.tree().round(6).tolist() if len(self.uses) > 1 else [],
            "phones": {
                language: {name: asdict(quality) for name, quality in views.items()}
                for language, views in self.quality.items()
            },
        }


def measure(
    samples: Mapping[str, LanguageCodes], groups: int, entries: int, seed: int = 1
) -> Sharing:
    """Compares languages by the codes of their samples."""
    size = groups * entries
    codes = {name: c.codes_NG + entries * np.arange(groups) for name, c in samples.items()}
    frequency_LK = np.stack([frequencies(codes_NG, size) for codes_NG in codes.values()])
    used_LK = frequency_LK * groups >= USED / entries
    divergence_LL = jensen_shannon(frequency_LK)
    names, uses = list(samples), {}
    for index, (name, some) in enumerate(samples.items()):
        random = np.random.default_rng([seed, index])
        known = (some.speaker_N >= 0).all()
        others = [i for i in range(len(names)) if i != index]
        others_L = divergence_LL[index, others]
        halves = apart(codes[name], size, some.piece_N, random)
        counts_GV = np.bincount(codes[name].ravel(), minlength=size).reshape(groups, entries)
        uses[name] = Use(
            minutes=some.seconds / 60,
            frames=len(some.codes_NG),
            speakers=len(np.unique(some.speaker_N)) if known else None,
            used=int(used_LK[index].sum()),
            perplexity=perplexity(counts_GV),
            halves=halves,
            speakers_apart=apart(codes[name], size, some.speaker_N, random) if known else None,
            from_others=float(np.median(others_L)) if others else None,
            nearest=names[others[others_L.argmin()]] if others else None,
            counts_GV=counts_GV,
        )
    return Sharing(
        groups=groups,
        entries=entries,
        uses=uses,
        divergence_LL=divergence_LL,
        used_by=np.bincount(used_LK.sum(0), minlength=len(samples) + 1).tolist(),
    )


def jensen_shannon(frequency_LK: np.ndarray) -> np.ndarray:
    """(L, L) divergences in bits: entropy of the mean of two, less the mean of their entropies."""
    entropy_L = entropy(frequency_LK)
    rows = [
        entropy((frequency_LK + frequency_K) / 2) - (entropy_L + entropy_L[index]) / 2
        for index, frequency_K in enumerate(frequency_LK)
    ]
    divergence_LL = np.clip(np.stack(rows), 0, 1)
    np.fill_diagonal(divergence_LL, 0)
    return divergence_LL


def entropy(frequency_LK: np.ndarray) -> np.ndarray:
    """Bits, per row."""
    logarithm_LK = np.log2(frequency_LK, out=np.zeros_like(frequency_LK), where=frequency_LK > 0)
    return -(frequency_LK * logarithm_LK).sum(1)


def frequencies(codes_NG: np.ndarray, size: int) -> np.ndarray:
    """(K,) shares of `size` codes, numbered over all groups; they sum to 1."""
    return np.bincount(codes_NG.ravel(), minlength=size) / codes_NG.size


def apart(
    codes_NG: np.ndarray, size: int, cluster_N: np.ndarray, random: np.random.Generator
) -> float | None:
    """Mean divergence of random halves, clusters kept whole; None if no even split was found."""
    clusters, cluster_N, frames = np.unique(cluster_N, return_inverse=True, return_counts=True)
    found = []
    for _ in range(SPLITS if len(clusters) > 1 else 0):
        side, filled = np.zeros(len(clusters), dtype=bool), [0, 0]
        for cluster in random.permutation(len(clusters)):  # each goes to the smaller side
            side[cluster] = second = int(filled[1] < filled[0])
            filled[second] += frames[cluster]
        if min(filled) < SMALL_SIDE * sum(filled):
            continue
        second_N = side[cluster_N]
        both = [frequencies(codes_NG[which], size) for which in (~second_N, second_N)]
        found.append(jensen_shannon(np.stack(both))[0, 1])
    return float(np.mean(found)) if found else None


def perplexity(counts_GV: np.ndarray) -> float:
    frequency_GV = counts_GV / counts_GV.sum(1, keepdims=True)
    return float((2 ** entropy(frequency_GV)).sum())


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
