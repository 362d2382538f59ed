"""The manifest: one utterance a line, the only form of a corpus that the rest of speechx reads.

A line is a JSON object; `data_manifests/manifest.schema.json` says the same for machines:

    {"id": "cv_es_1", "audio": "clips/cv_es_1.mp3", "duration": 4.32, "language": "es",
     "text": "buenos días", "phones": ["b", "w"], "speaker": "a81f"}

`id`, `audio`, `duration` and `language` are needed, the rest is optional; `start` cuts a segment
out of a longer recording. Times are seconds. Keys that speechx does not know are kept. Audio paths
are relative to the manifest's own folder, or absolute.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechx.audio.files import END_TOLERANCE_SECONDS, audio_info, read_audio
from speechx.errors import UserError

FEW = 5  # ids that a message names


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One stretch of speech: where it is, how long (seconds), in which language, what is said."""

    id: str
    audio: Path
    duration: float
    language: str
    start: float = 0.0
    text: str | None = None
    phones: tuple[str, ...] | None = None
    speaker: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def labelled(self) -> bool:
        """Whether it says what is spoken."""
        return bool(self.text) or bool(self.phones)


NEEDED = ("id", "audio", "duration", "language")
KNOWN = (*NEEDED, "start", "text", "phones", "speaker")


def read_manifest(path: str | Path) -> list[Utterance]:
    """All utterances, with absolute audio paths. A `UserError` names the file and the line."""
    utterances: list[Utterance] = []
    for number, found in _lines(Path(path)):
        if isinstance(found, str):
            raise UserError(f"{path}:{number}: {found}")
        utterances.append(found)
    if not utterances:
        raise UserError(f"{path}: the manifest is empty; one JSON object a line was expected.")
    return utterances


def read_manifest_in_part(path: str | Path) -> tuple[list[Utterance], list[str]]:
    """The lines that can be read, and what is wrong with each of the others."""
    utterances, problems = [], []
    for number, found in _lines(Path(path)):
        if isinstance(found, str):
            problems.append(f"{path}:{number}: {found}")
        else:
            utterances.append(found)
    if not utterances and not problems:
        problems.append(f"{path}: the manifest is empty; one JSON object a line was expected.")
    return utterances, problems


def _lines(path: Path) -> Iterator[tuple[int, Utterance | str]]:
    """Each line's number, and its utterance or what is wrong with it."""
    folder = Path(os.path.abspath(path)).parent
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read the manifest: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; a manifest holds JSON lines.") from error
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            utterance = _parse(line, folder)
        except ValueError as error:
            yield number, str(error)
            continue
        if utterance.id in line_of:
            yield (
                number,
                f"id {utterance.id!r} is already on line {line_of[utterance.id]}; "
                "ids must be unique in a manifest.",
            )
            continue
        line_of[utterance.id] = number
        yield number, utterance


