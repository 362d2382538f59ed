"""Batches: waveforms, labels and random draws as tensors, read ahead by the workers of torch's
DataLoader.

    B utterances · N utterances of the corpus · S samples · U labels

Rows are cropped to the shortest of their batch, or padded to the longest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from speechx.audio.augment import change_speed
from speechx.audio.files import SAMPLE_RATE
from speechx.data.augmentation import Augmentation
from speechx.data.corpus import Corpus
from speechx.data.reading import AudioError, AudioLimits, LoadedUtterance, UtteranceReader
from speechx.data.sampling import Plan, Position, Row
from speechx.data.utterance import Utterance
from speechx.errors import UserError

Speaker: TypeAlias = tuple[str | None, str, str]
"""Corpus, language and name: the same name in another of them is another speaker."""


@dataclass(frozen=True, slots=True)
class Batch:
    position: Position
    """Its position in the stream of batches."""
    wave_BS: Tensor
    lengths_B: Tensor
    """Real samples per row."""
    padded: bool
    """Whether rows may be shorter than the batch."""
    ids: tuple[str, ...]
    languages: tuple[str, ...]
    speakers: tuple[Speaker | None, ...] = ()
    """None where the manifest names none; of a row of several utterances, that of the first."""
    labels_BU: Tensor | None = None
    """Token ids, from 1 on; 0 is padding, and the blank of CTC."""
    label_lengths_B: Tensor | None = None
    draws: Mapping[str, Tensor] = field(default_factory=dict)
    """Everything random that the objective needs: masks, negatives."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Targets by name: what the terms of the loss are divided by."""
    tried: int = 0
    """Utterances that were opened."""
    errors: tuple[AudioError, ...] = ()
    """What was wrong with some of them."""
    spent: Mapping[str, float] = field(default_factory=dict)
    """Seconds that decoding, resampling and the rest took."""

    @property
    def number(self) -> int:
        """Number of the batch in the run; with the run's seed it seeds all that is random."""
        return self.position.number

    @property
    def seconds(self) -> float:
        return float(self.lengths_B.sum()) / SAMPLE_RATE

    @property
    def padded_lengths_B(self) -> Tensor | None:
        """Real samples per row, or None where all rows are equally long."""
        return self.lengths_B if self.padded else None

    def to(self, device: torch.device) -> Batch:
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """For torch's DataLoader: pinned memory is copied to a GPU in the background."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values = {column.name: getattr(self, column.name) for column in fields(self)}
        tensors = {name: x for name, x in values.items() if isinstance(x, Tensor)}
        changed: dict[str, Any] = {name: change(tensor) for name, tensor in tensors.items()}
        draws = {name: change(tensor) for name, tensor in self.draws.items()}
        return replace(self, **changed, draws=draws)


Draw: TypeAlias = Callable[[Batch, np.random.Generator], tuple[dict[str, Tensor], dict[str, int]]]
"""Draws masks and the like for a batch; returns them and the counts of targets."""


def normalize(wave_S: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    """Mean 0 and variance 1 over the whole recording (`normalize` of large, XLSR, XLS-R)."""
    return (wave_S - wave_S.mean()) / np.sqrt(wave_S.var() + epsilon)


@dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """Turns plans into batches; torch's DataLoader calls it in its workers."""

    corpus: Corpus
    normalized: bool
    """Bring every recording to mean 0 and variance 1."""
    seed: int = 0
    crop_seconds: float | None = None
    """Crop rows to the shortest of the batch and to this; None pads them to the longest."""
    labels: Sequence[Sequence[int]] | None = None
    """Token ids of each utterance of the corpus."""
    augment: Augmentation | None = None
    limits: AudioLimits | None = None
    """With limits, audio that cannot be used is replaced; without, it is an error."""
    draw: Draw | None = None
    epsilon: float = 1e-5
    """`normalize_epsilon` of the encoder."""

    def __getitem__(self, plan: Plan) -> Batch:  # type: ignore[override]
        begun, number = time.perf_counter(), plan.position.number
        room = max(row.seconds for row in plan.rows)
        reader = UtteranceReader(self.corpus, self.labels, self.limits, room)
        loaded = [self._load(reader, row, number, r) for r, row in enumerate(plan.rows)]
        waves = [row.wave_S for row in loaded]
        if self.crop_seconds is not None:
            random = np.random.default_rng([self.seed, 1, number])
            waves = crop(waves, round(self.crop_seconds * SAMPLE_RATE), random)
        labels_BU = label_lengths_B = None
        if self.labels is not None:
            ids = [torch.tensor(self.labels[row.number], dtype=torch.long) for row in loaded]
            labels_BU = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
            label_lengths_B = torch.tensor([len(i) for i in ids])
        wave_BS = padded(waves)
        rest = time.perf_counter() - begun - sum(reader.spent.values())
        batch = Batch(
            position=plan.position,
            wave_BS=wave_BS,
            lengths_B=torch.tensor([len(w) for w in waves]),
            padded=self.crop_seconds is None,
            ids=tuple(row.utterance.id for row in loaded),
            languages=tuple(row.utterance.language for row in loaded),
            speakers=tuple(speaker_of(row.utterance) for row in loaded),
            labels_BU=labels_BU,
            label_lengths_B=label_lengths_B,
            tried=reader.tried,
            errors=tuple(reader.errors),
            spent={**reader.spent, "the rest": rest},
        )
        if self.draw is None:
            return batch
        draws, counts = self.draw(batch, np.random.default_rng([self.seed, 2, number]))
        return replace(batch, draws=draws, counts=counts)

    def _load(self, reader: UtteranceReader, row: Row, number: int, r: int) -> LoadedUtterance:
        """The samples of all utterances of a row, as one. A replacement is as long as the utterance
        would be at the row's speed, and keeps its own speed."""
        loaded: list[LoadedUtterance] = []
        for n, i in enumerate(row.utterances):
            seed = (self.seed, 6, number, r, n)
            loaded.append(reader.read(i, row.speed, seed, self._least_seconds(row, loaded)))
        early = self.normalized and self.augment is None
        waves = [normalize(s.wave_S, self.epsilon) if early else s.wave_S for s in loaded]
        wave_S = np.concatenate(waves) if len(waves) > 1 else waves[0]
        if loaded[0].speed != 1:
            wave_S = change_speed(wave_S, loaded[0].speed)
        if self.augment is not None:  # normalised after it, for a telephone line changes levels
            random = np.random.default_rng([self.seed, 4, number, r])
            wave_S = self.augment(wave_S, random)
            wave_S = normalize(wave_S, self.epsilon) if self.normalized else wave_S
        return LoadedUtterance(loaded[0].number, loaded[0].utterance, wave_S)

    def _least_seconds(self, row: Row, loaded: Sequence[LoadedUtterance]) -> float:
        """Seconds that the next utterance of a row needs for the row to be long enough: a single
        one needs all, one of several what the others leave, and never more than its own length."""
        if self.limits is None:
            return 0.0
        seconds = [float(self.corpus.seconds_N[i]) for i in row.utterances[len(loaded) :]]
        there = sum(len(some.wave_S) for some in loaded) / SAMPLE_RATE + sum(seconds[1:])
        return max(0.0, min(seconds[0], self.limits.least_seconds - there))


