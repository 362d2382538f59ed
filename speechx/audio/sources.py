"""Reads the bytes of a recording from a file, a part of a file, or a URL.

A part is a member of a shard (speechx/data/shards.py). A URL has any scheme that fsspec supports
(s3://, gs://, hf://, https://, memory://).

From a URL only the needed bytes are read, one request for each utterance. More `run.workers` hide
the latency. To copy whole shards to a local disk instead, put the cache of fsspec in front of the
URL: `simplecache::s3://bucket/...`.

    data = read_bytes("s3://bucket/shard-00003.tar", (512, 48_321))
"""

import os
import re
import time
from pathlib import Path
from typing import Any, BinaryIO

from speechx.errors import UserError

Part = tuple[int, int]
"""Offset and size, in bytes."""

Key = tuple[int, ...]

SILENCE_SECONDS = 30.0
SETTLED_NS = 2_000_000_000  # the coarsest times that file systems keep
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")


def is_url(path: str | Path) -> bool:
    """Whether fsspec reads this. A `Path` is always a local file."""
    return isinstance(path, str) and SCHEME.match(path) is not None


def source_name(path: str | Path, part: Part | None = None) -> str:
    """The name for messages."""
    return str(path) if part is None else f"{path}[{part[0]}+{part[1]}]"


def key_of(file: BinaryIO) -> Key | None:
    """A key that changes with the contents of a file. None if none does: the file is in memory, or
    was written a moment ago and its times may stay the same if it is written again."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    times = status.st_mtime_ns, status.st_ctime_ns
    if time.time_ns() - max(times) < SETTLED_NS:
        return None
    return status.st_dev, status.st_ino, status.st_size, *times


def read_bytes(path: str | Path, part: Part | None = None) -> bytes:
    """The bytes of a file or a part of it; a UserError if it is unreadable or too short."""
    name = source_name(path, part)
    data = _remote(str(path), part, name) if is_url(path) else _local(path, part, name)
    if part is not None and len(data) != part[1]:
        raise UserError(
            f"{name}: the file ends within these bytes (it has {len(data)} of {part[1]}). "
            "Copy it again."
        )
    return data


def _local(path: str | Path, part: Part | None, name: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            if part is None:
                return file.read()
            # A manifest may claim any offset and size: do not read more than the file has.
            size = os.fstat(file.fileno()).st_size
            file.seek(min(part[0], size))
            return file.read(min(part[1], max(0, size - part[0])))
    except OSError as error:
        raise UserError(f"{name}: cannot be read as audio: {error.strerror}.") from error


def _timeouts(url: str) -> dict[str, Any]:
    """Options of fsspec with a timeout for web servers, where its default is five minutes. Other
    stores have their own."""
    web = [scheme for scheme in ("http", "https") if f"{scheme}://" in url]
    if not web:
        return {}
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS)
    return {scheme: {"client_kwargs": {"timeout": timeout}} for scheme in web}


def _remote(url: str, part: Part | None, name: str) -> bytes:
    try:
        import fsspec
    except ImportError:
        raise UserError(
            f"{name}: URLs need the package fsspec, which is not installed: pip install fsspec"
        ) from None
    try:
        system, path = fsspec.url_to_fs(url, **_timeouts(url))
        if part is None:
            return system.cat_file(path)
        return system.cat_file(path, part[0], part[0] + part[1])
    except TimeoutError as error:
        why = f"no data for {SILENCE_SECONDS:g} s"
        raise UserError(f"{name}: cannot be read: {why}") from error
    except Exception as error:  # every store has its own exceptions
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{name}: cannot be read: {why}") from error
