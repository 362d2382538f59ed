"""How long the utterances of a corpus are, and whether their files can be read at all.

Every file is opened once for all its segments, and decoded once more where copies are made of
them, in as many processes as there are cores. A segment that is not in its file is found here; so
are long recordings without labels, which become stretches.

A copy's name ends in a hash of what it is a copy of: the id, the file with its size and time,
where in it, which channel. So a copy that is there is the right one, whatever the tables said when
it was made or where a run was stopped; copies of what has changed since stay beside it.
"""

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from speechx.audio.files import (
    END_TOLERANCE_SECONDS,
    SAMPLE_RATE,
    AudioInfo,
    audio_info,
    check_audio,
    read_segments,
    write_flac,
)
from speechx.corpora.names import safe_name
from speechx.data.manifest import Utterance
from speechx.errors import UserError

PROCESSES = min(8, os.cpu_count() or 1)
FILES_A_TURN = 16  # that a process takes at once
TURNS_AHEAD = 64  # of a process, so that one long file does not keep the others waiting
SHORTEST, LONGEST = 1e-5, 1e8  # seconds that an utterance can have

T = TypeVar("T")


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

    def of(self, u: Utterance) -> Utterance:
        if self.copy is None:
            return replace(u, id=self.id, start=self.start, duration=self.duration)
        extra = {key: value for key, value in u.extra.items() if key != "channel"}
        return replace(
            u, id=self.id, audio=self.copy, start=0.0, duration=self.duration, extra=extra
        )


Found = list[Piece] | Problem


def measure(
    files: Iterable[Sequence[Utterance]], longest: float, copies: Path | None
) -> Iterator[list[Found]]:
    """What is found of all utterances of each file, in the order of the files; with a folder
    `copies`, they are copied there."""
    arguments = ((some, longest, copies) for some in files)
    return spread(_measure_file, arguments, turn=FILES_A_TURN if copies is None else 1)


def spread(
    work: Callable[..., T], arguments: Iterable[tuple[Any, ...]], turn: int = FILES_A_TURN
) -> Iterator[T]:
    """`starmap`, over processes where there is more than one turn for them; results come in order,
    and no more is taken of `arguments` than is worked on soon."""
    arguments = iter(arguments)
    first = list(islice(arguments, FILES_A_TURN + 1))
    if len(first) <= FILES_A_TURN:
        yield from (work(*some) for some in first)
        return
    arguments = chain(first, arguments)
    turns = iter(lambda: list(islice(arguments, turn)), [])
    pool = ProcessPoolExecutor(PROCESSES)
    ahead: deque[Future[list[T]]] = deque()
    try:
        for some_turn in turns:
            ahead.append(pool.submit(_turn, work, some_turn))
            if len(ahead) > TURNS_AHEAD * PROCESSES:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _turn(work: Callable[..., T], turn: list[tuple[Any, ...]]) -> list[T]:
    return [work(*some) for some in turn]


def known(u: Utterance, copies: Path | None, before: Utterance, when: float) -> Utterance | None:
    """The utterance as an earlier run measured and listed it at the time `when`, if it did and the
    file has not changed since.

    The time of a file here is that of its last change of any kind (ctime), which unpacking an
    archive does not set back.
    """
    try:
        changed = os.stat(u.audio).st_ctime
        copy = None if copies is None else os.path.join(copies, copy_name(u))
        if copy is not None:
            changed = max(changed, os.stat(copy).st_ctime)
    except OSError:
        return None
    audio, start = (u.audio, u.start) if copy is None else (copy, 0.0)
    same = str(before.audio) == os.path.abspath(audio) and abs(before.start - start) < SHORTEST
    if copy is None and u.duration and abs(u.duration - before.duration) > SHORTEST:
        same = False
    if not same or changed >= when:
        return None
    duration = u.duration if copy is None and u.duration else before.duration
    return Piece(u.id, u.start, duration, copy).of(u)


