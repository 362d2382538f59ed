"""Paths that stay inside a corpus: names in tables and links in a tree may lead anywhere.

Symbolic links are followed where the user points: ROOT, and in it the folder of a language, which
the log names. Everything below, tables as well as audio, must lie in that folder (in ROOT where
languages have none); otherwise it is refused by name before it is read. Only Kaldi's tables, which
recipes link, have a rule of their own (see `kaldi`). Files and folders that are written have names
that cannot lead elsewhere.
"""

import hashlib
import os
from pathlib import Path

from speechx.errors import UserError

LONGEST_PATH = 4096  # bytes, on Linux
LONGEST_NAME = 200  # bytes of an id in a file's name; file systems end at 255


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
