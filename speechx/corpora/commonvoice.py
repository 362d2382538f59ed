"""CommonVoice, as Mozilla releases it, to manifests.

    cv-corpus-17.0-2024-03-15/es/{train,dev,test,validated,invalidated,other}.tsv, clips/*
    cv-corpus-17.0-2024-03-15/es/clip_durations.tsv      from 16.1; times.txt from 14.0; none before

Columns came, went and moved over the releases, so they are found by their names. The tables have no
quoting: a sentence may hold a lone `"`, and a reader that honours it swallows the rows up to the
next one. Old releases leave `.mp3` off the path; mp3 at 8 to 48 kHz occurs, and some clips are
empty or broken.

    release = Path("cv-corpus-17.0-2024-03-15")
    prepare(release, Output(Path("data/cv")), ["es", "it"], splits="speaker")

writes `data/cv/es/train.jsonl` and so on; `commonvoice_splits` describes the train split. Validated
clips in no split become `unlabelled.jsonl`, for pretraining: the test set may have their sentences
and speakers. So do clips that nobody has judged (`other.tsv`) or that have no sentence and, on
request, invalidated ones (`invalidated.tsv`), but never a clip of dev or test. Clips left out are
counted; missing and corrupt ones are listed in `missing.txt` and `corrupt.txt`.

A language with validated clips has train.tsv, dev.tsv and test.tsv, empty or not. Without one of
them clips of dev or test would be taken for others, so that is an error unless `allow_missing`.

Splits are drawn anew for every release, and only the release identifies them: its name is in every
line of the manifests.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.corpora.commonvoice_splits import Splits, Splitter
from speechx.corpora.engine.languages import check_tables, choose, language_folders, name_links
from speechx.corpora.engine.paths import inside
from speechx.corpora.engine.preparation import SPLITS, UNLABELLED, Preparation
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.tables import read_rows, rows_in, table_in, text_lines
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.errors import UserError
from speechx.log import logger

TABLES = (*SPLITS, "validated", "other")
NEEDED = ("client_id", "path", "sentence")
KEPT_COLUMNS = ("sentence_id", "age", "gender", "variant")
RELEASE = re.compile(r"cv-corpus-\d+(\.\d+)?(-delta)?(-singleword)?(-\d{4}-\d{2}-\d{2})?")
GIVEN_RELEASE = re.compile(r"\w[\w.-]{,99}")


def prepare(
    root: Path,
    out: Output,
    languages: Sequence[str] | None = None,
    *,
    splits: Splits = "official",
    invalidated: bool = False,
    release: str | None = None,
) -> Counts:
    """`root` is a release or one language folder of it; `languages` None means all that are there.
    Where dev or test lists no clip, `splits` are official. `invalidated` adds invalidated clips to
    the unlabelled ones. `release` is the name of the folder of the languages unless given.
    """
    if splits not in get_args(Splits):
        raise UserError(f"splits are {', '.join(get_args(Splits))}, but {splits!r} was given.")
    if release is not None and not GIVEN_RELEASE.fullmatch(release):
        raise UserError(
            "--release is a name such as cv-corpus-17.0-2024-03-15, of letters, digits, '.', '_' "
            f"and '-', but {release!r} was given."
        )
    sign = "train.tsv or validated.tsv"
    names = [f"{table}.tsv" for table in TABLES]
    there = language_folders([root], names, "a CommonVoice release", sign)
    folders = {name: there[name] for name in choose(there, languages, root, code=str)}
    name_links(root, folders.values())
    splits_of: dict[str, Splits] = dict.fromkeys(folders, splits)
    for language, folder in folders.items():
        _check_whole(folder, out)
        tables = filter(None, (table_in(folder, f"{table}.tsv") for table in TABLES))
        columns = f"the columns {', '.join(NEEDED)} by name"
        check_tables("CommonVoice", columns, tables, lambda cells: any(x in cells for x in NEEDED))
        if splits != "official" and (empty := _check_held_out(folder)):
            splits_of[language] = "official"
            train = "none" if "train.tsv" in empty else "official"
            logger.info(f"train of {language}: {train}, since no clip is in {', '.join(empty)}")
    releases = {language: release or _release(folder) for language, folder in folders.items()}
    for name in sorted({*releases.values()} - {release}):
        if not RELEASE.fullmatch(name):
            logger.info(
                f"the release is taken to be {name!r}, the name of the folder; if it is another, "
                "give --release cv-corpus-VERSION-DATE"
            )

    source = {
        x: f"CommonVoice {releases[x]}{'' if how == 'official' else f', train disjoint by {how}'}"
        for x, how in splits_of.items()
    }
    counts = finish(
        (
            _read_language(language, folder, releases[language], splits_of[language], invalidated)
            for language, folder in folders.items()
        ),
        out,
        source.__getitem__,
    )
    without = [language for language, written in counts.items() if "train" not in written]
    if bare := [language for language in without if splits_of[language] != "official"]:
        warning = (
            f"--splits {splits} leaves no clip for train in {', '.join(bare)}: see the reports "
            "above; the other splits have been written. For the official train, give another -o "
            "and --splits official"
        )
        if len(without) == len(counts):
            raise UserError(f"{warning}.")
        logger.info(warning)
    return counts


def _release(folder: Path) -> str:
    """The name of the folder that holds a language. If the language is a link, either the folder of
    the link or that of its target may be named as a release."""
    here, away = Path(os.path.abspath(folder)).parent, folder.resolve().parent
    names = (here.resolve().name, away.name, here.name)
    return next(filter(RELEASE.fullmatch, names), away.name)


def _read_language(
    language: str, folder: Path, release: str, splits: Splits, invalidated: bool
) -> Preparation:
    """All rows as utterances, with missing and empty clips set aside."""
    found = Preparation(language, corpus="commonvoice", release=release, whole_files=True)
    held_out = ((Path(_clip_name(row["path"])).stem, row) for _, row in _held_out(folder))
    splitter = Splitter(found, splits, held_out, _absent(folder))
    durations = _read_durations(folder)
    clips = inside(folder, "clips", str(folder / "clips"))
    for table in (*TABLES, "invalidated") if invalidated else TABLES:
        for place, row in rows_in(folder, f"{table}.tsv", NEEDED, found.corrupt):
            name = _clip_name(row["path"])
            split = splitter.split_of(table, Path(name).stem, row)
            if split is None:
                continue
            extra = {column: row.get(column, "") for column in KEPT_COLUMNS}
            extra["accents"] = row.get("accents") or row.get("accent", "")
            text = None if split == UNLABELLED else row["sentence"].strip()
            seconds = durations.get(Path(name).name, 0.0)
            found.add_file(split, clips, name, place, text, row["client_id"], extra, seconds)
    splitter.note()
    if not invalidated:
        broken: list[Problem] = []
        rows = sum(1 for _ in rows_in(folder, "invalidated.tsv", (), broken))
        found.left_out["invalidated (invalidated.tsv)"] = rows + len(broken)
    return found


def _absent(folder: Path) -> list[str]:
    """The tables of splits that are absent, in a language that has judged clips."""
    judged = any(table_in(folder, f"{table}.tsv") for table in (*SPLITS, "validated"))
    return [f"{s}.tsv" for s in SPLITS if judged and not table_in(folder, f"{s}.tsv")]


def _check_whole(folder: Path, out: Output) -> None:
    """Refuses a language unpacked in part: clips of dev and test would be among the others."""
    if not (absent := _absent(folder)):
        return
    if not out.allow_missing:
        raise UserError(
            f"{folder}: no {', '.join(absent)}, so perhaps it is not fully unpacked; "
            "--allow-missing continues without (a delta release has no splits)."
        )
    logger.info(f"{folder}: no {', '.join(absent)}: validated clips may belong there")


def _held_out(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Places and rows of dev and test."""
    for table in ("dev.tsv", "test.tsv"):
        yield from rows_in(folder, table, NEEDED, [])