def speaker_of(utterance: Utterance) -> Speaker | None:
    """Who speaks in an utterance, if its manifest says so."""
    if not utterance.speaker:
        return None
    return utterance.corpus, utterance.language, utterance.speaker


def padded(waves: Sequence[np.ndarray]) -> Tensor:
    """Rows of one length, with zeros behind the shorter ones. Pages that hold only zeros are never
    touched, which makes it three times as fast as torch's `pad_sequence`."""
    wave_BS = np.zeros((len(waves), max(len(wave_S) for wave_S in waves)), np.float32)
    for row_S, wave_S in zip(wave_BS, waves, strict=True):
        row_S[: len(wave_S)] = wave_S
    return torch.from_numpy(wave_BS)


def crop(waves: Sequence[np.ndarray], most: int, random: np.random.Generator) -> list[np.ndarray]:
    """A random stretch of each, as long as the shortest and at most `most` samples."""
    length = min(most, *(len(wave_S) for wave_S in waves))
    starts = [random.integers(0, len(wave_S) - length + 1) for wave_S in waves]
    return [wave_S[start : start + length] for wave_S, start in zip(waves, starts, strict=True)]


def load(batches: Batches, plans: Iterable[Plan], workers: int) -> Iterator[Batch]:
    """Batches in the order of the plans, read ahead by `workers` processes (0: when needed)."""
    loader = DataLoader(
        batches,
        sampler=plans,  # type: ignore[arg-type]
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=one_thread,
    )
    try:
        yield from loader
    except UserError as error:  # from a worker it comes with a traceback, our line at the end
        line = str(error).rstrip().splitlines()[-1]
        raise UserError(line.removeprefix(f"{UserError.__module__}.UserError: ")) from None


def one_thread(_: int) -> None:
    """Use one thread per worker; more would oversubscribe the cores. The DataLoader limits torch's
    threads; only `threadpoolctl` limits the threads of numpy's BLAS, which averages channels."""
    torch.set_num_threads(1)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # for programs that are started: ffmpeg
    threadpool_limits(1)
