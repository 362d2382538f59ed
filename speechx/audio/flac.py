"""The end of a FLAC file: how many samples are really there.

The header of a FLAC that was written as a stream has no length, and the header of a FLAC that was
cut off has the old one. Every frame has the number of its first sample, so the last whole frame
gives the length.
"""

import re
from typing import Any, NamedTuple

from speechx.audio.spliced import Piece

MAGIC = b"fLaC"
TOTAL_AT = 21  # the last four bits of this byte and the next four bytes count the samples
SEARCHED = 1 << 22  # bytes at the end
HEADER_BYTES = 1 << 13  # of most files
MOST_BYTES = 1 << 16  # of a frame, where the header does not know
TAIL_BYTES = 1 << 16  # hold the last frames of a usual file
STARTS = (MAGIC + b"\0\0\0\x22", MAGIC + b"\x80\0\0\x22")
SYNC = re.compile(b"\xff[\xf8\xf9]")


class _Frame(NamedTuple):
    at: int
    first: int
    """Number of its first sample."""
    behind: int


def is_joined(data: Any, begin: int, end: int) -> bool:
    """Whether another FLAC file begins behind the first."""
    return any(data.find(start, begin + 42, end) >= 0 for start in STARTS)


def counted(head: bytes, tail: bytes) -> int | None:
    """The samples up to the last frame that begins in `tail`, the last bytes of a file that begins
    with `head`; None if no frame is found."""
    found = _last_frames(tail, 0, len(tail), _block(head))
    return None if found is None else found.behind


def is_too_long(head: bytes, size: int) -> bool:
    """Whether a file has more bytes than the claimed number of the largest frames: perhaps it is
    several files."""
    largest, block = int.from_bytes(head[15:18], "big"), _block(head)
    total = int.from_bytes(head[TOTAL_AT : TOTAL_AT + 5], "big") & (1 << 36) - 1
    return 0 < largest * -(-total // max(1, block)) + HEADER_BYTES < size


def _block(head: bytes) -> int:
    """Samples of the largest block; of every one, if all are alike."""
    return int.from_bytes(head[10:12], "big")


def mended(data: Any, begin: int, end: int) -> list[Piece] | None:
    """The file with the length that it has, without a broken last frame; None if no frame is
    found. `data` are its bytes, or an mmap of them."""
    head = bytes(data[begin : begin + TOTAL_AT + 5])
    found = _last_frames(data, max(begin + 42, end - SEARCHED), end, _block(head))
    if found is None:
        return None
    smallest, largest = (int.from_bytes(head[at : at + 3], "big") for at in (12, 15))
    frame = bytes(data[found.at : min(end, found.at + (largest or MOST_BYTES))])
    if size := _size(frame, smallest):
        total, end = found.behind, found.at + size
    else:
        total, end = found.first, found.at
    if total == 0:
        return None
    patched = head[TOTAL_AT] & 0xF0 | total >> 32
    middle = bytes([patched]) + (total & 0xFFFFFFFF).to_bytes(4, "big")
    return [(begin, begin + TOTAL_AT), middle, (begin + TOTAL_AT + 5, end)]


def _last_frames(data: Any, low: int, end: int, block: int) -> _Frame | None:
    """The last header of a frame, which goes on from the one before it."""
    later: dict[int, _Frame] = {}  # by their first samples
    places = [low + sync.start() for sync in SYNC.finditer(data[low:end])]
    for place in reversed(places):
        found = _header(data[place : place + 16], place, block)
        if found is None:
            continue
        later.setdefault(found.first, found)
        last = later.get(found.behind) or later.get(0)
        if last is not None:
            return last
    return None


def _header(head: bytes, at: int, block: int) -> _Frame | None:
    """The frame that begins with these bytes; None if none does."""
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
    first = number if head[1] & 1 else number * block
    return _Frame(at, first, first + samples)


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


def _table(polynomial: int, bits: int) -> list[int]:
    table, top, most = [], 1 << bits - 1, (1 << bits) - 1
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & most
        table.append(value)
    return table


_TABLE_8, _TABLE_16 = _table(0x07, 8), _table(0x8005, 16)


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _TABLE_8[crc ^ byte]
    return crc


def _size(frame: bytes, smallest: int) -> int:
    """Bytes of the frame that these begin with, by its checksum; 0 if it is not whole."""
    crc = 0
    for at, byte in enumerate(frame, start=1):
        crc = (crc << 8 & 0xFF00) ^ _TABLE_16[crc >> 8 ^ byte]
        if crc == 0 and at >= smallest:
            return at
    return 0
