"""The epoch plan: which utterances are in which batch.

Languages are mixed with p proportional to hours^alpha (XLSR, section 3): alpha 1 is the natural
distribution, 0 gives every language the same share, 0.5 is a common choice. XLS-R does this on two
levels: languages within each corpus, then corpora. Hours are usable hours, and shares are shares of
the seconds after cropping. A plan is a pure function of (corpus, seed, epoch). The stream of
batches is endless; a run resumes at a `Position`.

    N utterances of the corpus · U utterances of the epoch, with repetitions · R rows · B batches
    · C corpora · L languages · G = C times L groups · P passes over a group · K shards in one pass

Everything is an array, because corpora have ten million utterances; objects are made only for the
current batch. If audio is packed in shards, the order of shards is random, and each batch is made
from a window of many shards: a shard holds one language, so a batch from few shards would have few
languages. A window has at least 64 shards and four for each language of each corpus. This mixes
languages about as well as without shards, but the disk or its cache only reads the shards of one
window at a time: 16 GB for 64 shards of 256 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np

from speechx.data.corpus import Corpus

JITTER = 0.03  # relative jitter of lengths before sorting: rows of similar length swap
WINDOW_SECONDS = 20_000.0  # the least audio in a window
WINDOW_SHARDS = 64  # the fewest shards in a window,
WINDOW_SHARDS_A_GROUP = 4  # and the fewest for each language of each corpus


@dataclass(frozen=True, slots=True)
class Position:
    """Batch `index` of `epoch` in the stream. `number` counts from the start of the run."""

    epoch: int = 0
    index: int = 0
    number: int = 0

    def after(self, batches: int) -> Position:
        """The position `batches` later; an index after the end means the next epoch."""
        return Position(self.epoch, self.index + batches, self.number + batches)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a batch: an utterance, or short ones of one speaker in sequence."""

    utterances: tuple[int, ...]
    """Indices in the corpus."""
    seconds: float
    speed: float = 1.0
    """Speed factor; `seconds` is the duration after the change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of one batch, and its position, from which its random seed derives."""

    position: Position
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as arrays. Row r consists of the `count_R[r]` utterances of `utterance_U` from
    `first_R[r]` on. Rows of one window share shards; one pass contains no utterance twice."""

    utterance_U: np.ndarray
    first_R: np.ndarray
    count_R: np.ndarray
    seconds_R: np.ndarray
    speed_R: np.ndarray | None = None
    window_R: np.ndarray | None = None
    pass_R: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first_R)

    def __getitem__(self, r: int) -> Row:
        first = self.first_R[r]
        return Row(
            tuple(self.utterance_U[first : first + self.count_R[r]].tolist()),
            float(self.seconds_R[r]),
            1.0 if self.speed_R is None else float(self.speed_R[r]),
        )

    def take(self, which: np.ndarray) -> Rows:
        """The rows at these indices, or where a mask is true."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        del columns["utterance_U"]
        return replace(self, **{k: x[which] for k, x in columns.items() if x is not None})


@dataclass(frozen=True, slots=True)
class Pass:
    """Seconds of each corpus and language in one pass over the rows, before and after cropping."""

    used_CL: np.ndarray
    cropped_CL: np.ndarray


@dataclass(frozen=True, slots=True)
class Epoch:
    """Batches: batch b has the `count_B[b]` rows of `order_R` from `first_B[b]` on."""

    rows: Rows
    order_R: np.ndarray
    first_B: np.ndarray
    count_B: np.ndarray

    def __len__(self) -> int:
        return len(self.first_B)

    def __getitem__(self, b: int) -> tuple[Row, ...]:
        first = self.first_B[b]
        return tuple(self.rows[r] for r in self.order_R[first : first + self.count_B[b]])


def shares(hours: np.ndarray, alpha: float) -> np.ndarray:
    """Share of training time: hours^alpha, normalised along the last axis; 0 for no hours."""
    weights = np.where(hours > 0, np.asarray(hours, dtype=np.float64) ** alpha, 0.0)
    return weights / np.maximum(weights.sum(-1, keepdims=True), np.finfo(np.float64).tiny)


def mix(seconds_CL: np.ndarray, alpha: float, corpus_alpha: float | None = None) -> np.ndarray:
    """Share of each corpus and language. Without `corpus_alpha`, corpora of a language are mixed by
    their hours."""
    if corpus_alpha is None:
        seconds_L = seconds_CL.sum(0)
        return shares(seconds_L, alpha) * seconds_CL / np.where(seconds_L > 0, seconds_L, 1)
    return shares(seconds_CL.sum(1), corpus_alpha)[:, None] * shares(seconds_CL, alpha)


def every_row(corpus: Corpus, utterance_U: np.ndarray | None = None) -> Rows:
    """One row for each utterance, or for each of these."""
    if utterance_U is None:
        utterance_U = np.arange(len(corpus), dtype=np.int32)
    return Rows(
        utterance_U,
        np.arange(len(utterance_U), dtype=np.int32),
        np.ones(len(utterance_U), dtype=np.int32),
        corpus.seconds_N[utterance_U],
    )


