"""What every corpus goes through on its way to manifests.

A reader turns its own tables into utterances of one `Preparation` per language; `finish` does what
all corpora share: measures what has no duration yet, refuses or lists what cannot be used, writes
`out/<language>/<split>.jsonl` and says how much there is of what.

    some = Preparation("es")
    some.add("train", Utterance(id="c1", audio=inside(root, "clips/c1.mp3"), duration=0.0, ...))
    finish([some], out, source="CommonVoice cv-corpus-17.0-2024-03-15", log=log)

A duration of 0 is one that is not known yet. An utterance whose `extra` has a `channel` (from 0) is
that channel of its file alone. Preparing again what has not changed touches no manifest, and opens
no file but recordings that are cut into stretches. `manifests.txt` names the manifests written
here: of those, what a later preparation does not have is removed.

A language is held in memory until it is written: 1.3 kB for a clip of CommonVoice.
"""

import filecmp
import math
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path

from speechx.corpora.copies import Found, Problem
from speechx.corpora.earlier import WRITTEN, known_before, written_before
from speechx.corpora.measuring import LONGEST, SHORTEST, by_file, measure, watched
from speechx.corpora.measuring import PROCESSES as PROCESSES
from speechx.corpora.names import check_name, inside
from speechx.data.manifest import Utterance, claim, write_manifest
from speechx.errors import UserError

SPLITS = ("train", "dev", "test")
UNLABELLED = "unlabelled"
MOST_SHARED = 1 << 16  # strings


