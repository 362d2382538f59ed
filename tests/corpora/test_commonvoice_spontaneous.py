"""Spontaneous Speech: checked transcriptions are labels, everything else is for pretraining."""

from pathlib import Path

import pytest

from speechx.corpora.commonvoice_spontaneous import prepare
from speechx.corpora.engine.write import Output
from speechx.errors import UserError
from tests.corpora.corpus_trees import lines, read, sound

COLUMNS = (
    "client_id audio_id audio_file duration_ms prompt_id prompt transcription votes age gender "
    "accents variant language prompt_upvotes prompt_reports is_edited split char_per_sec"
)


def release(root: Path, language: str, rows: list[dict[str, str]]) -> Path:
    folder = root / f"sps-corpus-3.0-2026-03-09-{language}"
    names = COLUMNS.split()
    lines(
        folder / f"ss-corpus-{language}.tsv",
        "\t".join(names),
        *("\t".join(row.get(name, "") for name in names) for row in rows),
    )
    return folder


def row(folder: Path | None, number: int, split: str, text: str, **more: str) -> dict[str, str]:
    name = f"spontaneous-speech-el-CY-{number}.mp3"
    if folder is not None:
        sound(folder / "audios" / name)
    return {
        "client_id": f"s{number % 2}",
        "audio_id": str(number),
        "audio_file": name,
        "prompt": 'What is a "quote?',
        "transcription": text,
        "split": split,
        **more,
    }


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "sps-corpus-3.0-2026-03-09-el-CY"
    rows = [
        row(folder, 1, "train", "εν [disfluency] ωραίο [noise]", duration_ms="654", age="20s"),
        row(folder, 2, "dev", "ναι"),
        row(folder, 3, "test", "όι"),
        row(folder, 4, "unassigned", "not checked"),
        row(folder, 5, "unassigned", ""),
        row(folder, 6, "train", "[noise]"),
    ]
    release(tmp_path, "el-CY", rows)
    return tmp_path


def test_splits_texts_and_what_is_not_checked(corpus: Path) -> None:
    out = corpus / "out"
    counts = prepare(corpus, Output(out))
    assert counts == {"el-CY": {"train": 1, "dev": 1, "test": 1, "unlabelled": 3}}
    [u] = read(out, "el-CY", "train").values()
    assert (u.id, u.text, u.duration) == ("spontaneous-speech-el-CY-1", "εν ωραίο", 0.654)
    assert (u.speaker, u.language, u.corpus) == ("s1", "el-CY", "commonvoice-spontaneous")
    assert u.extra == {
        "release": "sps-corpus-3.0-2026-03-09",
        "age": "20s",
        "text_policy": "marks in [] left out",
    }
    [u] = read(out, "el-CY", "dev").values()
    assert (u.text, u.duration) == ("ναι", 0.5)
    assert "text_policy" not in u.extra
    assert {u.text for u in read(out, "el-CY", "unlabelled").values()} == {None}


def test_a_copy_is_whole_although_the_table_lists_less(corpus: Path) -> None:
    table = corpus / "sps-corpus-3.0-2026-03-09-el-CY" / "ss-corpus-el-CY.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("654", "123"), encoding="utf-8")
    prepare(corpus, Output(corpus / "out", convert=True))
    assert {u.duration for u in read(corpus / "out", "el-CY", "train").values()} == {0.5}


def test_one_language_or_many_below_a_root(corpus: Path) -> None:
    folder = release(corpus, "ady", [])
    sound(folder / "audios" / "x.mp3")
    release(corpus, "ady", [row(None, 1, "train", "a", audio_file="x.mp3")])
    assert list(prepare(corpus, Output(corpus / "a"), ["ady"])) == ["ady"]
    assert list(prepare(folder, Output(corpus / "b"))) == ["ady"]
    with pytest.raises(UserError, match="no language folder it; there are ady, el-CY"):
        prepare(corpus, Output(corpus / "c"), ["it"])
    with pytest.raises(UserError, match="neither CommonVoice Spontaneous Speech nor one language"):
        prepare(folder / "audios", Output(corpus / "c"))
    with pytest.raises(UserError, match="no such folder"):
        prepare(corpus / "absent", Output(corpus / "c"))
    folder.rename(corpus / "sps-corpus-2.0-2025-12-05-ady")
    release(corpus, "ady", [])
    with pytest.raises(UserError, match="are the same language; give the folder of one release"):
        prepare(corpus, Output(corpus / "c"))


def test_rows_that_cannot_be_used_are_named(corpus: Path, messages: list[str]) -> None:
    table = corpus / "sps-corpus-3.0-2026-03-09-el-CY" / "ss-corpus-el-CY.tsv"
    with table.open("a") as file:
        for name in ("../../../etc/passwd", "absent.mp3"):
            line = row(None, 7, "train", "x", audio_file=name)
            file.write("\t".join(line.get(c, "") for c in COLUMNS.split()) + "\n")
        file.write("one cell\n")
    with pytest.raises(UserError, match="--allow-missing"):
        prepare(corpus, Output(corpus / "out"))
    messages.clear()
    prepare(corpus, Output(corpus / "out", allow_missing=True))
    assert "1 missing (missing.txt), 2 corrupt (corrupt.txt)" in messages[-1]
    assert "leads out of" in (corpus / "out" / "el-CY" / "corrupt.txt").read_text()


def test_the_release_of_a_folder_elsewhere_is_that_of_root(corpus: Path) -> None:
    name, disk = "sps-corpus-3.0-2026-03-09-el-CY", corpus / "disk" / "x7" / "data"
    disk.parent.mkdir(parents=True)
    (corpus / name).rename(disk)
    (corpus / name).symlink_to(disk)
    prepare(corpus, Output(corpus / "out"))
    [u] = read(corpus / "out", "el-CY", "train").values()
    assert u.extra["release"] == "sps-corpus-3.0-2026-03-09"
    (corpus / name).unlink()
    disk.rename(disk.with_name(name))
    (corpus / "Greek").symlink_to(disk.with_name(name))  # only what it leads to is named so
    prepare(corpus, Output(corpus / "out"))
