"""Which manifests are examined, and their utterances as a stream."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechx.data.manifest import EMPTY, SUFFIXES, UNIQUE, Utterance, read_lines
from speechx.errors import UserError

EVALUATION = ("dev", "test", "eval", "valid")
NO_SPEECH = "no-speech"  # what BABEL marks as pauses: silent by design
ORDER = ("test", "eval", "dev", "valid", "train")


@dataclass(frozen=True, slots=True)
class Shelf:
    """A manifest; its split is its file's name."""

    path: Path
    split: str


def shelves(paths: Iterable[Path]) -> list[Shelf]:
    """The manifests given, and all under the folders given: test, dev, train, then the rest.

    What is kept of two equal recordings is the one met first, so that a test set stays whole.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        inside = [path]
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if p.suffix in SUFFIXES and p.is_file()]
            if not inside:
                raise UserError(f"{path}: no manifest (*.jsonl, *.parquet) is in this folder")
        elif not path.exists():
            raise UserError(f"{path}: no such manifest or folder")
        for file in inside:
            found.setdefault(os.path.realpath(file), file)
    return sorted(
        (Shelf(p, p.stem) for p in found.values()),
        key=lambda shelf: (_order(shelf.split), shelf.path),
    )


def for_evaluation(split: str) -> bool:
    """Whether a split is there to score with."""
    return split.startswith(EVALUATION)


def for_training(split: str) -> bool:
    return split.startswith("train")


def stream(some: Sequence[Shelf]) -> Iterator[tuple[Shelf, Utterance | str]]:
    """All utterances in order, and what is wrong with the lines that are none."""
    for shelf in some:
        ids: set[int] = set()
        number = 0
        try:
            for line in read_lines(shelf.path):
                number = line.number
                found = line.found
                if not isinstance(found, str):
                    if hash(found.id) in ids:
                        found = f"id {found.id!r} stands on an earlier line; {UNIQUE}"
                    else:
                        ids.add(hash(found.id))
                yield shelf, f"{shelf.path}:{number}: {found}" if isinstance(found, str) else found
        except UserError as error:
            yield shelf, str(error)
        else:
            if not number:
                yield shelf, f"{shelf.path}: {EMPTY}"


def pick(some: Sequence[Shelf], wanted: Collection[int]) -> dict[int, tuple[Shelf, Utterance]]:
    """The utterances with these numbers (lines that are none are not counted), read once more."""
    if not wanted:
        return {}
    wanted = set(wanted)
    whole = ((shelf, u) for shelf, u in stream(some) if not isinstance(u, str))
    return {i: found for i, found in enumerate(whole) if i in wanted}


def _order(split: str) -> int:
    return next((i for i, name in enumerate(ORDER) if split.startswith(name)), len(ORDER))
