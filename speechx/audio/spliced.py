"""A file that is read as stretches of another file and bytes between them.

libsndfile trusts the lengths in a header, and reads one stream of a file. With this it reads a file
whose header is corrected, or one without the tags that stand between its streams, and nothing is
copied.

    Spliced(file, [header, (44, 96_044)])
"""

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO

Piece = bytes | tuple[int, int]
"""Bytes, or the first and the end of a stretch of the file."""


class Spliced(io.RawIOBase):
    """The pieces one after another; `file` stays open and is moved."""

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file, self._pieces = file, [piece for piece in pieces if size(piece) > 0]
        self._starts = [0, *accumulate(map(size, self._pieces))]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        """Fills the buffer, except at the end."""
        view, done = memoryview(buffer).cast("B"), 0  # type: ignore[arg-type]
        while done < len(view) and self._at < self._starts[-1]:
            number = bisect_right(self._starts, self._at) - 1
            data = self._some(number, self._at - self._starts[number], len(view) - done)
            if not data:
                break
            view[done : done + len(data)] = data
            done += len(data)
            self._at += len(data)
        return done

    def _some(self, number: int, first: int, most: int) -> bytes:
        piece = self._pieces[number]
        if isinstance(piece, bytes):
            return piece[first : first + most]
        self._file.seek(piece[0] + first)
        return self._file.read(min(most, piece[1] - piece[0] - first))


def size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
