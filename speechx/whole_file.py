"""A file that appears whole or not at all.

with whole_file(Path("scores.json")) as new:
    new.write_text(text)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write that becomes `path` when all is well, and nothing otherwise.

    Its name begins with a dot, as no manifest's does, and ends like that of `path`: a process that
    is killed leaves nothing behind that anybody reads.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(path.suffix, f".{path.name}.", path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            name_file(error, path)
        raise


def name_file(error: OSError, path: Path) -> None:
    """A full disk does not say by itself which file it could not hold."""
    if error.errno and error.filename is None:
        error.filename = str(path)
