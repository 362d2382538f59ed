"""Multilingual LibriSpeech, FLAC and Opus, with its small training sets."""

from pathlib import Path

import pytest

from speechx.corpora.engine.write import Output
from speechx.corpora.mls import prepare
from speechx.errors import UserError
from tests.corpora.corpus_trees import lines, read, sound

META = (
    " SPEAKER   |   GENDER   | PARTITION  |  MINUTES   |  BOOK ID  |  TITLE  | CHAPTER ",
    "  10     |   M   | train  |  19.9  |  20  |  Eins | Zwei",
    "  11     |   F   | dev  |  9.9  |  21  |  Drei | Vier",
)


def language(folder: Path, suffix: str = ".flac") -> Path:
    ids = {"train": ["10_20_000000", "10_20_000001", "10_20_000002"], "dev": ["11_21_000000"]}
    for split, some in ids.items():
        rows = [f'{id}\tder "text {id[-1]}' for id in some]
        lines(folder / split / "transcripts.txt", *rows)
        lines(folder / split / "segments.txt", *[f"{id}\thttp://x/y.mp3\t1.5\t2.0" for id in some])
        for id in some:
            speaker, book, _ = id.split("_")
            sound(folder / split / "audio" / speaker / book / f"{id}{suffix}")
    lines(folder / "metainfo.txt", *META)
    small = folder / "train" / "limited_supervision"
    lines(small / "9hr" / "handles.txt", "10_20_000000")
    lines(small / "1hr" / "0" / "handles.txt", "10_20_000001")
    lines(small / "1hr" / "5" / "handles.txt", "10_20_000002", "10_20_999999")
    return folder


@pytest.mark.parametrize(
    ("name", "suffix"), [("mls_german", ".flac"), ("mls_german_opus", ".opus")]
)
def test_a_language_is_read_exactly(
    tmp_path: Path, name: str, suffix: str, messages: list[str]
) -> None:
    language(tmp_path / name, suffix)
    (tmp_path / "mls_lm_german").mkdir()
    out = tmp_path / "out"
    counts = prepare(tmp_path, Output(out))
    small = {"train_10min_0": 1, "train_10min_5": 1, "train_1hr": 2, "train_9hr": 1}
    assert counts == {"de": {"train": 3, "dev": 1, **small}}
    assert "left out: 1 ids of limited_supervision that are not in train" in messages[0]
    train = read(out, "de", "train")
    u = train["10_20_000001"]
    assert (u.text, u.speaker, u.corpus) == ('der "text 1', "10", "mls")
    assert u.duration == pytest.approx(0.5, abs=0.01)
    assert u.audio == tmp_path / name / f"train/audio/10/20/{u.id}{suffix}"
    assert u.extra == {"release": name, "locale": "german", "gender": "male"}
    assert read(out, "de", "train_1hr") == {i: train[i] for i in ("10_20_000001", "10_20_000002")}
    assert read(out, "de", "dev")["11_21_000000"].extra["gender"] == "female"
    assert prepare(tmp_path, Output(out), ["german"]) == counts


def test_copies_serve_train_and_its_parts(tmp_path: Path) -> None:
    language(tmp_path / "mls_german")
    prepare(tmp_path, Output(tmp_path / "out", convert=True))
    audio = tmp_path / "out" / "de" / "audio"
    copies = sorted(f.name.split(".")[0] for f in audio.rglob("*.flac"))
    assert copies == ["10_20_000000", "10_20_000001", "10_20_000002", "11_21_000000"]
    nine, train = (read(tmp_path / "out", "de", s)["10_20_000000"] for s in ("train_9hr", "train"))
    assert nine == train


def test_bad_rows_and_two_folders_of_one_language(tmp_path: Path, messages: list[str]) -> None:
    folder = language(tmp_path / "mls_german")
    lines(folder / "test" / "transcripts.txt", "nonsense\ttext", "_.._\tx", "../1_2_3\tx", "no tab")
    prepare(tmp_path, Output(tmp_path / "out", allow_missing=True))
    assert "1 missing (missing.txt), 3 corrupt (corrupt.txt)" in messages[0]
    language(tmp_path / "mls_german_opus", ".opus")
    with pytest.raises(UserError, match=r"mls_german and mls_german_opus are both de"):
        prepare(tmp_path, Output(tmp_path / "out"))
