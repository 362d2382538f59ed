"""FLEURS to manifests: 102 languages reading the same sentences, about ten hours of each.

    {af_za}/{train,dev,test}.tsv, {af_za}/audio/{train,dev,test}/*.wav     as Google packs it
    data/{af_za}/...                                                       as Hugging Face keeps it

Hugging Face keeps the audio as `audio/{split}.tar.gz`; those are to be unpacked where they lie. The
tables have no line of names and no quoting:

    id, file, text as written, text normalised, its letters, samples, gender

The first column numbers the sentence: up to three people read each, so an utterance is named by
its file. Nothing names the speakers. Lengths come from the files, not from the table.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from speechx.corpora.engine.languages import check_tables, choose, language_folders, name_links
from speechx.corpora.engine.preparation import SPLITS, Preparation
from speechx.corpora.engine.tables import read_rows, table_in
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.errors import UserError

Text = Literal["normalised", "raw"]

COLUMNS = ("id", "file", "raw", "normalised", "letters", "samples", "gender")


def prepare(
    root: Path,
    out: Output,
    languages: Sequence[str] | None = None,
    *,
    text: Text = "normalised",
) -> Counts:
    """`root` holds the languages, or is one; `languages` by FLEURS' names or by ours, None for all.
    `text` is the normalised spelling (lower case, no punctuation) or the raw one.
    """
    check_text(text)
    there = language_folders([root, root / "data"], [f"{s}.tsv" for s in SPLITS], "FLEURS")
    chosen = choose(there, languages, root)
    name_links(root, (there[name] for name in chosen.values()))
    tables = (table for name in chosen.values() for table in _tables(there[name]).values())
    check_tables("FLEURS", f"the columns {', '.join(COLUMNS)} without names", tables, _is_row)
    return finish(
        (_read_language(code, there[name], name, text) for code, name in chosen.items()),
        out,
        f"FLEURS, {text} text",
    )


def check_text(text: Text) -> None:
    if text not in get_args(Text):
        raise UserError(f"text is {' or '.join(get_args(Text))}, but {text!r} was given.")


def _tables(folder: Path) -> dict[str, Path]:
    found = {split: table_in(folder, f"{split}.tsv") for split in SPLITS}
    return {split: table for split, table in found.items() if table}


def _is_row(cells: Sequence[str]) -> bool:
    return len(cells) == len(COLUMNS) and cells[COLUMNS.index("samples")].isdecimal()


def _read_language(language: str, folder: Path, named: str, text: Text) -> Preparation:
    found = Preparation(language, corpus="fleurs", named=named)
    for split, tsv in _tables(folder).items():
        _refuse_packed(folder / "audio", split)
        for place, row in read_rows(tsv, (), found.corrupt, COLUMNS):
            name = f"audio/{split}/{row['file']}"
            extra = {"sentence_id": row["id"], "gender": row["gender"].lower()}
            extra["text_policy"] = f"fleurs {text}"
            found.add_file(split, folder, name, place, row[text].strip(), extra=extra)
    return found


def _refuse_packed(audio: Path, split: str) -> None:
    archive = audio / f"{split}.tar.gz"
    if archive.is_file() and not (audio / split).is_dir():
        raise UserError(
            f"{archive} is packed; unpack all of them first: for f in "
            f"{audio.parent.parent}/*/audio/*.tar.gz; do tar -xzf $f -C ${{f%/*}}; done"
        )
