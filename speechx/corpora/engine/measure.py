"""How long utterances are, and whether their files can be read at all.

Every file is opened once for all its segments, and decoded once more if copies are made of them. A
segment outside of its file is found here, and long recordings without labels become stretches.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from speechx.audio.files import END_TOLERANCE_SECONDS, AudioInfo
from speechx.corpora.engine.cache import MeasuredFiles, Measurement, NotMeasured
from speechx.corpora.engine.copies import Found, Piece, Source, copied, far_apart
from speechx.corpora.engine.preparation import SHORTEST, ChannelChoice
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.processes import FILES_A_TURN, spread, watched
from speechx.data.manifest import Utterance
from speechx.errors import UserError

Item = TypeVar("Item")
T = TypeVar("T")
Listed = Sequence[tuple[Utterance, ChannelChoice | None]]
"""The utterances of one file."""


class Rules(NamedTuple):
    """How the files of a preparation are examined."""

    longest: float
    """Seconds; longer recordings without labels become stretches."""
    copies: Path | None
    """The folder for copies."""
    whole_files: bool
    """See `Preparation.whole_files`."""
    source: Source | None = None
    """See `copied`."""


def measure_each(
    work: Callable[..., T],
    items: Iterable[Item],
    arguments: Callable[[Item], tuple[Any, ...]],
    measured: MeasuredFiles,
    what: str,
    turn: int = FILES_A_TURN,
) -> Iterator[tuple[Item, T]]:
    """Each item with `work(measured, *arguments(item))`: first those whose files are known, then
    the others, whose files are opened in several processes."""
    new = []
    for item in items:
        try:
            yield item, work(measured, *arguments(item))
        except NotMeasured:
            new.append(item)
    results = spread(_open, ((work, *arguments(item)) for item in new), turn)
    for item, (result, found) in zip(new, watched(results, len(new), what), strict=True):
        measured.now |= found
        yield item, result


def _open(work: Callable[..., T], *arguments: Any) -> tuple[T, dict[str, Measurement]]:
    measured = MeasuredFiles(opens=True)
    return work(measured, *arguments), measured.now


def header(measured: MeasuredFiles, path: Path) -> AudioInfo | Problem:
    """What a file holds, by its header."""
    try:
        return measured.info(path)
    except UserError as error:
        return Problem.of(error, path)


def examine(measured: MeasuredFiles, listed: Listed, rules: Rules) -> list[Found]:
    """The pieces of each utterance in one file.

    The length in the header of an mp3 is a claim, and so is one in a table. Where two claims agree,
    the one in the table stands; where they do not, the file is decoded.
    """
    utterances = [u for u, _ in listed]
    path = Path(utterances[0].audio)
    cut = any(u.start for u in utterances) or len({u.duration for u in utterances}) > 1
    claim = 0.0 if cut or any(channel for _, channel in listed) else utterances[0].duration
    claimed_wrong = False
    try:
        info = measured.info(path, exact=cut)
        if claim and not _agree(claim, info.duration, rules.whole_files):
            info = measured.info(path, exact=True)
            claimed_wrong = rules.whole_files and not _agree(claim, info.duration, True)
    except UserError as error:
        return [Problem.of(error, path)] * len(listed)
    if claimed_wrong and far_apart(claim, info.duration):
        why = f"listed as {claim:.10g} s long, but the file is {info.duration:.2f} s long"
        return [Problem(str(path), why)] * len(listed)
    if claimed_wrong:
        listed = [(replace(u, duration=0.0), channel) for u, channel in listed]
    found = [_pieces(u, channel, info, rules) for u, channel in listed]
    return (
        found if rules.copies is None else copied(path, found, rules.copies, measured, rules.source)
    )


def _agree(claim: float, seconds: float, whole_file: bool) -> bool:
    ends = claim <= seconds + END_TOLERANCE_SECONDS
    return ends and not (whole_file and far_apart(claim, seconds))


def _pieces(u: Utterance, choice: ChannelChoice | None, info: AudioInfo, rules: Rules) -> Found:
    """One utterance, in stretches if it is too long; with a duration of 0 it lasts to the end."""
    channel = choice.number if choice else None
    if choice and choice.if_several and info.channels == 1:
        channel = None
    end = info.duration + END_TOLERANCE_SECONDS
    if u.start > info.duration - SHORTEST or u.start + u.duration > end:
        why = f"the segment starts at {u.start:g} s and ends after the end of {u.audio}, which is "
        return Problem("", f"{why}{info.duration:.2f} s long")
    if channel is not None and channel >= info.channels:
        why = f"channel {channel + 1} of {u.audio} was asked for, which has {info.channels}"
        return Problem("", why)
    if channel is not None and info.channels > 1 and rules.copies is None:
        why = f"it is one channel of {u.audio}, which has {info.channels}; with --convert each "
        return Problem("", f"{why}channel is written to a file of its own")
    seconds = u.duration or info.duration - u.start
    if u.labelled or seconds <= rules.longest:
        whole = not u.start and (rules.whole_files or not u.duration)
        return [Piece(u.id, u.start, seconds, channel, whole)]
    return [  # named by where they start in centiseconds
        Piece(f"{u.id}_{round(100 * at):07d}", u.start + at, length, channel)
        for at, length in equal_parts(seconds, rules.longest)
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
