"""What miniature trees of corpora are built of."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechx.corpora.engine.rows import OwnData
from speechx.corpora.engine.write import Counts, Output
from speechx.data.manifest import Utterance, read_manifest
from speechx.log import logger


def sound(path: Path, seconds: float = 0.5, rate: int = 16_000, channels: int = 1) -> Path:
    """Quiet noise in the format of the file's suffix, another in every channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise_SC = np.random.default_rng(len(path.stem)).uniform(-0.1, 0.1, (
        round(seconds * rate), channels
    ))  # fmt: skip
    format = {".opus": "OGG", ".sph": "NIST"}.get(path.suffix)
    subtype = {".opus": "OPUS", ".sph": "PCM_16"}.get(path.suffix)
    soundfile.write(path, noise_SC, rate, format=format, subtype=subtype)
    return path


def lines(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def read(out: Path, language: str, split: str) -> dict[str, Utterance]:
    return {u.id: u for u in read_manifest(out / language / f"{split}.jsonl")}


def of_own_data(prepare: Callable[[Path, Output, OwnData], Counts]) -> Callable[..., Counts]:
    """`prepare` with the fields of `OwnData` as arguments."""
    return lambda root, out, language=None, **own: prepare(root, out, OwnData(language, **own))


_WATCHED: dict[str, list[str]] = {}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _WATCHED and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.realpath(os.fsdecode(arguments[0])) if arguments[0] else ""
        for below, found in _WATCHED.items():
            if path.startswith(below):
                found.append(path)


sys.addaudithook(_watch)


@contextmanager
def opened(below: Path) -> Iterator[list[str]]:
    """What this process opens below a folder, or of a file, from here on."""
    _WATCHED[str(below)] = found = []
    try:
        yield found
    finally:
        del _WATCHED[str(below)]


@contextmanager
def logged() -> Iterator[list[str]]:
    """The messages of speechx from here on."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
