"""From the manifests of a task to its stream of batches.

Unlabelled speech is cropped to rows of equal length; labelled speech is padded. In both, languages
are mixed with p proportional to hours^alpha, and the plan of an epoch is a pure function of
(seed, epoch).

    N utterances · R rows · L languages
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.config import config, require_not_negative, require_positive
from speechx.data.augmentation import Augment, load_augmentation
from speechx.data.batches import Batch, Batches, Draw, load
from speechx.data.corpus import Corpus
from speechx.data.exclusion import Exclusions
from speechx.data.labels import feasible, labelled, limit, tokens_of
from speechx.data.manifest import Utterance, read_manifest
from speechx.data.reading import AudioLimits
from speechx.data.sampling import (
    Epoch,
    Position,
    Rows,
    at_some_speed,
    cropped_batches,
    every_row,
    join_short,
    mixed_epoch,
    one_pass,
    padded_batches,
    share,
    stream,
)
from speechx.data.utterance import hours
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.encoder import EncoderConfig
from speechx.objectives.objective import ObjectiveConfig
from speechx.text.vocabulary import TokenType, Vocabulary
from speechx.training.distributed import Ranks
from speechx.training.loop import TrainingConfig

Stream = Callable[[Position], Iterator[Batch]]


@config
class SpeechData:
    """Manifests, and what is taken of them."""

    train: tuple[Path, ...]
    """Manifests. An objective without labels ignores text and phones in them."""
    dev: tuple[Path, ...] = ()
    """Manifests to validate on; an objective with labels needs some."""
    exclude: tuple[Path, ...] = ()
    """Lists of utterances to leave out of all manifests, as `speechx data doctor` writes them."""
    alpha: float = 0.5
    """Languages are mixed with p proportional to hours^alpha: hours that can be used, and shares of
    the seconds that remain after cropping."""
    corpus_alpha: float | None = None
    """Corpora too, with p proportional to hours^corpus_alpha, and languages within each (XLS-R).
    Without it corpora are not distinguished."""
    max_unreadable: float = 0.01
    """Share of the utterances tried that may be unreadable: they are replaced and listed in
    unreadable.tsv; beyond it the run stops."""
    crop_seconds: float = 20.0
    """Unlabelled speech: longest row."""
    min_seconds: float = 2.0
    """Unlabelled speech: shorter rows are left out, and counted."""
    join_seconds: float = 0.0
    """Unlabelled speech: short utterances of one speaker in one corpus and language are joined to
    rows of at least this length. Where no speaker is named, all utterances of that corpus and
    language count as one speaker."""
    limit_minutes: float | None = None
    """Labelled speech: minutes to use of each language, the same ones for the same run.seed."""
    max_seconds: float = 60.0
    """Labelled speech: longer utterances are an error. An utterance is one row, whose memory and
    time grow with the square of its length."""
    speed: tuple[float, float] = (1.0, 1.0)
    """Labelled speech: each time an utterance is used, it is played at a random speed between these
    two."""
    augment: Augment = Augment()
    """Labelled speech: noise, rooms and a telephone line, drawn anew each time."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train needs at least one manifest")
        for name in ("alpha", "corpus_alpha", "max_unreadable"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} must be between 0 and 1, but is {share}")
        require_positive(self, "min_seconds", "crop_seconds")
        require_not_negative(self, "join_seconds")
        if self.min_seconds > self.crop_seconds:
            raise ValueError("needs 0 < min_seconds <= crop_seconds")
        if self.limit_minutes is not None and self.limit_minutes <= 0:
            raise ValueError(f"limit_minutes must be above 0, but is {self.limit_minutes}")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be above 0, but is {self.max_seconds}")
        if not 0.5 <= self.speed[0] <= self.speed[1] <= 2:
            raise ValueError(
                "speed must be two numbers from 0.5 to 2, the slower first, "
                f"but is {list(self.speed)}"
            )

    def require(self, token_type: TokenType | None) -> None:
        """Raises ValueError where an objective with labels of this type, or without labels, cannot
        use these settings."""
        if token_type is not None and not self.dev:
            raise ValueError("data.dev needs at least one manifest: labels are validated on it")
        unused = UNLABELLED_ONLY if token_type is not None else LABELLED_ONLY
        defaults = SpeechData(train=self.train)
        changed = [n for n in unused if getattr(self, n) != getattr(defaults, n)]
        if changed:
            raise ValueError(
                f"data.{changed[0]} is for {'un' * (token_type is not None)}labelled speech, but "
                f"this objective learns from {'un' * (token_type is None)}labelled speech"
            )


