"""From recordings to the outputs of a model, window by window: reads, normalises, makes batches of
windows of several recordings, and gives the outputs in order. Memory holds a few batches.

    B windows · S samples · T frames · V = blank and tokens
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE
from speechx.data.batches import normalize
from speechx.errors import UserError
from speechx.models.encoder import EncoderConfig
from speechx.models.features.convolutional import StridedConfig
from speechx.transcription.recording import Recording
from speechx.transcription.windows import Window, pieces, windows

AHEAD = 4  # batches whose windows are sorted by length
ALIKE = 0.8  # shortest by longest window of a batch
Run = Callable[[Tensor, Tensor], list[np.ndarray]]
"""Waves (B, S) and their lengths (B,) to the outputs (T, V) of each."""


class Part(NamedTuple):
    """What comes next of a recording: a window and then its outputs, or the end."""

    number: int
    """Of the recording."""
    window: Window | None = None
    outputs_TV: np.ndarray | None = None
    """The log-probabilities of the next frames; of a head without frames, of all of it."""
    samples: int | None = None
    """The length of the recording, which is over."""
    error: UserError | None = None
    """What is wrong with the recording, which ends here."""


def outputs_of(
    recordings: Iterable[Recording],
    run: Run,
    encoder: EncoderConfig,
    features: StridedConfig,
    windowed: bool,
    batch_size: int,
    normalized: bool = False,
    ahead: int = AHEAD,
) -> Iterator[Part]:
    """The outputs of each recording, in order, and then its end; `features` is their grid. A head
    that is not `windowed` gives one answer for a recording: the mean probabilities of its pieces.
    The windows of `ahead` batches are in memory at once."""
    parts = _windows(recordings, encoder, features, windowed, normalized)
    computed = _computed(parts, run, batch_size, ahead)
    return computed if windowed else _averaged(computed)


def _windows(
    recordings: Iterable[Recording],
    encoder: EncoderConfig,
    features: StridedConfig,
    windowed: bool,
    normalized: bool,
) -> Iterator[Part]:
    for number, recording in enumerate(recordings):
        blocks = _Blocks(recording, encoder.normalize and not normalized, encoder.normalize_epsilon)
        cut = windows(blocks, features) if windowed else blocks.equal()
        try:
            for window in cut:
                yield Part(number, window)
            yield Part(number, samples=blocks.samples)
        except UserError as error:
            yield Part(number, error=error)


def _computed(parts: Iterator[Part], run: Run, batch_size: int, ahead: int) -> Iterator[Part]:
    """The parts with the outputs of their windows, in order; windows of similar length are
    computed together."""
    while waiting := list(islice(parts, ahead * batch_size)):
        waves = {i: part.window.wave_S for i, part in enumerate(waiting) if part.window}
        by_length = sorted(waves, key=lambda i: -len(waves[i]))
        found: dict[int, np.ndarray] = {}
        while by_length:
            longest = len(waves[by_length[0]])
            batch = [i for i in by_length[:batch_size] if len(waves[i]) >= ALIKE * longest]
            by_length = by_length[len(batch) :]
            lengths_B = torch.tensor([len(waves[i]) for i in batch])
            wave_BS = torch.zeros(len(batch), longest)
            for row, i in enumerate(batch):
                wave_BS[row, : lengths_B[row]] = torch.from_numpy(waves[i])
            found |= zip(batch, run(wave_BS, lengths_B), strict=True)
        for i, part in enumerate(waiting):
            if part.window is not None:
                outputs_TV = found[i][part.window.skip :][: part.window.frames]
                part = part._replace(outputs_TV=outputs_TV)
            yield part


class _Blocks:
    """The blocks of a recording, normalised if `normalize` is set, and their samples."""

    def __init__(self, recording: Recording, normalize: bool, epsilon: float) -> None:
        self.recording, self.normalize, self.epsilon = recording, normalize, epsilon
        self.samples = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        blocks = self.recording.blocks()
        if not self.normalize:
            for block_S in blocks:
                self.samples += len(block_S)
                yield block_S
            return
        first = list(islice(blocks, 2))
        if len(first) == 1:
            self.samples = len(first[0])
            if self.samples:
                yield normalize(first[0], self.epsilon)
            return
        mean, deviation = self._statistics(chain(first, blocks))
        for block_S in self.recording.blocks():
            self.samples += len(block_S)
            yield ((block_S - mean) / deviation).astype(np.float32)

    def _statistics(self, blocks: Iterable[np.ndarray]) -> tuple[float, float]:
        """Mean and deviation of all samples."""
        count, total, squares = 0, 0.0, 0.0
        for block_S in blocks:
            count += len(block_S)
            total += float(block_S.sum(dtype=np.float64))
            squares += float(np.square(block_S, dtype=np.float64).sum())
        mean = total / max(count, 1)
        variance = max(0.0, squares / max(count, 1) - mean**2)
        return mean, math.sqrt(variance + self.epsilon)

    def equal(self) -> Iterator[Window]:
        """The recording in pieces of equal length, each for one answer."""
        samples = sum(map(len, self.recording.blocks()))
        for piece_S in pieces(self, samples):
            yield Window(piece_S, 0, 1, len(piece_S) / SAMPLE_RATE)


def _averaged(parts: Iterable[Part]) -> Iterator[Part]:
    """The mean probabilities (1, V) of each recording."""
    outputs: list[np.ndarray] = []
    for part in parts:
        if part.outputs_TV is not None:
            outputs.append(part.outputs_TV)
            continue
        if part.samples is not None:
            mean_TV = np.asarray(np.logaddexp.reduce(outputs) - math.log(len(outputs)))
            seconds = part.samples / SAMPLE_RATE
            window = Window(np.zeros(0, np.float32), 0, 1, seconds)
            yield Part(part.number, window, mean_TV)
        yield part
        outputs = []
