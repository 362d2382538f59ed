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

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from speechx.corpora.preparation import SPLITS, UNLABELLED, Preparation, finish, inside
from speechx.data.manifest import Utterance
from speechx.errors import UserError

TABLES = (*SPLITS, "validated", "other")
AUDIO_SUFFIXES = frozenset((".mp3", ".wav", ".flac", ".ogg", ".opus", ".webm", ".m4a"))
KEPT_COLUMNS = ("sentence_id", "age", "gender", "variant")


def prepare(
    root: Path,
    languages: Sequence[str] | None,
    out: Path,
    allow_missing: bool = False,
    convert: bool = False,
    log: Callable[[str], object] = print,
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl`; returns how many utterances of each split there are.

    `root` is a release or one language folder of it; `languages` None means all that are there.
    `allow_missing` and `convert` as in `preparation.finish`.
    """
    folders = _language_folders(Path(root), languages)
    return finish(
        (_read_language(language, folder) for language, folder in folders.items()),
        out,
        lambda language: f"CommonVoice {folders[language].resolve().parent.name}",
        allow_missing,
        convert,
        log,
    )


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


def _read_language(language: str, folder: Path) -> Preparation:
    """All rows as utterances, with missing and empty clips set aside."""
    release = Preparation(language)
    tables = [table for table in TABLES if (folder / f"{table}.tsv").is_file()]
    durations = _read_durations(folder / "clip_durations.tsv")
    in_splits: set[str] = set()
    in_no_split: set[str] = set()  # validated, but unlabelled here
    for table in tables:
        tsv = folder / f"{table}.tsv"
        for line, row in _read_rows(tsv, ("client_id", "path", "sentence"), release.corrupt):
            sentence = row["sentence"].strip()
            try:
                clip = inside(folder / "clips", _clip_name(row["path"]), f"{tsv}:{line}")
            except UserError as error:
                release.corrupt.append((tsv, str(error)))
                continue
            if table in SPLITS:
                in_splits.add(clip.stem)
            elif table == "validated" and clip.stem in in_splits:
                continue
            elif table == "validated":
                in_no_split.add(clip.stem)
            split = table if sentence and table in SPLITS else UNLABELLED
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
            utterance = Utterance(
                id=clip.stem,
                audio=clip,
                duration=durations.get(clip.name, 0.0),
                language=language,
                text=None if split == UNLABELLED else sentence,
                speaker=row["client_id"] or None,
                extra={column: value for column, value in extra.items() if value},
            )
            release.add(split, utterance)
    if of_these := len(in_no_split & release.splits.get(UNLABELLED, {}).keys()):
        release.notes[UNLABELLED] = f"{of_these} of them validated but in no split"
    if (folder / "invalidated.tsv").is_file():
        broken: list[tuple[Path, str]] = []
        rows = sum(1 for _ in _read_rows(folder / "invalidated.tsv", (), broken))
        release.left_out["invalidated (invalidated.tsv)"] = rows + len(broken)
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