def _measure_file(
    utterances: Sequence[Utterance], longest: float, copies: Path | None
) -> list[Found]:
    """What is found of each utterance in one file; several if it is cut into stretches."""
    path = Path(utterances[0].audio)
    cut = any(u.start for u in utterances) or len({u.duration for u in utterances}) > 1
    listed = all(u.duration and "channel" not in u.extra for u in utterances)
    try:
        info: AudioInfo | None = check_audio(path, exact=cut)
    except UserError as error:
        return [Problem(_why(error, path))] * len(utterances)
    if path.suffix.lower() == ".mp3" and listed and not cut:
        # The header of an mp3 claims a length, and a table's claim about it is as good.
        info = None
    found = [_pieces(u, info, longest, copies is not None) for u in utterances]
    return found if copies is None else _copied(path, utterances, found, info, copies)


def _pieces(u: Utterance, info: AudioInfo | None, longest: float, copying: bool) -> Found:
    """The utterance with its length, in stretches if that is too long; `info` is None for a whole
    file whose length is known."""
    if info is not None:
        end = info.duration + END_TOLERANCE_SECONDS
        if u.start > info.duration - SHORTEST or u.start + u.duration > end:
            return Problem(
                f"the segment starts at {u.start:g} s and ends after the end of {u.audio}, which "
                f"is {info.duration:.2f} s long",
                of_segment=True,
            )
        channel = u.extra.get("channel")
        if channel is not None and channel >= info.channels:
            why = f"channel {channel + 1} of {u.audio} was asked for, which has {info.channels}"
            return Problem(why, of_segment=True)
        if channel is not None and info.channels > 1 and not copying:
            return Problem(
                f"it is one channel of {u.audio}, which has {info.channels}; with --convert each "
                "channel is written to a file of its own",
                of_segment=True,
            )
    seconds = u.duration or (info.duration - u.start if info else 0.0)
    if u.labelled or seconds <= longest:
        return [Piece(u.id, u.start, seconds)]
    number = math.ceil(seconds / longest)
    length = seconds / number  # named by where they start in centiseconds
    starts = [i * length for i in range(number)]
    return [Piece(f"{u.id}_{round(100 * at):07d}", u.start + at, length) for at in starts]


def _copied(
    path: Path,
    utterances: Sequence[Utterance],
    found: Sequence[Found],
    info: AudioInfo | None,
    copies: Path,
) -> list[Found]:
    """What was found, with each piece in a file of its own."""
    wanted: dict[str, tuple[float, float | None, int | None]] = {}
    named: list[Found] = []
    for u, pieces in zip(utterances, found, strict=True):
        if isinstance(pieces, Problem):
            named.append(pieces)
            continue
        # As `known` will look for it, which knows of no length that is not listed.
        single = len(pieces) == 1
        names = [copy_name(u if single else piece.of(u)) for piece in pieces]
        some = [p._replace(copy=str(copies / name)) for p, name in zip(pieces, names, strict=True)]
        named.append(some)
        for piece in some:
            whole = info is None and single
            if info is not None and not piece.start:  # a table may be a little short of the whole
                whole = abs(piece.duration - info.duration) <= END_TOLERANCE_SECONDS
            channel = u.extra.get("channel")
            wanted[str(piece.copy)] = (piece.start, None if whole else piece.duration, channel)
    lengths = _write_copies(path, wanted)
    return [p if isinstance(p, Problem) else _with_lengths(p, lengths) for p in named]


def _with_lengths(pieces: list[Piece], lengths: dict[str, float | Problem]) -> Found:
    measured = []
    for piece in pieces:
        length = lengths[str(piece.copy)]
        if isinstance(length, Problem):
            return length
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
                lengths[copy] = Problem(_why(wave_S, path))
            else:
                write_flac(copy, wave_S)
                lengths[copy] = len(wave_S) / SAMPLE_RATE
    except UserError as error:
        lengths |= {copy: Problem(_why(error, path)) for copy in absent}
    return lengths


def _why(error: UserError, path: object) -> str:
    return str(error).removeprefix(f"{path}: ").rstrip(".")


def copy_name(u: Utterance) -> str:
    """The name of a copy: the id, and a hash of what it is a copy of."""
    status = os.stat(u.audio)
    source = (os.path.abspath(u.audio), status.st_size, status.st_mtime_ns)
    what = repr((u.id, *source, u.start, u.duration, u.extra.get("channel")))
    digest = hashlib.blake2b(what.encode(errors="backslashreplace"), digest_size=6)
    return f"{safe_name(u.id)}.{digest.hexdigest()}.flac"