def _check_held_out(folder: Path) -> list[str]:
    """Checks that the speakers of dev and test are known, so that train can be disjoint from them.
    Returns the tables without a clip if dev or test is one of them."""
    for table in ("dev.tsv", "test.tsv"):
        if not table_in(folder, table):
            raise UserError(
                f"{folder}: no {table}, so train cannot be kept disjoint from it; use the official "
                "splits (delta releases have none)."
            )
    tables = [f"{split}.tsv" for split in SPLITS]
    empty = [table for table in tables if not any(rows_in(folder, table, NEEDED, []))]
    if {*empty} - {"train.tsv"}:
        return empty
    if nameless := [place for place, row in _held_out(folder) if not row["client_id"].strip()]:
        raise UserError(
            f"{folder}: {len(nameless)} rows of dev.tsv and test.tsv have no client_id, the first "
            f"in {nameless[0]}, so train cannot be kept disjoint from their speakers; use the "
            "official splits."
        )
    return []


def _clip_name(path: str) -> str:
    return path if Path(path).suffix.lower() in AUDIO_SUFFIXES else path + ".mp3"


def _read_durations(folder: Path) -> dict[str, float]:
    """Clip name to seconds, from the table or from the list that came before it. Clips without a
    positive number are left out, and measured later."""
    listed: Iterable[Sequence[str]] = ()
    if table := table_in(folder, "clip_durations.tsv"):
        rows = read_rows(table, ("clip", "duration[ms]"), [])
        listed = ((row["clip"], row["duration[ms]"]) for _, row in rows)
    elif older := table_in(folder, "times.txt"):
        listed = (line.split() for _, line in text_lines(older))
    pairs = (row for row in listed if len(row) == 2)
    return {_clip_name(clip): length for clip, time in pairs if (length := seconds_of(time))}


def seconds_of(milliseconds: str) -> float:
    """0, which is measured later, for what is no positive number."""
    number = milliseconds.strip()
    return float(number) / 1000 if number.replace(".", "", 1).isdecimal() else 0.0
