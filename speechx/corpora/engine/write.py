"""From utterances that a reader has listed to manifests: the way that all corpora go.

`finish` measures files whose length is not known, refuses or lists what cannot be used, writes
`<language>/<split>.jsonl` and logs how much there is. Preparing again opens no file that has not
changed, and rewrites no manifest that would be the same. `manifests.txt` names the manifests
written here: a later preparation removes those that it does not have.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechx.audio.sources import Part
from speechx.corpora.engine.archives import examine_source
from speechx.corpora.engine.copies import Found, Piece
from speechx.corpora.engine.measure import Listed, Rules, check_longest, measure_each
from speechx.corpora.engine.paths import check_name
from speechx.corpora.engine.preparation import SPLITS, UNLABELLED, Preparation
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.processes import FILES_A_TURN
from speechx.data.manifest import claim, write_manifest
from speechx.data.utterance import Utterance, hours
from speechx.errors import UserError
from speechx.log import logger
from speechx.whole_file import remove_leftovers, whole_file, write_whole

WRITTEN = "manifests.txt"

UtteranceKey = tuple[str, str]
"""The split and the id."""

Counts = dict[str, dict[str, int]]
"""Utterances by language and split."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where manifests are written, and how bad files are treated."""

    folder: Path
    """The folder of all languages; each has a folder of its own in it."""
    allow_missing: bool = False
    """A file that is absent, empty or broken is left out, counted, and listed in `missing.txt` or
    `corrupt.txt` beside the manifests; otherwise it is a `UserError` that names it."""
    convert: bool = False
    """Manifests list 16 kHz mono FLAC copies in `<language>/audio`; existing copies are kept."""

    def __post_init__(self) -> None:  # a string is taken too
        object.__setattr__(self, "folder", Path(self.folder))


def finish(
    preparations: Iterable[Preparation],
    out: Output,
    source: str | Callable[[str], str],
    longest: float = math.inf,
) -> Counts:
    """Writes `out/<language>/<split>.jsonl`; returns how many utterances each split has, as every
    `prepare` of a reader does.

    `source` names the corpus and its release, for all languages or for each. Recordings without
    labels that are longer than `longest` seconds become stretches of equal length.
    """
    check_longest(longest)
    counts: Counts = {}
    for found in preparations:
        for name in (found.language, *found.splits):
            check_name(name)
        if not out.allow_missing:
            _refuse_problems(found)
        folder = out.folder / found.language
        copies = folder / "audio"
        if not (any(found.splits.values()) or found.missing or found.corrupt or folder.exists()):
            counts[found.language] = {}  # nor is it claimed: the right corpus may come next
            logger.info(_report(found))
            continue
        owner = source if isinstance(source, str) else source(found.language)
        if out.convert or folder.exists():  # otherwise once nothing can be refused any more
            claim(folder, owner)
        rules = Rules(longest, copies if out.convert else None, found.whole_files)
        _measure(found, folder, rules)
        if not out.allow_missing:
            _refuse_problems(found)
        claim(folder, owner)
        counts[found.language] = _write(found, folder)
        if not out.convert and copies.is_dir():  # back to the slow originals
            unused = f"{copies} has copies of an earlier --convert, which are not used now"
            logger.info(f"{found.language}: {unused}")
        logger.info(_report(found))
    if not any(counts.values()):
        raise UserError(f"no usable utterance is listed for {', '.join(counts) or 'any language'}.")
    return counts


def _measure(found: Preparation, folder: Path, rules: Rules) -> None:
    """Gives every utterance its length, and its copy if copies are wanted; lists those that cannot
    be used."""
    for place in (folder, rules.copies) if rules.copies else (folder,):
        remove_leftovers(place)
    found.measured.read(folder)
    what = f"{found.language}: {'opened' if rules.copies is None else 'converted'}"
    turn = FILES_A_TURN if rules.copies is None else 1

    def arguments(places: Sequence[UtteranceKey]) -> tuple[Listed, Rules]:
        return [(found.splits[s][id], found.channels.get((s, id))) for s, id in places], rules

    results = measure_each(examine_source, _by_file(found), arguments, found.measured, what, turn)
    for places, pieces in results:
        _take(found, places, pieces)


