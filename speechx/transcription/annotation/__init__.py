"""An annotation file of ELAN or Praat whose empty segments get their text from a model.

    model = speechx.load("runs/mine/best")
    fill("session.eaf", "session.filled.eaf", model.transcribe, tier="utterance")

Everything else in the file stays byte for byte: other tiers, texts that are there, comments, time
slots, the encoding.
"""

import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechx.audio.files import (
    END_TOLERANCE_SECONDS,
    audio_info,
    read_segments,
    require_channel,
)
from speechx.errors import UserError
from speechx.log import logger
from speechx.transcription.annotation import eaf, textgrid
from speechx.transcription.annotation.media import find_media
from speechx.transcription.annotation.sheet import AnnotationTier, EmptySegment, Sheet
from speechx.transcription.recording import Recording
from speechx.transcription.result import Transcript
from speechx.whole_file import reason, require_writable, whole_file
from speechx.wording import number_of

READERS = {".eaf": eaf.read, ".textgrid": textgrid.read}
LONG_SECONDS = 600.0  # a longer recording that is one empty segment is not read into memory


@dataclass(frozen=True, slots=True)
class Filling:
    """What was done to a file."""

    tier: str | None
    """None if no tier has empty segments."""
    filled: int = 0
    silent: int = 0
    """Segments in which the model found nothing; they stay as they are."""
    short: int = 0
    """Segments shorter than a frame of the model."""
    failed: tuple[str, ...] = ()
    """What is wrong with segments that could not be transcribed."""

    def __str__(self) -> str:
        if self.tier is None:
            return "no tier has empty segments"
        notes = [f"tier {self.tier}: {number_of(self.filled, 'empty segment')} filled"]
        if self.silent:
            notes.append(f"{_stay(self.silent)} empty: the model found no text")
        if self.short:
            notes.append(f"{_stay(self.short)} empty: shorter than one frame of the model")
        return "; ".join(notes)


class _Span(NamedTuple):
    segment: EmptySegment
    start: float
    """Seconds in the recording."""
    end: float

    def is_all_of(self, sound: Path) -> bool:
        return self.start < 1 and self.end > audio_info(sound).duration - 1


@dataclass(frozen=True, slots=True)
class Work:
    """A file that is to be filled: all that can be wrong with it has been looked at."""

    output: Path
    sheet: Sheet
    done: Filling
    sound: Path = Path()
    channel: int | None = None
    spans: tuple[_Span, ...] = ()

    def fill(
        self,
        transcribe: Callable[..., Transcript],
        progress: Callable[[float, float], object] | None = None,
    ) -> Filling:
        """Transcribes the segments and writes the new file; as `fill`."""
        texts, done = _transcribe(self, transcribe, progress)
        output = self.output.resolve()  # a link to a file stays a link
        with whole_file(output) as new:
            new.write_bytes(self.sheet.with_texts(texts))
            if output.exists():
                shutil.copymode(output, new)
        return done


def fill(
    path: str | Path,
    output: str | Path,
    transcribe: Callable[..., Transcript],
    tier: str | None = None,
    audio: str | Path | None = None,
    progress: Callable[[float, float], object] | None = None,
    channel: int | None = None,
) -> Filling:
    """Transcribes the empty segments of one tier of an .eaf or TextGrid file and writes `output`,
    whole or not at all. It may be `path` itself.

    `transcribe` gets samples (S,) at 16 kHz, or a long recording that is one empty segment: its
    path, or a `Recording` of one `channel`. `tier` may be left out if only one tier has empty
    segments. `audio` is the recording; by default the one that the file links, or the one beside it
    with the same name. `channel` counts from 0; None is the mean of all. `progress` gets the
    seconds that are done, and all.

    A UserError names what is wrong with a file, where a recording was searched, or the tiers.
    """
    return work(path, output, tier, audio, channel).fill(transcribe, progress)


def work(
    path: str | Path,
    output: str | Path,
    tier: str | None = None,
    audio: str | Path | None = None,
    channel: int | None = None,
) -> Work:
    """What `fill` has to do, which needs no model. Arguments and errors as there."""
    path, output = Path(path), Path(output)
    sheet = _read(path)
    if output.suffix.lower() != path.suffix.lower():
        raise UserError(f"{output}: {path.name} can only be filled as {path.suffix}")
    chosen = _chosen(path, sheet.tiers, tier)
    if chosen is None or not (chosen.empty or chosen.untimed):
        return Work(output, sheet, Filling(chosen.name if chosen else None))
    _require_writable(output)  # before hours of work
    sound, origin = _recording(path, sheet, audio)
    spans, done = _spans(path, chosen, sound, origin, channel)
    return Work(output, sheet, done, sound, channel, tuple(spans))


def _read(path: Path) -> Sheet:
    reader = READERS.get(path.suffix.lower())
    if reader is None and not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if reader is None:
        raise UserError(f"{path}: an .eaf file of ELAN or a .TextGrid of Praat was expected")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if not data.strip():
        raise UserError(f"{path}: the file is empty; copy it again, or take its backup")
    try:
        return reader(data)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _chosen(path: Path, tiers: Sequence[AnnotationTier], name: str | None) -> AnnotationTier | None:
    """The tier of this name, or the only one with empty segments; None if there is none."""
    listed = ", ".join(f"{t.name} ({_empty_segments(t)})" for t in tiers) or "none"
    found = list(tiers) if name is None else [t for t in tiers if _same(t.name, name)]
    if name is not None and not found:
        raise UserError(f"{path}: no tier {name!r}; its tiers are: {listed}")
    if name is not None and all(tier.points for tier in found):
        raise UserError(f"{path}: tier {name!r} has points, not segments; its tiers are: {listed}")
    empty = [tier for tier in found if tier.empty]
    if len(empty) > 1 and name is None:
        raise UserError(
            f"{path}: {len(empty)} tiers have empty segments; choose one with --tier: {listed}"
        )
    if len(empty) > 1:
        raise UserError(f"{path}: {len(empty)} tiers have the name {name!r}; rename one of them")
    return empty[0] if empty else found[0] if name is not None else None


def _empty_segments(tier: AnnotationTier) -> str:
    if tier.points:
        return "points"
    without = f", {tier.untimed} more without times" if tier.untimed else ""
    return f"{number_of(len(tier.empty), 'empty segment')}{without}"


def _stay(count: int) -> str:
    return number_of(count, "stays", "stay")


def _same(one: str, other: str) -> bool:
    """Whether names are the same to people: é may be one character or two."""
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def _recording(path: Path, sheet: Sheet, audio: str | Path | None) -> tuple[Path, float]:
    if audio is None:
        return find_media(path, sheet.links)
    return Path(audio), sheet.links[0].origin if len(sheet.links) == 1 else 0.0


def _require_writable(output: Path) -> None:
    try:
        require_writable(output)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {reason(error)}") from error


def _spans(
    path: Path, tier: AnnotationTier, sound: Path, origin: float, channel: int | None
) -> tuple[list[_Span], Filling]:
    """Where the empty segments lie in the recording, in order, and what is wrong with others."""
    info = audio_info(sound)
    if channel is not None:
        require_channel(sound, channel, info.channels)
    length = f"the end of {sound} ({info.duration:.2f} s)"
    spans: list[_Span] = []
    short, over, behind = 0, 0, list[EmptySegment]()
    for segment in sorted(tier.empty, key=lambda segment: (segment.start, segment.end)):
        start, end = max(0.0, segment.start + origin), segment.end + origin
        if end <= start:
            short += 1
        elif start >= info.duration:
            behind.append(segment)
        else:
            over += end > info.duration + END_TOLERANCE_SECONDS
            spans.append(_Span(segment, start, min(end, info.duration)))
    failed = [f"{sound}: {info.cut}"] if info.cut else []
    if behind:
        segments = number_of(len(tier.empty), "empty segment")
        failed.append(
            f"{len(behind)} of {segments} {'begins' if len(behind) == 1 else 'begin'} behind "
            f"{length}, the first at {behind[0].start:.2f} s"
        )
        if not spans:
            raise UserError(f"{path}: {failed[-1]}; name the right recording with --audio")
    if tier.untimed:
        segments = number_of(tier.untimed, "empty segment has", "empty segments have")
        failed.append(f"{segments} no times: an order within the parent has none")
    if over:
        segments = number_of(over, "empty segment ends", "empty segments end")
        logger.info(f"{path}: {segments} behind {length}; what is before it is filled")
    return spans, Filling(tier.name, short=short, failed=tuple(failed))


def _transcribe(
    given: Work,
    transcribe: Callable[..., Transcript],
    progress: Callable[[float, float], object] | None,
) -> tuple[dict[EmptySegment, str], Filling]:
    """The new texts, and what is done then."""
    spans, sound, channel = given.spans, given.sound, given.channel
    texts: dict[EmptySegment, str] = {}
    silent, short, failed = 0, given.done.short, [*given.done.failed]
    seconds, all_seconds = 0.0, sum(end - start for _, start, end in spans)
    pieces: Iterable[Any] = ()
    if len(spans) == 1 and all_seconds > LONG_SECONDS and spans[0].is_all_of(sound):
        pieces = [sound if channel is None else Recording.of(sound, channel=channel)]
    elif spans:
        pieces = read_segments(sound, [(s, e - s, channel) for _, s, e in spans])
    for (segment, start, end), piece in zip(spans, pieces, strict=True):
        if isinstance(piece, UserError):
            failed.append(str(piece))
            continue
        try:
            transcript = transcribe(piece)
        except UserError as error:  # such as a language that the model lacks
            failed.append(f"the segment at {segment.start:.2f} s: {error}")
            continue
        if text := transcript.text.strip():
            texts[segment] = text
        elif transcript.covered_duration == 0:
            short += 1
        else:
            silent += 1
        seconds += end - start
        if progress is not None:
            progress(seconds, all_seconds)
    return texts, Filling(given.done.tier, len(texts), silent, short, tuple(failed))
