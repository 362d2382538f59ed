"""Batches: waveforms and targets as tensors, read ahead by the workers of torch's DataLoader.

    B utterances · S samples · U units

Pretraining never pads: rows are cropped to the shortest of the batch. Fine-tuning pads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from speechx.audio.augment import change_speed
from speechx.audio.files import SAMPLE_RATE, read_audio
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance
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
    wave_S = read_audio(utterance.audio, utterance.start, utterance.duration)
    return normalize(wave_S) if normalized and len(wave_S) else wave_S


class Batches(Dataset[Batch]):
    """Turns plans into batches; what torch's DataLoader calls, in its workers."""

    def __init__(
        self,
        corpus: Corpus,
        normalized: bool,
        crop_seconds: float | None,
        targets: Sequence[Sequence[int]] | None,
        seed: int,
    ) -> None:
        """`crop_seconds` None pads; `targets` are the unit ids of each utterance of the corpus."""
        self.corpus, self.normalized, self.crop_seconds, self.targets, self.seed = (
            corpus,
            normalized,
            crop_seconds,
            targets,
            seed,
        )

    def __getitem__(self, plan: Plan) -> Batch:  # type: ignore[override]
        spoken = [[self.corpus[i] for i in row.utterances] for row in plan.rows]
        waves = [self._read(row, some) for row, some in zip(plan.rows, spoken, strict=True)]
        if self.crop_seconds is not None:
            random = np.random.default_rng([self.seed, 1, plan.position.number])
            waves = crop(waves, round(self.crop_seconds * SAMPLE_RATE), random)
        targets_BU = units_B = None
        if self.targets is not None:
            first = [row.utterances[0] for row in plan.rows]
            ids = [torch.tensor(self.targets[i], dtype=torch.long) for i in first]
            targets_BU = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
            units_B = torch.tensor([len(i) for i in ids])
        return Batch(
            position=plan.position,
            wave_BS=torch.nn.utils.rnn.pad_sequence(
                [torch.from_numpy(w) for w in waves], batch_first=True
            ),
            lengths_B=torch.tensor([len(w) for w in waves]),
            ids=tuple(some[0].id for some in spoken),
            languages=tuple(some[0].language for some in spoken),
            targets_BU=targets_BU,
            units_B=units_B,
        )

    def _read(self, row: Row, spoken: Sequence[Utterance]) -> np.ndarray:
        waves = [read_utterance(u, self.normalized) for u in spoken]
        wave_S = np.concatenate(waves) if len(waves) > 1 else waves[0]
        return wave_S if row.speed == 1 else change_speed(wave_S, row.speed)


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
    )
    try:
        yield from loader
    except UserError as error:  # from a worker it comes with a traceback, our line at the end
        line = str(error).rstrip().splitlines()[-1]
        raise UserError(line.removeprefix(f"{UserError.__module__}.UserError: ")) from None
