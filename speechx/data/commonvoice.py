"""CommonVoice, as Mozilla releases it, to manifests.

    cv-corpus-17.0-2024-03-15/es/{train,dev,test,validated,other}.tsv, clip_durations.tsv, clips/*

Columns came, went and moved over the releases, so they are found by their names. The tables have no
quoting: a sentence may hold a lone `"`, and a reader that honours it swallows the rows up to the
next one. Old releases leave `.mp3` off the path and have no `clip_durations.tsv`; mp3 at 8 to 48
kHz occurs, and some clips are empty or broken.

    prepare(Path("cv-corpus-17.0-2024-03-15"), ["es", "it"], Path("data/cv"))

writes `data/cv/es/train.jsonl` and so on. What is validated but in no split, most of a large
language, becomes `unlabelled.jsonl`, for pretraining: its sentences and speakers may be those of
the test set. So does what nobody has judged (`other.tsv`) or has no sentence. Clips left out are
counted; those missing or corrupt are listed in `missing.txt` and `corrupt.txt` beside the
manifests, those judged bad are in the release's `invalidated.tsv`.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechx.audio.files import audio_info, check_audio, read_audio, write_flac
from speechx.data.manifest import Utterance, claim, write_manifest
from speechx.errors import UserError

SPLITS = ("train", "dev", "test")
UNLABELLED = "unlabelled"
TABLES = (*SPLITS, "validated", "other")
AUDIO_SUFFIXES = frozenset((".mp3", ".wav", ".flac", ".ogg", ".opus", ".webm", ".m4a"))
KEPT_COLUMNS = ("sentence_id", "age", "gender", "variant")
PROCESSES = min(8, os.cpu_count() or 1)
SECONDS_BETWEEN_PROGRESS = 10.0


def prepare(
    root: Path,
    languages: Sequence[str] | None,
    out: Path,
    allow_missing: bool = False,
    convert: bool = False,
    log: Callable[[str], None] = print,
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl`; returns how many utterances of each split there are.

    `root` is a release or one language folder of it; `languages` None means all that are there.
    `convert` also writes 16 kHz mono FLAC copies into `out/<language>/audio` and lists those, so
    that training never decodes mp3; copies already there are kept, so a second run is cheap. A clip
    that is absent, empty or broken is a `UserError` that names it, or with `allow_missing` is left
    out, counted and listed.
    """
    counts: dict[str, dict[str, int]] = {}
    for language, folder in _language_folders(Path(root), languages).items():
        release = _read_language(language, folder)
        if not allow_missing:
            _refuse(release)
        claim(Path(out) / language, f"CommonVoice {folder.resolve().parent.name}")
        _measure(release, Path(out) / language / "audio" if convert else None, log)
        if not allow_missing:
            _refuse(release)
        counts[language] = _write(release, Path(out) / language)
        log(_report(release))
    if not any(counts.values()):
        raise UserError(f"{root}: no usable clip is listed for {', '.join(counts)}.")
    return counts


@dataclass(slots=True)
class _Release:
    """One language as it is listed. A duration of zero is one not known yet."""

    language: str
    splits: dict[str, dict[str, Utterance]] = field(default_factory=dict)
    missing: list[tuple[Path, str]] = field(default_factory=list)
    corrupt: list[tuple[Path, str]] = field(default_factory=list)
    in_no_split: set[str] = field(default_factory=set)  # ids that are validated and unlabelled here
    repeated: int = 0
    invalidated: int = 0


