"""What every corpus goes through on its way to manifests.

A reader turns its own tables into utterances of one `Preparation` per language; `finish` does what
all corpora share: measures what has no duration yet, refuses or lists what cannot be used, writes
`out/<language>/<split>.jsonl` and says how much there is of what.

    some = Preparation("es")
    some.add("train", Utterance(id="c1", audio=inside(root, "clips/c1.mp3"), duration=0.0, ...))
    finish([some], out, source="CommonVoice cv-corpus-17.0-2024-03-15", log=log)

A duration of 0 is one that is not known yet. Preparing again what has not changed opens no file and
touches no manifest.
"""

import filecmp
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from speechx.audio.files import audio_info, check_audio, read_audio, write_flac
from speechx.data.manifest import Utterance, claim, read_manifest_in_part, write_manifest
from speechx.errors import UserError

SPLITS = ("train", "dev", "test")
UNLABELLED = "unlabelled"
PROCESSES = min(8, os.cpu_count() or 1)
SECONDS_BETWEEN_PROGRESS = 10.0

T = TypeVar("T")


def inside(root: Path, name: str, where: str = "") -> Path:
    """`root/name`, or a UserError if that is outside of `root`: by `..`, as an absolute path, or
    through a symbolic link. `where` names the table and its line. `root` itself may be a link."""
    path = root / name
    try:
        stays = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a zero byte
        raise UserError(f"{where or root}: {name!r} cannot be a path: {error}") from None
    if not stays:
        raise UserError(
            f"{where or root}: {name!r} leads out of {root}, so it is not read; audio belongs "
            "inside that folder"
        )
    return path


@dataclass(slots=True)
class Preparation:
    """One language of a corpus as it is listed, and what of it cannot be used."""

    language: str
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

    def add(self, split: str, utterance: Utterance) -> None:
        """Lists it; the first of an id stays, others are counted."""
        listed = self.splits.setdefault(split, {})
        if utterance.id in listed:
            self.left_out["listed twice"] += 1
        else:
            listed[utterance.id] = utterance


def finish(
    preparations: Iterable[Preparation],
    out: Path,
    source: str | Callable[[str], str],
    allow_missing: bool = False,
    convert: bool = False,
    log: Callable[[str], object] = print,
) -> dict[str, dict[str, int]]:
    """Writes the manifests of all languages; returns how many utterances each split has.

    `source` names the corpus and its release, of all languages or of each. `convert` also writes 16
    kHz mono FLAC copies into `out/<language>/audio` and lists those; copies already there are kept.
    A file that is absent, empty or broken is a `UserError` that names it, or with `allow_missing`
    is left out, counted, and listed in `missing.txt` or `corrupt.txt` beside the manifests.
    """
    counts: dict[str, dict[str, int]] = {}
    for some in preparations:
        if not allow_missing:
            _refuse(some)
        folder = Path(out) / some.language
        claim(folder, source if isinstance(source, str) else source(some.language))
        _measure(some, folder, folder / "audio" if convert else None, log)
        if not allow_missing:
            _refuse(some)
        counts[some.language] = _write(some, folder)
        log(_report(some))
    if not any(counts.values()):
        raise UserError(f"no usable utterance is listed for {', '.join(counts) or 'any language'}.")
    return counts


def watched(
    results: Iterable[T], total: int, what: str, log: Callable[[str], object]
) -> Iterator[T]:
    """The results as they come, with a bar on a terminal and a line now and then elsewhere."""
    said = time.monotonic()
    for done, result in enumerate(tqdm(results, what, total, unit=" files", disable=None), start=1):
        if not sys.stderr.isatty() and time.monotonic() - said > SECONDS_BETWEEN_PROGRESS:
            said = time.monotonic()
            log(f"{what} {done} of {total} files")
        yield result


