"""Utterances of one batch as samples, and what is done where a recording is not as its line says.

Scoring and validation want every recording: there anything wrong is an error. In training one
broken file in a million must not end the run, so with `Training` rules

- an utterance that cannot be read is replaced by another of about its length, of its language if
  there is one, drawn from the seed, the batch and the row: every rank keeps its number of steps and
  rows, and a resumed run hears what it would have heard. It is at most a tenth longer, or as
  long as the longest of the batch, which has only so much room; and not shorter than a row may be;
- one that ends before its manifest says (mp3 headers and corpus tables drift) is used at its true
  length, with its labels: at its own speed if they do not fit at that of the row. If it is too
  short for them even so, or for a row, it is replaced too;
- one that goes on for longer is cut where its manifest says, which may be a segment's end.

The first two are a `Fault` that travels with the batch, to be counted and listed
(speechx/training/faults.py).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechx.audio.files import END_TOLERANCE_SECONDS, SAMPLE_RATE, read_native, resample
from speechx.data.corpus import Corpus
from speechx.data.labels import frames_needed
from speechx.data.utterance import Utterance
from speechx.errors import UserError

ALIKE = 64  # utterances of about the same length that one is drawn from
LONGER, SHORTER = 1.1, 0.8  # times the length that is wanted: about the same
TRIES = 8
ROUNDING = 0.9  # of the length that a row needs: lengths in tables are rounded


@dataclass(frozen=True, slots=True)
class Training:
    """The least that an utterance must have to be used."""

    least_seconds: float = 0.0
    """Of a row."""
    frames: Callable[[int], int] | None = None
    """Frames of so many samples, for labels that must fit in them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong with an utterance; `failed` ones were not used, but `instead` was."""

    corpus: str
    language: str
    id: str
    audio: str
    why: str
    failed: bool
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance of the corpus, its samples, and the speed that they are to be played at."""

    number: int
    utterance: Utterance
    wave_S: np.ndarray
    speed: float = 1.0


class Reading:
    """Reads what one batch needs; keeps the faults, the utterances tried and the seconds spent."""

    def __init__(
        self,
        corpus: Corpus,
        targets: Sequence[Sequence[int]] | None = None,
        training: Training | None = None,
        room: float = 0.0,
    ) -> None:
        """`room`: seconds that any row of the batch may have, those of its longest one."""
        self.corpus, self.targets, self.training, self.room = corpus, targets, training, room
        self.faults: list[Fault] = []
        self.spent: dict[str, float] = {}
        self.tried = 0

    def read(self, i: int, speed: float, seed: Sequence[int], least: float = 0.0) -> Heard:
        """Utterance `i`, or another in its place, about as long as it is at that speed; of at least
        `least` seconds."""
        failed = []
        for j in self._in_turn(i, speed, seed, least):
            u = self.corpus[j]
            try:
                heard = self._try(j, u, speed if j == i else 1.0, least)
            except UserError as error:
                if self.training is None:
                    raise
                failed.append(_fault(u, str(error), failed=True))
                continue
            self.faults += [replace(fault, instead=u.id) for fault in failed]
            return heard
        raise UserError(f"{failed[0].why} {self._nobody(i, speed, failed[1:])}")

    def _in_turn(
        self, i: int, speed: float, seed: Sequence[int], least: float = 0.0
    ) -> Iterator[int]:
        """The utterance, then others: at random among those of about its length, of its language
        or else of any; and only then those that are less like it, the nearest first."""
        yield i
        seconds_N, language_N = self.corpus.seconds_N, self.corpus.language_N
        wanted = float(seconds_N[i]) / speed
        fits_N = (seconds_N >= least) & (seconds_N <= max(LONGER * wanted, self.room))
        fits_N[i] = False
        like_N = (seconds_N >= SHORTER * wanted) & (seconds_N <= LONGER * wanted)
        same_N = language_N == language_N[i]
        random, left = np.random.default_rng(seed), TRIES
        for like in (True, False):
            for same in (True, False):
                some = np.flatnonzero(fits_N & (like_N == like) & (same_N == same))
                some = some[np.argsort(np.abs(seconds_N[some] - wanted), kind="stable")[:ALIKE]]
                yield from (random.permutation(some) if like else some)[:left].tolist()
                left -= min(left, len(some))

    def _try(self, i: int, u: Utterance, speed: float, least: float) -> Heard:
        self.tried += 1
        wave_S = read_samples(u, math.inf if self.training else END_TOLERANCE_SECONDS, self.spent)
        if self.training is None:
            return Heard(i, u, wave_S, speed)
        why = f"{len(wave_S) / SAMPLE_RATE:.3f} s of the {u.duration:.3f} s in the manifest"
        if len(wave_S) < ROUNDING * least * SAMPLE_RATE:
            raise UserError(f"{u.audio}: only {why}, too short to train on.")
        if not self._spells(i, len(wave_S) / speed):
            speed = 1.0
            if not self._spells(i, len(wave_S)):
                raise UserError(f"{u.audio}: only {why}, too short to train on with its labels.")
        if len(wave_S) < (u.duration - END_TOLERANCE_SECONDS) * SAMPLE_RATE:
            self.faults.append(_fault(u, why, failed=False))
        return Heard(i, u, wave_S, speed)

    def _spells(self, i: int, samples: float) -> bool:
        """Whether the labels of utterance `i` fit in the frames of so many samples."""
        if self.targets is None or self.training is None or self.training.frames is None:
            return True
        return self.training.frames(int(samples)) >= frames_needed(self.targets[i])

    def _nobody(self, i: int, speed: float, tried: Sequence[Fault]) -> str:
        if tried:
            return f"Nor can the {len(tried)} tried in its place, the last of them: {tried[-1].why}"
        wanted = float(self.corpus.seconds_N[i]) / speed
        return (
            f"Nor is there an utterance to hear in its place, for {wanted:.1f} s; leave it out "
            "(data.exclude) or give more data."
        )


def _fault(u: Utterance, why: str, failed: bool) -> Fault:
    return Fault(u.corpus or "", u.language, u.id, str(u.audio), why, failed)


def read_samples(
    u: Utterance,
    tolerance: float = END_TOLERANCE_SECONDS,
    spent: MutableMapping[str, float] | None = None,
) -> np.ndarray:
    """Its samples (S,) at 16 kHz; it may end `tolerance` seconds early. `spent` takes up the
    seconds that went to what."""
    begun = time.perf_counter()
    wave_S, rate = read_native(u.audio, u.start, u.duration, part=u.bytes, tolerance=tolerance)
    decoded = time.perf_counter()
    wave_S = resample(wave_S, rate, SAMPLE_RATE)
    if len(wave_S) == 0:
        raise UserError(f"{u.audio}: the file holds no audio samples.")
    if spent is not None:
        kind = "shards" if u.bytes else os.path.splitext(u.audio)[1][1:].lower() or "files"
        parts = {f"decoding {kind}": decoded - begun, "resampling": time.perf_counter() - decoded}
        for part, seconds in parts.items():
            spent[part] = spent.get(part, 0.0) + seconds
    return wave_S
