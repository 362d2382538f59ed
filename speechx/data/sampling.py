"""The epoch plan: which utterances make up which batch.

Languages are mixed with p proportional to hours^alpha (XLSR, section 3): alpha 1 is the corpus as
it is, 0 gives every language the same share, 0.5 is the usual middle. A plan is a pure function
of (utterances, seed, epoch), and the stream of batches runs through the epochs without end; a run
is resumed by the number of batches taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speechx.data.manifest import Utterance


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a batch: an utterance, or short ones of one speaker said after each other."""

    utterances: tuple[Utterance, ...]
    seconds: float
    speed: float = 1.0
    """Played so many times as fast; `seconds` is what that leaves."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows of one batch and its number in the whole run, which seeds its randomness."""

    number: int
    rows: tuple[Row, ...]


def language_shares(hours: Mapping[str, float], alpha: float) -> dict[str, float]:
    """Share of training time per language: hours^alpha, normalised."""
    weights = {language: h**alpha for language, h in hours.items() if h > 0}
    total = sum(weights.values())
    return {language: weight / total for language, weight in weights.items()}


def mixed_epoch(
    utterances: Sequence[Utterance], alpha: float, random: np.random.Generator
) -> list[Utterance]:
    """About as many seconds as the corpus has, every language with its share.

    A language whose share is larger than its corpus is repeated whole as often as it fits, and the
    rest is drawn without replacement; one whose share is smaller is thinned.
    """
    by_language: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_language[utterance.language].append(utterance)
    seconds = {language: sum(u.duration for u in some) for language, some in by_language.items()}
    total = sum(seconds.values())
    mixed: list[Utterance] = []
    for language, share in sorted(language_shares(seconds, alpha).items()):
        some = by_language[language]
        whole, rest = divmod(share * total / seconds[language], 1)
        mixed += some * int(whole)
        order = random.permutation(len(some))
        mixed += [some[i] for i in order[: round(rest * len(some))]]
    return mixed


def join_short(
    utterances: Sequence[Utterance], seconds: float, random: np.random.Generator
) -> list[Row]:
    """Rows of at least `seconds`: utterances of one speaker and language, shuffled, end to end."""
    voices: dict[tuple[str, str | None], list[Utterance]] = defaultdict(list)
    for index in random.permutation(len(utterances)):
        utterance = utterances[index]
        voices[utterance.language, utterance.speaker].append(utterance)
    rows = []
    for some in voices.values():
        chain: list[Utterance] = []
        for utterance in some:
            chain.append(utterance)
            if sum(u.duration for u in chain) >= seconds:
                rows.append(_row(chain))
                chain = []
        if chain:
            rows.append(_row(chain))
    return rows


def at_some_speed(
    utterance: Utterance,
    speed: tuple[float, float],
    random: np.random.Generator,
    fits: Callable[[Utterance, float], bool],
) -> Row:
    """The utterance played at a random speed between the two, to the hundredth; at its own where
    that does not fit: its labels in what is left, or what is more in a batch."""
    slow, fast = speed
    factor = slow if slow == fast else min(max(round(random.uniform(slow, fast), 2), slow), fast)
    if factor == 1 or not fits(utterance, utterance.duration / factor):
        return Row((utterance,), utterance.duration)
    return Row((utterance,), utterance.duration / factor, factor)


def cropped_batches(
    rows: Sequence[Row], seconds: float, crop: float, random: np.random.Generator
) -> list[tuple[Row, ...]]:
    """Batches of at most `seconds`, rows cropped to the shortest of their batch and to `crop`."""
    return _chunks(rows, random, lambda shortest, _: int(seconds / min(shortest, crop)))


def padded_batches(
    rows: Sequence[Row], seconds: float, random: np.random.Generator
) -> list[tuple[Row, ...]]:
    """Batches of at most `seconds` after every row is padded to the longest of its batch."""
    return _chunks(rows, random, lambda _, longest: int(seconds / longest), descending=True)


def stream(
    epoch_plan: Callable[[np.random.Generator], list[tuple[Row, ...]]], seed: int, taken: int = 0
) -> Iterator[Plan]:
    """Batches of epoch 0, 1, 2, ... without end, from the one numbered `taken` on."""
    number, epoch = 0, 0
    while True:
        batches = epoch_plan(np.random.default_rng([seed, epoch]))
        if not batches:
            raise ValueError("an epoch without batches")
        for rows in batches:
            if number >= taken:
                yield Plan(number, rows)
            number += 1
        epoch += 1


def share(plans: Iterator[Plan], rank: int, world: int) -> Iterator[Plan]:
    """Every `world`-th batch, so that all ranks take the same number of steps."""
    for index, plan in enumerate(plans):
        if index % world == rank:
            yield plan


def _row(chain: Sequence[Utterance]) -> Row:
    return Row(tuple(chain), sum(u.duration for u in chain))


def _chunks(
    rows: Sequence[Row],
    random: np.random.Generator,
    fit: Callable[[float, float], int],
    descending: bool = False,
) -> list[tuple[Row, ...]]:
    """Rows of about equal length together, random among neighbours, the batches in random order."""
    jittered = sorted(rows, key=lambda row: row.seconds * random.uniform(0.95, 1.05))
    batches: list[list[Row]] = []
    shortest = longest = 0.0
    for row in reversed(jittered) if descending else jittered:
        low, high = min(shortest, row.seconds), max(longest, row.seconds)
        if not batches or fit(low, high) < len(batches[-1]) + 1:
            batches.append([])
            low = high = row.seconds
        batches[-1].append(row)
        shortest, longest = low, high
    return [tuple(batches[i]) for i in random.permutation(len(batches))]
