"""Names in tables are not to be trusted: they may lead anywhere.

A file is read only if it lies in the corpus, and only a name that cannot lead elsewhere becomes the
name of a file or folder that is written.
"""

import hashlib
from pathlib import Path

from speechx.errors import UserError

LONGEST_PATH = 4096  # bytes, on Linux
LONGEST_NAME = 200  # bytes of an id in a file's name; file systems end at 255


def inside(root: Path, name: str, where: str = "") -> Path:
    """`root/name`, or a UserError if that is outside of `root`: by `..`, as an absolute path, or
    through a symbolic link. `where` names the table and its line. `root` itself may be a link."""
    path = root / name
    try:
        if not 0 < len(name.encode()) < LONGEST_PATH or min(name) < " ":
            raise ValueError("empty, too long, or with control characters")
        stays = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, half a character
        why = f"{name[:LONGEST_NAME]!r} cannot be a path: {error}"
        raise UserError(f"{where or root}: {why}") from None
    if not stays:
        raise UserError(
            f"{where or root}: {name!r} leads out of {root}, so it is not read; audio belongs "
            "inside that folder (a table's own folder, unless --root names another)"
        )
    return path


def check_name(name: str) -> None:
    """Languages and splits name folders and files; they may come from a table."""
    if not name.isprintable() or name != name.strip(" .") or set(name) & set('/\\:*?"<>|') or not (
        0 < len(name.encode()) <= LONGEST_NAME
    ):  # fmt: skip
        raise UserError(
            f"{name[:LONGEST_NAME]!r} is the name of a language or a split, and cannot be that of "
            "a folder or a file"
        )


def safe_name(id: str) -> str:
    """An id as the name of a file, which then is in no other folder."""
    name = id.replace("/", "_").replace("\0", "_")
    if len(name.encode()) > LONGEST_NAME or name.startswith("."):
        name = hashlib.sha256(name.encode()).hexdigest()
    return name
