"""A spectrogram as a small PNG, and an excerpt to listen to, with numpy and soundfile only.

Time goes to the right, frequency from 0 to 8 kHz upwards. Dark is loud: 70 dB below the loudest
point and in silence the picture has the colour of the page.

    S samples · T frames, one a pixel column · K bins, one a pixel row
    · H pixel rows · W pixel columns
"""

import io
import struct
import zlib

import numpy as np
import soundfile

from speechx.audio.files import SAMPLE_RATE

WIDTH, HEIGHT = 320, 96
RANGE_DB = 70.0
SOFTEST_DB = -15.0  # level of the loudest point at -50 dBFS; quieter audio is not amplified
PAPER, INK = (250, 249, 246), (38, 50, 72)
EXCERPT_SECONDS = 8.0


def spectrogram(wave_S: np.ndarray) -> bytes:
    """A PNG of `WIDTH` by `HEIGHT` pixels of a wave at 16 kHz."""
    window = 2 * HEIGHT + 2  # bins 1 .. HEIGHT are the rows: 83 Hz each
    padded = np.pad(wave_S, (0, max(0, window + WIDTH - len(wave_S))))
    starts = np.linspace(0, len(padded) - window, WIDTH).astype(int)
    frames = padded[starts[:, None] + np.arange(window)] * np.hanning(window)
    power_KT = np.square(np.abs(np.fft.rfft(frames, axis=1)))[:, 1 : HEIGHT + 1].T
    level_KT = 10 * np.log10(power_KT + 1e-12)
    ink_KT = np.clip((level_KT - max(level_KT.max(), SOFTEST_DB)) / RANGE_DB + 1, 0, 1)
    return png((ink_KT[::-1] * 255).astype(np.uint8))


def png(ink_HW: np.ndarray) -> bytes:
    """A PNG with eight bits per pixel and a palette from paper to ink."""
    height, width = ink_HW.shape
    steps = np.linspace(0, 1, 256)[:, None]
    palette = np.round(np.array(PAPER) * (1 - steps) + np.array(INK) * steps).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in ink_HW)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", palette.tobytes())
        + _chunk(b"IDAT", zlib.compress(rows, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def excerpt(wave_S: np.ndarray) -> tuple[str, bytes]:
    """The MIME type and the bytes of the first seconds: mp3 if libsndfile writes it, else FLAC."""
    wave_S = np.clip(wave_S[: round(EXCERPT_SECONDS * SAMPLE_RATE)], -1, 1)
    mp3 = "MP3" in soundfile.available_formats()
    file = io.BytesIO()
    soundfile.write(file, wave_S, SAMPLE_RATE, format="MP3" if mp3 else "FLAC")
    return "audio/mpeg" if mp3 else "audio/flac", file.getvalue()
