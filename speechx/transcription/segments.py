"""Words to segments that people can read: lines of subtitles, annotations of ELAN and Praat.

A pause of a second ends a segment. A stretch that is still too long, in seconds or in characters,
is cut at the longest pause in the second half of what fits.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from speechx.config import config, require_positive
from speechx.transcription.result import Phone, Segment, Word

PAUSE_SECONDS = 1.0  # ends a segment


@config
class SegmentLimits:
    """How long a segment may be; names as in whisper."""

    max_seconds: float = 15.0
    max_line_width: int = 80
    """Characters."""
    max_line_count: int = 1
    """Lines of a segment."""
    max_words_per_line: int | None = None

    def __post_init__(self) -> None:
        require_positive(self, "max_seconds", "max_line_width", "max_line_count")
        if self.max_words_per_line is not None:
            require_positive(self, "max_words_per_line")


class Spaced(NamedTuple):
    """A word or a phone, and whether a space stands before it."""

    token: Word | Phone
    space: bool = True


Run: TypeAlias = Sequence[Spaced]


def text_of(run: Run) -> str:
    return "".join(" " * (space and i > 0) + token.text for i, (token, space) in enumerate(run))


def segments_of(run: Run, limits: SegmentLimits) -> tuple[Segment, ...]:
    """The segments of a transcript; every token is in one of them."""
    return tuple(_segment(piece, limits) for piece in pieces_of(run, limits))


def pieces_of(run: Run, limits: SegmentLimits) -> Iterator[Run]:
    """The run, cut at pauses and where it would be too long."""
    begin = 0
    while begin < len(run):
        end = _fits(run, begin, limits)
        if end < len(run) and run[end].token.start - run[end - 1].token.end <= PAUSE_SECONDS:
            half = begin + (end - begin + 1) // 2
            gaps = {i: run[i].token.start - run[i - 1].token.end for i in range(half, end + 1)}
            spaced = {i: gap for i, gap in gaps.items() if i > begin and run[i].space} or gaps
            end = max(spaced, key=lambda i: (round(spaced[i], 3), i)) if end > begin + 1 else end
        yield run[begin:end]
        begin = end


def _fits(run: Run, begin: int, limits: SegmentLimits) -> int:
    """Where a segment that begins here must end: before a pause, or at its greatest size."""
    lines, width, words = 1, 0, 0
    for index in range(begin, len(run)):
        token, space = run[index]
        length = len(token.text) + (space and width > 0)
        words += 1
        if width and (
            width + length > limits.max_line_width or words > (limits.max_words_per_line or words)
        ):
            lines, width, words, length = lines + 1, 0, 1, len(token.text)
        width += length
        if index > begin and (
            lines > limits.max_line_count
            or token.end - run[begin].token.start > limits.max_seconds
            or token.start - run[index - 1].token.end > PAUSE_SECONDS
        ):
            return index
    return len(run)


def _segment(run: Run, limits: SegmentLimits) -> Segment:
    tokens = [token for token, _ in run]
    return Segment(
        text=_lines(run, limits),
        start=tokens[0].start,
        end=tokens[-1].end,
        words=tuple(token for token in tokens if isinstance(token, Word)),
        phones=tuple(
            phone
            for token in tokens
            for phone in (token.phones if isinstance(token, Word) else (token,))
        ),
    )


def _lines(run: Run, limits: SegmentLimits) -> str:
    """The text, broken into lines."""
    lines: list[list[Spaced]] = [[]]
    for one in run:
        full = len(lines[-1]) >= (limits.max_words_per_line or len(run))
        wide = len(text_of([*lines[-1], one])) > limits.max_line_width
        if lines[-1] and (full or wide) and len(lines) < limits.max_line_count:
            lines.append([])
        lines[-1].append(one)
    return "\n".join(map(text_of, lines))
