"""NIST's formats of scoring: CTM, STM and .trn. Lines that begin with ;; are comments, and channels
A and B are 1 and 2."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechx.corpora.engine.tables import text_lines
from speechx.errors import UserError
from speechx.log import logger

IGNORED = "ignore_time_segment_in_scoring"  # the text of such a segment of an STM
LABELS = re.compile(r"^<(?:[^<>\s]*,[^<>]*|o|na)>(?=\s|$)", re.IGNORECASE)  # not <hes>
CHANNELS = {"A": "1", "B": "2", "a": "1", "b": "2"}


@dataclass(frozen=True, slots=True)
class TimedToken:
    """A token of a CTM; times in seconds. `side` is the recording and channel."""

    side: str
    start: float
    duration: float
    text: str

    @property
    def middle(self) -> float:
        return self.start + self.duration / 2


@dataclass(frozen=True, slots=True)
class TimedText:
    """A segment of an STM."""

    side: str
    start: float
    end: float
    text: str
    speaker: str


def read_ctm(path: Path) -> Iterator[TimedToken]:
    """Recording, channel, start, duration, token a line."""
    for number, line in text_lines(path):
        if line.lstrip().startswith(";;") or not line.strip():
            continue
        cells = line.split()
        try:
            start, duration = float(cells[2]), float(cells[3])
            yield TimedToken(_side(cells), start, duration, cells[4])
        except (IndexError, ValueError):
            raise UserError(
                f"{path}:{number}: not a line of CTM: recording, channel, start, duration, token"
            ) from None


def read_stm(path: Path) -> Iterator[TimedText]:
    """Recording, channel, speaker, start, end, perhaps labels, and the text a line."""
    for number, line in text_lines(path):
        if line.lstrip().startswith(";;") or not line.strip():
            continue
        cells = line.split(None, 5)
        try:
            start, end, rest = float(cells[3]), float(cells[4]), (*cells[5:], "")[0]
        except (IndexError, ValueError):
            raise UserError(
                f"{path}:{number}: not a line of STM: recording, channel, speaker, start, end, text"
            ) from None
        text = LABELS.sub("", rest).strip()
        yield TimedText(_side(cells), start, end, text, cells[2])


def _side(cells: Sequence[str]) -> str:
    return f"{cells[0]} {CHANNELS.get(cells[1], cells[1])}"


def read_trn(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts."""
    for number, line in text_lines(path):
        if line.lstrip().startswith(";;") or not line.strip():
            continue
        match = re.fullmatch(r"(.*?)\s*\(([^()\s]+)\)\s*", line)
        if match is None:
            raise UserError(f"{path}:{number}: not a line of .trn: the text, then (id)")
        yield match[2], match[1].strip()


def by_side(timed: Iterable[TimedToken | TimedText]) -> dict[str, str]:
    """The text of each recording and channel, in time order, without segments to ignore."""
    texts: dict[str, list[str]] = {}
    for each in sorted(timed, key=lambda each: (each.side, each.start)):
        if not _ignored(each.text):
            texts.setdefault(each.side, []).append(each.text)
    return {side: " ".join(words) for side, words in texts.items()}


def by_segment(
    segments: Sequence[TimedText], tokens: Sequence[TimedToken], path: Path
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Id, text and speaker of each segment to score; ids and texts of the tokens, which are from
    `path`. A token goes to the segment that its middle lies in, or else to the nearest one of its
    recording and channel; what lies in a segment to ignore is left out and logged. Tokens of a
    recording without segments keep its name as their id."""
    of_side: dict[str, list[TimedText]] = {}
    for segment in segments:
        of_side.setdefault(segment.side, []).append(segment)
    written: dict[str, list[str]] = {_name(s): [] for s in segments if not _ignored(s.text)}
    ignored = 0
    for token in sorted(tokens, key=lambda token: (token.side, token.start)):
        some = of_side.get(token.side, [])
        scored = [s for s in some if not _ignored(s.text)]
        inside = [s for s in some if s.start <= token.middle <= s.end]
        if inside and all(_ignored(s.text) for s in inside):
            ignored += 1
            continue
        nearest = min(scored, key=lambda s: (_away(s, token.middle), s.start), default=None)
        written.setdefault(_name(nearest) if nearest else token.side, []).append(token.text)
    if ignored:
        logger.info(f"{path}: {ignored} tokens in segments that scoring ignores are left out")
    wanted = [(_name(s), s.text, s.speaker) for s in segments if not _ignored(s.text)]
    return wanted, [(id, " ".join(words)) for id, words in written.items()]


def _away(segment: TimedText, time: float) -> float:
    """Seconds between a segment and a time."""
    return max(segment.start - time, time - segment.end, 0.0)


def _ignored(text: str) -> bool:
    return IGNORED in text.lower()


def _name(segment: TimedText) -> str:
    return f"{segment.side} {segment.start:.10g}-{segment.end:.10g} {segment.speaker}"
