"""From the manifests of a task to its stream of batches.

Unlabelled speech is cropped to rows of equal length; labelled speech is padded. In both, languages
are mixed with p proportional to hours^alpha, and the plan of an epoch is a pure function of
(seed, epoch).

    N utterances · R rows · C corpora · L languages
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from speechx.audio.files import SAMPLE_RATE, audio_info
from speechx.audio.sources import is_url
from speechx.data.augmentation import load_augmentation
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
    stream,
)
from speechx.data.utterance import hours
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.encoder import EncoderConfig
from speechx.objectives.objective import ObjectiveConfig
from speechx.text.ipa import normalize_ipa
from speechx.text.vocabulary import TokenType, Vocabulary, of_language
from speechx.training.distributed import Ranks
from speechx.training.speech_data import SpeechData
from speechx.wording import number_of

Stream = Callable[[Position], Iterator[Batch]]
EpochPlan = Callable[[np.random.Generator], Epoch]


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


@dataclass(frozen=True, slots=True)
class TaskSource:
    """Where the batches of one task come from."""

    name: str
    """Stands before messages."""
    data: SpeechData
    objective: ObjectiveConfig
    encoder: EncoderConfig
    seed: int

    def read(self, too_long: Path) -> TaskData:
        """Reads the manifests; `too_long` lists the utterances whose labels are longer than their
        frames."""
        token_type, exclusions = self.objective.token_type, Exclusions(self.data.exclude)
        if token_type is not None:
            return self._read_labelled(token_type, exclusions, too_long)
        corpus = Corpus.read(self.data.train, exclusions)
        listed = [u for path in self.data.dev for u in read_manifest(path)]
        dev = exclusions.kept(listed) if listed else []
        if dev and not len(usable_rows(Corpus.of(dev), self.data, self.seed)):
            raise UserError(
                "every row of the validation data is shorter than data.min_seconds = "
                f"{self.data.min_seconds:g}"
            )
        _require_audio(dev)
        self._warn_of_shared()
        self._log(*exclusions.report(), describe(corpus))
        return TaskData(corpus, dev=dev)

    def stream(
        self, task_data: TaskData, micro_seconds: float, workers: int, ranks: Ranks
    ) -> Stream:
        """This rank's batches of what was read, from any position on."""
        seconds_N = task_data.corpus.seconds_N
        usual_N = np.maximum(seconds_N, 0 if task_data.vocabulary else self.data.join_seconds)
        usual = float(np.median(np.minimum(usual_N, self.data.crop_seconds or np.inf)))
        if micro_seconds < usual:
            self._log(
                f"micro-batches of {micro_seconds:g} s hold less than a usual utterance of "
                f"{usual:.1f} s; one utterance at least is in each, so a step has more audio than "
                "was asked for: raise run.max_seconds_per_device or the batch_seconds of this task"
            )
        make = self._unlabelled if task_data.vocabulary is None else self._labelled
        batches, epoch = make(task_data, micro_seconds)

        def from_position(start: Position) -> Iterator[Batch]:
            # Each rank takes every n-th batch, so that all take the same number of steps.
            plans = islice(stream(epoch, self.seed, start), ranks.rank, None, ranks.world)
            return load(batches, plans, workers)

        return from_position

    def _read_labelled(
        self, token_type: TokenType, exclusions: Exclusions, too_long: Path
    ) -> TaskData:
        data = self.data
        training, dev = (
            labelled(exclusions.kept(u for p in paths for u in read_manifest(p)), token_type)
            for paths in (data.train, data.dev)
        )
        self._log(*exclusions.report())
        for split, some in (("train", training), ("dev", dev)):
            _refuse_long(some, data.max_seconds, split)
        _require_audio(dev)
        self._warn_of_shared(training, dev)
        if strange := sorted({u.language for u in dev} - {u.language for u in training}):
            trained = ", ".join(sorted({u.language for u in training}))
            self._log(
                f"data.dev has languages that data.train has not: {', '.join(strange)}; the best "
                f"model is chosen by them too (train: {trained})"
            )
        if data.limit_minutes is not None:
            training = limit(training, data.limit_minutes * 60, self.seed)
        frames, needed = self.encoder.features.frames, self.objective.frames_needed
        training = feasible(training, token_type, frames, needed, too_long)
        labels = [tokens_of(u, token_type) for u in training]
        if self.objective.separate:
            labels = [
                of_language(tokens, u.language) for tokens, u in zip(labels, training, strict=True)
            ]
        vocabulary, corpus = Vocabulary.collect(token_type, labels), Corpus.of(training)
        self._log(f"{describe(corpus)}; {len(vocabulary.tokens)} {token_type}")
        known = {normalize_ipa(token) for token in vocabulary.written}  # as scores compare them
        of_dev = {token for u in dev for token in tokens_of(u, token_type)}
        if unseen := sorted(token for token in of_dev if normalize_ipa(token) not in known):
            self._log(
                f"{len(unseen)} tokens of dev are never trained and count as errors: "
                + " ".join(unseen)
            )
        return TaskData(corpus, vocabulary, labels, dev)

    def _unlabelled(self, task_data: TaskData, micro_seconds: float) -> tuple[Batches, EpochPlan]:
        data, corpus = self.data, task_data.corpus
        random = np.random.default_rng([self.seed, 0])
        rows = join_short(corpus, every_row(corpus), data.join_seconds, random)
        used_R = rows.seconds_R >= data.min_seconds
        if not used_R.any():
            raise UserError(
                "every row of the training data is shorter than "
                f"data.min_seconds = {data.min_seconds:g}"
            )
        if not used_R.all():
            lost = rows.seconds_R[~used_R].sum(dtype=np.float64) / 60
            self._log(
                f"{(~used_R).sum()} of {len(rows)} rows are shorter than {data.min_seconds:g} s "
                f"and left out ({lost:.1f} min)"
            )
            rows = rows.take(used_R)
            if not data.join_seconds:  # what can never be used takes no part in the mixture
                corpus = corpus.take(used_R)
                rows = every_row(corpus)
        given = one_pass(corpus, rows, data.crop_seconds)
        del rows, used_R

        def epoch(random: np.random.Generator) -> Epoch:
            rows = mixed_epoch(corpus, data.alpha, data.corpus_alpha, random, given)
            rows = join_short(corpus, rows, data.join_seconds, random)
            rows = rows.take(rows.seconds_R >= data.min_seconds)
            return cropped_batches(rows, micro_seconds, data.crop_seconds, random)

        batches = Batches(
            corpus, self.encoder.normalize, self.seed, crop_seconds=data.crop_seconds,
            limits=AudioLimits(data.min_seconds), draw=self._draw(),
            epsilon=self.encoder.normalize_epsilon,
        )  # fmt: skip
        return batches, epoch

    def _labelled(self, task_data: TaskData, micro_seconds: float) -> tuple[Batches, EpochPlan]:
        data, corpus, vocabulary = self.data, task_data.corpus, task_data.vocabulary
        assert vocabulary is not None
        augment = load_augmentation(data.augment)
        if augment is not None:
            self._log(augment.describe())
        frames, needed = self.encoder.features.frames, self.objective.frames_needed
        needed_N = np.array([needed(labels) for labels in task_data.labels])
        frames_of = np.vectorize(frames, otypes=[np.int64])

        def fits(utterance_R: np.ndarray, seconds_R: np.ndarray) -> np.ndarray:
            short_enough_R = seconds_R <= np.maximum(corpus.seconds_N[utterance_R], micro_seconds)
            samples_R = (seconds_R * SAMPLE_RATE).astype(np.int64)
            return short_enough_R & (frames_of(samples_R) >= needed_N[utterance_R])

        def epoch(random: np.random.Generator) -> Epoch:
            rows = mixed_epoch(corpus, data.alpha, data.corpus_alpha, random)
            rows = at_some_speed(rows, data.speed, random, fits)
            return padded_batches(rows, micro_seconds, random)

        batches = Batches(
            corpus, self.encoder.normalize, self.seed,
            labels=[vocabulary.encode(some) for some in task_data.labels], augment=augment,
            limits=AudioLimits(0.0, frames, needed), draw=self._draw(),
            epsilon=self.encoder.normalize_epsilon,
        )  # fmt: skip
        return batches, epoch

    def _warn_of_shared(
        self, training: Sequence[Utterance] = (), dev: Sequence[Utterance] = ()
    ) -> None:
        """Where dev is training data, its error is no measure, and the best model is the last."""
        both = {path.resolve() for path in self.data.train} & {p.resolve() for p in self.data.dev}
        trained = {(str(u.audio), u.start, u.bytes) for u in training}
        shared = sum((str(u.audio), u.start, u.bytes) in trained for u in dev)
        if both or shared:
            count = f"{shared} of {number_of(len(dev), 'utterance')}"
            what = ", ".join(map(str, sorted(both))) or count
            logger.warning(
                f"{self.name}: data.train has {what} of data.dev, so the error on dev is no "
                "measure of new speech, and a model that learned dev by heart counts as the best"
            )

    def _draw(self) -> Draw:
        return partial(self.objective.draw, encoder=self.encoder)

    def _log(self, *messages: str) -> None:
        for message in messages:
            logger.info(f"{self.name}: {message}")


def usable_rows(corpus: Corpus, data: SpeechData, seed: int) -> Rows:
    """Rows of unlabelled speech to validate on: the same ones every time."""
    rows = join_short(
        corpus, every_row(corpus), data.join_seconds, np.random.default_rng([seed, 4])
    )
    return rows.take(rows.seconds_R >= data.min_seconds)


def _require_audio(dev: Sequence[Utterance]) -> None:
    """A validation needs every recording, and comes after many steps: opens local files now."""
    for audio, u in {u.audio: u for u in dev if u.bytes is None and not is_url(u.audio)}.items():
        try:
            audio_info(audio, exact=False)
        except UserError as error:
            raise UserError(
                f"data.dev: {u.id}: {error} Repair it, or leave it out with data.exclude"
            ) from None


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
