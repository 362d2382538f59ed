"""Files of many formats as bytes, and what happens to them: tags, wrong lengths, cuts."""

import io
import struct

import numpy as np
import soundfile

RATE = 16_000
ID3_V1 = b"TAG" + b"a title".ljust(125)
LYRICS = b"LYRICSBEGIN" + b"IND0000210" + b"000029LYRICS200"
LYRICS_V1 = b"LYRICSBEGIN" + b"la la la" + b"LYRICSEND"
LENGTHS = {  # what stands before the length of the sound, how far, its bytes and their order
    "WAV": (b"data", 4, "<I"),
    "WAVEX": (b"data", 4, "<I"),
    "RF64": (b"ds64", 16, "<Q"),
    "W64": (b"data\xf3\xac", 16, "<Q"),
    "AIFF": (b"SSND", 4, ">I"),
    "AU": (b".snd", 8, ">I"),
    "CAF": (b"data", 4, ">Q"),
}


def noise(seconds: float = 1.0, channels: int = 1, rate: int = RATE, seed: int = 0) -> np.ndarray:
    size = round(seconds * rate), channels
    return np.random.default_rng(seed).uniform(-0.3, 0.3, size).astype(np.float32)


def file_of(kind: str, wave_SC: np.ndarray, rate: int = RATE, subtype: str | None = None) -> bytes:
    """`kind` is a format of libsndfile, or OPUS."""
    file = io.BytesIO()
    if kind == "OPUS":
        kind, subtype = "OGG", "OPUS"
    endian = "BIG" if kind == "AU" else None
    soundfile.write(file, wave_SC, rate, format=kind, subtype=subtype, endian=endian)
    return file.getvalue()


def with_length(kind: str, data: bytes, length: int) -> bytes:
    """The file with another length in its header."""
    mark, skip, form = LENGTHS[kind]
    place = data.index(mark) + skip
    most = (1 << 8 * struct.calcsize(form)) - 1
    return replaced(data, place, struct.pack(form, min(length, most)))


def flac_with_total(data: bytes, total: int) -> bytes:
    """The last 36 bits before the checksum in STREAMINFO count the samples."""
    head = bytes([data[21] & 0xF0 | total >> 32]) + (total & 0xFFFFFFFF).to_bytes(4, "big")
    return replaced(data, 21, head)


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def id3(size: int = 400) -> bytes:
    """A tag that holds what looks like frames of an mp3."""
    length = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + length + (b"\xff\xfb\x90\x64" * size)[:size]


def ape(size: int = 100) -> bytes:
    """A tag with a header and a footer."""

    def end(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, size + 32, 1, flags) + bytes(8)

    return end(0xA0000000) + bytes(size) + end(0x80000000)
