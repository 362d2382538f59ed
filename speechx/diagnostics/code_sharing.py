"""How alike the languages use the codes of the shared quantizer, in numbers.

Languages are compared by the Jensen-Shannon divergence of their code frequencies, in bits: 0 is
the same use, 1 is not one code in common. The frequencies of all groups, put end to end and divided
by G, are one distribution; its divergence is the mean of the divergences of the groups. "Joint" is
the same for the combinations of G codes that the XLSR paper counts (Conneau et al. 2020). There are
V^G combinations, which need far more audio.

Two controls show how large a divergence has to be. *Halves*: the divergence of random halves of one
language is due to chance alone. Each half has half of the audio, so this is about twice the noise
of a comparison of languages. *Speakers*: the divergence of disjoint speakers of one language.
Languages that are not further apart than that may differ by their recordings only.

    N frames · G groups · V entries · L languages · K symbols: codes of all groups, or combinations
    · A symbols of a frame: one of each group, or one combination
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

SPLITS = 10  # a control is the mean over this number of random halves
SMALL_SIDE = 0.2  # share of the frames that the smaller half needs
USED = 0.1  # a code counts as used from this multiple of an even share (1/V) on
SPECIFIC = 5  # number of specific codes listed for a language


@dataclass(frozen=True, slots=True)
class LanguageCodes:
    """The codes of one language's sample, with the piece and the speaker of every frame."""

    codes_NG: np.ndarray
    piece_N: np.ndarray
    speaker_N: np.ndarray
    """-1 where the speaker is not known."""
    seconds: float


@dataclass(frozen=True, slots=True)
class SpecificCode:
    """A code that sets a language apart: its share of the frames here, and its mean elsewhere."""

    group: int
    entry: int
    share: float
    elsewhere: float


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
    joint_halves: float | None
    from_others: float | None
    """Median divergence from the other languages."""
    nearest: str | None
    specific: tuple[SpecificCode, ...]
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
    joint_LL: np.ndarray
    correlation_LL: np.ndarray
    shared_LL: np.ndarray
    """Codes that both languages use, as a share of the codes that at least one of them uses."""
    used_by: list[int]
    """Number of codes that 0, 1, ... all languages use."""

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
            "joint_divergence": self.joint_LL.round(6).tolist(),
            "correlation": self.correlation_LL.round(6).tolist(),
            "shared_codes": self.shared_LL.round(6).tolist(),
            "alike": self.alike(),
            "tree": self.tree().round(6).tolist() if len(self.uses) > 1 else [],
        }


