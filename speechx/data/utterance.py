"""An utterance, and the keys it has in a line of a manifest."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechx.audio.sources import is_url

LONGEST_SECONDS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One stretch of speech: where it is, how long (seconds), in which language, what is said."""

    id: str
    audio: Path | str
    """A file, or the URL of one."""
    duration: float
    language: str
    start: float = 0.0
    text: str | None = None
    phones: tuple[str, ...] | None = None
    speaker: str | None = None
    corpus: str | None = None
    """Which collection it is of: commonvoice, babel, mls, ..."""
    bytes: tuple[int, int] | None = None
    """Offset and size of a whole sound file within `audio`."""
    extra: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def labelled(self) -> bool:
        """Whether it says what is spoken."""
        return bool(self.text) or bool(self.phones)


def hours(seconds: float) -> str:
    """Hours for people: two decimals, or two significant digits of less than 0.1."""
    amount = seconds / 3600
    digits = 1 - int(f"{amount:.1e}".partition("e")[2])
    return f"{amount:.{max(2, digits)}f}" if amount else "0"


NEEDED = ("id", "audio", "duration", "language")
KNOWN = (*NEEDED, "start", "text", "phones", "speaker", "corpus", "bytes")
HEARD = (*NEEDED, "start", "speaker", "corpus", "bytes")  # all but what is said


def from_record(record: dict[str, Any], folder: Path) -> Utterance | str:
    """The utterance of a line's keys, or what is wrong with them. `folder` is the manifest's."""
    try:
        return _utterance(record, folder)
    except ValueError as error:
        return str(error)


def _utterance(record: dict[str, Any], folder: Path) -> Utterance:
    """Of the keys of a line; raises ValueError with the rest of the sentence."""
    missing = [key for key in NEEDED if record.get(key) is None]
    if missing:
        raise ValueError(
            f"needs {', '.join(missing)}; it has {', '.join(map(str, record)) or 'no keys'}."
        )
    audio = _string(record, "audio", filled=True)
    if "\0" in audio:
        raise ValueError(f"'audio' must be a path or URL, not {json.dumps(audio)}.")

    def optional(key: str) -> str | None:
        return None if record.get(key) is None else _string(record, key)

    return Utterance(
        id=_string(record, "id", filled=True),
        audio=audio_source(audio, folder),
        duration=_number(record, "duration", lambda x: x > 0, "a positive number of seconds"),
        language=_string(record, "language", filled=True),
        start=_number(record, "start", lambda x: x >= 0, "zero or more seconds")
        if record.get("start") is not None
        else 0.0,
        text=optional("text"),
        phones=None if record.get("phones") is None else _phones(record["phones"]),
        speaker=optional("speaker"),
        corpus=optional("corpus"),
        bytes=None if record.get("bytes") is None else _bytes(record["bytes"]),
        extra={key: value for key, value in record.items() if key not in KNOWN},
    )


def audio_source(name: str, folder: Path) -> Path | str:
    """What `audio` stands for in a manifest in `folder`."""
    return name if is_url(name) else Path(os.path.abspath(folder / name))


def _string(record: dict[str, Any], key: str, filled: bool = False) -> str:
    value = record[key]
    if not isinstance(value, str) or (filled and not value.strip()):
        kind = "text that is not empty" if filled else "text"
        raise ValueError(f"{key!r} must be {kind}, not {_shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{key!r} holds half a character: {json.dumps(value)[:60]}.") from None
    return value


def _number(
    record: dict[str, Any], key: str, allowed: Callable[[float], bool], wanted: str
) -> float:
    value = record[key]
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) < LONGEST_SECONDS
        or not allowed(value)
    ):
        raise ValueError(f"{key!r} must be {wanted}, not {_shown(value)}.")
    return float(value)


def _phones(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, Sequence) and all(isinstance(p, str) and p.strip() for p in value):
        return tuple(value)
    raise ValueError(f"'phones' must be a list of symbols, not {_shown(value)}.")


def _bytes(value: Any) -> tuple[int, int]:
    match value:
        case [int(offset), int(size)] if not isinstance(offset, bool) and not isinstance(
            size, bool
        ):
            if 0 <= offset < 2**63 - size and size > 0:
                return offset, size
    raise ValueError(f"'bytes' must be an offset and a size, not {_shown(value)}.")


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:60]


def to_record(utterance: Utterance, folder: Path) -> dict[str, Any]:
    """The keys of its line in a manifest in `folder`."""
    clash = set(KNOWN) & set(utterance.extra)
    if clash:
        raise ValueError(f"{utterance.id}: extra holds known keys {sorted(clash)}")
    audio = utterance.audio
    if not is_url(audio):
        audio = Path(os.path.abspath(audio))
        if audio.is_relative_to(folder):
            audio = audio.relative_to(folder)
        audio = audio.as_posix()
    record: dict[str, Any] = {"id": utterance.id, "audio": audio}
    if utterance.start:
        record["start"] = round(utterance.start, 6)
    record |= {"duration": round(utterance.duration, 6), "language": utterance.language}
    if utterance.text is not None:
        record["text"] = utterance.text
    if utterance.phones is not None:
        record["phones"] = list(utterance.phones)
    if utterance.speaker is not None:
        record["speaker"] = utterance.speaker
    if utterance.corpus is not None:
        record["corpus"] = utterance.corpus
    if utterance.bytes is not None:
        record["bytes"] = list(utterance.bytes)
    return record | utterance.extra
