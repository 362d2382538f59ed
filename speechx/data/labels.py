"""Labels of utterances: which tokens they are, and which utterances can be trained on."""

import csv
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.data.manifest import Utterance, first_few
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.normalize import normalize
from speechx.text.vocabulary import TokenType

MOST_TOO_LONG = 0.01  # share of utterances whose labels are longer than their frames
FIELD = {"phonemes": "phones", "characters": "text", "languages": "language"}  # of a manifest


def tokens_of(utterance: Utterance, token_type: TokenType) -> Sequence[str]:
    """The tokens that a model should write for an utterance."""
    match token_type:
        case "phonemes":
            return utterance.phones or ()
        case "characters":
            return list(normalize(utterance.text or "", utterance.language))
        case "languages":
            return [utterance.language]


def labelled(utterances: Iterable[Utterance], token_type: TokenType) -> list[Utterance]:
    """The utterances that have labels of this type; logs how many do not."""
    utterances = list(utterances)
    some = [u for u in utterances if tokens_of(u, token_type)]
    if not some:
        have = "no labels"
        if any(u.text for u in utterances):
            have = (
                "text: `speechx data phones` adds phones, or train a model with "
                "objective.tokens=characters"
            )
        if any(u.phones for u in utterances):
            have = "phones: give texts, or train a model with objective.tokens=phonemes"
        raise UserError(
            f"a model of {token_type} needs `{FIELD[token_type]}` in the manifest, "
            f"but the {len(utterances)} utterances have {have}"
        )
    if len(some) < len(utterances):
        without = [u.id for u in utterances if not tokens_of(u, token_type)]
        logger.info(
            f"{len(without)} of {len(utterances)} utterances "
            f"have no {token_type} and are left out ({first_few(without)})"
        )
    return some


def limit(utterances: Sequence[Utterance], seconds: float, seed: int) -> list[Utterance]:
    """Random utterances of each language that fit in `seconds` together."""
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
    token_type: TokenType,
    frames: Callable[[int], int],
    needed_by: Callable[[Sequence[str]], int],
    listing: Path,
) -> list[Utterance]:
    """Without the utterances whose labels need more frames than there are; `listing` names them.

    `frames` counts the frames of a number of samples, `needed_by` the frames that labels need.
    More than one such utterance in a hundred is an error.
    """
    listing.unlink(missing_ok=True)  # of an earlier try
    short, kept = [], []
    for utterance in utterances:
        there = frames(int(utterance.duration * SAMPLE_RATE))
        needed = needed_by(tokens_of(utterance, token_type))
        if there < needed:
            short.append((utterance.id, there, needed))
        else:
            kept.append(utterance)
    if not short:
        return kept
    with listing.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["id", "frames", "frames needed (tokens + repeats)"])
        writer.writerows(short)
    message = (
        f"{len(short)} of {len(utterances)} utterances have labels longer than their frames, "
        f"listed in {listing}"
    )
    if len(short) > MOST_TOO_LONG * len(utterances):
        raise UserError(
            f"{message}; more than {MOST_TOO_LONG:.0%}: do the labels belong to this audio?"
        )
    logger.info(f"{message}, and are left out")
    return kept


def frames_needed(labels: Sequence[object]) -> int:
    """The least number of frames with which CTC can spell labels: one each, and one for a blank
    between equal neighbours."""
    return len(labels) + sum(a == b for a, b in pairwise(labels))
