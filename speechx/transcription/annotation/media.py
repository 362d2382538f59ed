"""The recording that belongs to an annotation file."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.errors import UserError
from speechx.transcription.annotation.sheet import MediaLink

FILM = {".mp4", ".m4v", ".mov", ".avi", ".mpg", ".mpeg", ".mkv", ".webm", ".wmv", ".mts"}
FIRST = (".wav", ".flac")  # where several files have the name of the annotation file


def find_media(path: Path, links: Sequence[MediaLink]) -> tuple[Path, float]:
    """The recording of an annotation file, and the second of it where its times begin.

    A linked recording is searched relative to the file, then at its absolute path, then beside
    the file by its name alone. A file that links none has a recording of the same name beside it.
    A sound file goes before a film.
    """
    searched: list[Path] = []
    found: list[tuple[Path, float]] = []
    for link in links:
        places = list(dict.fromkeys(_places(path.parent, link)))
        there = next((place for place in places if place.is_file()), None)
        if there is None:
            searched += places
        else:
            found.append((there, link.origin))
    if found:
        return min(found, key=lambda one: (one[0].suffix.lower() in FILM, found.index(one)))
    if links:
        listed = ", ".join(map(str, searched)) or "no path of a file"
        raise UserError(
            f"{path}: its recording is missing; searched: {listed}. Put it beside the file, or "
            "name it with --audio"
        )
    beside = _beside(path)
    if not beside:
        raise UserError(
            f"{path}: no recording; searched: {path.with_suffix('.wav')} and the other kinds of "
            "sound files with this name. Put it there, or name it with --audio"
        )
    return beside[0], 0.0


def _places(folder: Path, link: MediaLink) -> Iterator[Path]:
    """ELAN writes URLs with and without percent signs."""
    for url in link.urls:
        if re.match(r"(?!file:)[a-z]{2,}:", url):  # a stream of the network
            continue
        local = re.sub(r"^file:(//(?=/))?", "", url)
        for name in dict.fromkeys((local, unquote(local))):
            drive = re.fullmatch(r"/+([A-Za-z]:.*)", name, re.DOTALL)
            yield folder / (drive[1] if drive else name)
    for url in link.urls:
        for name in dict.fromkeys((url, unquote(url))):
            yield folder / re.split(r"[/\\]", name)[-1]


def _beside(path: Path) -> list[Path]:
    if not path.parent.is_dir():
        return []
    found = [
        other
        for other in path.parent.iterdir()
        if other.stem == path.stem and other.suffix.lower() in AUDIO_SUFFIXES and other.is_file()
    ]
    return sorted(found, key=lambda one: (one.suffix.lower() not in FIRST, one.name))