UNLABELLED_ONLY = ("crop_seconds", "min_seconds", "join_seconds")
LABELLED_ONLY = ("limit_minutes", "max_seconds", "speed", "augment")


@dataclass(frozen=True, slots=True)
class TaskData:
    """What was read of the manifests of one task."""

    corpus: Corpus
    vocabulary: Vocabulary | None = None
    """Of an objective with labels: all tokens of the training data."""
    labels: Sequence[Sequence[str]] = ()
    """Tokens of each utterance of the corpus."""
    dev: Sequence[Utterance] = ()


def describe(corpus: Corpus) -> str:
    """One line: the hours of each language."""
    seconds_L = corpus.seconds_CL.sum(0)
    each = ", ".join(
        f"{language} {hours(seconds)}"
        for language, seconds in zip(corpus.languages, seconds_L, strict=True)
    )
    return f"{len(corpus)} utterances, {hours(seconds_L.sum())} hours: {each}"


def read_task(
    data: SpeechData,
    objective: ObjectiveConfig,
    encoder: EncoderConfig,
    too_long: Path,
    seed: int,
    name: str,
) -> TaskData:
    """Reads the manifests; `name` stands before messages, `too_long` lists the utterances whose
    labels are longer than their frames."""
    exclusions = Exclusions(data.exclude)
    if objective.token_type is None:
        corpus = Corpus.read(data.train, exclusions)
        listed = [u for path in data.dev for u in read_manifest(path)]
        dev = exclusions.kept(listed) if listed else []
        if dev and not len(usable_rows(Corpus.of(dev), data, seed)):
            raise UserError(
                "every row of the validation data is shorter than data.min_seconds = "
                f"{data.min_seconds:g}"
            )
        for line in (*exclusions.report(), describe(corpus)):
            logger.info(f"{name}: {line}")
        return TaskData(corpus, dev=dev)
    return _read_labelled(
        data, objective, objective.token_type, encoder, exclusions, too_long, seed, name
    )


def _read_labelled(
    data: SpeechData,
    objective: ObjectiveConfig,
    token_type: TokenType,
    encoder: EncoderConfig,
    exclusions: Exclusions,
    too_long: Path,
    seed: int,
    name: str,
) -> TaskData:
    training, dev = (
        labelled(exclusions.kept(u for p in paths for u in read_manifest(p)), token_type)
        for paths in (data.train, data.dev)
    )
    for line in exclusions.report():
        logger.info(f"{name}: {line}")
    for split, some in (("train", training), ("dev", dev)):
        _refuse_long(some, data.max_seconds, split)
    if strange := sorted({u.language for u in dev} - {u.language for u in training}):
        known = ", ".join(sorted({u.language for u in training}))
        logger.info(
            f"{name}: data.dev has languages that data.train has not: {', '.join(strange)}; the "
            f"best model is chosen by them too (train: {known})"
        )
    if data.limit_minutes is not None:
        training = limit(training, data.limit_minutes * 60, seed)
    training = feasible(
        training, token_type, encoder.features.frames, objective.frames_needed, too_long
    )
    labels = [tokens_of(u, token_type) for u in training]
    vocabulary = Vocabulary.collect(token_type, labels)
    corpus = Corpus.of(training)
    logger.info(f"{name}: {describe(corpus)}; {len(vocabulary.tokens)} {token_type}")
    if unseen := sorted({x for u in dev for x in vocabulary.unknown(tokens_of(u, token_type))}):
        logger.info(
            f"{name}: {len(unseen)} tokens of dev are never trained and count as errors: "
            + " ".join(unseen)
        )
    return TaskData(corpus, vocabulary, labels, dev)


def open_stream(
    task: TaskData,
    data: SpeechData,
    objective: ObjectiveConfig,
    encoder: EncoderConfig,
    training: TrainingConfig,
    seed: int,
    micro_seconds: float,
    ranks: Ranks,
    name: str,
) -> Stream:
    """This rank's batches of a task from any position on."""
    draw = partial(objective.draw, encoder=encoder)
    make = _unlabelled if task.vocabulary is None else _labelled
    reader, epoch = make(task, data, objective, encoder, draw, seed, micro_seconds, name)

    def from_position(start: Position) -> Iterator[Batch]:
        plans = share(stream(epoch, seed, start), ranks.rank, ranks.world)
        return load(reader, plans, training.num_workers(ranks.device))

    return from_position