def claim(folder: Path, source: str) -> None:
    """Says that the manifests in `folder` are those of `source`, so that preparing another corpus
    there is an error and does not mix the two. The same one may be prepared again."""
    note = folder / "source.txt"
    before = note.read_text(encoding="utf-8").strip() if note.is_file() else "an unknown source"
    if before != source and (note.is_file() or any(folder.glob("*.jsonl"))):
        raise UserError(
            f"{folder} holds the manifests of {before}; give {source} another -o, "
            f"or remove {folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(source + "\n", encoding="utf-8")


def first_few(ids: Sequence[str]) -> str:
    """Ids for a message: which utterances it is about."""
    return ", ".join(ids[:FEW]) + (", ..." if len(ids) > FEW else "")


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Writes the lines in the order given; the file appears whole or not at all.

    Audio under the manifest's folder is written relative to it, so that the folder can be moved;
    other audio is written with its absolute path, so that the manifest can be moved.
    """
    path = Path(path)
    folder = Path(os.path.abspath(path)).parent
    lines, ids = [], set()
    for utterance in utterances:
        if utterance.id in ids:
            raise ValueError(f"two utterances have the id {utterance.id!r}")
        ids.add(utterance.id)
        lines.append(json.dumps(_record(utterance, folder), ensure_ascii=False) + "\n")
    if not lines:
        raise ValueError(f"{path}: an empty manifest would not be read back")
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def validate(utterances: Iterable[Utterance], decode: bool = False) -> list[str]:
    """One line for each thing wrong: audio absent or unreadable, segment past the end, empty text.

    Headers are read (and mp3 counted), each file once; `decode` reads all samples, and so also
    finds damaged data and pure silence.
    """
    problems: list[str] = []
    durations: dict[Path, float | str] = {}
    for utterance in utterances:
        say = _reporter(utterance, problems)
        if utterance.text is not None and not utterance.text.strip():
            say("the text is empty")
        if utterance.phones is not None and not utterance.phones:
            say("the list of phones is empty")
        if utterance.audio not in durations:
            try:
                durations[utterance.audio] = audio_info(utterance.audio).duration
            except UserError as error:
                durations[utterance.audio] = str(error)
        length = durations[utterance.audio]
        end = utterance.start + utterance.duration
        if isinstance(length, str):
            say(length)
        elif end > length + END_TOLERANCE_SECONDS:
            say(f"ends at {end:.3f} s, but {utterance.audio} is {length:.3f} s long")
        elif decode:
            try:
                wave_S = read_audio(utterance.audio, utterance.start, utterance.duration)
            except UserError as error:
                say(str(error))
            else:
                if not wave_S.any():
                    say(f"{utterance.audio}: every sample is zero")
    return problems


@dataclass(frozen=True, slots=True)
class LanguageSummary:
    """How much there is of one language; labelled means that it has text or phones."""

    utterances: int
    hours: float
    labelled_hours: float
    speakers: int


def summarize(utterances: Iterable[Utterance]) -> dict[str, LanguageSummary]:
    """Amounts per language, in alphabetical order. Utterances without a speaker add none."""
    of: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        of.setdefault(utterance.language, []).append(utterance)
    return {
        language: LanguageSummary(
            utterances=len(some),
            hours=sum(u.duration for u in some) / 3600,
            labelled_hours=sum(u.duration for u in some if u.labelled) / 3600,
            speakers=len({u.speaker for u in some if u.speaker is not None}),
        )
        for language, some in sorted(of.items())
    }


def summary_table(summary: dict[str, LanguageSummary]) -> str:
    """The summary for people: one row a language, and their sum."""
    total = LanguageSummary(
        utterances=sum(s.utterances for s in summary.values()),
        hours=sum(s.hours for s in summary.values()),
        labelled_hours=sum(s.labelled_hours for s in summary.values()),
        speakers=sum(s.speakers for s in summary.values()),
    )
    rows = [("language", "utterances", "hours", "labelled h", "speakers")]
    rows += [
        (name, str(s.utterances), f"{s.hours:.2f}", f"{s.labelled_hours:.2f}", str(s.speakers))
        for name, s in [*summary.items(), ("total", total)]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _parse(line: str, folder: Path) -> Utterance:
    """One line; raises ValueError with the rest of the sentence."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno}).") from error
    if not isinstance(record, dict):
        raise ValueError(f"a JSON object was expected, not {json.dumps(record)[:60]}.")
    missing = [key for key in NEEDED if record.get(key) is None]
    if missing:
        raise ValueError(
            f"needs {', '.join(missing)}; it has {', '.join(map(str, record)) or 'no keys'}."
        )
    return Utterance(
        id=_string(record, "id", filled=True),
        audio=Path(os.path.abspath(folder / _string(record, "audio", filled=True))),
        duration=_number(record, "duration", lambda x: x > 0, "a positive number of seconds"),
        language=_string(record, "language", filled=True),
        start=_number(record, "start", lambda x: x >= 0, "zero or more seconds")
        if record.get("start") is not None
        else 0.0,
        text=None if record.get("text") is None else _string(record, "text"),
        phones=None if record.get("phones") is None else _phones(record["phones"]),
        speaker=None if record.get("speaker") is None else _string(record, "speaker"),
        extra={key: value for key, value in record.items() if key not in KNOWN},
    )


def _string(record: dict[str, Any], key: str, filled: bool = False) -> str:
    value = record[key]
    if not isinstance(value, str) or (filled and not value.strip()):
        kind = "text that is not empty" if filled else "text"
        raise ValueError(f"{key!r} must be {kind}, not {json.dumps(value)}.")
    return value


def _number(
    record: dict[str, Any], key: str, allowed: Callable[[float], bool], wanted: str
) -> float:
    value = record[key]
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not allowed(value)
    ):
        raise ValueError(f"{key!r} must be {wanted}, not {json.dumps(value)}.")
    return float(value)


def _phones(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, Sequence) and all(isinstance(p, str) and p.strip() for p in value):
        return tuple(value)
    raise ValueError(f"'phones' must be a list of symbols, not {json.dumps(value)[:60]}.")


def _record(utterance: Utterance, folder: Path) -> dict[str, Any]:
    clash = set(KNOWN) & set(utterance.extra)
    if clash:
        raise ValueError(f"{utterance.id}: extra holds known keys {sorted(clash)}")
    audio = Path(os.path.abspath(utterance.audio))
    if audio.is_relative_to(folder):
        audio = audio.relative_to(folder)
    record: dict[str, Any] = {"id": utterance.id, "audio": audio.as_posix()}
    if utterance.start:
        record["start"] = round(utterance.start, 6)
    record |= {"duration": round(utterance.duration, 6), "language": utterance.language}
    if utterance.text is not None:
        record["text"] = utterance.text
    if utterance.phones is not None:
        record["phones"] = list(utterance.phones)
    if utterance.speaker is not None:
        record["speaker"] = utterance.speaker
    return record | utterance.extra


def _reporter(utterance: Utterance, problems: list[str]) -> Callable[[str], None]:
    return lambda problem: problems.append(f"{utterance.id}: {problem}.".replace("..", "."))
