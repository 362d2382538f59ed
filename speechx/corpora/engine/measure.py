"""How long utterances are, and whether their files can be read at all.

Every file is opened once for all its segments, and decoded once more if copies are made of them. A
segment outside of its file is found here, and long recordings without labels become stretches.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from speechx.audio.files import END_TOLERANCE_SECONDS, AudioInfo
from speechx.corpora.engine.cache import MeasuredFiles, Measurement, NotMeasured
from speechx.corpora.engine.copies import Found, Piece, copied, far_apart
from speechx.corpora.engine.preparation import SHORTEST, ChannelChoice
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.processes import FILES_A_TURN, spread, watched
from speechx.data.manifest import Utterance
from speechx.errors import UserError

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


def examine_known(listed: Listed, rules: Rules, measured: MeasuredFiles) -> list[Found] | None:
    """As `_examine`, by what was measured before; None if that is not enough."""
    try:
        return _examine(listed, rules, measured)
    except NotMeasured:
        return None


def examine_files(
    files: Iterable[Listed], number: int, what: str, rules: Rules, measured: MeasuredFiles
) -> Iterator[list[Found]]:
    """The pieces of all utterances of each file, in the order of the files; what is measured goes
    into `measured`."""
    paths: deque[str] = deque()

    def work() -> Iterator[tuple[Listed, Rules, dict[str, Measurement]]]:
        for some in files:
            paths.append(str(some[0][0].audio))
            yield some, rules, measured.known(paths[-1])

    turn = FILES_A_TURN if rules.copies is None else 1
    for found, new in watched(spread(_examine_file, work(), turn), number, what):
        path = paths.popleft()  # one string for a path, not two
        measured.now |= {path if name == path else name: new[name] for name in new}
        yield found


def _examine_file(
    listed: Listed, rules: Rules, known: dict[str, Measurement]
) -> tuple[list[Found], dict[str, Measurement]]:
    measured = MeasuredFiles(known, opens=True)
    return _examine(listed, rules, measured), measured.now


def measure_files(
    paths: Sequence[Path], what: str, measured: MeasuredFiles
) -> Iterator[AudioInfo | Problem]:
    """What each file holds, in order; only files that `measured` does not know are opened."""
    new = []
    for path in paths:
        try:
            measured.info(path, exact=True)
        except NotMeasured:
            new.append(path)
    results = watched(spread(_measure_file, ((path,) for path in new)), len(new), what)
    problems = {}
    for path, (problem, found) in zip(new, results, strict=True):
        measured.now |= found
        if problem:
            problems[path] = problem
    for path in paths:
        yield problems[path] if path in problems else measured.info(path, exact=True)


def _measure_file(path: Path) -> tuple[Problem | None, dict[str, Measurement]]:
    measured = MeasuredFiles(opens=True)
    try:
        measured.info(path, exact=True)
    except UserError as error:
        return Problem.of(error, path), {}
    return None, measured.now


def _examine(listed: Listed, rules: Rules, measured: MeasuredFiles) -> list[Found]:
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
    found = [
        _pieces(u, 0.0 if claimed_wrong else u.duration, channel, info, rules)
        for u, channel in listed
    ]
    return found if rules.copies is None else copied(path, found, rules.copies, measured)


def _agree(claim: float, seconds: float, whole_file: bool) -> bool:
    ends = claim <= seconds + END_TOLERANCE_SECONDS
    return ends and not (whole_file and far_apart(claim, seconds))


def _pieces(
    u: Utterance, duration: float, choice: ChannelChoice | None, info: AudioInfo, rules: Rules
) -> Found:
    """One utterance, in stretches if it is too long; a `duration` of 0 lasts to the end."""
    channel = choice.number if choice else None
    if choice and choice.if_several and info.channels == 1:
        channel = None
    end = info.duration + END_TOLERANCE_SECONDS
    if u.start > info.duration - SHORTEST or u.start + duration > end:
        return Problem(
            "",
            f"the segment starts at {u.start:g} s and ends after the end of {u.audio}, which is "
            f"{info.duration:.2f} s long",
        )
    if channel is not None and channel >= info.channels:
        why = f"channel {channel + 1} of {u.audio} was asked for, which has {info.channels}"
        return Problem("", why)
    if channel is not None and info.channels > 1 and rules.copies is None:
        return Problem(
            "",
            f"it is one channel of {u.audio}, which has {info.channels}; with --convert each "
            "channel is written to a file of its own",
        )
    seconds = duration or info.duration - u.start
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
