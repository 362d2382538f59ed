"""NIST SPHERE, the file format of LDC's corpora: a text header, then samples in several codings.

    NIST_1A
       1024                                 bytes of header, samples follow
    channel_count -i 1
    sample_rate -i 8000
    sample_coding -s26 ulaw,embedded-shorten-v2.00
    sample_n_bytes -i 1
    sample_count -i 437652                  of each channel
    end_head

Types are -i, -r and -s with a length; sample_byte_format is 01 for low byte first, 10 for high byte
first. Supported are pcm of 1 to 4 bytes, ulaw and alaw, interleaved or not, and shorten-compressed
pcm and ulaw (shorten.py). The error for any other coding names it.

The header may be wrong, so no memory is allocated for its claims. A file that is shorter than its
header claims is read to its end, and `promised` is the claimed / the real length. Where the number
of samples is 0 or nonsense, or more sound follows, the file is read to its end too; a compressed
one as far as the header claims.

Shorten has no index: to read a segment, everything before it must be decoded. The decoded part of
the last compressed file is therefore kept, so that its segments, in order, cost one pass. Training
reads segments in random order and needs copies (`speechx data prepare ... --convert`).

    S samples · B samples of a block · C channels
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
import soundfile

from speechx.audio.extents import goes_on
from speechx.audio.shorten import MAGIC as SHORTEN_MAGIC
from speechx.audio.shorten import PCM, CutStream, Shorten
from speechx.audio.sources import key_of
from speechx.errors import UserError

MAGIC = b"NIST_1A"
LONGEST_HEADER = 1 << 20
MOST_CHANNELS = 64
LOWEST_RATE = 1000  # Hz; resampling from less would take hours and much memory
HIGHEST_RATE = 1 << 20
MOST_SHORTEN_SAMPLES = 1 << 27  # of all channels, 4 hours of telephone: a quarter of a gigabyte

LEAST_BEYOND = 0.1  # seconds behind the claimed end, less is no sound
LENGTH = re.compile(r"[0-9]{1,9}")
SIGNS = re.compile(r"[\W_]")
# By what is left of the many spellings in lower case and without signs: u-law, MU_LAW, a-law.
_CODINGS = {
    **dict.fromkeys(("pcm", "linear", "pcmlinear", "linearpcm", "raw"), "pcm"),
    **dict.fromkeys(("ulaw", "mulaw", "µlaw", "μlaw", "g711ulaw", "g711mulaw"), "ulaw"),
    **dict.fromkeys(("alaw", "g711alaw"), "alaw"),
}
_SUBTYPES = {  # of libsndfile, by the coding and the bytes of a sample
    ("pcm", 1): "PCM_S8", ("pcm", 2): "PCM_16", ("pcm", 3): "PCM_24", ("pcm", 4): "PCM_32",
    ("ulaw", 1): "ULAW", ("alaw", 1): "ALAW",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SphereHeader:
    """The typed fields of a header, with the defaults of NIST."""

    size: int
    rate: int
    channels: int
    coding: str
    """pcm, ulaw or alaw."""
    compressed: bool
    bytes: int
    """Bytes of one sample."""
    big_endian: bool
    interleaved: bool
    count: int | None
    """Samples of each channel; None if the header does not say it, or nonsense."""


def read_header(file: BinaryIO, name: str) -> SphereHeader:
    """The header of an open file; a UserError if a field is impossible."""
    first = file.read(16)
    size = first[8:].strip()
    if not first.startswith(MAGIC) or not size.isdigit():
        raise UserError(f"{name}: not a SPHERE file: its header does not contain its own length")
    if not 16 < int(size) <= LONGEST_HEADER:
        raise UserError(f"{name}: its SPHERE header claims to be {int(size)} bytes long")
    text = file.read(int(size) - 16)
    if len(text) < int(size) - 16:
        raise UserError(f"{name}: the file ends within its SPHERE header of {int(size)} bytes")
    fields: dict[str, str] = {}
    for line in text.decode("latin-1").split("\n"):
        words = line.split(None, 2)
        if words[:1] == ["end_head"]:
            break
        if len(words) == 3 and words[1][:2] in ("-i", "-r", "-s"):
            value = words[2].rstrip("\r")
            length = words[1][2:]
            fields[words[0]] = value[: int(length)] if LENGTH.fullmatch(length) else value.strip()
    else:
        raise UserError(f"{name}: its SPHERE header has no end_head")
    if "sample_rate" not in fields:
        raise UserError(f"{name}: its SPHERE header has no sample_rate")
    spelled = fields.get("sample_coding", "pcm").lower().split(",")
    coding, *packed = (word if word.isalpha() else SIGNS.sub("", word) for word in spelled)
    if coding not in _CODINGS or not all(word.startswith("embeddedshorten") for word in packed):
        raise UserError(
            f"{name}: SPHERE of the coding {fields['sample_coding'][:60]!r} cannot be read. "
            "Supported are pcm, ulaw and alaw, and pcm and ulaw with embedded-shorten."
        )
    coding = _CODINGS[coding]
    try:
        count = _integer(fields, "sample_count", 0, 1, 1 << 60, name)
    except UserError:
        count = 0
    header = SphereHeader(
        size=int(size),
        rate=_integer(fields, "sample_rate", 0, LOWEST_RATE, HIGHEST_RATE, name),
        channels=_integer(fields, "channel_count", 1, 1, MOST_CHANNELS, name),
        coding=coding,
        compressed=bool(packed),
        bytes=_integer(fields, "sample_n_bytes", 2 if coding == "pcm" else 1, 1, 8, name),
        big_endian=not fields.get("sample_byte_format", "01").startswith("0"),
        interleaved=fields.get("channels_interleaved", "TRUE").upper() != "FALSE",
        count=count or None,
    )
    if (coding, header.bytes) not in _SUBTYPES:
        raise UserError(f"{name}: SPHERE {coding} of {header.bytes} bytes cannot be read")
    return header


def _integer(
    fields: dict[str, str], key: str, default: int, least: int, most: int, name: str
) -> int:
    """An integer of the header, which some programs write as text or as a real."""
    if key not in fields:
        return default
    try:
        value = float(fields[key])
        if value == int(value) and least <= value <= most:
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{name}: its SPHERE header claims {key} = {fields[key][:40]!r}")


class SphereSound:
    """An open SPHERE file: the part of `soundfile.SoundFile` that files.py uses.

    `file` must be at its beginning; the caller closes it.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.header = header = read_header(file, name)
        self.samplerate, self.channels = header.rate, header.channels
        self._file, self._name, self._at, self.note = file, name, 0, ""
        file.seek(header.size)
        magic = file.read(len(SHORTEN_MAGIC))
        # Some headers do not mention that the data are compressed.
        compressed = header.compressed or (header.coding != "alaw" and magic == SHORTEN_MAGIC)
        self.format, self.subtype = "SHORTEN" if compressed else "NIST", header.coding
        self._packed = _packed(file, header, name) if compressed else None
        if self._packed is not None:
            available = self._packed.count if header.count is None else header.count
        else:
            available = (file.seek(0, os.SEEK_END) - header.size) // (
                header.bytes * header.channels
            )
        claimed = header.count or available
        if claimed == available * header.channels:  # some programs count those of all channels
            claimed = available
        if self._packed is None and self._goes_on(claimed, available):
            claimed = available
        self._stride, self.frames = claimed, min(claimed, available)
        if not header.interleaved and claimed > available:  # the last channels are missing
            self.frames = max(0, (available - claimed) * header.channels + claimed)
        self.promised = claimed / self.frames if self.frames else 1.0
        if self._packed is not None and header.count is None and self._packed.cut:
            self.promised = math.inf

    def _goes_on(self, claimed: int, available: int) -> bool:
        """Whether sound stands behind the claimed end; if not, `note` has what is left out."""
        beyond, width = available - claimed, self.header.bytes * self.header.channels
        if beyond <= LEAST_BEYOND * self.samplerate:
            return False

        def read(at: int, most: int) -> bytes:
            self._file.seek(at)
            return self._file.read(most)

        start, size = self.header.size, claimed * width
        if goes_on(read, start + size, size, start + available * width):
            self.note = f"its header has {claimed} samples, but {beyond} more are behind them"
            return True
        self.note = f"{beyond * width} bytes behind its sound are left out"
        return False

    def seek(self, frame: int) -> None:
        self._at = min(max(frame, 0), self.frames)

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next frames (S, C), fewer at the end; values from -1 to 1."""
        first, count = self._at, min(frames, self.frames - self._at)
        self._at += count
        if self._packed is not None:
            return self._values(self._packed.read(first, count).tobytes(), self.channels)
        if self.header.interleaved:
            stored = self._stored(first * self.channels, count * self.channels)
            return self._values(stored, self.channels)
        starts = (channel * self._stride + first for channel in range(self.channels))
        return np.hstack([self._values(self._stored(start, count), 1) for start in starts])

    def _stored(self, first: int, count: int) -> bytes:
        """The bytes of samples of all channels."""
        self._file.seek(self.header.size + first * self.header.bytes)
        data = self._file.read(count * self.header.bytes)
        if len(data) < count * self.header.bytes:
            raise UserError(f"{self._name}: the file became shorter during reading")
        return data

    def _values(self, data: bytes, channels: int) -> np.ndarray:
        """The samples (S, C) in these bytes; usual codings without libsndfile, which would take
        longer to open them than to decode them."""
        coding, endian, size = self.header.coding, "<>"[self.header.big_endian], self.header.bytes
        if self._packed is not None:
            endian, size = "<", self._packed.kind.itemsize
        if size == 1 and coding != "pcm":
            return (
                _law(_SUBTYPES[coding, 1]).take(np.frombuffer(data, np.uint8)).reshape(-1, channels)
            )
        if size == 2:
            samples_SC = np.frombuffer(data, f"{endian}i2").reshape(-1, channels)
            return np.multiply(samples_SC, np.float32(2**-15), dtype=np.float32)
        return soundfile.read(
            io.BytesIO(data), dtype="float32", always_2d=True, format="RAW", channels=channels,
            samplerate=self.samplerate, subtype=_SUBTYPES[coding, size],
            endian="BIG" if endian == ">" else "LITTLE",
        )[0]  # fmt: skip


@lru_cache
def _law(subtype: str) -> np.ndarray:
    """The sample (256,) of every byte of mu-law or A-law."""
    codes = io.BytesIO(bytes(range(256)))
    return soundfile.read(
        codes, dtype="float32", format="RAW", channels=1, samplerate=8000, subtype=subtype
    )[0]


class _Packed:
    """A shorten stream, decoded as far as needed so far."""

    def __init__(self, data: bytes, header: SphereHeader, name: str) -> None:
        self._name, self.cut = name, False
        self._lock = threading.Lock()
        try:
            stream = Shorten(data)
        except ValueError as error:
            raise self._refusal(error) from None
        if stream.channels != header.channels:
            raise UserError(
                f"{name}: its header claims {header.channels} channels, but its shorten data have "
                f"{stream.channels}"
            )
        if (stream.type in PCM) != (header.coding == "pcm"):
            raise UserError(
                f"{name}: its header claims {header.coding}, but its shorten data are not"
            )
        self.kind = np.dtype("<i2" if stream.type in PCM else "u1")
        self._blocks = stream.blocks()
        self._decoded_SC = np.zeros((0, header.channels), self.kind)
        self._have = 0

    @property
    def count(self) -> int:
        """Number of samples per channel; decodes everything."""
        with self._lock:
            self._decode(None)
            return self._have

    def read(self, first: int, count: int) -> np.ndarray:
        with self._lock:
            self._decode(first + count)
            return self._decoded_SC[first : min(first + count, self._have)].copy()

    def _decode(self, wanted: int | None) -> None:
        try:
            while wanted is None or self._have < wanted:
                if (block_BC := next(self._blocks, None)) is None:
                    return
                self._keep(block_BC)
        except CutStream as error:
            self.cut = True
            self._blocks = iter(())
            if not self._have:
                raise self._refusal(error) from None
        except ValueError as error:
            raise self._refusal(error) from None

    def _keep(self, block_BC: np.ndarray) -> None:
        have = self._have + len(block_BC)
        if have * block_BC.shape[1] > MOST_SHORTEN_SAMPLES:
            raise UserError(
                f"{self._name}: its shorten data are longer than {MOST_SHORTEN_SAMPLES} samples"
            )
        if have > len(self._decoded_SC):
            grown_SC = np.zeros((max(2 * have, 1 << 16), block_BC.shape[1]), self.kind)
            grown_SC[: self._have] = self._decoded_SC[: self._have]
            self._decoded_SC = grown_SC
        self._decoded_SC[self._have : have] = block_BC
        self._have = have

    def _refusal(self, error: ValueError) -> UserError:
        return UserError(f"{self._name}: its shorten data cannot be decoded: the stream {error}.")


_last: tuple[Any, _Packed] | None = None


def _packed(file: BinaryIO, header: SphereHeader, name: str) -> _Packed:
    """The stream of this file, which is kept until another file is read."""
    global _last
    file.seek(header.size)
    if (found := key_of(file)) is None:
        return _Packed(file.read(), header, name)
    key = (*found, name)
    last = _last  # another thread may open another file
    if last is None or last[0] != key:
        last = _last = (key, _Packed(file.read(), header, name))
    return last[1]
