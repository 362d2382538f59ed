"""A model whose outputs are known: it fires where the samples have a click."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speechx.models.features.convolutional import ConvolutionalConfig
from speechx.text.vocabulary import Vocabulary
from speechx.transcription.aligner import align
from speechx.transcription.recording import Audio, Recording
from speechx.transcription.result import Transcript

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz' ")
STEP = 0.02  # of samples, between the heights of clicks of two tokens
SURE = np.float32(np.log(0.9))


class ClickModel:
    """Reads clicks of height `STEP * id` as that token, in the frame that begins nearest, and
    everything else as the blank."""

    folder = Path("clicks")
    language: str | None = None
    adapter: str | None = None
    sounds = None
    made = 0.0

    def __init__(self, tokens: tuple[str, ...] = LETTERS, token_type: str = "characters") -> None:
        self.vocabulary = Vocabulary(token_type, tokens)  # type: ignore[arg-type]
        self.features = ConvolutionalConfig()
        self.replaced_phones: set[str] = set()

    def compute_with(self, batch_size: int | None, threads: int | None) -> None:
        """There is nothing to compute."""

    def reader_of(self, recording: Recording) -> ClickModel:
        return self

    def align(self, audio: Audio, text: str, **settings: Any) -> Transcript:
        return align(self, audio, text, **settings)

    def outputs(self, audio: Audio) -> Iterator[np.ndarray]:
        wave_S = np.concatenate([*Recording.of(audio).blocks()])
        frames = self.features.frames(len(wave_S))
        ids_T = np.zeros(frames, np.int64)
        for sample in np.flatnonzero(wave_S):
            ids_T[min(round(sample / self.features.stride), frames - 1)] = round(
                float(wave_S[sample]) / STEP
            )
        whole_TV = posteriors(ids_T, len(self.vocabulary))
        for begin in range(0, frames, 500):
            yield whole_TV[begin : begin + 500]


def posteriors(ids_T: np.ndarray, outputs: int) -> np.ndarray:
    """(T, V) that give each frame its id with a probability of 0.9."""
    whole_TV = np.full((len(ids_T), outputs), np.log(0.1 / (outputs - 1)), np.float32)
    whole_TV[np.arange(len(ids_T)), ids_T] = SURE
    return whole_TV


def clicks(
    text: str, tokens: tuple[str, ...] = LETTERS, gap: int = 8, start: float = 0.5
) -> tuple[np.ndarray, list[float]]:
    """Samples (S,) with a click for each letter of a text, `gap` frames of 20 ms apart, and the
    times of the clicks in seconds; a space is 3 gaps of nothing."""
    times, heights, now = [], [], start
    for letter in text:
        if letter == " ":
            now += 3 * gap * 0.02
            continue
        times.append(now)
        heights.append(STEP * (tokens.index(letter) + 1))
        now += gap * 0.02
    wave_S = np.zeros(round((now + 1) * 16_000), np.float32)
    wave_S[np.round(np.array(times) * 16_000).astype(int)] = heights
    return wave_S, times
