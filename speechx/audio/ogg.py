"""The streams of an Ogg file, one after another.

Joined Ogg files are one Ogg file of chained streams (RFC 3533); libsndfile reads only the first
stream. The first page of a stream is marked. Such pages side by side are streams at the same
time, such as a picture and its sound, and no chain.
"""

import zlib
from typing import Any, NamedTuple

PAGE = b"OggS\0"
HEAD_BYTES = 27
FLAGS_AT, BEGINNING = 5, (b"\x02", b"\x06")
SUM_AT = 22
BACKWARDS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Links(NamedTuple):
    """The streams of a file."""

    starts: list[int]
    """The first byte of every stream."""
    cut: bool
    """Whether the last page goes beyond the end."""
    damaged: int
    """The number of pages that differ from their checksum; the decoder leaves them out."""


def links(data: Any, begin: int, end: int) -> Links:
    """The streams in these bytes (bytes or an mmap)."""
    starts, behind = [begin], begin + page_size(data, begin)
    damaged, beyond, at = 0, 0, begin
    while (at := data.find(PAGE, at, end)) >= 0:
        size = page_size(data, at)
        page, beyond = data[at : at + size], at + size - end
        if page[FLAGS_AT : FLAGS_AT + 1] in BEGINNING:
            if at not in (begin, behind):
                starts.append(at)
            behind = end + beyond
        if beyond <= 0 and _is_whole(page):
            at += len(page)
        else:
            damaged += beyond <= 0
            at += 1
    return Links(starts, beyond > 0, damaged)


def page_size(data: Any, at: int) -> int:
    """Bytes of a page; those of its head at least."""
    head = data[at : at + HEAD_BYTES]
    if len(head) < HEAD_BYTES:
        return HEAD_BYTES
    return HEAD_BYTES + head[26] + sum(data[at + HEAD_BYTES : at + HEAD_BYTES + head[26]])


def _is_whole(page: bytes) -> bool:
    """Whether its checksum is right: the CRC of zlib, with the bits in the other order."""
    rest = page[:SUM_AT] + bytes(4) + page[SUM_AT + 4 :]
    crc = zlib.crc32(rest.translate(BACKWARDS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2) == int.from_bytes(page[SUM_AT : SUM_AT + 4], "little")
