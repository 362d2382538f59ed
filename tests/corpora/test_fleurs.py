"""FLEURS, in both of its layouts: utterances are named by their files, texts are not unquoted."""

from pathlib import Path

import pytest

from speechx.corpora import commonvoice
from speechx.corpora.engine.write import Output
from speechx.corpora.fleurs import prepare
from speechx.errors import UserError
from tests.corpora.corpus_trees import lines, read, sound
from tests.corpora.test_fuzz import build_commonvoice


def row(sentence: int, file: str, raw: str = 'Dit is "goed.', gender: str = "FEMALE") -> str:
    text = raw.lower().replace('"', "").rstrip(".")
    letters = " ".join(text.replace(" ", "|")) + " |"
    return "\t".join((str(sentence), file, raw, text, letters, "8000", gender))


def language(folder: Path) -> Path:
    """Two readings of one sentence, and one of another that a file of the same name tests."""
    lines(folder / "train.tsv", row(7, "100.wav"), row(7, "101.wav", gender="MALE"))
    lines(folder / "dev.tsv", row(8, "102.wav"))
    for file, seconds in (("train/100.wav", 0.5), ("train/101.wav", 0.75), ("dev/102.wav", 1.0)):
        sound(folder / "audio" / file, seconds)
    return folder


@pytest.mark.parametrize("parent", ["", "data"])
def test_both_layouts_are_read_exactly(tmp_path: Path, parent: str) -> None:
    language(tmp_path / parent / "af_za")
    language(tmp_path / parent / "sv_se")
    out = tmp_path / "out"
    counts = prepare(tmp_path, Output(out))
    assert counts == {code: {"train": 2, "dev": 1} for code in ("af", "sv-SE")}
    train = read(out, "af", "train")
    assert list(train) == ["100", "101"]
    assert (train["101"].duration, train["101"].text) == (0.75, "dit is goed")
    assert train["101"].audio == tmp_path / parent / "af_za" / "audio" / "train" / "101.wav"
    assert train["101"].speaker is None
    assert train["101"].extra == {
        "locale": "af_za", "sentence_id": "7", "gender": "male", "text_policy": "fleurs normalised",
    }  # fmt: skip
    assert train["101"].corpus == "fleurs"
    assert prepare(tmp_path, Output(out), ["sv_se"]) == {"sv-SE": counts["sv-SE"]}
    assert prepare(tmp_path, Output(out), ["Swedish"]) == {"sv-SE": counts["sv-SE"]}


def test_raw_text_is_as_written_and_one_language_may_be_the_root(tmp_path: Path) -> None:
    folder = language(tmp_path / "af_za")
    prepare(folder, Output(tmp_path / "out"), text="raw")
    assert read(tmp_path / "out", "af", "dev")["102"].text == 'Dit is "goed.'


def test_rows_that_are_broken_or_lead_out_are_named(tmp_path: Path, messages: list[str]) -> None:
    folder = language(tmp_path / "af_za")
    lines(folder / "test.tsv", row(1, "../../../secret.wav"), "1\tno", row(2, "9.wav"), row(3, ""))
    sound(tmp_path / "secret.wav")
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"9\.wav: no such file.*test\.tsv:3"):
        prepare(tmp_path, Output(out))
    messages.clear()
    prepare(tmp_path, Output(out, allow_missing=True))
    assert "left out: 2 missing (missing.txt), 2 corrupt (corrupt.txt)" in messages[0]
    corrupt = (out / "af" / "corrupt.txt").read_text()
    assert "line 2 has 2 fields, its columns 7" in corrupt
    assert "test.tsv:1\t'audio/test/../../../secret.wav' leads out of" in corrupt
    assert "--root" not in corrupt  # which this reader does not have
    assert not (out / "af" / "test.jsonl").exists()


def test_packed_audio_is_refused_with_the_way_to_unpack_it(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "af_za"
    lines(folder / "train.tsv", row(7, "100.wav"))
    lines(folder / "audio" / "train.tar.gz", "packed")
    with pytest.raises(UserError, match=r"train\.tar\.gz is packed; .*tar -xzf"):
        prepare(tmp_path, Output(tmp_path / "out"))


def test_tables_of_another_corpus_are_not_taken_for_those_of_fleurs(tmp_path: Path) -> None:
    build_commonvoice(tmp_path / "cv")
    for allow_missing in (False, True):
        with pytest.raises(UserError, match=r"es/train\.tsv is no table of FLEURS, .* anothe"):
            prepare(tmp_path / "cv", Output(tmp_path / "out", allow_missing))
        assert not (tmp_path / "out").exists()
    language(tmp_path / "fleurs" / "af_za")
    lines(tmp_path / "fleurs" / "af_za" / "test.tsv", "")
    with pytest.raises(UserError, match=r"af_za/train\.tsv is no table of CommonVoice, which has"):
        commonvoice.prepare(tmp_path / "fleurs", Output(tmp_path / "out"))
    table = tmp_path / "fleurs" / "af_za" / "train.tsv"
    table.write_text("a line that is broken\n" + table.read_text())
    out = Output(tmp_path / "out", allow_missing=True)
    assert prepare(tmp_path / "fleurs", out) == {"af": {"train": 2, "dev": 1}}


def test_what_is_not_fleurs(tmp_path: Path) -> None:
    language(tmp_path / "cv" / "af_za")
    with pytest.raises(UserError, match=r"neither FLEURS nor one language of it; it holds cv"):
        prepare(tmp_path, Output(tmp_path / "out"))
    with pytest.raises(UserError, match=r"no language folder xh; there are af"):
        prepare(tmp_path / "cv", Output(tmp_path / "out"), ["xh"])
    with pytest.raises(UserError, match="text is normalised or raw"):
        prepare(tmp_path / "cv", Output(tmp_path / "out"), text="lower")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no such folder; FLEURS was expected"):
        prepare(tmp_path / "absent", Output(tmp_path / "out"))
