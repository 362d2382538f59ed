"""A plain folder: texts beside recordings, long ones in stretches, nothing read from outside."""

import math
import unicodedata
from pathlib import Path

import pytest

from speechx.corpora.babel import Options
from speechx.corpora.engine.write import Output
from speechx.corpora.folder import prepare
from speechx.errors import UserError
from speechx.text.normalize import normalize
from tests.corpora.corpus_trees import lines, read, sound


def test_texts_beside_recordings_are_theirs(tmp_path: Path, messages: list[str]) -> None:
    root = tmp_path / "interviews"
    sound(root / "ann" / "01.wav")
    lines(root / "ann" / "01.txt", "  due parole ", "", "e tre")
    sound(root / "ann" / "01.flac", 0.75)
    sound(root / "bob" / "deep" / "a b.mp3", 1.0)
    sound(root / "top.ogg")
    lines(root / "top.lab", "sopra")
    lines(root / "notes.pdf", "no sound")
    sound(root / ".hidden" / "x.wav")
    counts = prepare(root, Output(tmp_path / "out"), "it", speakers=True)
    assert counts == {"it": {"train": 3, "unlabelled": 1}}
    assert "left out: 1 hidden files, 1 files that are no audio" in messages[0]
    train = read(tmp_path / "out", "it", "train")
    assert {i: (u.text, u.speaker) for i, u in train.items()} == {
        "ann/01": ("due parole e tre", "ann"),
        "ann/01.wav": ("due parole e tre", "ann"),
        "top": ("sopra", None),
    }
    (bob,) = read(tmp_path / "out", "it", "unlabelled").values()
    assert (bob.id, bob.speaker, bob.corpus) == ("bob/deep/a b", "bob", "interviews")


def test_a_text_is_found_whatever_the_case_of_its_ending_or_the_form_of_its_accents(
    tmp_path: Path, messages: list[str]
) -> None:
    root = tmp_path / "in"
    decomposed = unicodedata.normalize("NFD", "señora.wav")
    for audio, text in {
        "a.wav": "a.TXT",
        "b.WAV": "b.wav.txt",
        decomposed: unicodedata.normalize("NFC", "señora.txt"),
        "e.flac": "e.Lab",
    }.items():
        sound(root / "x.wav").rename(root / audio)
        lines(root / text, f"text of {audio}")
    lines(root / "c.txt", "nobody's")
    lines(root / "d.mp3.txt", "nobody's")
    lines(root / ".d" / "d.txt", "hidden")
    messages.clear()
    assert prepare(root, Output(tmp_path / "out"), "it") == {"it": {"train": 4}}
    train = read(tmp_path / "out", "it", "train")
    assert {u.text for u in train.values()} == {
        f"text of {audio}" for audio in ("a.wav", "b.WAV", decomposed, "e.flac")
    }
    orphans = "2 text files beside no recording of the same name (the first is c.txt)"
    assert orphans in messages[0]