def _measure(
    some: Preparation, folder: Path, copies: Path | None, log: Callable[[str], object]
) -> None:
    """Opens every file and finds unknown durations; with a folder `copies`, makes and uses copies.

    A copy is of a segment if the utterance is one. Whole files take their length from the header.
    What an earlier run listed in `folder` and has not changed since is not opened again.
    """
    listed = _listed_before(folder)
    jobs = []
    for split, utterances in some.splits.items():
        for u in list(utterances.values()):
            target = None if copies is None else copies / f"{_file_name(u.id)}.flac"
            known = _known(u, target, listed)
            if known is None:
                jobs.append((split, u, target))
            else:
                utterances[u.id] = known
    if not jobs:
        return
    what = f"{some.language}: {'opened' if copies is None else 'converted'}"
    splits, utterances_to_open, targets = zip(*jobs, strict=True)
    with ProcessPoolExecutor(PROCESSES) as pool:
        measured = pool.map(_measure_one, utterances_to_open, targets, chunksize=16)
        results = list(watched(measured, len(jobs), what, log))
    for split, u, target, result in zip(splits, utterances_to_open, targets, results, strict=True):
        if isinstance(result, str):
            if (u.audio, result) not in some.corrupt:
                some.corrupt.append((u.audio, result))
            del some.splits[split][u.id]
        else:
            some.splits[split][u.id] = _measured(u, target, result)


def _measured(u: Utterance, copy: Path | None, seconds: float) -> Utterance:
    if copy is None:
        return replace(u, duration=seconds)
    return replace(u, audio=copy, start=0.0, duration=seconds)


def _listed_before(folder: Path) -> dict[tuple[str, float], tuple[float, float]]:
    """Audio and start of what manifests in `folder` list: its duration, and when it was listed."""
    listed = {}
    for manifest in folder.glob("*.jsonl"):
        when = manifest.stat().st_mtime
        for u in read_manifest_in_part(manifest)[0]:
            listed[str(u.audio), u.start] = (u.duration, when)
    return listed


def _known(
    u: Utterance, copy: Path | None, listed: Mapping[tuple[str, float], tuple[float, float]]
) -> Utterance | None:
    """The utterance as an earlier run measured it, if its file is older than the manifest then.

    The time of a file here is that of its last change of any kind (ctime), which unpacking an
    archive does not set back.
    """
    key = (os.path.abspath(u.audio if copy is None else copy), u.start if copy is None else 0.0)
    duration, when = listed.get(key, (0.0, 0.0))
    try:
        changed = os.stat(u.audio).st_ctime
        if copy is not None:
            changed = max(changed, os.stat(copy).st_ctime)
    except OSError:
        return None
    if not duration or changed >= when:
        return None
    return _measured(u, copy, u.duration if copy is None and u.duration else duration)


def _measure_one(u: Utterance, copy: Path | None) -> float | str:
    """Seconds of the utterance, copied if a file is named for it; or what is wrong with it."""
    try:
        if copy is None and u.duration:
            check_audio(u.audio)
            return u.duration
        if copy is None:
            return audio_info(u.audio, exact=False).duration - u.start
        if not (copy.is_file() and copy.stat().st_mtime >= u.audio.stat().st_mtime):
            part = u.duration if u.start else None  # a table's length of a whole file may be short
            write_flac(copy, read_audio(u.audio, u.start, part))
        return audio_info(copy).duration
    except UserError as error:
        return str(error).removeprefix(f"{u.audio}: ").rstrip(".")


def _file_name(id: str) -> str:
    """An id as a file's name."""
    return id.replace("/", "_").replace("\0", "_")


def _refuse(some: Preparation) -> None:
    """The first file that cannot be used, by name."""
    bad = some.missing + some.corrupt
    if not bad:
        return
    path, why = bad[0]
    more = f" (and {len(bad) - 1} more in {some.language})" if len(bad) > 1 else ""
    what = f"no such file, but it is {why}" if some.missing else why
    raise UserError(
        f"{path}: {what}{more}; --allow-missing leaves such files out, counted and listed."
    )


def _write(some: Preparation, folder: Path) -> dict[str, int]:
    """Manifests and lists; those of an earlier run that would now be empty are removed."""
    counts = {}
    for split in _in_order({*SPLITS, UNLABELLED, *some.splits}):
        utterances = list(some.splits.get(split, {}).values())
        if utterances:
            _write_if_changed(folder / f"{split}.jsonl", utterances)
            counts[split] = len(utterances)
        else:
            (folder / f"{split}.jsonl").unlink(missing_ok=True)
    for name, bad in (("missing.txt", some.missing), ("corrupt.txt", some.corrupt)):
        if bad:
            lines = "".join(f"{path}\t{why}\n" for path, why in bad)
            (folder / name).write_text(lines, encoding="utf-8")
        else:
            (folder / name).unlink(missing_ok=True)
    return counts


def _write_if_changed(path: Path, utterances: Sequence[Utterance]) -> None:
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
        if listed := some.splits[split]:
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
