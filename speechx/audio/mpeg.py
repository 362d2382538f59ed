"""The frames of an mp3, counted: what is sound, what stands between, and how long it is.

Every frame has a header with its size, so a file can be walked without decoding it. Files that
were joined have tags and more Xing frames between their frames, and the Xing frame at the beginning
counts only the first of them. Without one, libsndfile guesses the length from the bit rate.
`streams` finds what is there, and a stream is read with a Xing frame that counts all of it.

A Xing frame within a stream is a frame of silence, and the padding of joined files stays: ffmpeg
decodes the same.
"""

import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from speechx.audio import tags
from speechx.audio.spliced import Piece

_KBIT_1 = {  # per second, by layer
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_KBIT_2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HERTZ = (44_100, 48_000, 32_000)
_SHIFT = {3: 0, 2: 1, 0: 2}  # of the rate, for MPEG 1, 2 and 2.5 by the bits of the version
CONFIRMED = 3  # frames in a row are sound and not chance
SEARCHED = 1 << 17  # bytes before the first frame
XING = (b"Xing", b"Info")
VBRI_AT = 36
DECODER_DELAY = 529  # samples, which mpg123 leaves out with those of the encoder
DELAY_AT = 21  # in the encoder's part of a Xing frame
PLACES = re.compile(rb"\xff[\xe2-\xff]|ID3|APETAGEX|TAG")  # where a frame or a tag may begin


class Kind(NamedTuple):
    """What all frames of a stream have in common."""

    version: int
    layer: int
    rate: int
    channels: int


class Frame(NamedTuple):
    """A frame by its header."""

    size: int
    samples: int
    kind: Kind
    xing: int
    """Where in the frame a Xing header would stand."""


@lru_cache(maxsize=1 << 14)
def frame(header: bytes) -> Frame | None:
    """The frame that begins with these four bytes; None if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bits, hertz, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in _SHIFT or layer == 4 or bits in (0, 15) or hertz == 3:
        return None
    rate = _HERTZ[hertz] >> _SHIFT[version]
    channels = 1 if header[3] >> 6 == 3 else 2
    speed = 1000 * (_KBIT_1 if version == 3 else _KBIT_2)[layer][bits - 1]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    if layer == 1:
        size = (12 * speed // rate + padding) * 4
    else:
        size = samples // 8 * speed // rate + padding
    side = (17, 32) if version == 3 else (9, 17)
    check = 0 if header[1] & 1 else 2  # bytes of a checksum
    place = 4 + check + side[channels - 1]
    return Frame(size, samples, Kind(version, layer, rate, channels), place)


class _Sizes(dict[bytes, int]):
    """Sizes of the frames of one kind by their headers; 0 for anything else."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def __missing__(self, header: bytes) -> int:
        found = frame(header)
        if found is None or found.kind != self.kind:
            return 0
        self[header] = found.size
        return found.size


sizes_of = lru_cache(_Sizes)


class Xing(NamedTuple):
    """The header of a whole file, in a frame of its own."""

    frames: int | None
    delay: int
    """Samples of the encoder before the sound, and behind it."""
    padding: int


def xing(data: bytes, place: int) -> Xing | None:
    """The header in a frame; None in a frame of sound."""
    if data[place : place + 4] not in XING:
        if data[VBRI_AT : VBRI_AT + 4] == b"VBRI" and len(data) >= VBRI_AT + 18:
            return Xing(int.from_bytes(data[VBRI_AT + 14 : VBRI_AT + 18], "big"), 0, 0)
        return None
    flags = int.from_bytes(data[place + 4 : place + 8], "big")
    at = place + 8
    frames = int.from_bytes(data[at : at + 4], "big") if flags & 1 else None
    at += 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
    delays = data[at + DELAY_AT : at + DELAY_AT + 3] if data[at : at + 1] > b"\0" else b""
    both = int.from_bytes(delays, "big") if len(delays) == 3 else 0
    return Xing(frames, both >> 12, both & 0xFFF)


def is_whole(data: Any, begin: int, end: int) -> bool:
    """Whether a file is a Xing header and exactly its frames, as nearly every mp3 is."""
    found = frame(data[begin : begin + 4])
    if found is None or found.kind.layer != 3:
        return False
    header = xing(data[begin : begin + found.size], found.xing)
    if header is None or not header.frames or any(data[begin + 4 : begin + found.xing]):
        return False  # mpg123 accepts it only behind zeros
    sizes, at = sizes_of(found.kind), begin + found.size
    for _ in range(header.frames):
        size = sizes[data[at : at + 4]]
        if not size:
            return False
        at += size
    return at == end


@dataclass(slots=True)
class Stream:
    """Frames of one kind, in the order of the file."""

    one: Frame
    runs: list[tuple[int, int]] = field(default_factory=list)
    """The bytes of the frames, without what stands between them."""
    frames: int = 0
    missing: int = 0
    """Frames that a Xing header counts and that are not there."""
    first: Xing | None = None
    """The header that the stream begins with."""
    joined: bool = False
    left: int = 0
    """Frames that the last header still counts."""

    def add(self, at: int, size: int, header: Xing | None) -> None:
        if header is not None:
            self.close()
            self.left = header.frames or 0
            if not self.frames:
                self.first = header
                return
            self.joined = True
        else:
            self.left -= 1
        self.frames += 1
        if self.runs and self.runs[-1][1] == at:
            self.runs[-1] = self.runs[-1][0], at + size
        else:
            self.runs.append((at, at + size))

    def close(self) -> None:
        self.missing += max(0, self.left)
        self.left = 0

    def pieces(self) -> list[Piece]:
        """The stream behind a Xing frame that counts it."""
        delay, padding = (self.first.delay, self.first.padding) if self.first else (0, 0)
        if self.joined or self.missing:
            padding = 0
        return [self._counting_frame(delay, padding), *self.runs]

    def promised(self) -> float:
        """The length in its headers divided by the length that is present."""
        if not self.missing or self.first is None:
            return 1.0
        size, (_, delay, padding) = self.one.samples, self.first
        present = self.frames * size - delay - (DECODER_DELAY if delay else 0)
        return max(1.0, ((self.frames + self.missing) * size - delay - padding) / max(1, present))

    def _counting_frame(self, delay: int, padding: int) -> bytes:
        """A silent frame with a Xing header."""
        kind = self.one.kind
        hertz = _HERTZ.index(next(h for h in _HERTZ if h >> _SHIFT[kind.version] == kind.rate))
        for bits in range(1, 15):
            mode = 0xC0 if kind.channels == 1 else 0
            head = bytes([0xFF, 0xE3 | kind.version << 3, bits << 4 | hertz << 2, mode])
            found = frame(head)
            assert found is not None
            size = found.size + sum(end - at for at, end in self.runs)
            tag = b"Xing" + struct.pack(">III", 3, self.frames, size)
            if delay or padding:
                both = (delay << 12 | padding).to_bytes(3, "big")
                tag += b"LAME3.100".ljust(DELAY_AT, b"\0") + both + bytes(12)
            if found.xing + len(tag) <= found.size:
                return (head.ljust(found.xing, b"\0") + tag).ljust(found.size, b"\0")
        raise AssertionError("a frame of the highest bit rate holds the header")


def streams(data: Any, begin: int, end: int) -> list[Stream]:
    """The streams of a file; another one begins where the rate or the channels change. `data` are
    its bytes, or an mmap of them."""
    found: list[Stream] = []
    at = begin
    while (at := _next(data, at, end, bool(found))) >= 0:
        while (one := frame(data[at : at + 4])) is not None and at + one.size <= end:
            if not found or found[-1].one.kind != one.kind:
                if found and not _confirmed(data, at, end):
                    break
                found.append(Stream(one))
            place, header = at + one.xing, None
            if data[place : place + 4] in XING or not found[-1].runs:
                header = xing(data[at : at + one.size], one.xing)
            found[-1].add(at, one.size, header)
            at += one.size
    for stream in found:
        stream.close()
    return [stream for stream in found if stream.frames]


def _next(data: Any, at: int, end: int, begun: bool) -> int:
    """Where the next frame begins; -1 if there is none."""
    limit = end if begun else min(end, at + SEARCHED)
    while 0 <= at < limit:
        behind = tags.after(lambda first, most: data[first : first + most], at, end)
        if _confirmed(data, behind, end):
            return behind
        # Not from `behind` on: a tag may claim to be longer than it is.
        following = PLACES.search(data, at + 1, end)
        at = following.start() if following else -1
    return -1


def _confirmed(data: Any, at: int, end: int) -> bool:
    """Whether several frames of one kind stand here, or the last ones before the end or a tag."""
    kind = None
    for _ in range(CONFIRMED):
        found = frame(data[at : at + 4])
        if found is not None and kind is not None and found.kind != kind:
            return False
        if found is None or at + found.size > end:
            over = at >= end or found is not None or tags.tag_size(data[at : at + 32]) > 0
            return kind is not None and over
        kind, at = found.kind, at + found.size
    return True
