"""What is given to a model to transcribe: a file, samples, or chunks of samples as they come. It is
read in blocks, and may be read twice.

    S samples
"""

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from speechx.audio.files import SAMPLE_RATE, audio_info, read_blocks, resample
from speechx.data.utterance import Utterance

NO_AUDIO = "audio must be a file or an array of samples"
SPOOLED_BYTES = 1 << 26  # of chunks that are kept in memory; more go to a temporary file


@dataclass(frozen=True, slots=True)
class Recording:
    blocks: Callable[[], Iterator[np.ndarray]]
    """Samples (S,) at 16 kHz, block by block, from the beginning at each call."""
    path: str | None = None
    channel: int | None = None
    start: float = 0.0
    """Second of the file where it begins."""

    @classmethod
    def of(cls, audio: "Audio", rate: int = SAMPLE_RATE, channel: int | None = None) -> "Recording":
        """`rate` is of samples in memory; a file has its own. `channel` of a file counts from 0;
        None is the mean of all."""
        if isinstance(audio, Recording):
            return audio
        if isinstance(audio, (str, Path)):
            return cls(partial(read_blocks, audio, channel=channel), str(audio), channel)
        if hasattr(audio, "__array__"):  # also a tensor
            audio = np.asarray(audio)
        if isinstance(audio, np.ndarray):
            wave_S = resample(checked(audio), _checked_rate(rate), SAMPLE_RATE)
            return cls(lambda: iter((wave_S,)))
        if not isinstance(audio, Iterable):
            raise ValueError(f"{NO_AUDIO}, not {audio!r:.80}")
        return cls(_spooled(audio, _checked_rate(rate)))

    @classmethod
    def of_utterance(cls, utterance: Utterance) -> "Recording":
        """A line of a manifest, which may be a part of a file."""
        u = utterance
        return cls(
            lambda: read_blocks(u.audio, start=u.start, duration=u.duration, part=u.bytes),
            str(u.audio),
            start=u.start,
        )


Audio: TypeAlias = Recording | str | Path | np.ndarray | Iterable[np.ndarray]
"""A file, samples (S,) between -1 and 1, or an iterator of these."""


def what_is_cut(audio: Any) -> str:
    """The message about a file that is cut off; empty for everything else."""
    cut = audio_info(audio, exact=False).cut if isinstance(audio, (str, Path)) else ""
    return cut and f"{audio}: {cut} The transcript covers the part that is left."


def checked(samples: Any) -> np.ndarray:
    """Samples (S,) in float32."""
    if not isinstance(samples, np.ndarray):
        raise ValueError(f"{NO_AUDIO}, not {samples!r:.80}")
    if samples.ndim != 1:
        raise ValueError(
            f"audio must be one channel of samples (S,), but has shape {samples.shape}; for the "
            "mean of channels pass audio.mean(axis)"
        )
    if not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(
            f"samples must be floats between -1 and 1, but are {samples.dtype}; divide "
            "16-bit integers by 32768"
        )
    if not np.isfinite(samples).all():
        raise ValueError("some samples are no finite numbers")
    return samples.astype(np.float32)


def _checked_rate(rate: int) -> int:
    if not isinstance(rate, (int, np.integer)) or not 1000 <= rate <= 1 << 20:
        raise ValueError(
            f"rate must be the samples per second, a whole number from 1000 to {1 << 20}, not "
            f"{rate!r}"
        )
    return int(rate)


def _spooled(chunks: Iterable[np.ndarray], rate: int) -> Callable[[], Iterator[np.ndarray]]:
    """Chunks come only once, so they are written down when they are first read."""
    file = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115
    read = False

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        if not read:
            read = True
            for block_S in _resampled(chunks, rate):
                file.write(block_S.tobytes())
        file.seek(0)
        while data := file.read(4 * 30 * SAMPLE_RATE):
            yield np.frombuffer(bytearray(data), np.float32)  # torch warns of what is read-only

    weakref.finalize(blocks, file.close)
    return blocks


def _resampled(chunks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    if rate == SAMPLE_RATE:
        yield from map(checked, chunks)
        return
    import soxr

    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    for chunk_S in chunks:
        yield stream.resample_chunk(checked(chunk_S))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