@dataclass(slots=True)
class Preparation:
    """One language of a corpus as it is listed, and what of it cannot be used."""

    language: str
    corpus: str | None = None
    """Of all its utterances that do not say so themselves."""
    release: str = ""
    named: str = ""
    """What the corpus calls the language; kept where that is not `language`."""
    splits: dict[str, dict[str, Utterance]] = field(default_factory=dict)
    """Split to id to utterance."""
    missing: list[tuple[Path, str]] = field(default_factory=list)
    """Files that are listed and not there, and where they are listed."""
    corrupt: list[tuple[Path, str]] = field(default_factory=list)
    """Files, or lines of tables, that cannot be read, and why."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What else was left out: why, and how many."""
    notes: dict[str, str | Callable[[], str]] = field(default_factory=dict)
    """What the report adds about a split; a function is called when all durations are known."""

    places: dict[str, dict[str, str]] = field(default_factory=dict)
    """Where a segment is listed, by split and id, as in train.tsv:3."""
    shared: dict[str, str] = field(default_factory=dict)
    """Strings that many utterances have, each once."""

    def add(self, split: str, utterance: Utterance, place: str = "") -> None:
        """Lists it; the first of an id stays, others are counted.

        `place` is what to name if the segment is found not to be in its file."""
        start, duration = utterance.start, utterance.duration
        if not (0 <= start < LONGEST and (duration == 0 or SHORTEST <= duration < LONGEST)):
            self.refuse(place or str(utterance.audio), f"{duration:g} s from {start:g} s on")
            return
        listed = self.splits.setdefault(split, {})
        if utterance.id in listed:
            self.left_out["listed twice"] += 1
            return
        extra = {
            key: self._once(value) if isinstance(value, str) else value
            for key, value in utterance.extra.items()
        }
        listed[utterance.id] = replace(
            utterance,
            audio=str(utterance.audio),  # a third of the size of a Path
            speaker=utterance.speaker and self._once(utterance.speaker),
            extra=extra,
        )
        if place:
            self.places.setdefault(split, {})[utterance.id] = place

    def _once(self, text: str) -> str:
        if len(self.shared) == MOST_SHARED:
            self.shared.clear()
        return self.shared.setdefault(text, text)

    def of(self, split: str) -> Iterator[Utterance]:
        """The utterances of a split as they are written."""
        extra = {"release": self.release} if self.release else {}
        if self.named and self.named != self.language:
            extra["locale"] = self.named
        for u in self.splits.get(split, {}).values():
            if extra or self.corpus:
                u = replace(u, corpus=u.corpus or self.corpus, extra=extra | u.extra)
            yield u

    def refuse(self, place: str, why: str) -> None:
        """Lists a line of a table as one that cannot be used."""
        self.corrupt.append((Path(place), why))

    def file(self, root: Path, name: str, place: str) -> Path | None:
        """The file `name` below `root`, or None once it is listed as missing or corrupt."""
        try:
            path = inside(root, name, place)
        except UserError as error:
            self.refuse(place, str(error).removeprefix(f"{place}: "))
            return None
        return path if self.there(path, place) else None

    def there(self, path: Path, place: str) -> bool:
        """Whether it is a file with something in it; if not, it is listed."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            self.missing.append((path, f"listed in {place}"))
            return False
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait without end
            self.corrupt.append((path, f"not a file, but it is listed in {place}"))
        elif status.st_size == 0:
            self.corrupt.append((path, "the file is empty (0 bytes)"))
        else:
            return True
        return False


def finish(
    preparations: Iterable[Preparation],
    out: Path,
    source: str | Callable[[str], str],
    allow_missing: bool = False,
    convert: bool = False,
    log: Callable[[str], object] = print,
    longest: float = math.inf,
) -> dict[str, dict[str, int]]:
    """Writes the manifests of all languages; returns how many utterances each split has.

    `source` names the corpus and its release, of all languages or of each. `convert` also writes 16
    kHz mono FLAC copies into `out/<language>/audio` and lists those; copies already there are kept.
    Without labels, what is longer than `longest` seconds becomes stretches of equal length.
    A file that is absent, empty or broken is a `UserError` that names it, or with `allow_missing`
    is left out, counted, and listed in `missing.txt` or `corrupt.txt` beside the manifests.
    """
    counts: dict[str, dict[str, int]] = {}
    for some in preparations:
        for name in (some.language, *some.splits):
            check_name(name)
        if not allow_missing:
            _refuse(some)
        folder = Path(out) / some.language
        owner = source if isinstance(source, str) else source(some.language)
        if convert or folder.exists():  # else after all that could be refused
            claim(folder, owner)
        _measure(some, folder, folder / "audio" if convert else None, longest, log)
        if not allow_missing:
            _refuse(some)
        claim(folder, owner)
        counts[some.language] = _write(some, folder)
        _say_unused(some, folder / "audio", log)
        log(_report(some))
    if not any(counts.values()):
        raise UserError(f"no usable utterance is listed for {', '.join(counts) or 'any language'}.")
    return counts


def _say_unused(some: Preparation, copies: Path, log: Callable[[str], object]) -> None:
    """A second preparation without `convert` goes back to the slow originals: that is said."""
    used = any(
        Path(u.audio).is_relative_to(copies)
        for listed in some.splits.values()
        for u in islice(listed.values(), 1)
    )
    if copies.is_dir() and not used:
        log(f"{some.language}: {copies} has copies of an earlier --convert, which are not used now")


def _measure(
    some: Preparation,
    folder: Path,
    copies: Path | None,
    longest: float,
    log: Callable[[str], object],
) -> None:
    """Gives every utterance its length, and lists those that cannot be used; with a folder
    `copies`, makes and uses copies.

    What an earlier run listed in `folder` and has not changed since is not opened again.
    """
    todo, number = by_file(some.splits, known_before(some.splits, folder, copies))
    asked: deque[list[tuple[str, Utterance]]] = deque()

    def of_each_file() -> Iterator[list[Utterance]]:
        listed = ((split, some.splits[split][id]) for split, id in todo)
        for _, group in groupby(listed, key=lambda at: at[1].audio):
            asked.append(list(group))
            yield [u for _, u in asked[-1]]

    what = f"{some.language}: {'opened' if copies is None else 'converted'}"
    for results in watched(measure(of_each_file(), longest, copies), number, what, log):
        for (split, u), found in zip(asked.popleft(), results, strict=True):
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


def _write(some: Preparation, folder: Path) -> dict[str, int]:
    """Manifests and lists; those of an earlier run that would now be empty are removed."""
    splits = _in_order(split for split, utterances in some.splits.items() if utterances)
    names = [f"{split}.jsonl" for split in splits]
    before = written_before(folder)
    for name in before:
        if name not in names:
            (folder / name).unlink(missing_ok=True)
    if names != before:
        (folder / WRITTEN).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    for split, name in zip(splits, names, strict=True):
        _write_if_changed(folder / name, some.of(split))
    for name, bad in (("missing.txt", some.missing), ("corrupt.txt", some.corrupt)):
        if bad:
            lines = "".join(f"{path}\t{why}\n" for path, why in bad)
            (folder / name).write_text(lines, encoding="utf-8", errors="backslashreplace")
        else:
            (folder / name).unlink(missing_ok=True)
    return {split: len(some.splits[split]) for split in splits}


def _write_if_changed(path: Path, utterances: Iterable[Utterance]) -> None:
    """A manifest that says the same keeps its time, so that nothing is made from it anew."""
    if not path.is_file():
        write_manifest(path, utterances)
        return
    new = path.with_name(f".new.{path.name}")
    write_manifest(new, utterances)
    if filecmp.cmp(new, path, shallow=False):
        new.unlink()
    else:
        os.replace(new, path)


def _in_order(splits: Iterable[str]) -> Sequence[str]:
    usual = (*SPLITS, UNLABELLED)
    return sorted(splits, key=lambda s: (usual.index(s) if s in usual else len(usual), s))


def _report(some: Preparation) -> str:
    """One line: what was written, and how many rows of the tables were not."""
    parts = []
    for split in _in_order(some.splits):
        listed = some.splits[split]
        if listed or split in some.notes:
            hours = sum(u.duration for u in listed.values()) / 3600
            said = some.notes.get(split, "")
            note = said() if callable(said) else said
            note = f", {note}" if note else ""
            parts.append(f"{split} {len(listed)} ({hours:.2f} h{note})")
    line = f"{some.language}: {', '.join(parts) or 'nothing'}"
    reasons = {
        "missing (missing.txt)": len(some.missing),
        "corrupt (corrupt.txt)": len(some.corrupt),
        **some.left_out,
    }
    left_out = [f"{number} {why}" for why, number in reasons.items() if number]
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line
