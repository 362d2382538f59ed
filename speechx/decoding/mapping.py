"""From the phones a model knows to the phones of a language it was never trained on.

Xu, Baevski and Auli (2021), in two directions:

    train-to-target    every trained phone s goes to the target phone t that is nearest in
                       articulatory features (`speechx.text.articulation`), itself if the language
                       has it. A target phone that nothing reaches then takes its nearest trained
                       phone in a reverse pass (the second pass).
    target-to-train    every target phone takes its nearest trained phone; trained phones that none
                       takes are left out.

The result is a relation, not a function: one trained phone may stand for several target phones. One
of these has the phone's whole probability: the exact one, else one written by hand, else the
nearest, at last one of the reverse pass. The others have a share just below (`REVERSE_WEIGHT`).

Ties are common (about every fourth inexact pair) and broken by rule: the smaller distance of the
other kind, weighted for Hamming and Hamming for weighted, then code points. Each row names the
phones it was tied with.

A symbol without articulatory features (a tone, `ai5`, `??`, ⱱ) goes to itself if both sides have
it. Otherwise it is left out and listed, and so is a phone whose nearest neighbour is farther than
`threshold`. The probability of an output that is left out is dropped, and the other outputs share
the frame; a phone of the language that is left out is never written.

People edit a mapping as a table (speechx/decoding/mapping_file.py).

Column 0 is the CTC blank on both sides.

    T frames · V = 1 + trained phones · U = 1 + target phones
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speechx.errors import UserError
from speechx.text.articulation import distance, problem_without_features, weighted_distance
from speechx.text.ipa import normalize_ipa, several_spellings

EXACT, NEAREST, REVERSE, RANDOM = "exact", "nearest", "reverse-pass", "random"
BY_HAND = "by-hand"
STRENGTH = (EXACT, BY_HAND, NEAREST, RANDOM, REVERSE)
"""Kinds of matches; the first target of a phone in this order has its whole probability."""
REVERSE_WEIGHT = 0.999  # part of a phone's probability that its other targets get
Direction = Literal["train-to-target", "target-to-train"]
Measure = Literal["hamming", "weighted"]
TOLERANCE = 5e-5  # of a threshold: people copy 0.0833 from a table for 2 of 24 features


@dataclass(frozen=True, slots=True)
class MappingRow:
    """A phone of the model and a phone of the language that it stands for. distance: None if one of
    them has no features. match: one of `STRENGTH`. tied: other phones that were equally near.
    comment: by the person who edited the mapping."""

    source: str
    target: str
    distance: float | None
    match: str
    tied: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Mapping:
    """source: the model's phones in the order of its outputs. target: the language's phones.
    unmapped: phones of the model, and phones of the language, without a row. made: the settings or
    the file that it was made from."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    rows: tuple[MappingRow, ...]
    unmapped: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    made: str = ""
    from_file: bool = False

    def matrix(self) -> np.ndarray:
        """(V, U) float32: the part of each output's probability that each target gets."""
        weight_VU = np.zeros((1 + len(self.source), 1 + len(self.target)), np.float32)
        weight_VU[0, 0] = 1.0
        target_column = {phone: u for u, phone in enumerate(self.target, start=1)}
        source_column = {phone: v for v, phone in enumerate(self.source, start=1)}
        whole = self.first_targets()
        for row in self.rows:
            weight = 1.0 if whole[row.source] == row.target else REVERSE_WEIGHT
            weight_VU[source_column[row.source], target_column[row.target]] = weight
        return weight_VU

    def first_targets(self) -> dict[str, str]:
        """For each phone of the model that is mapped, the target that greedy decoding writes."""
        first: dict[str, MappingRow] = {}
        for row in self.rows:
            if row.source not in first or _strength(row) < _strength(first[row.source]):
                first[row.source] = row
        return {source: row.target for source, row in first.items()}

    def counts(self) -> dict[str, int]:
        """Numbers of phones of both sides, of rows by kind, of ties, and of phones left out."""
        matches = [row.match for row in self.rows]
        inexact = [row for row in self.rows if row.match == NEAREST]
        return {
            "model phones": len(self.source),
            "target phones": len(self.target),
            **{match: matches.count(match) for match in STRENGTH if match in matches},
            "ties of nearest": sum(bool(row.tied) for row in inexact),
            "model phones left out": len(self.unmapped[0]),
            "target phones left out": len(self.unmapped[1]),
        }

    def to_tsv(self, left_out: bool = False) -> str:
        """One row a line under a header, ties separated by spaces. With `left_out` also a row for
        each phone that is left out, with an empty cell to fill in."""
        text: str = _table().write_mapping(self, left_out)
        return text

    @classmethod
    def from_tsv(
        cls, path: Path | str, source: Sequence[str], target: Sequence[str] | None = None
    ) -> Mapping:
        """Reads a table that a person may have edited, for a model with these phones. By default
        the targets are all phones that the table has as targets. See `mapping_file`."""
        mapping: Mapping = _table().read_mapping(Path(path), source, target)
        return mapping

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON types, the rows without empty values."""
        rows = [{k: v for k, v in asdict(row).items() if v not in ("", ())} for row in self.rows]
        of_model, of_language = map(list, self.unmapped)
        left_out = {"model": of_model, "language": of_language}
        return {"made": self.made, "rows": rows, "left_out": left_out}

    def summary(self) -> str:
        """For people: how many phones go where, in a line."""
        matches = [row.match for row in self.rows]
        ties = sum(bool(row.tied) for row in self.rows)
        counts = ", ".join(f"{matches.count(match)} {match}" for match in dict.fromkeys(matches))
        missing = sum(map(len, self.unmapped))
        left_out = f"; {missing} left out" if missing else ""
        return f"{len(self.source)} phones -> {len(self.target)}: {counts}; {ties} ties{left_out}"

    def notes(self) -> list[str]:
        """For people: every phone that is left out, pairs that PanPhon cannot tell apart, and every
        two outputs taken for one phone."""
        of_model, of_language = self.unmapped
        notes = []
        for reason, phones in self._by_reason(of_model).items():
            notes.append(
                f"{len(phones)} of {len(self.source)} phones of the model are left out of the "
                f"mapping, because they have {reason}: {' '.join(phones)}"
            )
        for reason, phones in self._by_reason(of_language).items():
            notes.append(
                f"{len(phones)} of {len(self.target)} phones of the language are never "
                f"written, because they have {reason}: {' '.join(phones)}"
            )
        if equal := [row for row in self.rows if row.match != EXACT and row.distance == 0]:
            pairs = [f"{row.source} -> {row.target}" for row in equal]
            notes.append(f"PanPhon has the same features for: {_some(pairs, ', ')}")
        if same := several_spellings(self.source):
            notes.append(f"outputs of the model taken for one phone: {'; '.join(same)}")
        return notes

    def _by_reason(self, phones: Sequence[str]) -> dict[str, list[str]]:
        """Phones that are left out, by what they lack."""
        found: dict[str, list[str]] = {}
        for phone in phones:
            lacks = f"no partner ({self.made})"
            if not self.from_file and problem_without_features(phone):
                lacks = "no articulatory features"
            found.setdefault(lacks, []).append(phone)
        return found


def _table() -> Any:
    return import_module("speechx.decoding.mapping_file")  # which imports this module


def _strength(row: MappingRow) -> tuple[int, float, str]:
    """Smaller is stronger, whatever the order of the rows."""
    far = float("inf") if row.distance is None else row.distance
    return STRENGTH.index(row.match), far, row.target


def map_inventory(
    source: Sequence[str],
    target: Sequence[str],
    *,
    direction: Direction = "train-to-target",
    measure: Measure = "hamming",
    threshold: float | None = None,
    second_pass: bool = True,
) -> Mapping:
    """Maps the phones of a model to the phones of a language.

    `measure` is the distance: Hamming (Xu et al.) or PanPhon's weighted one. Pairs that
    are farther than `threshold`, in units of that distance, are no match. `second_pass` belongs to
    train-to-target. Raises UserError if nothing is left.
    """
    source, target = _checked(source, target, threshold)
    near_targets, near_sources = _with_features(target), _with_features(source)
    rows = [
        MappingRow(phone, normalize_ipa(phone), 0.0, EXACT)
        for phone in source
        if normalize_ipa(phone) in target
    ]
    exact = {row.source for row in rows}
    reached = {row.target for row in rows}
    if direction == "train-to-target":
        if near_targets:
            others = [phone for phone in near_sources if phone not in exact]
            rows += nearest_of(others, near_targets, NEAREST, measure, threshold)
        reached = {row.target for row in rows}
    elif direction != "target-to-train":
        raise ValueError(f"direction must be train-to-target or target-to-train, not {direction!r}")
    backward = NEAREST if direction == "target-to-train" else REVERSE
    if near_sources and (second_pass or backward == NEAREST):
        others = [phone for phone in near_targets if phone not in reached]
        found = nearest_of(others, near_sources, backward, measure, threshold)
        rows += [replace(row, source=row.target, target=row.source) for row in found]
    settings = [direction, f"{measure} distance"]
    if backward == REVERSE:
        settings.append("with second pass" if second_pass else "without second pass")
    if threshold is not None:
        settings.append(f"threshold {threshold:g}")
    if not rows:
        raise UserError(
            "no phone of the model can be mapped to the language: they share none, and only phones "
            "with articulatory features have neighbours"
            f"{'' if threshold is None else f', no farther than {threshold:g}'}. The model writes "
            f"{_some(source)}; the language has {_some(target)}. Expected IPA on both sides."
        )
    return mapping_of(source, target, rows, ", ".join(settings))


def mapping_of(
    source: Sequence[str],
    target: Sequence[str],
    rows: Sequence[MappingRow],
    made: str,
    from_file: bool = False,
) -> Mapping:
    """The mapping with these rows, in one order: rows of the reverse pass last."""
    place_s = {phone: n for n, phone in enumerate(source)}
    place_t = {phone: n for n, phone in enumerate(target)}

    def order(row: MappingRow) -> tuple[bool, int, int]:
        backward = row.match == REVERSE
        return backward, 0 if backward else place_s[row.source], place_t[row.target]

    mapped = {row.source for row in rows}, {row.target for row in rows}
    unmapped = (
        tuple(phone for phone in source if phone not in mapped[0]),
        tuple(phone for phone in target if phone not in mapped[1]),
    )
    ordered = tuple(sorted(rows, key=order))
    return Mapping(tuple(source), tuple(target), ordered, unmapped, made, from_file)


def masked_map(source: Sequence[str], target: Sequence[str]) -> Mapping:
    """The baseline: only the phones that both sides share."""
    whole = map_inventory(source, target)
    return replace(whole, rows=tuple(row for row in whole.rows if row.match == EXACT))


def random_map(source: Sequence[str], target: Sequence[str], seed: int) -> Mapping:
    """The control for the articulatory features: shared phones stay, every other trained phone goes
    to a random target phone."""
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

    A target gets the sum of the probabilities of its phones; all targets of a phone but the first
    get `REVERSE_WEIGHT` times its probability. Greedy decoding never prefers these, a beam search
    with a language model can. Frames are divided by their sum; a frame of which the mapping keeps
    nothing becomes blank.
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
    source: Sequence[str], target: Sequence[str], threshold: float | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(source, str) or isinstance(target, str):
        raise ValueError("inventories are sequences of phones, not one string")
    if not source or not target:
        raise UserError(
            "an inventory is empty: expected the phones of the model and of the language."
        )
    if len(set(source)) != len(source):
        raise ValueError("source phones must be distinct: they are the model's outputs")
    target = tuple(dict.fromkeys(normalize_ipa(phone) for phone in target))
    for side, phones in (("of the model", source), ("of the language", target)):
        if len(phones) == 1:
            raise UserError(
                f"the inventory {side} has one phone, {phones[0]!r}: expected all its phones, with "
                "spaces between, or one a line."
            )
    if threshold is not None and not threshold >= 0:
        raise UserError(f"the threshold is {threshold:g}: expected a distance, 0 or more.")
    return tuple(source), target


def _with_features(phones: Sequence[str]) -> list[str]:
    return [phone for phone in phones if problem_without_features(phone) is None]


def _some(phones: Sequence[str], between: str = " ") -> str:
    return between.join([*phones[:8], *(["..."] if len(phones) > 8 else [])])


def nearest_of(
    phones: Sequence[str],
    candidates: Sequence[str],
    match: str = NEAREST,
    measure: Measure = "hamming",
    threshold: float | None = None,
) -> list[MappingRow]:
    """A row for each phone and its nearest candidate, but for those beyond the threshold."""
    rows = [_nearest(phone, candidates, match, measure) for phone in phones]
    most = float("inf") if threshold is None else threshold + TOLERANCE
    return [row for row in rows if row.distance is not None and row.distance <= most]


def _nearest(phone: str, candidates: Sequence[str], match: str, measure: Measure) -> MappingRow:
    between, other = (distance, weighted_distance)
    if measure == "weighted":
        between, other = other, between
    elif measure != "hamming":
        raise ValueError(f"measure must be hamming or weighted, not {measure!r}")
    far = {candidate: round(between(phone, candidate), 9) for candidate in candidates}
    least = min(far.values())
    best = [candidate for candidate in candidates if far[candidate] == least]
    best.sort(key=lambda c: (round(other(phone, c), 9), c))
    return MappingRow(phone, best[0], least, match, tuple(best[1:]))
