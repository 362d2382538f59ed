"""CommonVoice Spontaneous Speech, answers to questions in the speakers' own words, to manifests.

    sps-corpus-3.0-2026-03-09-el-CY/ss-corpus-el-CY.tsv       one row a recording
    sps-corpus-3.0-2026-03-09-el-CY/audios/spontaneous-speech-el-CY-*.mp3

The `split` column is train, dev, test or unassigned; only the first three have a transcription that
somebody has checked, so the rest is for pretraining. Transcriptions hold marks in brackets
(`[disfluency]`, `[noise]`), which are left out.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from speechx.corpora.commonvoice import seconds_of
from speechx.corpora.engine.languages import choose, name_links, no_language
from speechx.corpora.engine.paths import check_folder, inside
from speechx.corpora.engine.preparation import SPLITS, Preparation
from speechx.corpora.engine.tables import read_rows, table_in
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.errors import UserError

NEEDED = ("client_id", "audio_id", "audio_file", "transcription", "split")
KEPT_COLUMNS = ("prompt_id", "age", "gender", "accents", "variant", "quality_tags")
MARK = re.compile(r"\[[^\[\]]*\]")
POLICY = "marks in [] left out"


def prepare(root: Path, out: Output, languages: Sequence[str] | None = None) -> Counts:
    """`root` holds unpacked archives, or is one; `languages` None means all that are there."""
    there = _tables(root)
    tables = {name: there[name] for name in choose(there, languages, root, code=str)}
    name_links(root, (table.parent for table in tables.values()))
    releases = {name: _release(name, table.parent, root) for name, table in tables.items()}
    return finish(
        (_read_language(name, table, releases[name]) for name, table in tables.items()),
        out,
        lambda language: f"CommonVoice Spontaneous Speech {releases[language]}",
    )


def _tables(root: Path) -> dict[str, Path]:
    check_folder(root, "CommonVoice Spontaneous Speech")
    found = sorted(root.glob("ss-corpus-*.tsv")) or sorted(root.glob("*/ss-corpus-*.tsv"))
    if not found:
        raise no_language(root, "CommonVoice Spontaneous Speech", "ss-corpus-LANGUAGE.tsv")
    tables: dict[str, Path] = {}
    for table in found:
        language = table.stem.removeprefix("ss-corpus-")
        if (other := tables.setdefault(language, table)) != table:
            raise UserError(
                f"{root}: {other} and {table} are the same language; give the folder of one "
                "release as ROOT."
            )
    return tables


def _release(language: str, folder: Path, root: Path) -> str:
    """sps-corpus-3.0-2026-03-09 of the folder's name; if that names no release, the name of the
    folder that a link leads to."""
    away = folder.resolve().name
    own = folder.name if folder != root and folder.name.startswith("sps-corpus-") else away
    return own.removesuffix(f"-{language}")


def _read_language(language: str, table: Path, release: str) -> Preparation:
    found = Preparation(
        language, corpus="commonvoice-spontaneous", release=release, whole_files=True
    )
    table = table_in(table.parent, table.name) or table  # a pipe or a folder is refused below
    audios = inside(table.parent, "audios", str(table.parent / "audios"))
    for place, row in read_rows(table, NEEDED, found.corrupt):
        text = " ".join(MARK.sub(" ", row["transcription"]).split())
        split = row["split"].strip()
        extra = {column: row.get(column, "").strip() for column in KEPT_COLUMNS}
        if split not in SPLITS:
            text = ""
        elif text and MARK.search(row["transcription"]):
            extra["text_policy"] = POLICY
        name, seconds = row["audio_file"], seconds_of(row.get("duration_ms", ""))
        found.add_file(split, audios, name, place, text, row["client_id"], extra, seconds)
    return found
