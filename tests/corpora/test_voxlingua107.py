"""VoxLingua107: languages only, old codes, dev apart."""

from pathlib import Path

import pytest

from speechx.corpora.engine.write import Output
from speechx.corpora.voxlingua107 import prepare
from speechx.errors import UserError
from tests.corpora.corpus_trees import read, sound

CLIP = "{}__U__S{}---0123.450-0134.560.wav"


def tree(root: Path) -> Path:
    for folder, video in (("iw", "-a_b__C1"), ("jw", "vidJw"), ("dev/iw", "vidDev"), ("et", "v")):
        sound(root / folder / CLIP.format(video, 7))
    sound(root / "iw" / CLIP.format("-a_b__C1", 8), 1.0)
    sound(root / "dev" / "fy" / "other.wav")  # a language that has only dev here
    return root


def test_the_tree_is_read_exactly(tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = prepare(tree(tmp_path / "vox"), Output(out))
    assert counts == {
        "et": {"unlabelled": 1},
        "fy-NL": {"dev": 1},
        "he": {"dev": 1, "unlabelled": 2},
        "jv": {"unlabelled": 1},
    }
    first, second = read(out, "he", "unlabelled").values()
    assert first.id == "-a_b__C1__U__S7---0123.450-0134.560"
    assert (first.speaker, first.text, first.duration) == ("-a_b__C1", None, 0.5)
    assert (second.duration, second.language, second.corpus) == (1.0, "he", "voxlingua107")
    assert second.extra == {"locale": "iw"}
    (dev,) = read(out, "fy-NL", "dev").values()
    assert (dev.id, dev.speaker) == ("other", None)
    for words in (["he"], ["iw"], ["Hebrew", "iw"]):
        assert prepare(tmp_path / "vox", Output(out), words) == {"he": counts["he"]}


def test_two_folders_of_one_language_are_not_written_over_each_other(tmp_path: Path) -> None:
    sound(tree(tmp_path / "vox") / "dev" / "he" / "one.wav")
    for words in (None, ["he"], ["iw"]):
        with pytest.raises(UserError, match=r"he and iw are both he, and would be written over"):
            prepare(tmp_path / "vox", Output(tmp_path / "out"), words)
    assert not (tmp_path / "out").exists()


def test_zips_are_named_and_not_forgotten(tmp_path: Path, messages: list[str]) -> None:
    (tmp_path / "aa.zip").touch()
    with pytest.raises(UserError, match=r"not VoxLingua107.* its 1 zip files are to be unpacked"):
        prepare(tmp_path, Output(tmp_path / "out"))
    tree(tmp_path)
    messages.clear()
    prepare(tmp_path, Output(tmp_path / "out"), ["et"])
    assert messages[0].startswith(f"{tmp_path}: not unpacked, so left out: aa; to unpack: ")
    with pytest.raises(UserError, match=r"no language folder aa; there are"):
        prepare(tmp_path, Output(tmp_path / "out"), ["aa"])


def test_links_out_of_the_folder_and_empty_files_are_named(
    tmp_path: Path, messages: list[str]
) -> None:
    root = tree(tmp_path / "vox")
    (root / "et" / "out.wav").symlink_to(sound(tmp_path / "secret.wav"))
    (root / "et" / "loop.wav").symlink_to(root / "et" / "loop.wav")
    (root / "et" / "empty.wav").touch()
    prepare(root, Output(tmp_path / "out", allow_missing=True), ["et"])
    assert messages == ["et: unlabelled 1 (0.00014 h); left out: 3 corrupt (corrupt.txt)"]


def test_folders_of_folders_are_not_taken_for_languages(tmp_path: Path) -> None:
    sound(tmp_path / "own" / "ann" / "one.wav")
    sound(tmp_path / "cv" / "es" / "clips" / CLIP.format("x", 1))
    for root in ("own", "cv"):
        with pytest.raises(UserError, match=r"not VoxLingua107, which is LANGUAGE/VIDEO__U__S1---"):
            prepare(tmp_path / root, Output(tmp_path / "out"))
    root = tree(tmp_path / "vox")
    (root / "notes").mkdir()
    assert "notes" not in prepare(root, Output(tmp_path / "out"))