def one_pass(corpus: Corpus, rows: Rows, crop: float) -> Pass:
    """Seconds in these rows (no utterance twice), before and after cropping to `crop` seconds."""
    group_R = corpus.group_N[rows.utterance_U[rows.first_R]]
    shape = corpus.seconds_CL.shape
    used_G, cropped_G = (
        np.bincount(group_R, seconds_R, corpus.seconds_CL.size)
        for seconds_R in (rows.seconds_R, np.minimum(rows.seconds_R, crop))
    )
    return Pass(used_G.reshape(shape), cropped_G.reshape(shape))


def mixed_epoch(
    corpus: Corpus,
    alpha: float,
    corpus_alpha: float | None,
    random: np.random.Generator,
    once: Pass | None = None,
) -> Rows:
    """As many seconds as one pass after cropping, with its share for every language.

    A group (corpus and language) with a share of x passes gets the whole part of x as full passes;
    the fraction is drawn without replacement. `once` is one pass; by default it consists of all
    utterances, uncropped.
    """
    once = once or Pass(corpus.seconds_CL, corpus.seconds_CL)
    cropped_G, share_G = once.cropped_CL.ravel(), mix(once.used_CL, alpha, corpus_alpha).ravel()
    sorted_N = np.argsort(corpus.group_N, kind="stable").astype(np.int32)
    counts_G = np.bincount(corpus.group_N, minlength=len(cropped_G))
    total, end = cropped_G.sum(), 0
    parts: list[np.ndarray] = []
    passes: list[int] = []
    for seconds, share, count in zip(cropped_G, share_G, counts_G, strict=True):
        group, end = sorted_N[end : end + count], end + count
        if not share:
            continue
        times = share * total / seconds
        whole = int(times + 1e-9)
        parts += [group] * whole
        # Rounded randomly, so that a language of few utterances is not always rounded to none.
        if few := int(max(times - whole, 0.0) * count + random.random()):
            parts.append(random.permutation(group)[:few])
        passes += range(whole + bool(few))
    utterance_U = np.concatenate(parts)
    pass_P = np.array(passes, dtype=np.min_scalar_type(max(passes)))
    pass_U = np.repeat(pass_P, [len(part) for part in parts])
    rows = replace(every_row(corpus, utterance_U), pass_R=pass_U)
    if corpus.shard_N is None:
        return rows
    return replace(rows, window_R=_windows(corpus, utterance_U, pass_U, random))


def join_short(corpus: Corpus, rows: Rows, seconds: float, random: np.random.Generator) -> Rows:
    """Joins single rows of one speaker, pass and window at random to rows of at least `seconds`.

    Speakers with the same name in different corpora or languages are different; all unknown
    speakers of a corpus and language count as one. No row holds an utterance twice.
    """
    if not seconds or not len(rows):
        return rows
    utterance_R = rows.utterance_U[rows.first_R]
    speaker_R = corpus.speaker_N[utterance_R].astype(np.int64) + 1
    key_R = corpus.group_N[utterance_R].astype(np.int64) * (1 + speaker_R.max()) + speaker_R
    for part_R in (rows.pass_R, rows.window_R):
        if part_R is not None and part_R.any():
            key_R += part_R.astype(np.int64) * (1 + key_R.max())
    order_R = random.permutation(len(rows))
    order_R = order_R[np.argsort(key_R[order_R], kind="stable")]
    seconds_R = rows.seconds_R[order_R].astype(np.float64)
    after_R = np.cumsum(seconds_R)
    # A chain that begins at r ends before next_R[r]: it is long enough, or the last of its key.
    next_R = np.searchsorted(after_R, after_R - seconds_R + seconds * (1 - 1e-9)) + 1
    ends = np.append(np.flatnonzero(np.diff(key_R[order_R])) + 1, len(rows))
    next_R = np.minimum(next_R, np.repeat(ends, np.diff(ends, prepend=0)))
    chains, r, following = array("q"), 0, next_R.data
    while r < len(rows):
        chains.append(r)
        r = following[r]
    first_R = np.frombuffer(chains, dtype=np.int64)
    return Rows(
        utterance_R[order_R],
        first_R.astype(np.int32),
        np.diff(first_R, append=len(rows)).astype(np.int32),
        np.add.reduceat(seconds_R, first_R).astype(np.float32),
        window_R=None if rows.window_R is None else rows.window_R[order_R][first_R],
        pass_R=None if rows.pass_R is None else rows.pass_R[order_R][first_R],
    )


