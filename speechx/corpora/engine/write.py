"""From what a reader has listed to manifests: the way that all corpora go.

`finish` measures what has no duration yet, refuses or lists what cannot be used, writes
`<language>/<split>.jsonl` and says how much there is of what. Preparing again what has not changed
writes nothing but `manifests.txt`, and opens no file but recordings that are cut into stretches or,
without copies, of which one channel is asked for. `manifests.txt` names the manifests written here:
of those, what a later preparation does not have is removed.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from speechx.corpora.engine.copies import Found, Problem
from speechx.corpora.engine.earlier import (
    Written,
    claims,
    known_before,
    note_written,
    written_before,
)
from speechx.corpora.engine.measure import by_file, check_longest, measure, watched
from speechx.corpora.engine.paths import check_name
from speechx.corpora.engine.preparation import SPLITS, UNLABELLED, Preparation
from speechx.data.manifest import Utterance, claim, write_manifest
from speechx.data.utterance import hours
from speechx.errors import UserError
from speechx.log import logger
from speechx.whole_file import remove_leftovers, whole_file


@dataclass(frozen=True, slots=True)
class Output:
    """Where manifests are written, and with what care."""

    folder: Path
    """Of all languages; each has a folder of its own in it."""
    allow_missing: bool = False
    """A file that is absent, empty or broken is left out, counted, and listed in `missing.txt` or
    `corrupt.txt` beside the manifests; otherwise it is a `UserError` that names it."""
    convert: bool = False
    """16 kHz mono FLAC copies are written into `<language>/audio`, and those are listed; copies
    already there are kept."""

    def __post_init__(self) -> None:  # a string is taken too
        object.__setattr__(self, "folder", Path(self.folder))


def finish(
    preparations: Iterable[Preparation],
    out: Output,
    source: str | Callable[[str], str],
    longest: float = math.inf,
) -> dict[str, dict[str, int]]:
    """Writes the manifests of all languages; returns how many utterances each split has.

    `source` names the corpus and its release, of all languages or of each. Without labels, what is
    longer than `longest` seconds becomes stretches of equal length.
    """
    check_longest(longest)
    counts: dict[str, dict[str, int]] = {}
    for some in preparations:
        for name in (some.language, *some.splits):
            check_name(name)
        if not out.allow_missing:
            _refuse(some)
        folder = out.folder / some.language
        copies = folder / "audio"
        if not (any(some.splits.values()) or some.missing or some.corrupt or folder.exists()):
            counts[some.language] = {}  # nor is it claimed: the right corpus may come next
            logger.info(_report(some))
            continue
        owner = source if isinstance(source, str) else source(some.language)
        if out.convert or folder.exists():  # else after all that could be refused
            claim(folder, owner)
        listed = claims(some.splits)
        _measure(some, folder, copies if out.convert else None, longest)
        if not out.allow_missing:
            _refuse(some)
        claim(folder, owner)
        counts[some.language] = _write(some, folder, listed)
        if not out.convert and copies.is_dir():  # back to the slow originals
            unused = f"{copies} has copies of an earlier --convert, which are not used now"
            logger.info(f"{some.language}: {unused}")
        logger.info(_report(some))
    if not any(counts.values()):
        raise UserError(f"no usable utterance is listed for {', '.join(counts) or 'any language'}.")
    return counts


def _measure(some: Preparation, folder: Path, copies: Path | None, longest: float) -> None:
    """Gives every utterance its length, and lists those that cannot be used; with a folder
    `copies`, makes and uses copies.

    What an earlier run listed in `folder` and has not changed since is not opened again.
    """
    for place in (folder, copies) if copies else (folder,):
        remove_leftovers(place)
    todo, number = by_file(some.splits, known_before(some.splits, folder, copies, longest))
    asked: deque[list[tuple[str, Utterance]]] = deque()

    def of_each_file() -> Iterator[list[Utterance]]:
        listed = ((split, some.splits[split][id]) for split, id in todo)
        for _, group in groupby(listed, key=lambda at: at[1].audio):
            asked.append(list(group))
            yield [u for _, u in asked[-1]]

    results = measure(of_each_file(), longest, copies, some.whole_files)
    what = f"{some.language}: {'opened' if copies is None else 'converted'}"
    for of_a_file in watched(results, number, what):
        for (split, u), found in zip(asked.popleft(), of_a_file, strict=True):
            _take(some, split, u, found)


def _take(some: Preparation, split: str, u: Utterance, found: Found) -> None:
    """Puts in the place of `u` what was found of it."""
    utterances = some.splits[split]
    if isinstance(found, Problem):
        del utterances[u.id]
        place = some.places.get(split, {}).get(u.id, "") if found.of_segment else ""
        entry = (Path(place or u.audio), found.why)
        if not some.corrupt or some.corrupt[-1] != entry:
            some.corrupt.append(entry)
    elif len(found) == 1:
        utterances[u.id] = found[0].of(u)
    else:
        del utterances[u.id]
        for piece in found:
            if piece.id in utterances:
                some.left_out["stretches with the id of another utterance"] += 1
            else:
                utterances[piece.id] = piece.of(u)


def _refuse(some: Preparation) -> None:
    """The first file that cannot be used, by name."""
    bad = some.missing + some.corrupt
    if not bad:
        return
    path, why = bad[0]
    more = f" (and {len(bad) - 1} more of language {some.language})" if len(bad) > 1 else ""
    what = f"no such file, but it is {why}" if some.missing else why
    raise UserError(
        f"{path}: {what}{more}; --allow-missing leaves such files out, counted and listed."
    )


def _write(some: Preparation, folder: Path, listed: str) -> dict[str, int]:
    """Manifests and lists; those of an earlier run that would now be empty are removed. `listed`
    are the `claims` of the tables."""
    splits = _in_order(split for split, utterances in some.splits.items() if utterances)
    names = [f"{split}.jsonl" for split in splits]
    before = written_before(folder)
    for name in before.manifests:
        if name not in names:
            (folder / name).unlink(missing_ok=True)
    now = Written(names, listed)
    if now != before:
        note_written(folder, now._replace(claims=""))
    for split, name in zip(splits, names, strict=True):
        with whole_file(folder / name, keep_equal=True) as new:
            write_manifest(new, some.of(split))
    for name, bad in (("missing.txt", some.missing), ("corrupt.txt", some.corrupt)):
        if bad:
            lines = "".join(f"{path}\t{why}\n" for path, why in bad)
            with whole_file(folder / name, keep_equal=True) as new:
                new.write_text(lines, encoding="utf-8", errors="backslashreplace")
        else:
            (folder / name).unlink(missing_ok=True)
    note_written(folder, now)
    return {split: len(some.splits[split]) for split in splits}


def _in_order(splits: Iterable[str]) -> Sequence[str]:
    usual = (*SPLITS, UNLABELLED)
    return sorted(splits, key=lambda s: (usual.index(s) if s in usual else len(usual), s))


def _report(some: Preparation) -> str:
    """One line: what was written, and how many rows of the tables were not."""
    parts = []
    for split in _in_order({*some.splits, *some.notes}):
        listed = some.splits.get(split, {})
        if listed or split in some.notes:
            amount = hours(sum(u.duration for u in listed.values()))
            said = some.notes.get(split, "")
            note = said() if callable(said) else said
            note = f", {note}" if note else ""
            parts.append(f"{split} {len(listed)} ({amount} h{note})")
    line = f"{some.language}: {', '.join(parts) or 'nothing'}"
    reasons = {
        "missing (missing.txt)": len(some.missing),
        "corrupt (corrupt.txt)": len(some.corrupt),
        **some.left_out,
    }
    left_out = [f"{number} {why}" for why, number in reasons.items() if number]
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line
