"""The streams of an Ogg file, one after another.

Joined Ogg files are one Ogg file of chained streams (RFC 3533); libsndfile reads only the first
stream. The first page of a stream is marked. Such pages side by side are streams at the same
time, such as a picture and its sound, and no chain.
"""

import re
from typing import Any, NamedTuple

BEGINNING = re.compile(rb"OggS\0[\x02\x06]", re.DOTALL)
PAGE = b"OggS\0"
HEAD_BYTES = 27


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
