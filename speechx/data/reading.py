"""Utterances of one batch as samples, and what is done where a recording is not as its line says.

Scoring and validation want every recording: there anything wrong is an error. In training one
broken file in a million must not end the run, so with `Training` rules

- an utterance that cannot be read is replaced by another of its language and about its length,
  drawn from the seed, the batch and the row: every rank keeps its number of steps and rows, and a
  resumed run hears what it would have heard;
- one that ends before its manifest says (mp3 headers and corpus tables drift) is used at its true
  length, with its labels, unless it is too short for them or for a row: then it is replaced too;
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
TRIES = 8
ROUNDING = 0.9  # of the length that a row needs: lengths in tables are rounded


@dataclass(frozen=True, slots=True)
class Training:
    """The least that an utterance shorter than its manifest says must have to be used."""

    least_seconds: float = 0.0
    """Of a row."""
    frames: Callable[[int], int] | None = None
    """Frames of so many samples, for labels that must fit in them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong with an utterance; `failed` ones were not used, but `instead` was."""

    id: str
    audio: str
    why: str
    failed: bool
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance of the corpus, and its samples."""

    number: int
    utterance: Utterance
    wave_S: np.ndarray


class Reading:
    """Reads what one batch needs; keeps the faults, the utterances tried and the seconds spent."""

    def __init__(
        self,
        corpus: Corpus,
        targets: Sequence[Sequence[int]] | None = None,
        training: Training | None = None,
    ) -> None:
        self.corpus, self.targets, self.training = corpus, targets, training
        self.faults: list[Fault] = []
        self.spent: dict[str, float] = {}
        self.tried = 0

    def read(self, i: int, speed: float, seed: Sequence[int]) -> Heard:
        """Utterance `i`, or another in its place, about as long as it is at that speed."""
        failed = []
        for j in self._in_turn(i, speed, seed):
            u = self.corpus[j]
            try:
                wave_S = self._try(j, u)
            except UserError as error:
                if self.training is None:
                    raise
                failed.append(Fault(u.id, str(u.audio), str(error), failed=True))
                continue
            self.faults += [replace(fault, instead=u.id) for fault in failed]
            return Heard(j, u, wave_S)
        raise UserError(
            f"{failed[0].why} Nor can the {len(failed) - 1} tried in its place, the last of them: "
            f"{failed[-1].why}"
        )

    def _in_turn(self, i: int, speed: float, seed: Sequence[int]) -> Iterator[int]:
        """The utterance, then others of its language that are about as long, and not longer as far
        as there are such: a batch has only so much room."""
        yield i
        corpus = self.corpus
        same = np.flatnonzero(corpus.language_N == corpus.language_N[i])
        same = same[same != i]
        away = corpus.seconds_N[same] - corpus.seconds_N[i] / speed
        away = np.where(away > 0.01, 10 * away, -away)
        if len(same) > ALIKE:
            same = same[np.argpartition(away, ALIKE)[:ALIKE]]
        yield from np.random.default_rng(seed).permutation(np.sort(same))[:TRIES].tolist()

    def _try(self, i: int, u: Utterance) -> np.ndarray:
        self.tried += 1
        wave_S = read_samples(u, math.inf if self.training else END_TOLERANCE_SECONDS, self.spent)
        if self.training and len(wave_S) < (u.duration - END_TOLERANCE_SECONDS) * SAMPLE_RATE:
            why = f"{len(wave_S) / SAMPLE_RATE:.3f} s of the {u.duration:.3f} s in the manifest"
            if not self._enough(i, len(wave_S), self.training):
                raise UserError(f"{u.audio}: only {why}, too short to train on.")
            self.faults.append(Fault(u.id, str(u.audio), why, failed=False))
        return wave_S

    def _enough(self, i: int, samples: int, training: Training) -> bool:
        least = min(training.least_seconds, float(self.corpus.seconds_N[i]))
        if samples < max(1, ROUNDING * least * SAMPLE_RATE):
            return False
        if self.targets is None or training.frames is None:
            return True
        return training.frames(samples) >= frames_needed(self.targets[i])


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
