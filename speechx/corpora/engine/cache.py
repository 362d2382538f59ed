"""What was measured of audio files, kept so that a second preparation opens no unchanged file.

`.measured.cache` lies beside the manifests and has a JSON line for each file: path, size and
time of change, and what the file holds. A file of another size or time is measured again.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from speechx.audio.files import AudioInfo, check_audio
from speechx.whole_file import whole_file

CACHE = ".measured.cache"
MEASURED = 2  # increase it when the measured values of files change


class NotMeasured(Exception):
    """A file is not in the cache, or has changed since."""


class Measurement(NamedTuple):
    """One file, as it was when it was measured."""

    size: int
    mtime_ns: int
    duration: float
    rate: int
    channels: int
    exact: bool
    """False where the frames of an mp3 were counted and not decoded."""
    by: int = 0
    """`MEASURED` when it was measured."""


class MeasuredFiles:
    """What is known of files; with `opens`, others are measured when they are asked for."""

    def __init__(self, opens: bool = False) -> None:
        self.opens = opens
        self.before: dict[str, Measurement] = {}
        """Read from the cache, by absolute path."""
        self.now: dict[str, Measurement] = {}
        """Found to be true, or measured."""

    def info(self, path: str | Path, exact: bool = False) -> AudioInfo:
        """What the file holds; raises `NotMeasured`, or a UserError if it is no audio."""
        name = os.path.abspath(path)
        found = self.now.get(name) or self.before.pop(name, None)
        if found is None or found.exact < exact or found[:2] != _state(name):
            if not self.opens:
                raise NotMeasured
            info = check_audio(path, exact=exact)
            self.record(name, info, exact)
            return info
        self.now[name] = found
        return AudioInfo(*found[2:5])

    def record(self, path: str | Path, info: AudioInfo, exact: bool = True) -> None:
        name = os.path.abspath(path)
        size, mtime_ns = _state(name) or (0, 0)
        self.now[name] = Measurement(
            size, mtime_ns, info.duration, info.rate, info.channels, exact, MEASURED
        )

    def read(self, folder: Path) -> None:
        """Takes over the cache of a folder; lines that cannot be read are passed over."""
        try:
            with (folder / CACHE).open(encoding="utf-8") as file:
                for line in file:
                    path, *values = json.loads(line)
                    name = os.path.normpath(os.path.join(os.path.abspath(folder), path))
                    if name not in self.now and (found := Measurement(*values)).by == MEASURED:
                        self.before[name] = found
        except (OSError, ValueError, TypeError):  # it is only a cache
            return

    def write(self, folder: Path) -> None:
        """Keeps what was asked for since the cache was read."""
        inner = os.path.join(os.path.abspath(folder), "")
        with whole_file(folder / CACHE, keep_equal=True) as new, new.open("w") as file:
            for name in sorted(self.now):
                file.write(json.dumps([name.removeprefix(inner), *self.now[name]]) + "\n")


def _state(name: str) -> tuple[int, int] | None:
    """Size and time of change of a file, which change when its content does."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
