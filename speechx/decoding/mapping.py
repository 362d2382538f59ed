"""From the phones a model knows to the phones of a language it was never trained on.

Xu, Baevski and Auli (2021), "tr2tgt": every trained phone s goes to the target phone t that is
nearest in articulatory features (`speechx.text.articulation.distance`), itself if the language
has it. A target phone that nothing reaches then takes its nearest trained phone in a reverse pass.
The result is a relation, not a function: one trained phone may stand for several target phones.

Ties are common (about every fourth inexact pair) and broken by rule: smaller weighted feature
distance, then code points. Each row names the phones it was tied with.

A unit without articulatory features (a tone, `ai5`, `??`, ⱱ) goes to itself if both sides have it.
Otherwise it is left out and listed: as an output of the model its probability is dropped, like that
of a phone which masking drops; as a phone of the language it is never written.

Column 0 is the CTC blank on both sides.

    T frames · V = 1 + trained phones · U = 1 + target phones
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechx.errors import UserError
from speechx.text.articulation import distance, problem_without_features, weighted_distance
from speechx.text.ipa import normalize_ipa, several_spellings

EXACT, NEAREST, REVERSE, RANDOM = "exact", "nearest", "reverse-pass", "random"
REVERSE_WEIGHT = 0.999  # of a shared phone's probability: a reverse-pass target loses the tie


@dataclass(frozen=True, slots=True)
class MappingRow:
    """One pair of the relation. tied: other phones that were equally near."""

    source: str
    target: str
    distance: float
    match: str
    tied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapping:
    """source: the model's phones in the order of its outputs. target: the language's phones.
    unmapped: phones of the model, then of the language, that no row has."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    rows: tuple[MappingRow, ...]
    unmapped: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def matrix(self) -> np.ndarray:
        """(V, U) float32: what share of each output's probability each target receives."""
        weight_VU = np.zeros((1 + len(self.source), 1 + len(self.target)), np.float32)
        weight_VU[0, 0] = 1.0
        target_column = {phone: u for u, phone in enumerate(self.target, start=1)}
        source_column = {phone: v for v, phone in enumerate(self.source, start=1)}
        for row in self.rows:
            weight = REVERSE_WEIGHT if row.match == REVERSE else 1.0
            weight_VU[source_column[row.source], target_column[row.target]] = weight
        return weight_VU

    def to_tsv(self) -> str:
        """One row a line under a header, ties separated by spaces."""
        lines = ["source\ttarget\tdistance\tmatch\ttied"]
        lines += [
            f"{r.source}\t{r.target}\t{r.distance:.4f}\t{r.match}\t{' '.join(r.tied)}"
            for r in self.rows
        ]
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        """For people: how many phones go where, in a line."""
        matches = [row.match for row in self.rows]
        ties = sum(bool(row.tied) for row in self.rows)
        counts = ", ".join(f"{matches.count(match)} {match}" for match in dict.fromkeys(matches))
        missing = sum(map(len, self.unmapped))
        left_out = f"; {missing} left out" if missing else ""
        return f"{len(self.source)} phones -> {len(self.target)}: {counts}; {ties} ties{left_out}"

    def notes(self) -> list[str]:
        """For people: every phone that is left out, and every two outputs taken for one phone."""
        of_model, of_language = self.unmapped
        notes = []
        if of_model:
            notes.append(
                f"{len(of_model)} of {len(self.source)} phones of the model are left out of the "
                f"mapping, because they have no articulatory features: {' '.join(of_model)}"
            )
        if of_language:
            notes.append(
                f"{len(of_language)} of {len(self.target)} phones of the language are never "
                f"written, because they have no articulatory features: {' '.join(of_language)}"
            )
        if same := several_spellings(self.source):
            notes.append(f"outputs of the model taken for one phone: {'; '.join(same)}")
        return notes


