"""Which manifests are examined, and their utterances as a stream."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechx.data.manifest import Utterance, read_manifest_in_part
from speechx.errors import UserError

SUFFIXES = (".jsonl", ".parquet")
EVALUATION = ("dev", "test", "eval", "valid")
ORDER = ("test", "eval", "dev", "valid", "train")


@dataclass(frozen=True, slots=True)
class Shelf:
    """A manifest; its split is its file's name."""

    path: Path

    @property
    def split(self) -> str:
        return self.path.stem


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
    return sorted(map(Shelf, found.values()), key=lambda shelf: (_order(shelf.split), shelf.path))


def for_evaluation(split: str) -> bool:
    """Whether a split is there to score with."""
    return split.startswith(EVALUATION)


def for_training(split: str) -> bool:
    return split.startswith("train")


def stream(some: Sequence[Shelf]) -> Iterator[tuple[Shelf, Utterance | str]]:
    """All utterances in order, and what is wrong with the lines that are none."""
    for shelf in some:
        utterances, problems = read_manifest_in_part(shelf.path)
        yield from ((shelf, problem) for problem in problems)
        yield from ((shelf, utterance) for utterance in utterances)


def pick(some: Sequence[Shelf], wanted: Collection[int]) -> dict[int, tuple[Shelf, Utterance]]:
    """The utterances with these numbers (lines that are none are not counted), read once more."""
    if not wanted:
        return {}
    wanted = set(wanted)
    whole = ((shelf, u) for shelf, u in stream(some) if not isinstance(u, str))
    return {i: found for i, found in enumerate(whole) if i in wanted}


def _order(split: str) -> int:
    return next((i for i, name in enumerate(ORDER) if split.startswith(name)), len(ORDER))


def corpus_of(u: Utterance) -> str:
    return getattr(u, "corpus", None) or u.extra.get("corpus") or ""


def part_of(u: Utterance) -> tuple[int, int] | None:
    return getattr(u, "bytes", None)
