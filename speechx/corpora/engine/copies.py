"""Copies of utterances: 16 kHz mono, each in a file of its own, FLAC or (rarely) WAV of floats.

A copy's name ends in a hash of its origin: the id, the source file with its size and time, the
segment and the channel. An existing copy is therefore always valid, even after an interrupted run;
copies of changed sources are kept.

    S samples
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from speechx.audio.files import (
    SAMPLE_RATE,
    AudioInfo,
    cut_message,
    read_segments,
    write_wave,
)
from speechx.corpora.engine.cache import MeasuredFiles
from speechx.corpora.engine.paths import safe_name
from speechx.corpora.engine.problems import Problem
from speechx.data.manifest import Utterance
from speechx.errors import UserError

SUFFIXES = ("flac", "wav")
WRITTEN = 2  # increase it when the samples in copies change
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
Source = tuple[str, int, int]
"""Name, size and time of a file that copies are made of."""
Copy = tuple[Path, float]
"""The file of a copy and its seconds."""


def far_apart(claim: float, seconds: float) -> bool:
    return abs(claim - seconds) > max(FAR_SECONDS, FAR_SHARE * seconds)


def copied(
    path: Path,
    found: Sequence[Found],
    copies: Path,
    measured: MeasuredFiles,
    source: Source | None = None,
) -> list[Found]:
    """The same pieces, each in a file of its own, with its true length. `source` is the file that
    `path` is a part of."""
    if source is None:
        status = os.stat(path)
        source = os.path.abspath(path), status.st_size, status.st_mtime_ns
    named = [
        pieces
        if isinstance(pieces, Problem)
        else [piece._replace(copy=str(copies / _copy_name(piece, source))) for piece in pieces]
        for pieces in found
    ]
    wanted = [p for pieces in named if not isinstance(pieces, Problem) for p in pieces]
    made = _write_copies(path, {str(piece.copy): piece for piece in wanted}, measured)
    return [
        pieces if isinstance(pieces, Problem) else _as_made(path, pieces, made) for pieces in named
    ]


def _copy_name(piece: Piece, source: Source) -> str:
    """Without its suffix, which depends on the samples."""
    duration = 0.0 if piece.whole else piece.duration
    origin = repr((WRITTEN, piece.id, *source, piece.start, duration, piece.channel))
    digest = hashlib.blake2b(origin.encode(errors="backslashreplace"), digest_size=6)
    return f"{safe_name(piece.id)}.{digest.hexdigest()}"


def _as_made(path: Path, pieces: list[Piece], made: dict[str, Copy | Problem]) -> Found:
    measured = []
    for piece in pieces:
        copy = made[str(piece.copy)]
        if isinstance(copy, Problem):
            return copy
        file, seconds = copy
        if seconds < piece.duration and far_apart(piece.duration, seconds):
            return Problem(str(path), cut_message(seconds, piece.duration).rstrip("."))
        measured.append(piece._replace(copy=str(file), duration=seconds))
    return measured


def _write_copies(
    path: Path, wanted: dict[str, Piece], measured: MeasuredFiles
) -> dict[str, Copy | Problem]:
    """Each copy; missing and damaged ones are made, in one pass of the file."""
    made: dict[str, Copy | Problem] = {}
    absent = []
    for stem in sorted(wanted, key=lambda stem: wanted[stem].start):
        if there := _existing(stem, measured):
            made[stem] = there
        else:
            absent.append(stem)
    pieces = [wanted[stem] for stem in absent]
    segments = [(p.start, None if p.whole else p.duration, p.channel) for p in pieces]
    try:
        for stem, wave_S in zip(
            absent, read_segments(path, segments) if absent else (), strict=True
        ):
            if isinstance(wave_S, UserError):
                made[stem] = Problem.of(wave_S, path)
            else:
                info = AudioInfo(len(wave_S) / SAMPLE_RATE, SAMPLE_RATE, 1)
                copy = write_wave(Path(stem), wave_S)
                measured.record(copy, info)
                made[stem] = copy, info.duration
    except UserError as error:
        made |= {stem: Problem.of(error, path) for stem in absent}
    return made


def _existing(stem: str, measured: MeasuredFiles) -> Copy | None:
    names = [f"{stem}.{suffix}" for suffix in SUFFIXES]
    for name in list(filter(os.path.isfile, names)) or names[:1]:
        with suppress(UserError):
            return Path(name), measured.info(name).duration
    return None
