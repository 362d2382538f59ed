"""ELAN's annotation format (.eaf): tiers utterance, word and phone, each inside its parent.

Words and phones are time-aligned subdivisions with gaps (`Included_In`). The recording is linked by
its absolute path and by its path relative to the .eaf file, as ELAN writes them, so both can move
together.
"""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from speechx.transcription.formats.intervals import Interval, tiers
from speechx.transcription.result import Transcript

MIME_TYPES = {
    "wav": "audio/x-wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg",
    "oga": "audio/ogg", "opus": "audio/ogg", "m4a": "audio/mp4", "aac": "audio/aac",
    "aif": "audio/x-aiff", "aiff": "audio/x-aiff", "au": "audio/basic", "wma": "audio/x-ms-wma",
    "mp4": "video/mp4", "m4v": "video/mp4", "mpg": "video/mpeg", "mpeg": "video/mpeg",
    "mov": "video/quicktime", "avi": "video/x-msvideo", "webm": "video/webm",
    "mkv": "video/x-matroska",
}  # fmt: skip
UNKNOWN = "unknown"  # ELAN's own word
NOT_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(transcript: Transcript, folder: Path = Path()) -> str:
    """`folder` is where the file will lie."""
    from pympi.Elan import Eaf, to_string

    found = tiers(transcript)
    holder = "word" if found.phones_in_words else "utterance"
    parents = {"utterance": None, "word": "utterance", "phone": holder}
    named = {"utterance": found.utterances, "word": found.words, "phone": found.phones}
    named = {name: tier for name, tier in named.items() if tier or name == "utterance"}

    eaf = Eaf(author="speechx")
    eaf.adocument["DATE"] = datetime.now().astimezone().isoformat(timespec="seconds")
    eaf.header = {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    eaf.remove_tier("default")
    eaf.remove_linguistic_type("default-lt")
    for name in named:
        eaf.add_linguistic_type(name, parents[name] and "Included_In")
        eaf.add_tier(name, name, parents[name])
    _annotate(eaf, named)
    if transcript.audio:
        url, relative = _urls(Path(transcript.audio), folder)
        suffix = Path(transcript.audio).suffix.lower().removeprefix(".")
        origin = round(1000 * transcript.audio_start) or None
        eaf.add_linked_file(url, relative, MIME_TYPES.get(suffix, UNKNOWN), origin)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{to_string(eaf)}\n'


def _annotate(eaf: Any, named: dict[str, list[Interval]]) -> None:
    """Time slots in the order of time, which pympi's own `add_annotation` does not keep."""
    ends = [
        (time, name, index, side)
        for name, tier in named.items()
        for index, interval in enumerate(tier)
        for side, time in enumerate((interval.start, interval.end))
    ]
    ends.sort()
    slots = {end[1:]: f"ts{number}" for number, end in enumerate(ends, start=1)}
    eaf.timeslots = {slots[end[1:]]: end[0] for end in ends}
    number = 0
    for name, tier in named.items():
        for index, interval in enumerate(tier):
            number += 1
            begin, end = slots[name, index, 0], slots[name, index, 1]
            text = NOT_XML.sub("", interval.text)
            eaf.tiers[name][0][f"a{number}"] = (begin, end, text, None)
    eaf.properties = [("lastUsedAnnotationId", number)]


def _urls(audio: Path, folder: Path) -> tuple[str, str | None]:
    """Absolute and relative to the folder; ELAN writes and reads both without percent signs."""
    whole = audio.absolute()
    absolute = f"file:///{whole.as_posix().lstrip('/')}"
    try:
        relative = Path(os.path.relpath(whole, folder.absolute())).as_posix()
    except ValueError:  # another drive of Windows
        return absolute, None
    return absolute, relative if relative.startswith("../") else f"./{relative}"
