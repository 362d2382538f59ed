"""Batches: waveforms and targets as tensors, read ahead by the workers of torch's DataLoader.

    B utterances · S samples · U units

Pretraining never pads: rows are cropped to the shortest of the batch. Fine-tuning pads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from speechx.audio.augment import change_speed
from speechx.audio.files import SAMPLE_RATE
from speechx.data.augmentation import Augmentation
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance
from speechx.data.reading import Fault, Heard, Reading, Training, read_samples
from speechx.data.sampling import Plan, Position, Row
from speechx.errors import UserError


@dataclass(frozen=True, slots=True)
class Batch:
    position: Position
    """Where in the run's stream of batches it is."""
    wave_BS: Tensor
    lengths_B: Tensor
    ids: tuple[str, ...]
    languages: tuple[str, ...]
    targets_BU: Tensor | None = None
    units_B: Tensor | None = None
    tried: int = 0
    """Utterances that were opened."""
    faults: tuple[Fault, ...] = ()
    """What was wrong with some of them."""
    spent: Mapping[str, float] = field(default_factory=dict)
    """Seconds that went to decoding, resampling and the rest."""

    @property
    def number(self) -> int:
        """Of the batch in the run; with the run's seed it seeds masks, negatives and dropout."""
        return self.position.number

    @property
    def seconds(self) -> float:
        return float(self.lengths_B.sum()) / SAMPLE_RATE

    def to(self, device: torch.device) -> Batch:
        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            wave_BS=self.wave_BS.to(device, non_blocking=True),
            lengths_B=self.lengths_B.to(device, non_blocking=True),
            targets_BU=move(self.targets_BU),
            units_B=move(self.units_B),
        )


def normalize(wave_S: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over the whole recording (`normalize` of large, XLSR, XLS-R)."""
    return (wave_S - wave_S.mean()) / np.sqrt(wave_S.var() + 1e-5)


def read_utterance(utterance: Utterance, normalized: bool) -> np.ndarray:
    """Its samples (S,) at 16 kHz."""
    wave_S = read_samples(utterance)
    return normalize(wave_S) if normalized else wave_S


class Batches(Dataset[Batch]):
    """Turns plans into batches; what torch's DataLoader calls, in its workers."""

    def __init__(
        self,
        corpus: Corpus,
        normalized: bool,
        crop_seconds: float | None,
        targets: Sequence[Sequence[int]] | None,
        seed: int,
        augment: Augmentation | None = None,
        training: Training | None = None,
    ) -> None:
        """`crop_seconds` None pads; `targets` are the unit ids of each utterance of the corpus.
        With `training` rules what cannot be read is replaced; without them it is an error."""
        self.corpus, self.normalized, self.crop_seconds, self.targets, self.seed = (
            corpus,
            normalized,
            crop_seconds,
            targets,
            seed,
        )
        self.augment, self.training = augment, training

    def __getitem__(self, plan: Plan) -> Batch:  # type: ignore[override]
        begun, number = time.perf_counter(), plan.position.number
        room = max(row.seconds for row in plan.rows)
        reading = Reading(self.corpus, self.targets, self.training, room)
        heard = [self._hear(reading, row, number, r) for r, row in enumerate(plan.rows)]
        waves = [row.wave_S for row in heard]
        if self.crop_seconds is not None:
            random = np.random.default_rng([self.seed, 1, number])
            waves = crop(waves, round(self.crop_seconds * SAMPLE_RATE), random)
        targets_BU = units_B = None
        if self.targets is not None:
            ids = [torch.tensor(self.targets[row.number], dtype=torch.long) for row in heard]
            targets_BU = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
            units_B = torch.tensor([len(i) for i in ids])
        wave_BS = padded(waves)
        rest = time.perf_counter() - begun - sum(reading.spent.values())
        return Batch(
            position=plan.position,
            wave_BS=wave_BS,
            lengths_B=torch.tensor([len(w) for w in waves]),
            ids=tuple(row.utterance.id for row in heard),
            languages=tuple(row.utterance.language for row in heard),
            targets_BU=targets_BU,
            units_B=units_B,
            tried=reading.tried,
            faults=tuple(reading.faults),
            spent={**reading.spent, "the rest": rest},
        )

    def _hear(self, reading: Reading, row: Row, number: int, r: int) -> Heard:
        """The first utterance of a row, with the samples of all as they are heard this time. What
        replaces one is as long as that would be at the row's speed, and is heard at its own."""
        heard: list[Heard] = []
        for n, i in enumerate(row.utterances):
            seed = (self.seed, 6, number, r, n)
            heard.append(reading.read(i, row.speed, seed, self._least(row, heard)))
        early = self.normalized and self.augment is None
        waves = [normalize(some.wave_S) if early else some.wave_S for some in heard]
        wave_S = np.concatenate(waves) if len(waves) > 1 else waves[0]
        if heard[0].speed != 1:
            wave_S = change_speed(wave_S, heard[0].speed)
        if self.augment is not None:  # levels are normalised after what a channel does to them
            random = np.random.default_rng([self.seed, 4, number, r])
            wave_S = self.augment(wave_S, random)
            wave_S = normalize(wave_S) if self.normalized else wave_S
        return Heard(heard[0].number, heard[0].utterance, wave_S)

    def _least(self, row: Row, heard: Sequence[Heard]) -> float:
        """Seconds that the next utterance of a row must have for the row to be long enough: of one
        alone all, of several what the others leave, and never more than it was thought to have."""
        if self.training is None:
            return 0.0
        seconds = [float(self.corpus.seconds_N[i]) for i in row.utterances[len(heard) :]]
        there = sum(len(some.wave_S) for some in heard) / SAMPLE_RATE + sum(seconds[1:])
        return max(0.0, min(seconds[0], self.training.least_seconds - there))


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
    """Workers are as many as they shall be: threads within them would fight over the same cores,
    and over those that feed the GPU. Torch's own are set by the DataLoader too; those of numpy's
    BLAS, which averages channels, only `threadpoolctl` can stop once numpy is there."""
    torch.set_num_threads(1)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # for programs that are started: ffmpeg
    with suppress(ImportError):  # trainings also run where only the core's packages are
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
