"""Names in tables are not to be trusted, nor are links in a tree: they may lead anywhere.

What the user points to may be a symbolic link and is followed: ROOT, and in it the folder of a
language, which the log names with where it leads. All below that, tables as well as sound, lies in
the folder led to (in ROOT where languages have none), or is refused by name before it is read; only
Kaldi's tables, which recipes link, have a rule of their own (see `kaldi`). And only a name that
cannot lead elsewhere becomes that of a file or folder that is written.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from speechx.errors import UserError
from speechx.log import logger

LONGEST_PATH = 4096  # bytes, on Linux
LONGEST_NAME = 200  # bytes of an id in a file's name; file systems end at 255


def inside(root: Path, name: str, where: str = "", or_else: str = "") -> Path:
    """`root/name`, or a UserError if that is outside of `root`: by `..`, as an absolute path, or
    through a symbolic link. `where` names the table and its line, or the file if no table does;
    `or_else` is where it may lie besides. `root` itself may be a link."""
    path = root / name
    try:
        if not 0 < len(name.encode()) < LONGEST_PATH or min(name) < " ":
            raise ValueError("empty, too long, or with control characters")
        stays = path.resolve().is_relative_to(root.resolve())
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


def table_in(folder: Path, name: str) -> Path | None:
    """The table `name` of a corpus, in its language's folder; None where there is none."""
    path = folder / name
    or_else = " (the whole folder of a language may be a link)"
    return inside(folder, name, str(path), or_else) if path.is_file() else None


def name_links(root: Path, folders: Iterable[Path]) -> None:
    """Says which folders of languages lie elsewhere than in `root`."""
    for folder in folders:
        if folder.is_dir() and folder.resolve() != root.resolve() / folder.relative_to(root):
            logger.info(f"{folder} is a link, and is read from {folder.resolve()}")


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
