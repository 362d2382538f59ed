"""Copies of utterances: 16 kHz mono FLAC, each in a file of its own.

A copy's name ends in a hash of its origin: the id, the source file with its size and time, the
segment and the channel. An existing copy is therefore always valid, even after an interrupted run;
copies of changed sources are kept.

    S samples
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from speechx.audio.files import SAMPLE_RATE, AudioInfo, read_segments, write_flac
from speechx.corpora.engine.cache import MeasuredFiles
from speechx.corpora.engine.paths import safe_name
from speechx.corpora.engine.problems import Problem
from speechx.data.manifest import Utterance
from speechx.errors import UserError

FAR_SECONDS, FAR_SHARE = 0.5, 0.1  # two lengths that differ by more are not of the same sound


class Piece(NamedTuple):
    """An utterance as it is listed in the end, or one stretch of a long one."""

    id: str
    start: float
    duration: float
    channel: int | None = None
    """The only one to read of a file with several; None for all of them."""
    whole: bool = False
    """From `start` to the end of the file, however long that turns out to be."""
    copy: str | None = None
    """The file that holds this piece alone."""

    def of(self, u: Utterance) -> Utterance:
        audio, start = (u.audio, self.start) if self.copy is None else (self.copy, 0.0)
        return replace(u, id=self.id, audio=audio, start=start, duration=self.duration)


Found = list[Piece] | Problem
"""The pieces of an utterance, or what is wrong with it."""


def far_apart(claim: float, seconds: float) -> bool:
    return abs(claim - seconds) > max(FAR_SECONDS, FAR_SHARE * seconds)


def copied(
    path: Path, found: Sequence[Found], copies: Path, measured: MeasuredFiles
) -> list[Found]:
    """The same pieces, each in a file of its own, with its true length."""
    status = os.stat(path)
    source = (os.path.abspath(path), status.st_size, status.st_mtime_ns)
    named = [
        pieces
        if isinstance(pieces, Problem)
        else [piece._replace(copy=str(copies / _copy_name(piece, source))) for piece in pieces]
        for pieces in found
    ]
    wanted = [p for pieces in named if not isinstance(pieces, Problem) for p in pieces]
    lengths = _write_copies(path, {str(piece.copy): piece for piece in wanted}, measured)
    return [
        pieces if isinstance(pieces, Problem) else _with_lengths(path, pieces, lengths)
        for pieces in named
    ]


def _copy_name(piece: Piece, source: tuple[str, int, int]) -> str:
    duration = 0.0 if piece.whole else piece.duration
    origin = repr((piece.id, *source, piece.start, duration, piece.channel))
    digest = hashlib.blake2b(origin.encode(errors="backslashreplace"), digest_size=6)
    return f"{safe_name(piece.id)}.{digest.hexdigest()}.flac"


def _with_lengths(path: Path, pieces: list[Piece], lengths: dict[str, float | Problem]) -> Found:
    measured = []
    for piece in pieces:
        length = lengths[str(piece.copy)]
        if isinstance(length, Problem):
            return length
        if length < piece.duration and far_apart(piece.duration, length):
            return Problem(
                str(path),
                f"the file is cut off: its header promises {piece.duration:.3f} s, but {length:.3f}"
                " s could be decoded; if that is all of an mp3, give it a correct header: "
                "ffmpeg -i IN.mp3 -c copy OUT.mp3",
            )
        measured.append(piece._replace(duration=length))
    return measured


def _write_copies(
    path: Path, wanted: dict[str, Piece], measured: MeasuredFiles
) -> dict[str, float | Problem]:
    """The length of each copy; missing and damaged ones are made, in one pass of the file."""
    lengths: dict[str, float | Problem] = {}
    absent = []
    for copy in sorted(wanted, key=lambda copy: wanted[copy].start):
        try:
            lengths[copy] = measured.info(copy).duration
        except UserError:
            absent.append(copy)
    pieces = [wanted[copy] for copy in absent]
    segments = [(p.start, None if p.whole else p.duration, p.channel) for p in pieces]
    try:
        for copy, wave_S in zip(
            absent, read_segments(path, segments) if absent else (), strict=True
        ):
            if isinstance(wave_S, UserError):
                lengths[copy] = Problem.of(wave_S, path)
            else:
                write_flac(copy, wave_S)
                lengths[copy] = len(wave_S) / SAMPLE_RATE
                measured.record(copy, AudioInfo(len(wave_S) / SAMPLE_RATE, SAMPLE_RATE, 1))
    except UserError as error:
        lengths |= {copy: Problem.of(error, path) for copy in absent}
    return lengths