def map_inventory(source: Sequence[str], target: Sequence[str]) -> Mapping:
    """The two passes. Raises UserError if they leave nothing."""
    source, target = _checked(source, target)
    near_targets, near_sources = _with_features(target), _with_features(source)
    rows = []
    for phone in source:
        if normalize_ipa(phone) in target:
            rows.append(MappingRow(phone, normalize_ipa(phone), 0.0, EXACT))
        elif phone in near_sources and near_targets:
            rows.append(_nearest(phone, near_targets, NEAREST))
    if near_sources:
        rows += _reverse_pass(near_sources, near_targets, rows)
    if not rows:
        raise UserError(
            "no phone of the model can be mapped to the language: they share none, and only phones "
            f"with articulatory features have neighbours. The model writes {_some(source)}; the "
            f"language has {_some(target)}. Expected IPA on both sides."
        )
    mapped = {row.source for row in rows}, {row.target for row in rows}
    unmapped = (
        tuple(phone for phone in source if phone not in mapped[0]),
        tuple(phone for phone in target if phone not in mapped[1]),
    )
    return Mapping(source, target, tuple(rows), unmapped)


def masked_map(source: Sequence[str], target: Sequence[str]) -> Mapping:
    """The baseline that mapping has to beat: only the phones that both sides share."""
    whole = map_inventory(source, target)
    return replace(whole, rows=tuple(row for row in whole.rows if row.match == EXACT))


def random_map(source: Sequence[str], target: Sequence[str], seed: int) -> Mapping:
    """The control: shared phones stay, every other trained phone goes to a random target phone.

    Beside `map_inventory` it shows what the features contribute, beyond keeping shared phones and
    emitting nothing outside the inventory.
    """
    whole = map_inventory(source, target)
    choices = _with_features(whole.target)
    rng = np.random.default_rng(seed)
    rows: list[MappingRow] = []
    for row in whole.rows:
        if row.match == NEAREST:
            chosen = choices[rng.integers(len(choices))]
            row = MappingRow(row.source, chosen, distance(row.source, chosen), RANDOM)
        if row.match != REVERSE:
            rows.append(row)
    return replace(whole, rows=tuple(rows))


def map_posteriors(probabilities_TV: np.ndarray, mapping: Mapping) -> np.ndarray:
    """(T, U) probabilities over the blank and the target phones, each frame summing to 1.

    A target receives the sum over the phones that go to it in the first pass. A reverse-pass target
    receives the probability of its phone times `REVERSE_WEIGHT`, beside the phone's own target:
    greedy decoding never prefers it, a beam search with a language model of the target can. Frames
    are divided by their sum; one in which the mapping keeps nothing at all becomes blank.
    """
    probabilities_TV = np.asarray(probabilities_TV)
    if probabilities_TV.ndim != 2 or probabilities_TV.shape[1] != 1 + len(mapping.source):
        raise ValueError(
            f"probabilities must be (T, {1 + len(mapping.source)}), blank first, "
            f"but are {probabilities_TV.shape}"
        )
    mapped_TU = probabilities_TV.astype(np.float64) @ mapping.matrix()
    mapped_TU[mapped_TU.sum(axis=1) <= 0.0, 0] = 1.0
    return (mapped_TU / mapped_TU.sum(axis=1, keepdims=True)).astype(np.float32)


def _checked(
    source: Sequence[str], target: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(source, str) or isinstance(target, str):
        raise ValueError("inventories are sequences of phones, not one string")
    if not source or not target:
        raise UserError(
            "an inventory is empty: expected the phones of the model and of the language."
        )
    if len(set(source)) != len(source):
        raise ValueError("source phones must be distinct: they are the model's outputs")
    return tuple(source), tuple(dict.fromkeys(normalize_ipa(phone) for phone in target))


def _with_features(phones: Sequence[str]) -> list[str]:
    return [phone for phone in phones if problem_without_features(phone) is None]


def _some(phones: Sequence[str]) -> str:
    return " ".join([*phones[:8], *(["..."] if len(phones) > 8 else [])])


def _nearest(phone: str, candidates: Sequence[str], match: str) -> MappingRow:
    far = {candidate: round(distance(phone, candidate), 9) for candidate in candidates}
    least = min(far.values())
    best = [candidate for candidate in candidates if far[candidate] == least]
    best.sort(key=lambda c: (round(weighted_distance(phone, c), 9), c))
    return MappingRow(phone, best[0], least, match, tuple(best[1:]))


def _reverse_pass(
    source: Sequence[str], target: Sequence[str], first: Sequence[MappingRow]
) -> list[MappingRow]:
    """Rows for targets that no phone reached, each from its nearest phone."""
    reached = {row.target for row in first}
    rows: list[MappingRow] = []
    for phone in target:
        if phone not in reached:
            found = _nearest(phone, source, REVERSE)
            rows.append(MappingRow(found.target, phone, found.distance, REVERSE, found.tied))
    return rows
