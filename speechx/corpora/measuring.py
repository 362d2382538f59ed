"""How long the utterances of a corpus are, and whether their files can be read at all.

Every file is opened once, whatever the number of its segments, in as many processes as there are
cores. A segment that is not in its file is found here; so are long recordings without labels,
which become stretches, and here copies are made of what is to be copied.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from speechx.audio.files import (
    END_TOLERANCE_SECONDS,
    AudioInfo,
    audio_info,
    check_audio,
    read_audio,
    write_flac,
)
from speechx.corpora.names import safe_name
from speechx.data.manifest import Utterance, read_manifest_in_part
from speechx.errors import UserError

PROCESSES = min(8, os.cpu_count() or 1)
FILES_A_TURN = 16  # that a process takes at once
SHORTEST, LONGEST = 1e-5, 1e8  # seconds that an utterance can have

T = TypeVar("T")
Part = tuple[Utterance, Path | None]
"""What is listed of a file, and the file to copy it to."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, or with one segment of it."""

    why: str
    of_segment: bool = False


def measure(
    files: Mapping[Path, Sequence[Part]], longest: float, copying: bool
) -> Iterator[list[list[Utterance] | Problem]]:
    """What is found of all parts of each file, in the order of the files."""
    arguments = (list(files), list(files.values()), [longest] * len(files))
    return spread(_measure_file, *arguments, turn=1 if copying else FILES_A_TURN)


def spread(
    work: Callable[..., T], *arguments: Sequence[Any], turn: int = FILES_A_TURN
) -> Iterator[T]:
    """`map`, over processes where there is more than one turn for them; results come in order."""
    if len(arguments[0]) <= FILES_A_TURN:
        yield from map(work, *arguments)
        return
    with ProcessPoolExecutor(PROCESSES) as pool:
        yield from pool.map(work, *arguments, chunksize=turn)


def _measured(u: Utterance, copy: Path | None, seconds: float) -> Utterance:
    if copy is None:
        return replace(u, duration=seconds)
    extra = {key: value for key, value in u.extra.items() if key != "channel"}
    return replace(u, audio=copy, start=0.0, duration=seconds, extra=extra)


def listed_before(folder: Path) -> dict[tuple[str, str, float], tuple[float, float]]:
    """Id, audio and start of what manifests in `folder` list: its duration, and when that was."""
    listed = {}
    for manifest in folder.glob("*.jsonl"):
        when = manifest.stat().st_mtime
        for u in read_manifest_in_part(manifest)[0]:
            listed[u.id, str(u.audio), u.start] = (u.duration, when)
    return listed


def known(
    u: Utterance, copy: Path | None, listed: Mapping[tuple[str, str, float], tuple[float, float]]
) -> Utterance | None:
    """The utterance as an earlier run measured it, if its file is older than the manifest then.

    The time of a file here is that of its last change of any kind (ctime), which unpacking an
    archive does not set back.
    """
    path, start = (u.audio, u.start) if copy is None else (copy, 0.0)
    duration, when = listed.get((u.id, os.path.abspath(path), start), (0.0, 0.0))
    try:
        changed = os.stat(u.audio).st_ctime
        if copy is not None:
            changed = max(changed, os.stat(copy).st_ctime)
    except OSError:
        return None
    if not duration or changed >= when:
        return None
    trusted = copy is not None and not u.start and Path(u.audio).suffix.lower() == ".mp3"
    slack = 1e-5 if copy is None else END_TOLERANCE_SECONDS
    if u.duration and abs(u.duration - duration) > slack and not trusted:
        return None  # another segment than then
    return _measured(u, copy, u.duration if copy is None and u.duration else duration)


def _measure_file(
    path: Path, parts: Sequence[tuple[Utterance, Path | None]], longest: float
) -> list[list[Utterance] | Problem]:
    """What is found of each utterance in one file; several if it is cut into stretches."""
    utterances = [u for u, _ in parts]
    cut = any(u.start for u in utterances) or len({u.duration for u in utterances}) > 1
    listed = all(u.duration and "channel" not in u.extra for u in utterances)
    try:
        check_audio(path)
        # The header of an mp3 claims a length, and a table's claim about it is as good.
        whole = path.suffix.lower() == ".mp3" and listed and not cut
        info = None if whole else audio_info(path, exact=cut)
    except UserError as error:
        return [Problem(_why(error, path))] * len(parts)
    return [_measure_one(u, copy, info, longest) for u, copy in parts]


def _measure_one(
    u: Utterance, copy: Path | None, info: AudioInfo | None, longest: float
) -> list[Utterance] | Problem:
    """The utterance with its length, in stretches if that is too long, copied if a file is named;
    `info` is None for a whole file whose length is known."""
    part = None  # of the file; a table's length of a whole file may be a little short
    channel = u.extra.get("channel")
    if info is not None:
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
        if channel is not None and info.channels > 1 and copy is None:
            return Problem(
                f"it is one channel of {u.audio}, which has {info.channels}; with --convert each "
                "channel is written to a file of its own",
                of_segment=True,
            )
        length = info.duration - u.start
        if u.start or (u.duration and abs(u.duration - length) > END_TOLERANCE_SECONDS):
            part = u.duration or length
        u = replace(u, duration=u.duration or length)
    try:
        if u.labelled or u.duration <= longest:
            return [u if copy is None else _copied(u, copy, part)]
        stretches = _stretches(u, longest)
        if copy is None:
            return stretches
        return [_copied(s, copy.parent / copy_name(s), s.duration) for s in stretches]
    except UserError as error:
        return Problem(_why(error, u.audio))


def _copied(u: Utterance, copy: Path, seconds: float | None) -> Utterance:
    ready = copy.is_file() and copy.stat().st_mtime >= os.stat(u.audio).st_mtime
    if ready and seconds is not None:  # it may be of another segment
        ready = abs(audio_info(copy).duration - seconds) <= END_TOLERANCE_SECONDS
    if not ready:
        write_flac(copy, read_audio(u.audio, u.start, seconds, u.extra.get("channel")))
    return _measured(u, copy, audio_info(copy).duration)


def _stretches(u: Utterance, longest: float) -> list[Utterance]:
    """Equal stretches of at most `longest` seconds, named by where they start in centiseconds."""
    number = math.ceil(u.duration / longest)
    length = u.duration / number
    return [
        replace(
            u,
            id=f"{u.id}_{round(100 * i * length):07d}",
            start=u.start + i * length,
            duration=length,
        )
        for i in range(number)
    ]


def _why(error: UserError, path: object) -> str:
    return str(error).removeprefix(f"{path}: ").rstrip(".")


def copy_name(u: Utterance) -> str:
    """The name of a copy: the id, and where it starts if it is a segment."""
    name = safe_name(u.id)
    return f"{name}_{round(1000 * u.start):07d}.flac" if u.start else f"{name}.flac"