def _language_folders(root: Path, languages: Sequence[str] | None) -> dict[str, Path]:
    """Which folder holds which language; all of them, or those asked for."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; a CommonVoice release was expected.")
    if _is_language_folder(root):
        there = {root.resolve().name: root}
    else:
        there = {f.name: f for f in sorted(root.iterdir()) if _is_language_folder(f)}
    if not there:
        holds = ", ".join(sorted(f.name for f in root.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{root}: neither a CommonVoice release nor one language of it (a folder with "
            f"train.tsv or validated.tsv); it holds {holds}."
        )
    if languages is None:
        return there
    unknown = [language for language in languages if language not in there]
    if unknown:
        raise UserError(
            f"{root}: no language folder {', '.join(unknown)}; there are {', '.join(there)}."
        )
    return {language: there[language] for language in languages}


def _is_language_folder(folder: Path) -> bool:
    return any((folder / f"{table}.tsv").is_file() for table in TABLES)


def _read_language(language: str, folder: Path) -> _Release:
    """All rows as utterances, with missing and empty clips set aside."""
    release = _Release(language)
    tables = [table for table in TABLES if (folder / f"{table}.tsv").is_file()]
    durations = _read_durations(folder / "clip_durations.tsv")
    in_splits: set[str] = set()
    for table in tables:
        tsv = folder / f"{table}.tsv"
        for line, row in _read_rows(tsv, ("client_id", "path", "sentence"), release.corrupt):
            sentence = row["sentence"].strip()
            clip = folder / "clips" / _clip_name(row["path"])
            if table in SPLITS:
                in_splits.add(clip.stem)
            elif table == "validated" and clip.stem in in_splits:
                continue
            elif table == "validated":
                release.in_no_split.add(clip.stem)
            split = table if sentence and table in SPLITS else UNLABELLED
            listed = release.splits.setdefault(split, {})
            if clip.stem in listed:
                release.repeated += 1
                continue
            try:
                size = clip.stat().st_size
            except OSError:
                release.missing.append((clip, f"listed in {tsv}:{line}"))
                continue
            if size == 0:
                release.corrupt.append((clip, "the file is empty (0 bytes)"))
                continue
            extra = {column: row.get(column, "") for column in KEPT_COLUMNS}
            extra["accents"] = row.get("accents") or row.get("accent", "")
            listed[clip.stem] = Utterance(
                id=clip.stem,
                audio=clip,
                duration=durations.get(clip.name, 0.0),
                language=language,
                text=None if split == UNLABELLED else sentence,
                speaker=row["client_id"] or None,
                extra={column: value for column, value in extra.items() if value},
            )
    if (folder / "invalidated.tsv").is_file():
        broken: list[tuple[Path, str]] = []
        rows = sum(1 for _ in _read_rows(folder / "invalidated.tsv", (), broken))
        release.invalidated = rows + len(broken)
    return release


def _clip_name(path: str) -> str:
    return path if Path(path).suffix.lower() in AUDIO_SUFFIXES else path + ".mp3"


def _read_durations(path: Path) -> dict[str, float]:
    """Clip name to seconds. Clips with no positive number are left out, to be measured."""
    if not path.is_file():
        return {}
    durations = {}
    for _, row in _read_rows(path, ("clip", "duration[ms]"), []):
        milliseconds = row["duration[ms]"].strip()
        if milliseconds.replace(".", "", 1).isdecimal() and float(milliseconds) > 0:
            durations[_clip_name(row["clip"])] = float(milliseconds) / 1000
    return durations


def _read_rows(
    path: Path, needed: Sequence[str], broken: list[tuple[Path, str]]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and row by column name; rows of another width than the header go to `broken`."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            columns = file.readline().rstrip("\r\n").split("\t")
            absent = [column for column in needed if column not in columns]
            if absent:
                raise UserError(
                    f"{path}: needs the column {' and '.join(absent)}; "
                    f"its columns are {', '.join(columns) if any(columns) else 'none'}."
                )
            for line, text in enumerate(file, start=2):
                values = text.rstrip("\r\n").split("\t")
                if values == [""]:
                    continue
                if len(values) != len(columns):
                    why = f"line {line} has {len(values)} fields, the header {len(columns)}"
                    broken.append((path, why))
                    continue
                yield line, dict(zip(columns, values, strict=True))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text.") from error


def _measure(release: _Release, audio: Path | None, log: Callable[[str], None]) -> None:
    """Opens every clip, finds unknown durations; with a folder `audio`, makes and uses copies."""
    jobs: dict[Path, Path | None] = {}
    known: list[float] = []
    for listed in release.splits.values():
        for u in listed.values():
            if u.audio not in jobs:
                jobs[u.audio] = None if audio is None else audio / f"{u.id}.flac"
                known.append(u.duration)
    if not jobs:
        return
    what = "opened" if audio is None else "converted"
    measured: dict[Path, float] = {}
    said = time.monotonic()
    with ProcessPoolExecutor(PROCESSES) as pool:
        results = pool.map(_measure_one, jobs, jobs.values(), known, chunksize=16)
        for done, (clip, result) in enumerate(zip(jobs, results, strict=True), start=1):
            if isinstance(result, str):
                release.corrupt.append((clip, result))
            else:
                measured[clip] = result
            if time.monotonic() - said > SECONDS_BETWEEN_PROGRESS:
                said = time.monotonic()
                hours = sum(measured.values()) / 3600
                log(f"{release.language}: {what} {done} of {len(jobs)} clips, {hours:.2f} h")
    for listed in release.splits.values():
        for u in list(listed.values()):
            if u.audio not in measured:
                del listed[u.id]
                continue
            listed[u.id] = replace(u, audio=jobs[u.audio] or u.audio, duration=measured[u.audio])


def _measure_one(clip: Path, flac: Path | None, known: float) -> float | str:
    """Seconds of a clip, copied to `flac` if one is named; or what is wrong with it."""
    try:
        if flac is None and known:
            check_audio(clip)
            return known
        if flac is None:
            return audio_info(clip).duration
        if not (flac.is_file() and flac.stat().st_mtime >= clip.stat().st_mtime):
            write_flac(flac, read_audio(clip))
        return audio_info(flac).duration
    except UserError as error:
        return str(error).removeprefix(f"{clip}: ").rstrip(".")


def _refuse(release: _Release) -> None:
    """The first clip that cannot be used, by name."""
    bad = release.missing + release.corrupt
    if not bad:
        return
    path, why = bad[0]
    more = f" (and {len(bad) - 1} more in {release.language})" if len(bad) > 1 else ""
    what = f"no such clip, but it is {why}" if release.missing else why
    raise UserError(
        f"{path}: {what}{more}; --allow-missing leaves such clips out, counted and listed."
    )


def _write(release: _Release, out: Path) -> dict[str, int]:
    """Manifests and lists; those of an earlier run that would now be empty are removed."""
    counts = {}
    for split in (*SPLITS, UNLABELLED):
        utterances = list(release.splits.get(split, {}).values())
        if utterances:
            write_manifest(out / f"{split}.jsonl", utterances)
            counts[split] = len(utterances)
        else:
            (out / f"{split}.jsonl").unlink(missing_ok=True)
    for name, bad in (("missing.txt", release.missing), ("corrupt.txt", release.corrupt)):
        if bad:
            out.mkdir(parents=True, exist_ok=True)
            lines = "".join(f"{path}\t{why}\n" for path, why in bad)
            (out / name).write_text(lines, encoding="utf-8")
        else:
            (out / name).unlink(missing_ok=True)
    return counts


def _report(release: _Release) -> str:
    """One line: what was written, and how many clips of the tables were not."""
    parts = []
    for split in (*SPLITS, UNLABELLED):
        listed = release.splits.get(split)
        if listed:
            hours = sum(u.duration for u in listed.values()) / 3600
            of_these = len(release.in_no_split & listed.keys()) if split == UNLABELLED else 0
            more = f", {of_these} of them validated but in no split" if of_these else ""
            parts.append(f"{split} {len(listed)} ({hours:.2f} h{more})")
    line = f"{release.language}: {', '.join(parts) or 'no clips'}"
    left_out = [
        f"{number} {why}"
        for number, why in (
            (len(release.missing), "missing (missing.txt)"),
            (len(release.corrupt), "corrupt (corrupt.txt)"),
            (release.repeated, "listed twice"),
            (release.invalidated, "invalidated (invalidated.tsv)"),
        )
        if number
    ]
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line
