"""An utterance, and its record in a manifest."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechx.audio.sources import is_url

LONGEST_SECONDS = 1e9

Record = dict[str, Any]


class RecordError(ValueError):
    """Why a record of a manifest is not an utterance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A segment of speech: its audio, times in seconds, language and transcript."""

    id: str
    audio: Path | str
    """A path or URL."""
    duration: float
    language: str
    start: float = 0.0
    text: str | None = None
    phones: tuple[str, ...] | None = None
    speaker: str | None = None
    corpus: str | None = None
    """Name of the collection: commonvoice, babel, mls, ..."""
    bytes: tuple[int, int] | None = None
    """Offset and size of a complete audio file within `audio`."""
    extra: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def labelled(self) -> bool:
        """Whether it has a text or phones."""
        return bool(self.text) or bool(self.phones)


def hours(seconds: float) -> str:
    """Hours as text: two decimals, or two significant digits below 0.1."""
    amount = seconds / 3600
    digits = 1 - int(f"{amount:.1e}".partition("e")[2])
    return f"{amount:.{max(2, digits)}f}" if amount else "0"


NEEDED = ("id", "audio", "duration", "language")
KNOWN = (*NEEDED, "start", "text", "phones", "speaker", "corpus", "bytes")
AUDIO_KEYS = (*NEEDED, "start", "speaker", "corpus", "bytes")  # all but the transcript


def _text(key: str, value: Any, wanted: str = "text") -> str:
    if not isinstance(value, str):
        raise _wrong(key, value, wanted)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RecordError(f"{key!r} holds half a character: {json.dumps(value)[:60]}.") from None
    return value


def _filled(key: str, value: Any) -> str:
    wanted = "text that is not empty"
    if not _text(key, value, wanted).strip():
        raise _wrong(key, value, wanted)
    return value


def _path_or_url(key: str, value: Any) -> str:
    if "\0" in _filled(key, value):
        raise _wrong(key, value, "a path or URL")
    return value


def _seconds(key: str, value: Any, wanted: str = "zero or more seconds") -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < LONGEST_SECONDS:
        raise _wrong(key, value, wanted)
    return float(value)


def _positive(key: str, value: Any) -> float:
    wanted = "a positive number of seconds"
    if not (seconds := _seconds(key, value, wanted)):
        raise _wrong(key, value, wanted)
    return seconds


def _phones(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, Sequence) and all(isinstance(p, str) and p.strip() for p in value):
        return tuple(value)
    raise _wrong(key, value, "a list of symbols")


def _bytes(key: str, value: Any) -> tuple[int, int]:
    match value:
        case [int(offset), int(size)] if not any(isinstance(number, bool) for number in value):
            if 0 <= offset < 2**63 - size and size > 0:
                return offset, size
    raise _wrong(key, value, "an offset and a size")


def _wrong(key: str, value: Any, wanted: str) -> RecordError:
    return RecordError(f"{key!r} must be {wanted}, not {json.dumps(value, default=str)[:60]}.")


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "id": _filled,
    "audio": _path_or_url,
    "duration": _positive,
    "language": _filled,
    "start": _seconds,
    "text": _text,
    "phones": _phones,
    "speaker": _text,
    "corpus": _text,
    "bytes": _bytes,
}


def from_record(record: Record, folder: Path) -> Utterance:
    """The utterance of a record; `folder` is the folder of the manifest. Raises RecordError."""
    missing = [key for key in NEEDED if record.get(key) is None]
    if missing:
        raise RecordError(
            f"needs {', '.join(missing)}; it has {', '.join(map(str, record)) or 'no keys'}."
        )
    found = {k: check(k, record[k]) for k, check in CHECKS.items() if record.get(k) is not None}
    found["audio"] = audio_source(found["audio"], folder)
    extra = {key: value for key, value in record.items() if key not in CHECKS}
    return Utterance(**found, extra=extra)


def audio_source(name: str, folder: Path) -> Path | str:
    """The absolute path, or the URL, of an `audio` in a manifest in `folder`."""
    return name if is_url(name) else Path(os.path.abspath(folder / name))


def to_record(utterance: Utterance, folder: Path) -> Record:
    """The record of an utterance for a manifest in `folder`."""
    clash = set(KNOWN) & set(utterance.extra)
    if clash:
        raise ValueError(f"{utterance.id}: extra holds known keys {sorted(clash)}")
    audio = utterance.audio
    if not is_url(audio):
        audio = Path(os.path.abspath(audio))
        if audio.is_relative_to(folder):
            audio = audio.relative_to(folder)
        audio = audio.as_posix()
    record: Record = {"id": utterance.id, "audio": audio}
    if utterance.start:
        record["start"] = round(utterance.start, 6)
    record |= {"duration": round(utterance.duration, 6), "language": utterance.language}
    record |= optional_keys(utterance)
    if utterance.bytes is not None:
        record["bytes"] = list(utterance.bytes)
    return record | utterance.extra


def optional_keys(utterance: Utterance) -> Record:
    """The transcript, speaker and corpus, if it has them."""
    phones = None if utterance.phones is None else list(utterance.phones)
    values = {"text": utterance.text, "phones": phones}
    values |= {"speaker": utterance.speaker, "corpus": utterance.corpus}
    return {key: value for key, value in values.items() if value is not None}
