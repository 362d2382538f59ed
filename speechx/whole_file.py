"""A file or a folder that appears whole or not at all.

    with whole_file(Path("scores.json")) as new:
        new.write_text(text)

Until the end it has a temporary name beside its final one.
"""

import filecmp
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LEFTOVER = re.compile(r"\..+(\.[^.]+)\.[0-9a-f]{8}\1", re.DOTALL)  # .NAME.SUFFIX.random.SUFFIX
LEFT_SECONDS = 24 * 3600.0  # since it was last written to


@contextmanager
def whole_file(path: Path, keep_equal: bool = False) -> Iterator[Path]:
    """A file to write that becomes `path` when all is well, and nothing otherwise. With
    `keep_equal`, one that holds the same already is left alone, and its time too.

    Its name begins with a dot, as no manifest's does, and ends like that of `path`: a process that
    is killed leaves nothing behind that anybody reads, and `remove_leftovers` finds it.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.touch(exist_ok=False)  # who may read it is as for any file of this user
        yield new
        if keep_equal and path.is_file() and filecmp.cmp(new, path, shallow=False):
            new.unlink()
        else:
            os.replace(new, path)
    except BaseException as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        if isinstance(error, OSError):
            name_file(error, path, new)
        raise


def write_whole(path: Path, text: str, keep_equal: bool = False) -> None:
    """Writes UTF-8 text as a whole file."""
    with whole_file(path, keep_equal) as new:
        new.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, data: Any) -> None:
    """Writes JSON as a whole file."""
    write_whole(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that becomes `folder`, in place of an earlier one, when all is well, and
    nothing otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def only_user(folder: Path) -> Iterator[bool]:
    """Whether no other process uses the folder; until the end it is marked as used. Where the
    system has no file locks, nothing is known of others."""
    try:
        import fcntl
    except ImportError:
        yield True
        return
    with (folder / ".in_use").open("w") as mark:
        alone = True
        try:
            fcntl.lockf(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)  # loader workers do not inherit it
            # Its last user may have just removed it, and somebody else marked the folder anew.
            mine, there = os.fstat(mark.fileno()), os.path.exists(mark.name)
            alone = there and os.path.samestat(mine, os.stat(mark.name))
        except (BlockingIOError, PermissionError):
            alone = False
        except OSError:
            pass  # a file system without locks
        try:
            yield alone
        finally:
            if alone:
                Path(mark.name).unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left of whole files. Others may be writing theirs there: those
    are not touched for a day, if ever."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if LEFTOVER.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):  # another process was quicker, or it is another's
                    if entry.stat().st_mtime < time.time() - LEFT_SECONDS:
                        os.unlink(entry.path)


def require_writable(path: Path) -> None:
    """Raises the OSError that writing `path` would end with."""
    existed = os.path.lexists(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("ab").close()
    if not existed:
        path.unlink()


def reason(error: OSError) -> str:
    """Why a file cannot be written or read, for people."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return "a folder is needed, but this is a file or lies in one"
    return error.strerror or str(error)


def name_file(error: OSError, path: Path, temporary: Path | None = None) -> None:
    """Makes an error name the file that the user knows: the error of a full disk names none."""
    if error.errno and error.filename in (None, temporary and str(temporary)):
        error.filename = str(path)
