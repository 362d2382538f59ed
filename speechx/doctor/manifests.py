"""Which manifests are examined, and their utterances as a stream."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechx.corpora.engine.problems import Problem
from speechx.data.manifest import EMPTY, UNIQUE, Utterance, is_manifest, read_lines
from speechx.errors import UserError

EVALUATION_WORDS = ("test", "eval", "dev", "valid", "validation")
TRAINING = "train"
TABLES = frozenset((".tsv", ".csv", ".txt"))


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest; the name of its split is the name of the file."""

    path: Path

    @property
    def split(self) -> str:
        return self.path.stem


def find_manifests(paths: Iterable[Path | str]) -> list[ManifestFile]:
    """The given manifests, and all under the given folders: test, dev, train, then the others.

    Of two equal recordings the first is kept, so this order keeps a test set whole.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"{path}: no such manifest or folder")
        if path.suffix.lower() in TABLES:
            raise UserError(
                f"{path}: a table of a corpus; a manifest (*.jsonl, *.parquet) was expected, "
                "which `speechx data prepare` makes"
            )
        inside = sorted(filter(is_manifest, path.rglob("*"))) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path}: no manifest (*.jsonl, *.parquet) in this folder")
        for file in inside:
            found.setdefault(os.path.realpath(file), file)
    return sorted(map(ManifestFile, found.values()), key=lambda m: (_order(m.split), m.path))


def for_evaluation(split: str) -> bool:
    """Whether a split is for scoring. Only whole words count, so `validated` of CommonVoice is
    not; `train_dev` is, as in Kaldi's recipes."""
    return not set(EVALUATION_WORDS).isdisjoint(_words(split))


def for_training(split: str) -> bool:
    return TRAINING in _words(split) and not for_evaluation(split)


def describe_use(manifests: Iterable[ManifestFile]) -> str:
    """Which manifests count as training and which as evaluation, by the words of their names."""
    uses: dict[str, list[str]] = {"training": [], "evaluation": [], "neither": []}
    for split, count in sorted(Counter(manifest.split for manifest in manifests).items()):
        use = ("evaluation" if for_evaluation(split)
               else "training" if for_training(split) else "neither")  # fmt: skip
        uses[use].append(split if count == 1 else f"{split} ({count})")
    listed = "; ".join(f"{use}: {', '.join(names)}" for use, names in uses.items() if names)
    return f"Use of the manifests, by their names: {listed}."


def _words(split: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", split.lower())


def _order(split: str) -> int:
    order = (*EVALUATION_WORDS, TRAINING)
    return next((i for i, name in enumerate(order) if name in _words(split)), len(order))


Numbered = tuple[int, ManifestFile, Utterance]


def stream(
    manifests: Sequence[ManifestFile],
) -> Iterator[tuple[ManifestFile, Utterance | Problem]]:
    """All utterances in order; a `Problem` for a line that is not one."""
    for manifest in manifests:
        ids: set[int] = set()
        number = 0
        try:
            for line in read_lines(manifest.path):
                number, found = line.number, line.found
                if isinstance(found, Utterance) and hash(found.id) not in ids:
                    ids.add(hash(found.id))
                    yield manifest, found
                    continue
                why = str(found)
                if isinstance(found, Utterance):
                    why = f"id {found.id!r} is on an earlier line too; {UNIQUE}"
                yield manifest, Problem(f"{manifest.path}:{number}", why)
        except UserError as error:
            yield manifest, Problem.of(error, manifest.path)
        else:
            if not number:
                yield manifest, Problem(str(manifest.path), EMPTY)


def numbered(manifests: Sequence[ManifestFile]) -> Iterator[Numbered]:
    """All utterances with their numbers; unreadable lines are not counted."""
    whole = ((m, u) for m, u in stream(manifests) if isinstance(u, Utterance))
    return ((number, m, u) for number, (m, u) in enumerate(whole))


def select(manifests: Sequence[ManifestFile], wanted: Iterable[int]) -> dict[int, Numbered]:
    """The utterances with these numbers, read from the manifests again."""
    wanted = set(wanted)
    return {job[0]: job for job in numbered(manifests) if job[0] in wanted} if wanted else {}
