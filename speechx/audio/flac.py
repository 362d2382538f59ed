"""The end of a FLAC file: how many samples are really there.

The header of a FLAC that was written as a stream has no length, and the header of a FLAC that was
cut off has the old one. Every frame has the number of its first sample, so the last whole frame
gives the length.
"""

import io
import re
from typing import Any, NamedTuple

import soundfile

from speechx.audio.spliced import Piece

MAGIC = b"fLaC"
HEAD_BYTES = 42
LAST_BLOCK = b"\x80\0\0\x22"  # the sound is behind it
TOTAL_AT = 21  # the last four bits of this byte and the next four bytes count the samples
SEARCHED = 1 << 22  # bytes at the end
HEADER_BYTES = 1 << 13  # of most files
TAIL_BYTES = 1 << 16  # hold the last frames of a usual file
STARTS = (MAGIC + b"\0\0\0\x22", MAGIC + LAST_BLOCK)
SYNC = re.compile(b"\xff[\xf8\xf9]")


class _Header(NamedTuple):
    """What stands before a frame."""

    at: int
    fixed: bool
    """Whether all frames but the last have as many samples."""
    number: int
    """Number of the frame if they have, else of its first sample."""
    samples: int

    def following(self) -> tuple[bool, int]:
        return self.fixed, self.number + (1 if self.fixed else self.samples)


class _Frame(NamedTuple):
    at: int
    first: int
    """Number of its first sample."""
    behind: int


def is_joined(data: Any, begin: int, end: int) -> bool:
    """Whether another FLAC file begins behind the first."""
    return any(data.find(start, begin + HEAD_BYTES, end) >= 0 for start in STARTS)


def counted(tail: bytes) -> int | None:
    """The samples up to the last frame that begins in `tail`, the last bytes of a file; None if no
    frame is found."""
    found = _last_frames(tail, 0, len(tail))
    return None if found is None else found.behind


def is_too_long(head: bytes, size: int) -> bool:
    """Whether a file has more bytes than the claimed number of the largest frames: perhaps it is
    several files."""
    largest, block = int.from_bytes(head[15:18], "big"), int.from_bytes(head[10:12], "big")
    total = int.from_bytes(head[TOTAL_AT : TOTAL_AT + 5], "big") & (1 << 36) - 1
    return 0 < largest * -(-total // max(1, block)) + HEADER_BYTES < size


def mended(data: Any, begin: int, end: int) -> tuple[list[Piece], bool] | None:
    """The file with the length that it has, without a broken last frame, and whether there is one;
    None if no frame is found. `data` are its bytes, or an mmap of them."""
    head = bytes(data[begin : begin + HEAD_BYTES])
    found = _last_frames(data, max(begin + HEAD_BYTES, end - SEARCHED), end)
    if found is None:
        return None
    samples = found.behind - found.first
    alone = _with_total(MAGIC + LAST_BLOCK + head[8:], samples) + data[found.at : end]
    broken = not _is_decodable(alone, samples)
    total, end = (found.first, found.at) if broken else (found.behind, end)
    if total == 0:
        return None
    patched = _with_total(head, total)[TOTAL_AT : TOTAL_AT + 5]
    return [(begin, begin + TOTAL_AT), patched, (begin + TOTAL_AT + 5, end)], broken


def _with_total(head: bytes, total: int) -> bytes:
    """The header with this number of samples."""
    first = bytes([head[TOTAL_AT] & 0xF0 | total >> 32])
    middle = first + (total & 0xFFFFFFFF).to_bytes(4, "big")
    return head[:TOTAL_AT] + middle + head[TOTAL_AT + 5 :]


def _is_decodable(data: bytes, samples: int) -> bool:
    """Whether a FLAC of this many samples is whole. A checksum without the end of its frame would
    not decide: every 65,536th part of a frame has it by chance."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            sound.seekable = lambda: False
            return len(sound.read(samples, "float32")) == samples
    except soundfile.LibsndfileError:
        return False


def _last_frames(data: Any, low: int, end: int) -> _Frame | None:
    """The last frame, which goes on from the one before it."""
    later: dict[tuple[bool, int], _Header] = {}
    places = [low + sync.start() for sync in SYNC.finditer(data[low:end])]
    for place in reversed(places):
        found = _header(data[place : place + 16], place)
        if found is None:
            continue
        later.setdefault((found.fixed, found.number), found)
        last = later.get(found.following()) or later.get((found.fixed, 0))
        if last is not None:
            first = last.number * (found.samples if last.fixed else 1)
            return _Frame(last.at, first, first + last.samples)
    return None


def _header(head: bytes, at: int) -> _Header | None:
    """The header of a frame that begins with these bytes; None if none does."""
    if len(head) < 6 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1:
        return None
    number, used = _coded_number(head[4:11])
    if used == 0:
        return None
    place, sizes = 4 + used, head[2] >> 4
    if sizes == 6:
        samples, place = head[place] + 1 if place < len(head) else 0, place + 1
    elif sizes == 7:
        samples, place = int.from_bytes(head[place : place + 2], "big") + 1, place + 2
    else:
        samples = 192 if sizes == 1 else 576 << sizes - 2 if sizes < 6 else 256 << sizes - 8
    place += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if place >= len(head) or _crc8(head[:place]) != head[place]:
        return None
    return _Header(at, not head[1] & 1, number, samples)


def _coded_number(data: bytes) -> tuple[int, int]:
    """A number as UTF-8 writes them, and its bytes; 0 bytes if it is none."""
    ones = 8 - (data[0] ^ 0xFF).bit_length()
    if ones == 0:
        return data[0], 1
    if ones in (1, 8) or len(data) < ones:
        return 0, 0
    number = data[0] & (0x7F >> ones)
    for byte in data[1:ones]:
        if byte >> 6 != 2:
            return 0, 0
        number = number << 6 | byte & 0x3F
    return number, ones


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc
