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

from speechx.audio.files import END_TOLERANCE_SECONDS, audio_info, read_segments
from speechx.errors import UserError
from speechx.log import logger
from speechx.transcription.annotation import eaf, textgrid
from speechx.transcription.annotation.media import find_media
from speechx.transcription.annotation.sheet import AnnotationTier, EmptySegment, Sheet
from speechx.transcription.result import Transcript
from speechx.whole_file import require_writable, whole_file

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
        notes = [f"tier {self.tier}: {self.filled} empty segments filled"]
        if self.silent:
            notes.append(f"{self.silent} stay empty: the model found no text")
        if self.short:
            notes.append(f"{self.short} stay empty: shorter than one frame of the model")
        return "; ".join(notes)


class _Span(NamedTuple):
    segment: EmptySegment
    start: float
    """Seconds in the recording."""
    end: float

    def is_all_of(self, sound: Path) -> bool:
        return self.start < 1 and self.end > audio_info(sound).duration - 1


def fill(
    path: str | Path,
    output: str | Path,
    transcribe: Callable[..., Transcript],
    tier: str | None = None,
    audio: str | Path | None = None,
    progress: Callable[[float, float], object] | None = None,
) -> Filling:
    """Transcribes the empty segments of one tier of an .eaf or TextGrid file and writes `output`,
    whole or not at all. It may be `path` itself.

    `transcribe` gets samples (S,) at 16 kHz, or the path of a long recording that is one empty
    segment. `tier` may be left out if only one tier has empty segments. `audio` is the recording;
    by default the one that the file links, or the one beside it with the same name. `progress`
    gets the seconds that are done, and all.

    A UserError names what is wrong with a file, where a recording was searched, or the tiers.
    """
    path, output = Path(path), Path(output)
    sheet = _read(path)
    if output.suffix.lower() != path.suffix.lower():
        raise UserError(f"{output}: {path.name} can only be filled as {path.suffix}")
    chosen = _chosen(path, sheet.tiers, tier)
    texts: dict[EmptySegment, str] = {}
    done = Filling(chosen.name if chosen else None)
    if chosen is not None and (chosen.empty or chosen.untimed):
        _require_writable(output)  # before hours of work
        sound, origin = _recording(path, sheet, audio)
        spans, done = _spans(path, chosen, sound, origin)
        done = _transcribe(spans, sound, transcribe, progress, done, texts)
    output = output.resolve()  # a link to a file stays a link
    with whole_file(output) as new:
        new.write_bytes(sheet.with_texts(texts))
        if output.exists():
            shutil.copymode(output, new)
    return done


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
    return f"{len(tier.empty)} empty segments{without}"


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
        raise UserError(f"{output}: cannot be written: {error.strerror}") from error


def _spans(
    path: Path, tier: AnnotationTier, sound: Path, origin: float
) -> tuple[list[_Span], Filling]:
    """Where the empty segments lie in the recording, in order, and what is wrong with others."""
    info = audio_info(sound)
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
        failed.append(
            f"{len(behind)} of {len(tier.empty)} empty segments begin behind {length}, the first "
            f"at {behind[0].start:.2f} s"
        )
        if not spans:
            raise UserError(f"{path}: {failed[-1]}; name the right recording with --audio")
    if tier.untimed:
        failed.append(f"{tier.untimed} empty segments have no times: they divide their parent")
    if over:
        logger.info(f"{path}: {over} empty segments end behind {length} and are filled up to there")
    return spans, Filling(tier.name, short=short, failed=tuple(failed))


def _transcribe(
    spans: Sequence[_Span],
    sound: Path,
    transcribe: Callable[..., Transcript],
    progress: Callable[[float, float], object] | None,
    done: Filling,
    texts: dict[EmptySegment, str],
) -> Filling:
    """Adds to `texts`; returns what is done then."""
    silent, short, failed = 0, done.short, [*done.failed]
    seconds, all_seconds = 0.0, sum(end - start for _, start, end in spans)
    pieces: Iterable[Any] = read_segments(sound, [(s, e - s, None) for _, s, e in spans])
    if len(spans) == 1 and all_seconds > LONG_SECONDS and spans[0].is_all_of(sound):
        pieces = [sound]
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
    return Filling(done.tier, len(texts), silent, short, tuple(failed))
