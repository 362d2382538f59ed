"""Copies of utterances, 16 kHz mono FLAC, each in a file of its own.

A copy's name ends in a hash of what it is a copy of: the id, the file with its size and time,
where in it, which channel. So a copy that is there is the right one, whatever the tables said when
it was made or where a run was stopped; copies of what has changed since stay beside it.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from speechx.audio.files import (
    SAMPLE_RATE,
    audio_info,
    read_segments,
    write_flac,
)
from speechx.corpora.engine.paths import safe_name
from speechx.data.manifest import Utterance
from speechx.errors import UserError

FAR_SECONDS, FAR_SHARE = 0.5, 0.1  # two lengths that differ by more are not of the same sound
ASKED = ("channel", "channel_if_several")  # of `extra` until the file is opened; see Preparation


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, or with one segment of it."""

    why: str
    of_segment: bool = False


class Piece(NamedTuple):
    """What becomes of an utterance, or of one stretch of it."""

    id: str
    start: float
    duration: float
    copy: str | None = None
    """The file that holds this piece alone."""
    channel: int | None = None
    """Of the file that it is cut from; None for all of them."""

    def of(self, u: Utterance) -> Utterance:
        extra = {key: value for key, value in u.extra.items() if key not in ASKED}
        if self.copy is None:
            return replace(u, id=self.id, start=self.start, duration=self.duration, extra=extra)
        return replace(
            u, id=self.id, audio=self.copy, start=0.0, duration=self.duration, extra=extra
        )


Found = list[Piece] | Problem


def far_apart(claim: float, seconds: float) -> bool:
    return abs(claim - seconds) > max(FAR_SECONDS, FAR_SHARE * seconds)


def copied(
    path: Path,
    utterances: Sequence[Utterance],
    found: Sequence[Found],
    whole_files: bool,
    copies: Path,
) -> list[Found]:
    """What was found, with each piece in a file of its own; of `whole_files` the copy is whole,
    whatever length a table claims."""
    wanted: dict[str, tuple[float, float | None, int | None]] = {}
    named: list[Found] = []
    for u, pieces in zip(utterances, found, strict=True):
        if isinstance(pieces, Problem):
            named.append(pieces)
            continue
        # As earlier.py will look for it, which knows of no length that is not listed.
        single = len(pieces) == 1
        names = [copy_name(u if single else _part(u, piece)) for piece in pieces]
        some = [p._replace(copy=str(copies / name)) for p, name in zip(pieces, names, strict=True)]
        named.append(some)
        for piece in some:
            whole = single and not u.start and (whole_files or not u.duration)
            length = None if whole else piece.duration
            wanted[str(piece.copy)] = (piece.start, length, piece.channel)
    lengths = _write_copies(path, wanted)
    return [p if isinstance(p, Problem) else _with_lengths(p, lengths) for p in named]


def _part(u: Utterance, piece: Piece) -> Utterance:
    """Unlike `Piece.of`, with the channel."""
    return replace(u, id=piece.id, start=piece.start, duration=piece.duration)


def _with_lengths(pieces: list[Piece], lengths: dict[str, float | Problem]) -> Found:
    measured = []
    for piece in pieces:
        length = lengths[str(piece.copy)]
        if isinstance(length, Problem):
            return length
        if length < piece.duration and far_apart(piece.duration, length):
            return Problem(
                f"the file is cut off: its header promises {piece.duration:.3f} s, but {length:.3f}"
                " s could be decoded; if that is all of an mp3, give it a header that tells its "
                "length: ffmpeg -i IN.mp3 -c copy OUT.mp3"
            )
        measured.append(piece._replace(duration=length))
    return measured


def _write_copies(
    path: Path, wanted: dict[str, tuple[float, float | None, int | None]]
) -> dict[str, float | Problem]:
    """How long each copy is; those that are not there are made, in one pass of the file."""
    lengths: dict[str, float | Problem] = {}
    for copy in wanted:
        if os.path.isfile(copy):
            with suppress(UserError):  # damaged since; it is made again
                lengths[copy] = audio_info(copy).duration
    absent = sorted((copy for copy in wanted if copy not in lengths), key=lambda c: wanted[c][0])
    try:
        waves = read_segments(path, [wanted[copy] for copy in absent]) if absent else ()
        for copy, wave_S in zip(absent, waves, strict=True):
            if isinstance(wave_S, UserError):
                lengths[copy] = Problem(why_not(wave_S, path))
            else:
                write_flac(copy, wave_S)
                lengths[copy] = len(wave_S) / SAMPLE_RATE
    except UserError as error:
        lengths |= {copy: Problem(why_not(error, path)) for copy in absent}
    return lengths


def why_not(error: UserError, path: object) -> str:
    return str(error).removeprefix(f"{path}: ").rstrip(".")


def copy_name(u: Utterance) -> str:
    """The name of a copy: the id, and a hash of what it is a copy of."""
    status = os.stat(u.audio)
    source = (os.path.abspath(u.audio), status.st_size, status.st_mtime_ns)
    what = repr((u.id, *source, u.start, u.duration, u.extra.get("channel")))
    digest = hashlib.blake2b(what.encode(errors="backslashreplace"), digest_size=6)
    return f"{safe_name(u.id)}.{digest.hexdigest()}.flac"