EpochPlan = Callable[[np.random.Generator], Epoch]


def _unlabelled(
    task: TaskData,
    data: SpeechData,
    objective: ObjectiveConfig,
    encoder: EncoderConfig,
    draw: Draw,
    seed: int,
    micro_seconds: float,
    name: str,
) -> tuple[Batches, EpochPlan]:
    corpus = task.corpus
    random = np.random.default_rng([seed, 0])
    rows = join_short(corpus, every_row(corpus), data.join_seconds, random)
    used_R = rows.seconds_R >= data.min_seconds
    if not used_R.any():
        raise UserError(
            "every row of the training data is shorter than "
            f"data.min_seconds = {data.min_seconds:g}"
        )
    if not used_R.all():
        lost = rows.seconds_R[~used_R].sum(dtype=np.float64) / 60
        logger.info(
            f"{name}: {(~used_R).sum()} of {len(rows)} rows are shorter than "
            f"{data.min_seconds:g} s and left out ({lost:.1f} min)"
        )
        rows = rows.take(used_R)
        if not data.join_seconds:  # what can never be used takes no part in the mixture
            corpus = corpus.take(used_R)
            rows = every_row(corpus)
    given = one_pass(corpus, rows, data.crop_seconds)
    del rows, used_R
    reader = Batches(
        corpus, encoder.normalize, seed, crop_seconds=data.crop_seconds,
        limits=AudioLimits(data.min_seconds), draw=draw,
    )  # fmt: skip

    def epoch(random: np.random.Generator) -> Epoch:
        rows = mixed_epoch(corpus, data.alpha, data.corpus_alpha, random, given)
        rows = join_short(corpus, rows, data.join_seconds, random)
        rows = rows.take(rows.seconds_R >= data.min_seconds)
        return cropped_batches(rows, micro_seconds, data.crop_seconds, random)

    return reader, epoch


def _labelled(
    task: TaskData,
    data: SpeechData,
    objective: ObjectiveConfig,
    encoder: EncoderConfig,
    draw: Draw,
    seed: int,
    micro_seconds: float,
    name: str,
) -> tuple[Batches, EpochPlan]:
    corpus, vocabulary = task.corpus, task.vocabulary
    assert vocabulary is not None
    augment = load_augmentation(data.augment)
    if augment is not None:
        logger.info(f"{name}: {augment.describe()}")
    reader = Batches(
        corpus, encoder.normalize, seed, labels=[vocabulary.encode(some) for some in task.labels],
        augment=augment, limits=AudioLimits(0.0, encoder.features.frames, objective.frames_needed),
        draw=draw,
    )  # fmt: skip
    needed_N = np.array([objective.frames_needed(labels) for labels in task.labels])
    frames_of = np.vectorize(encoder.features.frames, otypes=[np.int64])

    def fits(utterance_R: np.ndarray, seconds_R: np.ndarray) -> np.ndarray:
        short_enough_R = seconds_R <= np.maximum(corpus.seconds_N[utterance_R], micro_seconds)
        samples_R = (seconds_R * SAMPLE_RATE).astype(np.int64)
        return short_enough_R & (frames_of(samples_R) >= needed_N[utterance_R])

    def epoch(random: np.random.Generator) -> Epoch:
        rows = mixed_epoch(corpus, data.alpha, data.corpus_alpha, random)
        rows = at_some_speed(rows, data.speed, random, fits)
        return padded_batches(rows, micro_seconds, random)

    return reader, epoch


def usable_rows(corpus: Corpus, data: SpeechData, seed: int) -> Rows:
    """Rows of unlabelled speech to validate on: the same ones every time."""
    rows = join_short(
        corpus, every_row(corpus), data.join_seconds, np.random.default_rng([seed, 4])
    )
    return rows.take(rows.seconds_R >= data.min_seconds)


def _refuse_long(utterances: Sequence[Utterance], most: float, split: str) -> None:
    """A recording of an hour in one row would run out of memory, or seem to hang."""
    long = [u for u in utterances if u.duration > most]
    if not long:
        return
    longest = max(long, key=lambda u: u.duration)
    raise UserError(
        f"{len(long)} of {len(utterances)} utterances of data.{split} are longer than "
        f"data.max_seconds = {most:g}, the longest is {longest.id} of {longest.duration:.1f} s "
        f"({longest.audio}): cut it by times (a line for each sentence, with `start` and "
        "`duration` in seconds), leave it out with data.exclude, or raise data.max_seconds"
    )
