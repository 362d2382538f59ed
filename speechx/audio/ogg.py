"""The streams of an Ogg file, one after another.

Joined Ogg files are one Ogg file of chained streams (RFC 3533); libsndfile reads only the first
stream. The first page of a stream is marked. Such pages side by side are streams at the same
time, such as a picture and its sound, and no chain.
"""

import re
import zlib
from typing import Any, NamedTuple

BEGINNING = re.compile(rb"OggS\0[\x02\x06]", re.DOTALL)
PAGE = b"OggS\0"
HEAD_BYTES = 27
SUM_AT = 22
BACKWARDS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Links(NamedTuple):
    """The first byte of every stream, and whether the last page is there to its end."""

    starts: list[int]
    end: int
    cut: bool


def links(data: Any, begin: int, end: int) -> Links:
    """The streams in these bytes (bytes or an mmap)."""
    starts, behind = [begin], begin + page_size(data, begin)
    for found in BEGINNING.finditer(data, begin, end):
        if found.start() not in (begin, behind):
            starts.append(found.start())
        behind = found.start() + page_size(data, found.start())
    last = data.rfind(PAGE, begin, end)
    size = page_size(data, last) if last >= 0 else 0
    return Links(starts, end, size > end - last)


def page_size(data: Any, at: int) -> int:
    """Bytes of a page; those of its head at least."""
    head = data[at : at + HEAD_BYTES]
    if len(head) < HEAD_BYTES:
        return HEAD_BYTES
    return HEAD_BYTES + head[26] + sum(data[at + HEAD_BYTES : at + HEAD_BYTES + head[26]])


def damaged(data: Any, begin: int, end: int) -> int:
    """The number of pages that differ from their checksum. The decoder leaves them out."""
    number, at = 0, begin
    while (at := data.find(PAGE, at, end)) >= 0:
        page = bytes(data[at : min(end, at + page_size(data, at))])
        if _is_whole(page):
            at += len(page)
            continue
        number += at + page_size(data, at) <= end
        at += 1
    return number


def _is_whole(page: bytes) -> bool:
    """Whether its checksum is right: the CRC of zlib, with the bits in the other order."""
    rest = page[:SUM_AT] + bytes(4) + page[SUM_AT + 4 :]
    crc = zlib.crc32(rest.translate(BACKWARDS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2) == int.from_bytes(page[SUM_AT : SUM_AT + 4], "little")
