"""How long the utterances of a corpus are, and whether their files can be read at all.

Every file is opened once for all its segments, and decoded once more where copies are made of
them, in as many processes as there are cores. A segment that is not in its file is found here; so
are long recordings without labels, which become stretches.
"""

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from speechx.audio.files import END_TOLERANCE_SECONDS, AudioInfo, check_audio
from speechx.corpora.engine.copies import Found, Piece, Problem, copied, far_apart, why_not
from speechx.data.manifest import Utterance
from speechx.data.worker_processes import end_at_interrupt
from speechx.errors import UserError
from speechx.log import logger

PROCESSES = min(8, os.cpu_count() or 1)
FILES_A_TURN = 16  # that a process takes at once
TURNS_AHEAD = 64  # of a process, so that one long file does not keep the others waiting
SECONDS_BETWEEN_PROGRESS = 10.0
SHORTEST, LONGEST = 1e-5, 1e8  # seconds that an utterance can have

T = TypeVar("T")


def by_file(
    splits: Mapping[str, Mapping[str, Utterance]], measured: dict[str, set[str]]
) -> tuple[list[tuple[str, str]], int]:
    """Split and id of what is not measured, all of a file together, and how many files that is."""
    todo = [(s, id) for s, listed in splits.items() for id in listed if id not in measured[s]]
    files: dict[Path | str, int] = {}
    for split, id in todo:
        files.setdefault(splits[split][id].audio, len(files))
    todo.sort(key=lambda at: files[splits[at[0]][at[1]].audio])
    return todo, len(files)


def measure(
    files: Iterable[Sequence[Utterance]], longest: float, copies: Path | None, whole_files: bool
) -> Iterator[list[Found]]:
    """What is found of all utterances of each file, in the order of the files; with a folder
    `copies`, they are copied there (`whole_files`: see `Preparation`)."""
    arguments = ((some, longest, copies, whole_files) for some in files)
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
    pool = ProcessPoolExecutor(PROCESSES, initializer=end_at_interrupt)
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


def watched(results: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The results as they come, with a bar on a terminal and a line now and then elsewhere."""
    said = time.monotonic()
    for done, result in enumerate(tqdm(results, what, total, unit=" files", disable=None), start=1):
        if not sys.stderr.isatty() and time.monotonic() - said > SECONDS_BETWEEN_PROGRESS:
            said = time.monotonic()
            logger.info(f"{what} {done} of {total} files")
        yield result


def _measure_file(
    utterances: Sequence[Utterance], longest: float, copies: Path | None, whole_files: bool
) -> list[Found]:
    """What is found of each utterance in one file; several if it is cut into stretches."""
    path = Path(utterances[0].audio)
    cut = any(u.start for u in utterances) or len({u.duration for u in utterances}) > 1
    listed = all(u.duration and "channel" not in u.extra for u in utterances)
    claim = utterances[0].duration if listed and not cut else 0.0
    try:
        info: AudioInfo | None = check_audio(path, exact=cut)
        if info and claim and (whole_files or path.suffix.lower() == ".mp3"):
            info = _unless_claimed(path, info, claim, whole_files)
    except UserError as error:
        return [Problem(why_not(error, path))] * len(utterances)
    asked = utterances
    if info and claim and whole_files:
        if far_apart(claim, info.duration):
            why = f"listed as {claim:.10g} s long, but the file is {info.duration:.2f} s long"
            return [Problem(why)] * len(utterances)
        asked = [replace(u, duration=0.0) for u in utterances]  # to be measured
    found = [_pieces(u, info, longest, copies is not None) for u in asked]
    return found if copies is None else copied(path, utterances, found, whole_files, copies)


def _unless_claimed(
    path: Path, info: AudioInfo, claim: float, whole_file: bool
) -> AudioInfo | None:
    """None if a table's claim of a length can stand: the header of an mp3 is no more than a claim.
    A file is decoded to find out only where the two disagree."""

    def stands(info: AudioInfo) -> bool:
        ends = claim <= info.duration + END_TOLERANCE_SECONDS
        return ends and not (whole_file and far_apart(claim, info.duration))

    if stands(info):
        return None
    info = check_audio(path, exact=True)
    return None if stands(info) else info


def _pieces(u: Utterance, info: AudioInfo | None, longest: float, copying: bool) -> Found:
    """The utterance with its length, in stretches if that is too long; `info` is None for a whole
    file whose length is known."""
    channel = u.extra.get("channel")
    if info is not None:
        if info.channels == 1 and u.extra.get("channel_if_several"):
            channel = None
        end = info.duration + END_TOLERANCE_SECONDS
        if u.start > info.duration - SHORTEST or u.start + u.duration > end:
            return Problem(
                f"the segment starts at {u.start:g} s and ends after the end of {u.audio}, which "
                f"is {info.duration:.2f} s long",
                of_segment=True,
            )
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
        return [Piece(u.id, u.start, seconds, channel=channel)]
    return [  # named by where they start in centiseconds
        Piece(f"{u.id}_{round(100 * at):07d}", u.start + at, length, channel=channel)
        for at, length in equal_parts(seconds, longest)
    ]


def equal_parts(seconds: float, longest: float) -> list[tuple[float, float]]:
    """Start and seconds of parts, none longer than `longest`."""
    number = max(1, math.ceil(seconds / longest))
    length = seconds / number
    return [(i * length, length) for i in range(number)]


def check_longest(seconds: float) -> None:
    if not seconds > 0:  # nor NaN
        raise UserError(
            f"a stretch without text would be at most {seconds:g} s long (--longest); give a "
            "number of seconds above 0, such as 20."
        )
