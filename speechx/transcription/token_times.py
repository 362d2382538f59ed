"""When the tokens of a recording begin and end: by the sound model if the model has one, else
halfway between the peaks of neighbours.

    S samples at 16 kHz · U tokens · P tokens of a part · N steps of 10 ms · C cepstra
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from speechx.audio.cepstra import cepstra
from speechx.audio.files import SAMPLE_RATE
from speechx.decoding.alignment import boundaries
from speechx.decoding.sound_model import SoundModel, Spoken
from speechx.models.folder import times_file

PAUSE_SECONDS = 0.5  # between two tokens: a part may end there
LEAST_SECONDS, MOST_SECONDS = 20.0, 30.0  # of a part
AROUND_SECONDS = 0.5  # of sound before and behind a part


def load_times(folder: Path, head: str) -> SoundModel | None:
    """The sound model of a head; None if the folder has none."""
    file = times_file(folder, head)
    return SoundModel.load(file) if file.is_file() else None


def times_of(
    blocks: Callable[[], Iterable[np.ndarray]],
    ids_U: np.ndarray,
    spans_U2: np.ndarray,
    frames: int,
    second: float,
    sounds: SoundModel | None,
    begins_U: np.ndarray | None = None,
) -> np.ndarray:
    """(U, 2): seconds where tokens begin and end in a recording of `frames` frames of `second`
    seconds. `ids_U` are outputs of the model, 0 for tokens without a sound; `spans_U2` the first
    and the last frame of their peaks, -1 for tokens that are not there, which stay. `begins_U` are
    booleans: whether a token begins a word; by default each does. Short pauses stand before these
    tokens and behind tokens without a sound."""
    times_U2 = boundaries(spans_U2, frames) * second
    sounding_U = (ids_U > 0) & (spans_U2[:, 0] >= 0)
    if sounds is not None and sounding_U.any():
        peaks_U2 = (spans_U2[sounding_U] + np.array([0, 1])) * second
        pauses_U = None
        if begins_U is not None:
            pauses_U = (begins_U | np.append(True, ~sounding_U)[:-1])[sounding_U]
        times_U2[sounding_U] = times_by_sound(
            blocks(), ids_U[sounding_U], peaks_U2, sounds, pauses_U
        )
    return times_U2


def times_by_sound(
    blocks: Iterable[np.ndarray],
    ids_U: np.ndarray,
    peaks_U2: np.ndarray,
    sounds: SoundModel,
    pauses_U: np.ndarray | None = None,
) -> np.ndarray:
    """(U, 2): seconds where tokens begin and end, in a recording that comes in blocks (S,), given
    where the model's peaks for them begin and end, in seconds, and whether a pause may stand before
    each, by default before all. Memory holds a part."""
    times = np.array(peaks_U2, float)
    parts = list(_parts(peaks_U2))
    for (first, last), (begin, wave_S) in zip(parts, _sound(blocks, parts, peaks_U2), strict=True):
        part = slice(first, last)
        pauses_P = None if pauses_U is None else pauses_U[part]
        spoken = Spoken(cepstra(wave_S), ids_U[part], peaks_U2[part] - begin, pauses_P)
        if len(spoken.cepstra_NC):
            times[part] = begin + sounds.times(spoken)
    overlap_U = np.flatnonzero(times[1:, 0] < times[:-1, 1])  # where parts meet without a pause
    middle_U = (times[1:, 0] + times[:-1, 1])[overlap_U] / 2
    times[overlap_U + 1, 0] = times[overlap_U, 1] = middle_U
    return times


def _parts(peaks_U2: np.ndarray) -> Iterator[tuple[int, int]]:
    """First token, and behind the last, of parts that end in pauses where there are some."""
    first = 0
    for u in range(1, len(peaks_U2)):
        length = peaks_U2[u, 0] - peaks_U2[first, 0]
        pause = peaks_U2[u, 0] - peaks_U2[u - 1, 1]
        if length > MOST_SECONDS or (length > LEAST_SECONDS and pause > PAUSE_SECONDS):
            yield first, u
            first = u
    if len(peaks_U2):
        yield first, len(peaks_U2)


def _sound(
    blocks: Iterable[np.ndarray], parts: Sequence[tuple[int, int]], peaks_U2: np.ndarray
) -> Iterator[tuple[float, np.ndarray]]:
    """The sound of each part, and the seconds where it begins."""
    kept_S, at, coming = np.zeros(0, np.float32), 0, iter(blocks)
    for first, last in parts:
        begin = max(0, int((peaks_U2[first, 0] - AROUND_SECONDS) * SAMPLE_RATE))
        end = int((peaks_U2[last - 1, 1] + AROUND_SECONDS) * SAMPLE_RATE)
        while at + len(kept_S) < end and (block_S := next(coming, None)) is not None:
            kept_S = np.concatenate((kept_S, block_S))
        kept_S, at = kept_S[max(0, begin - at) :], max(at, begin)
        yield at / SAMPLE_RATE, kept_S[: end - at]
