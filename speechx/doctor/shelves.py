"""Which manifests are examined, and their utterances as a stream."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechx.data.manifest import EMPTY, UNIQUE, Utterance, is_manifest, read_lines
from speechx.errors import UserError

EVALUATION = frozenset(("test", "eval", "dev", "valid", "validation"))
TRAINING = "train"
TABLES = frozenset((".tsv", ".csv", ".txt"))
NO_SPEECH = "no-speech"  # what BABEL marks as pauses: silent by design
ORDER = ("test", "eval", "dev", "valid", "validation", TRAINING)


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
            inside = sorted(filter(is_manifest, path.rglob("*")))
            if not inside:
                raise UserError(f"{path}: no manifest (*.jsonl, *.parquet) is in this folder")
        elif not path.exists():
            raise UserError(f"{path}: no such manifest or folder")
        elif path.suffix.lower() in TABLES:
            raise UserError(
                f"{path}: a table of a corpus; manifests (*.jsonl, *.parquet) are examined, and "
                "`speechx data prepare` makes them"
            )
        for file in inside:
            found.setdefault(os.path.realpath(file), file)
    return sorted(
        (Shelf(p, p.stem) for p in found.values()),
        key=lambda shelf: (_order(shelf.split), shelf.path),
    )


def for_evaluation(split: str) -> bool:
    """Whether a split is there to score with: by whole words, so that CommonVoice's `validated`
    is not. `train_dev` is, as in Kaldi's recipes."""
    return not EVALUATION.isdisjoint(_words(split))


def for_training(split: str) -> bool:
    return TRAINING in _words(split) and not for_evaluation(split)


def uses(some: Iterable[Shelf]) -> str:
    """What the manifests were taken for, by the words of their names."""
    counts = Counter(shelf.split for shelf in some)
    sides: dict[str, list[str]] = {"training": [], "evaluation": [], "neither": []}
    for split, count in sorted(counts.items()):
        use = (
            "evaluation" if for_evaluation(split) else "training" if for_training(split)
            else "neither"
        )  # fmt: skip
        sides[use].append(split if count == 1 else f"{split} ({count})")
    told = "; ".join(f"for {use}: {', '.join(names)}" for use, names in sides.items() if names)
    return f"By their names manifests are taken {told}."


def _words(split: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", split.lower())


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
    words = _words(split)
    return next((i for i, name in enumerate(ORDER) if name in words), len(ORDER))
