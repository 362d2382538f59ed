"""Paths that stay inside a corpus: names in tables and links in a tree may lead anywhere.

Symbolic links are followed where the user points: ROOT, and in it the folder of a language, which
the log names. Everything below, tables as well as audio, must lie in that folder (in ROOT where
languages have none); otherwise it is refused by name before it is read. Only Kaldi's tables, which
recipes link, have a rule of their own (see `kaldi`). Files and folders that are written have names
that cannot lead elsewhere.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.errors import UserError
from speechx.log import logger

LONGEST_PATH = 4096  # bytes, on Linux
LONGEST_NAME = 200  # bytes of an id in a file's name; file systems end at 255
BELOW = ("", "wavs", "wav", "audio", "clips")  # where tables of ids have their recordings
SUFFIXES = (".wav", ".flac", ".mp3", *sorted(AUDIO_SUFFIXES - {".wav", ".flac", ".mp3"}))
DRIVE = re.compile(r"[A-Za-z]:/|/|~|//")  # how an absolute path begins, on Windows too


def inside(root: Path, name: str, where: str = "", or_else: str = "") -> Path:
    """`root/name`, or a UserError if that is outside of `root`: by `..`, as an absolute path, or
    through a symbolic link. `where` names the line of the table, or the file; `or_else` names an
    exception for the message. `root` itself may be a link."""
    path = root / name
    try:
        if not 0 < len(name.encode()) < LONGEST_PATH or min(name) < " ":
            raise ValueError("empty, too long, or with control characters")
        right_below = path.name == name != ".." and not os.path.islink(path)
        stays = right_below or path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, half a character
        why = f"{name[:LONGEST_NAME]!r} cannot be a path: {error}"
        raise UserError(f"{where or root}: {why}") from None
    if not stays:
        what = "" if where == str(path) else f"{name!r} "
        raise UserError(
            f"{where or root}: {what}leads out of {root}, so it is not read; what belongs to a "
            f"corpus lies inside that folder{or_else}"
        )
    return path


class AudioNames:
    """The files that a table means by its names: each below one folder, where it is another name.

    A name may divide its folders by backslashes, code its accents in another way, lack its suffix
    or a folder such as `wavs`, begin with the name of the folder itself, or be an absolute path of
    another machine. All absolute paths then lie in the same folder there, which the log names.
    """

    def __init__(self) -> None:
        self.elsewhere = ""
        """The folder on the other machine."""
        self.added = ("", "")
        """The folder and the suffix that completed the last name."""

    def find(self, base: Path, name: str) -> str:
        """The name below `base` of the file that is there; `name` itself if there is none."""
        if is_file(base, name) or not name.strip():
            return name
        plain = name.strip().removeprefix("file://").replace("\\", "/")
        if ".." in plain.split("/"):
            return name
        for form in dict.fromkeys(
            (plain, *(unicodedata.normalize(f, plain) for f in ("NFC", "NFD")))
        ):
            if found := self._find(base, form):
                return found
        return name

    def _find(self, base: Path, name: str) -> str | None:
        if is_file(base, name):
            return name
        if DRIVE.match(name):
            return self._on_this_machine(base, name)
        parts = name.split("/")
        for length in range(1, len(parts)):
            if tuple(parts[:length]) == base.absolute().parts[-length:]:
                rest = "/".join(parts[length:])
                if is_file(base, rest):
                    return rest
        for folder, suffix in (self.added, *_additions(name)):
            longer = f"{folder}/{name}{suffix}" if folder else f"{name}{suffix}"
            if is_file(base, longer):
                self.added = folder, suffix
                return longer
        return None

    def _on_this_machine(self, base: Path, name: str) -> str | None:
        if self.elsewhere:
            rest = name.removeprefix(self.elsewhere)
            return rest if rest != name and is_file(base, rest) else None
        parts = name.split("/")
        for at in range(1, len(parts)):
            rest = "/".join(parts[at:])
            if rest and is_file(base, rest):
                self.elsewhere = name.removesuffix(rest)
                logger.info(f"paths in {self.elsewhere}, of another machine, are read from {base}")
                return rest
        return None


def is_file(base: Path, name: str) -> bool:
    """Whether `base/name` is a file; false for what cannot be a path."""
    return os.path.isfile(os.path.join(base, name))


def _additions(name: str) -> Iterator[tuple[str, str]]:
    """Folders and suffixes that may complete a name."""
    complete = os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES
    for suffix in ("",) if complete else (s for low in SUFFIXES for s in (low, low.upper())):
        for folder in BELOW:
            yield folder, suffix


def check_folder(root: Path, corpus: str) -> None:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {corpus} was expected.")


def subfolders(parent: Path) -> list[Path]:
    """The folders in `parent`, in order; none where there is no such folder."""
    return sorted(f for f in parent.iterdir() if f.is_dir()) if parent.is_dir() else []


def check_name(name: str) -> None:
    """Refuses a name of a language or split that cannot be the name of a file."""
    if not name.isprintable() or name != name.strip(" .") or set(name) & set('/\\:*?"<>|') or not (
        0 < len(name.encode()) <= LONGEST_NAME
    ):  # fmt: skip
        raise UserError(
            f"{name[:LONGEST_NAME]!r} is the name of a language or a split, but cannot be the name "
            "of a folder or a file"
        )


def safe_name(id: str) -> str:
    """An id as the name of a file in one folder."""
    name = id.replace("/", "_").replace("\0", "_")
    if len(name.encode()) > LONGEST_NAME or name.startswith("."):
        name = hashlib.sha256(name.encode()).hexdigest()
    return name