def test_a_text_with_the_whole_name_of_its_recording_goes_first(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac"):
        sound(tmp_path / "in" / name)
    lines(tmp_path / "in" / "a.wav.txt", "of the wav")
    lines(tmp_path / "in" / "a.txt", "of a")
    prepare(tmp_path / "in", Output(tmp_path / "out"), "it")
    train = read(tmp_path / "out", "it", "train")
    assert {i: u.text for i, u in train.items()} == {"a": "of a", "a.wav": "of the wav"}


def test_what_is_written_cannot_be_among_the_recordings(tmp_path: Path) -> None:
    root = tmp_path / "data" / "it"
    sound(root / "a.wav")
    for out in (root, tmp_path / "data", root / ".." / "it"):
        with pytest.raises(UserError, match=r"among the recordings .*-o .*it/prepared"):
            prepare(root, Output(out, convert=True), "it")
    assert [path.name for path in root.iterdir()] == ["a.wav"]
    for _ in range(2):
        counts = prepare(root, Output(root / "prepared", convert=True), "it")
        assert counts == {"it": {"unlabelled": 1}}


def test_a_text_that_is_not_utf8_is_left_out_and_its_recording_kept(
    tmp_path: Path, messages: list[str]
) -> None:
    for name in ("a", "b"):
        sound(tmp_path / "in" / f"{name}.wav")
        (tmp_path / "in" / f"{name}.txt").write_bytes("perché".encode("latin1"))
    with pytest.raises(UserError, match=r"is not UTF-8 text; .*iconv -f latin1 -t utf-8"):
        prepare(tmp_path / "in", Output(tmp_path / "out"), "it")
    messages.clear()
    prepare(tmp_path / "in", Output(tmp_path / "out", True), "it")
    assert (
        "2 recordings are kept here, only their texts are left out); left out: 2 corr"
        in messages[0]
    )


@pytest.mark.parametrize("convert", [False, True])
def test_long_recordings_are_listed_in_stretches(tmp_path: Path, convert: bool) -> None:
    sound(tmp_path / "in" / "long.wav", 2.5, rate=8000)
    sound(tmp_path / "in" / "told.wav", 2.5)
    lines(tmp_path / "in" / "told.txt", "one long text")
    out = tmp_path / "in" / "manifests"  # below the folder: not to be taken for recordings
    for _ in range(2):
        counts = prepare(tmp_path / "in", Output(out, convert=convert), "it", longest=1.0)
        assert counts == {"it": {"train": 1, "unlabelled": 3}}
    stretches = read(out, "it", "unlabelled").values()
    assert [u.id for u in stretches] == ["long_0000000", "long_0000083", "long_0000167"]
    assert sum(u.duration for u in stretches) == pytest.approx(2.5, abs=1e-3)
    starts = [0.0] * 3 if convert else [0.0, 0.833333, 1.666667]
    assert [u.start for u in stretches] == starts
    assert len({u.audio for u in stretches}) == (3 if convert else 1)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder; a folder of recordings was expected"):
        prepare(tmp_path / "absent", Output(tmp_path / "out"), "it")
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="no audio file is in it"):
        prepare(tmp_path / "in", Output(tmp_path / "out"), "it")
    sound(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"a\.txt: is not UTF-8 text"):
        prepare(tmp_path / "in", Output(tmp_path / "out"), "it")
    (tmp_path / "in" / "a.txt").unlink()
    (tmp_path / "in" / "b.wav").symlink_to(sound(tmp_path / "secret.wav"))
    (tmp_path / "in" / "all").symlink_to(tmp_path)  # a circle
    with pytest.raises(UserError, match=r"'b\.wav' leads out of"):
        prepare(tmp_path / "in", Output(tmp_path / "out"), "it")
    with pytest.raises(UserError, match=r"'\.\./\.\.' is the name of a language or a split"):
        prepare(tmp_path / "in", Output(tmp_path / "out", allow_missing=True), "../..")


@pytest.mark.parametrize("longest", [0.0, -3.0, math.nan])
def test_the_length_of_a_stretch_is_a_number_above_0(tmp_path: Path, longest: float) -> None:
    sound(tmp_path / "in/a.wav")
    with pytest.raises(UserError, match=r"--longest.* above 0"):
        prepare(tmp_path / "in", Output(tmp_path / "out"), "xx", longest=longest)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"--longest.* above 0"):
        Options(longest=longest)


@pytest.mark.parametrize("named", ["tr", "tur", "tr_TR", "tr-TR", "Turkish"])
def test_every_code_of_a_language_is_one_in_the_manifest(tmp_path: Path, named: str) -> None:
    sound(tmp_path / "in" / "a.wav")
    lines(tmp_path / "in" / "a.txt", "ISPARTA, İzmir")
    assert prepare(tmp_path / "in", Output(tmp_path / "out"), named) == {"tr": {"train": 1}}
    (only,) = read(tmp_path / "out", "tr", "train").values()
    assert only.language == "tr"
    assert normalize(only.text or "", only.language) == "ısparta izmir"
