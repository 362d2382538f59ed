"""Utterances of one batch as samples, and what happens where a recording contradicts its manifest.

Scoring and validation need every recording: there anything wrong is an error. In training one
broken file in a million must not end the run. With `AudioLimits`,

- an utterance that cannot be read is replaced by another of similar length, of its language if
  there is one. The replacement is drawn from the seed, the batch and the row: every rank keeps its
  number of steps and rows, and a resumed run draws the same one. It is at most a tenth longer, or
  as long as the longest row of the batch, and not shorter than a row may be;
- an utterance that ends before its manifest says (mp3 headers and corpus tables drift) is used at
  its true length with its labels, at its own speed if they do not fit at the speed of the row. If
  it is too short for its labels or for a row, it is replaced;
- an utterance that goes on for longer is cut where the manifest says: a segment may end there.

The first two become an `AudioError` that travels with the batch, to be counted and listed
(speechx/training/audio_errors.py).

    N utterances of the corpus · S samples
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from speechx.audio.files import END_TOLERANCE_SECONDS, SAMPLE_RATE, at_16_khz, read_native
from speechx.data.corpus import Corpus
from speechx.data.utterance import Utterance
from speechx.errors import UserError

ALIKE = 64  # utterances of about the same length that one is drawn from
LONGER, SHORTER = 1.1, 0.8  # times the length that is wanted: about the same
TRIES = 8
ROUNDING = 0.9  # of the length that a row needs: lengths in tables are rounded


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """The least that an utterance of the training data needs."""

    least_seconds: float = 0.0
    """Length of a row."""
    frames: Callable[[int], int] = int
    """Number of frames of a number of samples ..."""
    frames_needed: Callable[[Sequence[int]], int] = len
    """... of which the labels of an utterance, if there are any, need this many."""


@dataclass(frozen=True, slots=True)
class AudioError:
    """What was wrong with an utterance; a `failed` one was not used, but its `replacement` was."""

    corpus: str
    language: str
    id: str
    audio: str
    why: str
    failed: bool
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class LoadedUtterance:
    """An utterance of the corpus, its samples, and the speed to play them at."""

    number: int
    utterance: Utterance
    wave_S: np.ndarray
    speed: float = 1.0


@dataclass(slots=True)
class UtteranceReader:
    """Reads the utterances of one batch; counts errors, attempts and seconds."""

    corpus: Corpus
    labels: Sequence[Sequence[int]] | None
    limits: AudioLimits | None
    room: float
    """Seconds of the longest row of the batch."""
    errors: list[AudioError] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds that decoding and resampling took."""
    tried: int = 0

    def read(self, i: int, speed: float, seed: Sequence[int], least: float) -> LoadedUtterance:
        """Utterance `i` at that speed, or a replacement of similar length; of at least `least`
        seconds."""
        failed = []
        for j in self._candidates(i, speed, seed, least):
            u = self.corpus[j]
            try:
                loaded = self._try(j, u, speed if j == i else 1.0, least)
            except UserError as error:
                if self.limits is None:
                    raise
                failed.append(_error(u, str(error), failed=True))
                continue
            self.errors += [replace(error, replacement=u.id) for error in failed]
            return loaded
        if len(failed) > 1:
            note = f"{len(failed) - 1} replacements failed as well, the last one: {failed[-1].why}"
        else:
            note = (
                f"No replacement of about {float(self.corpus.seconds_N[i]) / speed:.1f} s is "
                "available; leave the utterance out (data.exclude) or give more data."
            )
        raise UserError(f"{failed[0].why} {note}")

    def _candidates(self, i: int, speed: float, seed: Sequence[int], least: float) -> Iterator[int]:
        """The utterance, then replacements: at random among utterances of similar length, of the
        same language, then of any; then others, the most similar first."""
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

    def _try(self, i: int, u: Utterance, speed: float, least: float) -> LoadedUtterance:
        self.tried += 1
        wave_S = self._samples(u)
        if self.limits is None:
            return LoadedUtterance(i, u, wave_S, speed)
        why = f"{len(wave_S) / SAMPLE_RATE:.3f} s of the {u.duration:.3f} s in the manifest"
        if len(wave_S) < ROUNDING * least * SAMPLE_RATE:
            raise UserError(f"{u.audio}: only {why}, too short to train on.")
        if not self._labels_fit(i, len(wave_S) / speed):
            speed = 1.0
            if not self._labels_fit(i, len(wave_S)):
                raise UserError(f"{u.audio}: only {why}, too short to train on with its labels.")
        if len(wave_S) < (u.duration - END_TOLERANCE_SECONDS) * SAMPLE_RATE:
            self.errors.append(_error(u, why, failed=False))
        return LoadedUtterance(i, u, wave_S, speed)

    def _samples(self, u: Utterance) -> np.ndarray:
        """The samples (S,) of an utterance at 16 kHz. With limits it may end early."""
        begun = time.perf_counter()
        tolerance = math.inf if self.limits else END_TOLERANCE_SECONDS
        wave_S, rate = read_native(u.audio, u.start, u.duration, part=u.bytes, tolerance=tolerance)
        decoded = time.perf_counter()
        wave_S = at_16_khz(wave_S, rate, str(u.audio))
        kind = "shards" if u.bytes else os.path.splitext(u.audio)[1][1:].lower() or "files"
        self.spent[f"decoding {kind}"] += decoded - begun
        self.spent["resampling"] += time.perf_counter() - decoded
        return wave_S

    def _labels_fit(self, i: int, samples: float) -> bool:
        """Whether the labels of utterance `i` fit in the frames of `samples`."""
        if self.labels is None or self.limits is None:
            return True
        return self.limits.frames(int(samples)) >= self.limits.frames_needed(self.labels[i])


def _error(u: Utterance, why: str, failed: bool) -> AudioError:
    return AudioError(u.corpus or "", u.language, u.id, str(u.audio), why, failed)
