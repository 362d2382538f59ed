"""Which manifests are examined, and their utterances as a stream.

The name of a split is the stem of its file.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from speechx.corpora.engine.problems import Problem
from speechx.data.manifest import EMPTY, UNIQUE, Utterance, is_manifest, read_lines
from speechx.errors import UserError

EVALUATION_WORDS = ("test", "eval", "dev", "valid", "validation")
TRAINING = "train"
USES = ("training", "evaluation", "neither")
TABLES = frozenset((".tsv", ".csv", ".txt"))


def find_manifests(paths: Iterable[Path | str]) -> list[Path]:
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
    return sorted(found.values(), key=lambda path: (_order(path.stem), path))


def use_of(split: str) -> str:
    """One of `USES`. Only whole words count, so `validated` of CommonVoice is not for evaluation;
    `train_dev` is, as in Kaldi's recipes."""
    words = _words(split)
    if not words.isdisjoint(EVALUATION_WORDS):
        return "evaluation"
    return "training" if TRAINING in words else "neither"


def for_evaluation(split: str) -> bool:
    return use_of(split) == "evaluation"


def describe_use(manifests: Iterable[Path]) -> str:
    """Which manifests count as training and which as evaluation, by the words of their names."""
    uses: dict[str, list[str]] = {use: [] for use in USES}
    for split, count in sorted(Counter(manifest.stem for manifest in manifests).items()):
        uses[use_of(split)].append(split if count == 1 else f"{split} ({count})")
    listed = "; ".join(f"{use}: {', '.join(names)}" for use, names in uses.items() if names)
    return f"Use of the manifests, by their names: {listed}."


def _words(split: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", split.lower()))


def _order(split: str) -> int:
    order = (*EVALUATION_WORDS, TRAINING)
    return next((i for i, name in enumerate(order) if name in _words(split)), len(order))


Numbered = tuple[int, Path, Utterance]


def stream(manifests: Sequence[Path]) -> Iterator[tuple[Path, Utterance | Problem]]:
    """All utterances in order; a `Problem` for a line that is not one."""
    for manifest in manifests:
        ids: set[int] = set()
        number = 0
        try:
            for line in read_lines(manifest):
                number, found = line.number, line.found
                if isinstance(found, Utterance) and hash(found.id) not in ids:
                    ids.add(hash(found.id))
                    yield manifest, found
                    continue
                why = str(found)
                if isinstance(found, Utterance):
                    why = f"id {found.id!r} is on an earlier line too; {UNIQUE}"
                yield manifest, Problem(f"{manifest}:{number}", why)
        except UserError as error:
            yield manifest, Problem.of(error, manifest)
        else:
            if not number:
                yield manifest, Problem(str(manifest), EMPTY)


def numbered(manifests: Sequence[Path]) -> Iterator[Numbered]:
    """All utterances with their numbers; unreadable lines are not counted."""
    whole = ((m, u) for m, u in stream(manifests) if isinstance(u, Utterance))
    return ((number, m, u) for number, (m, u) in enumerate(whole))


def select(manifests: Sequence[Path], wanted: Iterable[int]) -> dict[int, Numbered]:
    """The utterances with these numbers, read from the manifests again."""
    wanted = set(wanted)
    return {job[0]: job for job in numbered(manifests) if job[0] in wanted} if wanted else {}
