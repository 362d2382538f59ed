"""Split lists: our own and published ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from speechx.data.few_shot import split_few_shot
from speechx.data.manifest import Utterance, read_manifest, write_manifest
from speechx.data.split_lists import apply_lists, read_list, split_by_lists, split_name
from speechx.errors import UserError
from tests.data.test_few_shot import corpus


def clips(*ids: str) -> list[Utterance]:
    return [
        Utterance(id=id, audio=Path(f"/a/{id}.mp3"), duration=1.0, language="es", text="x")
        for id in ids
    ]


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("trainSeqs_1.0_uniform_new_version.txt", "train_1h"),
        ("trainSeqs_5.0_uniform_new_version.txt", "train_5h"),
        ("valSeqs_1.0_uniform_new_version.txt", "dev_1h"),
        ("valSeqs_uniform_new_version.txt", "dev"),
        ("testSeqs_uniform_new_version.txt", "test"),
        ("train_10min.txt", "train_10min"),
        ("dev.txt", "dev"),
    ],
)
def test_published_names_become_ours(file: str, split: str) -> None:
    assert split_name(Path(file)) == split


def test_written_lists_give_the_same_splits(tmp_path: Path) -> None:
    write_manifest(tmp_path / "es.jsonl", corpus(50, 30))
    counts = split_few_shot([tmp_path / "es.jsonl"], tmp_path / "a", (10, 20), 5, 10)
    lists = sorted((tmp_path / "a" / "es").glob("*t*.txt"))
    lists = [path for path in lists if path.stem in counts["es"]]
    lists.append(tmp_path / "a" / "es" / "dev.txt")
    given = [*lists, tmp_path / "a" / "es" / "source.txt"]  # as in */*.txt
    assert given[-1].is_file()
    assert split_by_lists([tmp_path / "es.jsonl"], given, tmp_path / "b") == {
        "es": {path.stem: counts["es"][path.stem] for path in lists}
    }
    for split in counts["es"]:
        ours, theirs = (read_manifest(tmp_path / x / "es" / f"{split}.jsonl") for x in "ab")
        assert [u.id for u in ours] == [u.id for u in theirs]
        assert theirs[0].extra["split"] == f"list {split}.txt"


def test_files_of_earlier_lists_are_removed(tmp_path: Path) -> None:
    """A split that is no longer made could share utterances with the new ones."""
    some = clips("c1", "c2", "c3")
    it = [replace(u, id=f"it{u.id}", language="it") for u in some]
    manifest, out = tmp_path / "all.jsonl", tmp_path / "out"
    write_manifest(manifest, some + it)
    lists = [tmp_path / "train.txt", tmp_path / "test.txt"]
    for path, ids in zip(lists, ("c1\nitc1\n", "c2\nitc2\n"), strict=True):
        path.write_text(ids)
    split_by_lists([manifest], lists, out)
    lists[1].write_text("itc2\n")
    assert split_by_lists([manifest], lists, out)["es"] == {"train": 1}
    assert not (out / "es" / "test.jsonl").exists()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "test.txt").write_text("c1\n")
    for others in ([tmp_path / "more" / "test.txt"], lists[:1]):
        with pytest.raises(UserError, match=r"holds the manifests of the lists .*another -o"):
            split_by_lists([manifest], others, out)


def test_clip_names_with_folder_and_suffix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trainSeqs_1.0_uniform.txt").write_text(
        "c1\nclips/c2.mp3\nc3.webm\n\nc9.mp3\n# no\n"
    )
    known = clips("c1", "c2", "c3")
    splits = apply_lists(known, [tmp_path / "trainSeqs_1.0_uniform.txt"])
    assert [u.id for u in splits["train_1h"]] == ["c1", "c2", "c3"]
    (line,) = capsys.readouterr().err.splitlines()
    for fact in ("train_1h: 3 of 4 ", "trainSeqs_1.0_uniform.txt", "1 are in no manifest: c9.mp3"):
        assert fact in line
    (tmp_path / "dev.txt").write_text("fillets-ng/c1.ogg\n")  # an id that looks like a path
    assert len(apply_lists(clips("fillets-ng/c1.ogg"), [tmp_path / "dev.txt"])["dev"]) == 1


def test_tables_with_phone_files(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("/corpus/es/clips\nc1.mp3\t16000\nc2.mp3\t32000\n")
    (tmp_path / "train.phone").write_text("n o | t e n e m o s\na\n")
    assert read_list(tmp_path / "train.tsv") == {
        "c1.mp3": tuple("notenemos"),
        "c2.mp3": ("a",),
    }
    splits = apply_lists(clips("c1", "c2"), [tmp_path / "train.tsv"])
    assert [u.phones for u in splits["train"]] == [tuple("notenemos"), ("a",)]
    (tmp_path / "train.phone").write_text("n o\n")
    with pytest.raises(UserError, match=r"train\.phone: 1 lines, but .* lists 2"):
        read_list(tmp_path / "train.tsv")


def test_lists_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "train_1h.txt").write_text("c1\nc2\n")
    (tmp_path / "test.txt").write_text("c2\n")
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "latin.txt").write_bytes("ñ\n".encode("latin-1"))
    with pytest.raises(UserError, match="c2 is listed for train and for test"):
        apply_lists(clips("c1", "c2"), [tmp_path / "train_1h.txt", tmp_path / "test.txt"])
    with pytest.raises(UserError, match=r"none of its 2 utterances \(c1, c2\) is in the manifests"):
        apply_lists(clips("other"), [tmp_path / "train_1h.txt"])
    with pytest.raises(UserError, match="another list also has the name test"):
        apply_lists(clips("c2"), [tmp_path / "test.txt"] * 2)
    for name, why in (("empty.txt", "is empty"), ("latin.txt", "UTF-8"), ("no.txt", "cannot read")):
        with pytest.raises(UserError, match=why):
            read_list(tmp_path / name)


def test_shipped_lists_are_complete_and_disjoint() -> None:
    folder = Path(__file__).resolve().parents[2] / "data_manifests" / "splits"
    for language in folder.glob("*/*"):
        ids = {path.stem: list(read_list(path)) for path in language.glob("*.txt")}
        assert {"test", "dev"} < ids.keys()
        assert ids["train_1h"][: len(ids["train_10min"])] == ids["train_10min"]
        everything = [*ids["test"], *ids["dev"], *ids["train_1h"]]
        assert len(everything) == len(set(everything))
        known = clips(*everything)
        assert len(apply_lists(known, sorted(language.glob("*.txt")))) == len(ids)


def test_listing_an_id_of_two_languages_is_an_error(tmp_path: Path) -> None:
    some = [*clips("0001", "0002"), replace(clips("0001")[0], language="it")]
    (tmp_path / "test.txt").write_text("0001\n")
    with pytest.raises(UserError, match=r"0001 is an utterance of es and of it \(1 such names"):
        apply_lists(some, [tmp_path / "test.txt"])
    (tmp_path / "test.txt").write_text("0002\n")
    assert [u.id for u in apply_lists(some, [tmp_path / "test.txt"])["test"]] == ["0002"]
