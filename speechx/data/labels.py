"""What a labelled utterance shall be written as, and which ones can be trained on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.data.manifest import Utterance, first_few
from speechx.errors import UserError
from speechx.text.normalize import normalize
from speechx.text.vocabulary import Kind

MOST_INFEASIBLE = 0.01  # share of utterances whose labels are longer than their frames


def units(utterance: Utterance, kind: Kind) -> Sequence[str]:
    """What the model shall write for it."""
    match kind:
        case "phonemes":
            return utterance.phones or ()
        case "characters":
            return list(normalize(utterance.text or "", utterance.language))


def labelled(
    utterances: Sequence[Utterance], kind: Kind, speak: Callable[[str], object]
) -> list[Utterance]:
    """Those with labels of this kind; how many have none, and the first of them, is said."""
    some: list[Utterance] = []
    without: list[str] = []
    for u in utterances:
        if units(u, kind):
            some.append(u)
        else:
            without.append(u.id)
    if not some:
        have = "no labels"
        if any(u.text for u in utterances):
            have = "text: `speechx data phones` adds phones, or train a model with units=characters"
        if any(u.phones for u in utterances):
            have = "phones: give texts, or train a model with units=phonemes"
        wanted = {"phonemes": "phones", "characters": "text"}[kind]
        raise UserError(
            f"a model of {kind} needs `{wanted}` in the manifest, "
            f"but the {len(utterances)} utterances have {have}"
        )
    if without:
        speak(
            f"{len(without)} of {len(utterances)} utterances "
            f"have no {kind} and are left out ({first_few(without)})"
        )
    return some


def limit(utterances: Sequence[Utterance], seconds: float, seed: int) -> list[Utterance]:
    """Random utterances of each language, as many as fit in `seconds`."""
    by_language: dict[str, list[Utterance]] = {u.language: [] for u in utterances}
    taken = dict.fromkeys(by_language, 0.0)
    for index in np.random.default_rng([seed, 5]).permutation(len(utterances)):
        utterance = utterances[index]
        if taken[utterance.language] + utterance.duration <= seconds:
            taken[utterance.language] += utterance.duration
            by_language[utterance.language].append(utterance)
    if without := [language for language, some in by_language.items() if not some]:
        raise UserError(
            f"no utterance of {', '.join(sorted(without))} fits in data.limit_minutes = "
            f"{seconds / 60:g}; give more minutes"
        )
    return [u for some in by_language.values() for u in some]


def feasible(
    utterances: Sequence[Utterance],
    kind: Kind,
    frames: Callable[[int], int],
    listing: Path,
    speak: Callable[[str], object],
) -> list[Utterance]:
    """Without those whose labels need more frames than they have, which `listing` names.

    `frames` counts the frames of a number of samples. More than one in a hundred is an error.
    """
    short = []
    for utterance in utterances:
        there = frames(int(utterance.duration * SAMPLE_RATE))
        needed = frames_needed(units(utterance, kind))
        if there < needed:
            short.append((utterance, there, needed))
    if not short:
        return list(utterances)
    with listing.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["id", "frames", "frames needed (units + repeats)"])
        writer.writerows([u.id, there, needed] for u, there, needed in short)
    message = (
        f"{len(short)} of {len(utterances)} utterances have labels longer than their frames, "
        f"listed in {listing}"
    )
    if len(short) > MOST_INFEASIBLE * len(utterances):
        raise UserError(
            f"{message}; more than {MOST_INFEASIBLE:.0%}: do the labels belong to this audio?"
        )
    speak(f"{message}, and are left out")
    dropped = {u for u, _, _ in short}
    return [u for u in utterances if u not in dropped]


def frames_needed(labels: Sequence[object]) -> int:
    """Least number of frames that can spell them: one each, a blank between equal neighbours."""
    return len(labels) + sum(a == b for a, b in pairwise(labels))
