"""The 16-bit mono WAV that int16 shards hold, read where its bytes are.

libsndfile asks Python for every few kB of a file in memory and so takes three times as long as this
for a member of a shard. Any other WAV is libsndfile's.

    S samples
"""

from __future__ import annotations

import struct

import numpy as np

HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class PlainWav:
    """As much of a SoundFile as reading needs."""

    format, channels = "WAV", 1

    def __init__(self, samples_S: np.ndarray, rate: int) -> None:
        self.samples_S, self.samplerate, self.frames, self.place = (
            samples_S,
            rate,
            len(samples_S),
            0,
        )

    def seek(self, frame: int) -> int:
        self.place = frame
        return frame

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """(S, 1) float32; fewer where the sound ends."""
        found_S = self.samples_S[self.place : self.place + frames]
        self.place += len(found_S)
        return np.multiply(found_S, np.float32(1 / 32768), dtype=np.float32)[:, None]


def plain_wav(data: bytes) -> PlainWav | None:
    """The sound of these bytes, if they are such a file to the byte."""
    if len(data) < HEADER.size:
        return None
    riff, size, wave, fmt, length, coding, channels, rate, _, _, bits, tag, sound = (
        HEADER.unpack_from(data)
    )
    names = (riff, wave, fmt, tag) == (b"RIFF", b"WAVE", b"fmt ", b"data")
    kind = (length, coding, channels, bits) == (16, 1, 1, 16)
    sizes = (size, sound) == (len(data) - 8, len(data) - HEADER.size)
    if not (names and kind and sizes and rate and sound % 2 == 0):
        return None
    return PlainWav(np.frombuffer(data, "<i2", offset=HEADER.size), rate)