def _by_file(found: Preparation) -> list[tuple[UtteranceKey, ...]]:
    places: dict[tuple[Path | str, Part | None], list[UtteranceKey]] = {}
    for split, listed in found.splits.items():
        for u in listed.values():
            places.setdefault((u.audio, u.bytes), []).append((split, u.id))
    return list(map(tuple, places.values()))  # half as large


def _take(found: Preparation, places: Sequence[UtteranceKey], results: Sequence[Found]) -> None:
    for (split, id), pieces in zip(places, results, strict=True):
        utterances = found.splits[split]
        u = utterances[id]
        if isinstance(pieces, Problem):
            del utterances[id]
            where = pieces.where or found.places.get(split, {}).get(id) or str(u.audio)
            problem = Problem(where, pieces.why)
            if found.corrupt[-1:] != [problem]:
                found.corrupt.append(problem)
        elif len(pieces) == 1:
            utterances[id] = _of(pieces[0], u)
        else:
            del utterances[id]
            for piece in pieces:
                if piece.id in utterances:
                    found.left_out["stretches with the id of another utterance"] += 1
                else:
                    utterances[piece.id] = _of(piece, u)


def _of(piece: Piece, u: Utterance) -> Utterance:
    """A copy is a file of its own, even if it is of a part of one."""
    return piece.of(u if piece.copy is None else replace(u, bytes=None))


def _refuse_problems(found: Preparation) -> None:
    bad = found.missing + found.corrupt
    if not bad:
        return
    more = f" (and {len(bad) - 1} more of language {found.language})" if len(bad) > 1 else ""
    why = f"no such file, but it is {bad[0].why}" if found.missing else bad[0].why
    raise UserError(
        f"{bad[0].where}: {why}{more}; --allow-missing leaves such files out, counted and listed."
    )


def _write(found: Preparation, folder: Path) -> dict[str, int]:
    """Writes manifests and lists; removes files of an earlier run that would now be empty."""
    splits = _in_order(split for split, utterances in found.splits.items() if utterances)
    names = [f"{split}.jsonl" for split in splits]
    for name in _written_before(folder):
        if name not in names:
            (folder / name).unlink(missing_ok=True)
    _write_lines(folder / WRITTEN, names)  # first: what a stopped run wrote is known to be ours
    for split, name in zip(splits, names, strict=True):
        with whole_file(folder / name, keep_equal=True) as new:
            write_manifest(new, found.of(split))
    for name, bad in (("missing.txt", found.missing), ("corrupt.txt", found.corrupt)):
        if bad:
            _write_lines(folder / name, [f"{problem.where}\t{problem.why}" for problem in bad])
        else:
            (folder / name).unlink(missing_ok=True)
    found.measured.write(folder)
    return {split: len(found.splits[split]) for split in splits}


def _written_before(folder: Path) -> list[str]:
    """The manifests that earlier preparations wrote into the folder; others are a person's."""
    note = folder / WRITTEN
    lines = note.read_text(encoding="utf-8").splitlines() if note.is_file() else []
    return [name for name in lines if name.endswith(".jsonl") and Path(name).name == name]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    write_whole(path, "".join(f"{line}\n" for line in lines), keep_equal=True)


def _in_order(splits: Iterable[str]) -> Sequence[str]:
    usual = (*SPLITS, UNLABELLED)
    return sorted(splits, key=lambda s: (usual.index(s) if s in usual else len(usual), s))


def _report(found: Preparation) -> str:
    """One line: what was written, and how many rows of the tables were not."""
    parts = []
    for split in _in_order({*found.splits, *found.notes}):
        listed = found.splits.get(split, {})
        if listed or split in found.notes:
            amount = hours(sum(u.duration for u in listed.values()))
            note = found.notes.get(split, "")
            note = note() if callable(note) else note
            parts.append(f"{split} {len(listed)} ({amount} h{f', {note}' if note else ''})")
    line = f"{found.language}: {', '.join(parts) or 'nothing'}"
    reasons = {
        "missing (missing.txt)": len(found.missing),
        "corrupt (corrupt.txt)": len(found.corrupt),
        **found.left_out,
    }
    left_out = [f"{number} {why}" for why, number in reasons.items() if number]
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line
