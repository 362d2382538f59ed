"""A fast reader for the 16-bit mono WAV files in int16 shards.

libsndfile calls Python for every few kB of a file in memory, which takes three times as long as
this for a member of a shard. libsndfile reads all other WAV files.

    S samples
"""

import struct

import numpy as np

HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class PlainWav:
    """The part of `soundfile.SoundFile` that files.py uses."""

    format, subtype, channels, promised = "WAV", "PCM_16", 1, 1.0

    def __init__(self, samples_S: np.ndarray, rate: int) -> None:
        self.samples_S, self.samplerate, self.frames = samples_S, rate, len(samples_S)
        self._position = 0

    def seek(self, frame: int) -> None:
        self._position = frame

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """(S, 1) float32; fewer frames at the end."""
        found_S = self.samples_S[self._position : self._position + frames]
        self._position += len(found_S)
        return np.multiply(found_S, np.float32(1 / 32768), dtype=np.float32)[:, None]


def plain_wav(data: bytes) -> PlainWav | None:
    """The file in these bytes; None if it is any other kind of WAV or not complete."""
    if len(data) < HEADER.size:
        return None
    *kind, rate, _, _, bits, tag, size = HEADER.unpack_from(data)
    plain = kind == [b"RIFF", len(data) - 8, b"WAVE", b"fmt ", 16, 1, 1]
    whole = (bits, tag, size) == (16, b"data", len(data) - HEADER.size)
    if not (plain and whole and rate and size % 2 == 0):
        return None
    return PlainWav(np.frombuffer(data, "<i2", offset=HEADER.size), rate)