def at_some_speed(
    rows: Rows,
    speed: tuple[float, float],
    random: np.random.Generator,
    fits: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Rows:
    """Gives each single row a random speed in this range, rounded to hundredths. The speed is 1 if
    `fits(utterances, new seconds)` is false: labels or batches would not fit the new length."""
    slow, fast = speed
    if slow == fast == 1:
        return rows
    speed_R = np.round(random.uniform(slow, fast, len(rows)), 2).clip(slow, fast)
    fitting_R = fits(rows.utterance_U[rows.first_R], rows.seconds_R / speed_R)
    speed_R = np.where(fitting_R, speed_R, 1.0).astype(np.float32)
    return replace(rows, speed_R=speed_R, seconds_R=rows.seconds_R / speed_R)


def cropped_batches(rows: Rows, seconds: float, crop: float, random: np.random.Generator) -> Epoch:
    """Batches of at most `seconds`, rows cropped to the shortest of the batch and to `crop`."""
    return _batches(rows, np.minimum(rows.seconds_R, crop), seconds, False, random)


def padded_batches(rows: Rows, seconds: float, random: np.random.Generator) -> Epoch:
    """Batches of at most `seconds`, rows padded to the longest of the batch."""
    return _batches(rows, rows.seconds_R, seconds, True, random)


def once(epoch: Epoch) -> Iterator[Plan]:
    """The batches of one epoch."""
    for index in range(len(epoch)):
        yield Plan(Position(0, index, index), epoch[index])


def stream(
    epoch_plan: Callable[[np.random.Generator], Epoch], seed: int, start: Position = Position()
) -> Iterator[Plan]:
    """Endless batches of all epochs from `start` on; earlier epochs are not planned."""
    epoch, index, number = start.epoch, start.index, start.number
    while True:
        batches = epoch_plan(np.random.default_rng([seed, epoch]))
        if not len(batches):
            raise ValueError("an epoch without batches; a batch needs at least one row")
        for later in range(index, len(batches)):
            yield Plan(Position(epoch, later, number), batches[later])
            number += 1
        epoch, index = epoch + 1, max(0, index - len(batches))
        del batches  # frees memory before the next epoch


def _windows(
    corpus: Corpus, utterance_U: np.ndarray, pass_U: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """The window of each utterance. A shard has one position per pass; audio that is not in a shard
    is spread over all windows."""
    assert corpus.shard_N is not None
    shard_U = corpus.shard_N[utterance_U].astype(np.int64)
    seconds_U, sharded_U = corpus.seconds_N[utterance_U], shard_U >= 0
    key_U = pass_U.astype(np.int64) * (1 + shard_U.max()) + shard_U
    _, index_U = np.unique(key_U[sharded_U], return_inverse=True)
    seconds_K = np.bincount(index_U, seconds_U[sharded_U])
    order_K = random.permutation(len(seconds_K))
    groups = np.count_nonzero(np.bincount(corpus.group_N[utterance_U]))
    shards = max(WINDOW_SHARDS, WINDOW_SHARDS_A_GROUP * groups)
    total = seconds_U.sum(dtype=np.float64)
    windows = max(1, int(min(total / WINDOW_SECONDS, len(seconds_K) / shards)))
    before_K = np.cumsum(seconds_K[order_K]) - seconds_K[order_K]
    window_K = np.empty(len(seconds_K), dtype=np.int32)
    window_K[order_K] = np.minimum(before_K / seconds_K.sum() * windows, windows - 1)
    window_U = random.integers(0, windows, len(utterance_U), dtype=np.int32)
    window_U[sharded_U] = window_K[index_U]
    return window_U


def _batches(
    rows: Rows, width_R: np.ndarray, room: float, padded: bool, random: np.random.Generator
) -> Epoch:
    """Sorts rows by length with jitter, cuts them into batches within windows, and shuffles the
    batches. A batch holds `room` seconds of rows of its width. The width is that of the longest row
    if batches are padded, else that of the shortest; this row comes first in the order."""
    jitter_R = random.random(len(rows), dtype=np.float32) * (2 * JITTER) + (1 - JITTER)
    jitter_R *= -rows.seconds_R if padded else rows.seconds_R
    order_R, bounds = np.argsort(jitter_R), [0, len(rows)]
    if rows.window_R is not None:
        window_R = rows.window_R.astype(np.min_scalar_type(rows.window_R.max(initial=0)))
        order_R = order_R[np.argsort(window_R[order_R], kind="stable")]  # fastest for 16 bits
        bounds = [0, *np.cumsum(np.bincount(window_R)).tolist()]
    width_R = width_R[order_R].astype(np.float64)
    first, windows = array("q"), array("q")
    for window, (begin, end) in enumerate(pairwise(bounds)):
        # Because of the jitter, a later row may be a little wider.
        most_R = width_R[begin:end]
        if padded:
            most_R = np.maximum.accumulate(most_R[::-1])[::-1]
        counts, r = np.maximum(room / most_R, 1).astype(np.int64).data, begin
        while r < end:
            first.append(r)
            windows.append(window)
            r += counts[r - begin]
    first_B, window_B = (np.frombuffer(numbers, dtype=np.int64) for numbers in (first, windows))
    ends_B = np.minimum(np.append(first_B[1:], len(rows)), np.array(bounds)[window_B + 1])
    mixed_B = np.lexsort((random.random(len(first_B)), window_B))
    return Epoch(rows, order_R.astype(np.int32), first_B[mixed_B], (ends_B - first_B)[mixed_B])
