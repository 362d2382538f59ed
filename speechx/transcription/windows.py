"""A recording of any length as windows that overlap, on one frame grid.

Every frame of the recording is in exactly one window, with two seconds of sound on either side of
the window, or up to the end of the recording. Memory holds a window and a block.

    S samples · T frames · V = blank and tokens, the blank first
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.models.features.convolutional import StridedConfig

WINDOW_SECONDS = 30.0
MARGIN_SECONDS = 2.0  # of context on each side of a window, computed and thrown away


class Window(NamedTuple):
    wave_S: np.ndarray
    skip: int
    """Frames of its left margin."""
    frames: int
    """Frames that count, behind them."""
    seconds: float
    """Of sound that these frames add to the recording."""


def windows(blocks: Iterable[np.ndarray], features: StridedConfig) -> Iterator[Window]:
    """The windows of a recording that comes in blocks (S,); none if it is shorter than a frame."""
    stride, field = features.stride, features.receptive_field
    window, margin = (int(s * SAMPLE_RATE / stride) for s in (WINDOW_SECONDS, MARGIN_SECONDS))
    kept_S, begin, first = np.zeros(0, np.float32), 0, 0  # `begin`: the sample of kept_S[0]
    coming, ended = iter(blocks), False
    while True:
        needed = (first + window + margin) * stride + field  # one frame more than the margin
        while not ended and begin + len(kept_S) < needed:
            block_S = next(coming, None)
            ended = block_S is None
            if block_S is not None:
                kept_S = np.concatenate((kept_S, block_S)) if len(kept_S) else block_S
        samples = begin + len(kept_S)
        last, high = first + window, first + window + margin
        if ended:
            frames = features.frames(samples)
            last, high = min(last, frames), min(high, frames)
            if first >= frames:
                return
        low = max(first - margin, 0)
        # The last window has the samples after its last frame too, as in training.
        whole = ended and high == frames
        end = samples if whole else (high - 1) * stride + field
        until = samples if ended and last == frames else last * stride
        yield Window(
            kept_S[low * stride - begin : end - begin], first - low, last - first,
            (until - first * stride) / SAMPLE_RATE,
        )  # fmt: skip
        first = last
        kept_S = kept_S[max(first - margin, 0) * stride - begin :]
        begin = max(first - margin, 0) * stride
        if ended and first >= frames:
            return


def pieces(blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """`samples` samples in pieces of equal length, each at most a window."""
    count = max(1, -(-samples // int(WINDOW_SECONDS * SAMPLE_RATE)))
    kept_S, coming = np.zeros(0, np.float32), iter(blocks)
    for index in range(count):
        size = samples // count + (index < samples % count)
        while len(kept_S) < size:
            kept_S = np.concatenate((kept_S, next(coming)))
        yield kept_S[:size]
        kept_S = kept_S[size:]


def covered_seconds(features: StridedConfig, samples: int) -> float:
    """Seconds that the frames of a recording use. A remainder below one stride belongs to the last
    frame."""
    frames = features.frames(samples)
    covered = (frames - 1) * features.stride + features.receptive_field if frames else 0
    whole = frames and samples - covered < features.stride
    return round((samples if whole else covered) / SAMPLE_RATE, 3)


class Pauses:
    """Outputs that come in blocks, given on in parts that begin and end in pauses, so that no token
    lies in two of them. The blank is the first column."""

    def __init__(self, least: int) -> None:
        """`least`: about the fewest frames of a part."""
        self.least = least
        self.first = 0
        """Frame where the next part begins."""
        self._kept: list[np.ndarray] = []

    def add(self, outputs_TV: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """The parts that are complete, each with its first frame."""
        self._kept.append(outputs_TV)
        if sum(map(len, self._kept)) < 2 * self.least:
            return []
        kept_TV = np.concatenate(self._kept)
        cut = _pause(kept_TV.argmax(1), self.least)
        self._kept = [kept_TV[cut:]]
        part = self.first, kept_TV[:cut]
        self.first += cut
        return [part]

    def rest(self) -> list[tuple[int, np.ndarray]]:
        kept = [outputs_TV for outputs_TV in self._kept if len(outputs_TV)]
        return [(self.first, np.concatenate(kept))] if kept else []


def _pause(best_T: np.ndarray, least: int) -> int:
    """The middle of the longest run of blanks behind `least` frames; without blanks, the last
    change of the best output."""
    blank_T = np.concatenate(([False], best_T[least:] == 0, [False]))
    edges = np.flatnonzero(blank_T[1:] != blank_T[:-1]).reshape(-1, 2)
    if len(edges):
        begin, end = edges[(edges[:, 1] - edges[:, 0]).argmax()]
        return int(least + (begin + end) // 2)
    changes = np.flatnonzero(best_T[1:] != best_T[:-1]) + 1
    return int(changes[-1]) if len(changes) else len(best_T)