def measure(
    samples: Mapping[str, LanguageCodes], groups: int, entries: int, seed: int = 1
) -> Sharing:
    """Compares languages by the codes of their samples."""
    codes = groups * entries
    symbols = {name: c.codes_NG + entries * np.arange(groups) for name, c in samples.items()}
    joint, combined = joint_symbols([c.codes_NG for c in samples.values()], entries)
    frequency_LK = np.stack([frequencies(s, codes) for s in symbols.values()])
    used_LK = frequency_LK * groups >= USED / entries
    divergence_LL = jensen_shannon(frequency_LK)
    names, uses = list(samples), {}
    for index, (name, some) in enumerate(samples.items()):
        random = np.random.default_rng([seed, index])
        known = (some.speaker_N >= 0).all()
        others = [i for i in range(len(names)) if i != index]
        others_L = divergence_LL[index, others]
        halves = apart(symbols[name], codes, some.piece_N, random)
        counts_GV = np.bincount(symbols[name].ravel(), minlength=codes).reshape(groups, entries)
        uses[name] = Use(
            minutes=some.seconds / 60,
            frames=len(some.codes_NG),
            speakers=len(np.unique(some.speaker_N)) if known else None,
            used=int(used_LK[index].sum()),
            perplexity=perplexity(counts_GV),
            halves=halves,
            speakers_apart=apart(symbols[name], codes, some.speaker_N, random) if known else None,
            joint_halves=apart(joint[index], combined, some.piece_N, random),
            from_others=float(np.median(others_L)) if others else None,
            nearest=names[others[others_L.argmin()]] if others else None,
            specific=specific_codes(frequency_LK * groups, used_LK, index, entries),
            counts_GV=counts_GV,
        )
    with np.errstate(invalid="ignore"):  # an even use has no variance
        correlation_LL = np.atleast_2d(np.nan_to_num(np.corrcoef(frequency_LK)))
    return Sharing(
        groups=groups,
        entries=entries,
        uses=uses,
        divergence_LL=divergence_LL,
        joint_LL=jensen_shannon(np.stack([frequencies(s, combined) for s in joint])),
        correlation_LL=correlation_LL,
        shared_LL=shared_codes(used_LK),
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


def frequencies(symbols_NA: np.ndarray, size: int) -> np.ndarray:
    """(K,) shares of `size` symbols; they sum to 1."""
    return np.bincount(symbols_NA.ravel(), minlength=size) / symbols_NA.size


def apart(
    symbols_NA: np.ndarray, size: int, unit_N: np.ndarray, random: np.random.Generator
) -> float | None:
    """Mean divergence of random halves, units kept whole; None if no even split was found."""
    units, unit_N, frames = np.unique(unit_N, return_inverse=True, return_counts=True)
    found = []
    for _ in range(SPLITS if len(units) > 1 else 0):
        side, filled = np.zeros(len(units), dtype=bool), [0, 0]
        for unit in random.permutation(len(units)):  # each goes to the smaller side
            side[unit] = second = int(filled[1] < filled[0])
            filled[second] += frames[unit]
        if min(filled) < SMALL_SIDE * sum(filled):
            continue
        second_N = side[unit_N]
        both = [frequencies(symbols_NA[which], size) for which in (~second_N, second_N)]
        found.append(jensen_shannon(np.stack(both))[0, 1])
    return float(np.mean(found)) if found else None


def joint_symbols(codes: Sequence[np.ndarray], entries: int) -> tuple[list[np.ndarray], int]:
    """The combinations of G codes that occur, numbered: (N, 1) for each language, and their
    number."""
    together_NG = np.concatenate(codes)
    joint_N = together_NG[:, 0]
    for code_N in together_NG.T[1:]:
        joint_N = np.unique(joint_N * entries + code_N, return_inverse=True)[1]
    ends = np.cumsum([len(codes_NG) for codes_NG in codes])[:-1]
    return np.split(joint_N[:, None], ends), int(joint_N.max()) + 1


def perplexity(counts_GV: np.ndarray) -> float:
    frequency_GV = counts_GV / counts_GV.sum(1, keepdims=True)
    return float((2 ** entropy(frequency_GV)).sum())


def shared_codes(used_LK: np.ndarray) -> np.ndarray:
    """(L, L): codes that both use, as a share of the codes that at least one uses."""
    used_LK = used_LK.astype(float)
    both_LL = used_LK @ used_LK.T
    count_L = used_LK.sum(1)
    return both_LL / np.maximum(count_L[:, None] + count_L - both_LL, 1)


def specific_codes(
    share_LK: np.ndarray, used_LK: np.ndarray, index: int, entries: int
) -> tuple[SpecificCode, ...]:
    """Codes by how much they add to a language's divergence from the mean of the others."""
    if len(share_LK) == 1:
        return ()
    own_K, others_K = share_LK[index], np.delete(share_LK, index, 0).mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits_K = np.where(own_K > 0, own_K * np.log2(2 * own_K / (own_K + others_K)), 0)
    order = [k for k in np.argsort(-bits_K, kind="stable") if bits_K[k] > 0 and used_LK[index, k]]
    return tuple(
        SpecificCode(*divmod(int(k), entries), *np.round([own_K[k], others_K[k]], 6).tolist())
        for k in order[:SPECIFIC]
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
