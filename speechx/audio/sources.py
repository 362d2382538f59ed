"""Where the bytes of a recording are: a file, a stretch of a file, or behind a URL.

A stretch is a member of a shard (speechx/data/shards.py); a URL is anything with a scheme that
fsspec knows (s3://, gs://, hf://, https://, memory://).

Behind a URL exactly the bytes that are wanted are asked for, one request for each utterance. The
other way, a copy of each whole shard, needs a disk that holds the corpus and a rule for what to
delete; whoever wants it writes fsspec's own cache before the URL, `simplecache::s3://bucket/...`,
and nothing here changes. What a request costs is waiting, which more `run.workers` hide.

    data = read_bytes("s3://bucket/shard-00003.tar", (512, 48_321))
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from speechx.errors import UserError

Part = tuple[int, int]
"""Offset and size, in bytes."""

SILENCE_SECONDS = 30.0
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")


def is_url(path: str | Path) -> bool:
    """Whether a string names something that fsspec reads. A `Path` is a local file."""
    return isinstance(path, str) and SCHEME.match(path) is not None


def source_name(path: str | Path, part: Part | None = None) -> str:
    """What messages call it."""
    return str(path) if part is None else f"{path}[{part[0]}+{part[1]}]"


def read_bytes(path: str | Path, part: Part | None = None) -> bytes:
    """The bytes of a file, or a part of it; a UserError if it cannot be had or is too short."""
    name = source_name(path, part)
    data = _remote(str(path), part, name) if is_url(path) else _local(path, part, name)
    if part is not None and len(data) != part[1]:
        raise UserError(
            f"{name}: the file ends within these bytes ({len(data)} of {part[1]} are there); "
            "was it copied whole?"
        )
    return data


def _local(path: str | Path, part: Part | None, name: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            if part is None:
                return file.read()
            # A manifest can claim any place and size: no more than the file has is asked for.
            there = os.fstat(file.fileno()).st_size
            file.seek(min(part[0], there))
            return file.read(min(part[1], max(0, there - part[0])))
    except OSError as error:
        raise UserError(f"{name}: cannot be read as audio: {error.strerror}.") from error


def _patience(url: str) -> dict[str, Any]:
    """Settings of fsspec: web servers may be silent for five minutes otherwise, other stores have
    limits of their own."""
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
            f"{name}: URLs are read with fsspec, which is not installed: pip install fsspec"
        ) from None
    try:
        system, path = fsspec.url_to_fs(url, **_patience(url))
        if part is None:
            return system.cat_file(path)
        return system.cat_file(path, part[0], part[0] + part[1])
    except TimeoutError as error:
        why = f"nothing came for {SILENCE_SECONDS:g} s"
        raise UserError(f"{name}: cannot be read: {why}") from error
    except Exception as error:  # every store has its own; all of them are about this file
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{name}: cannot be read: {why}") from error
