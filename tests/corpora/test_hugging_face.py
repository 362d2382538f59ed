"""Datasets as the real library saves them are read without it; broken ones are named."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from speechx.corpora import hugging_face
from speechx.corpora.engine.write import Output
from speechx.data.manifest import read_manifest
from speechx.errors import UserError
from tests.corpora.corpus_trees import lines, of_own_data, read, sound

prepare = of_own_data(hugging_face.prepare)


def save(folder: Path, rows: dict[str, list[Any]], split: str = "train", **state: Any) -> Path:
    """A dataset in the library's layout, written with pyarrow: the library takes long to load."""
    import pyarrow as pa

    file_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {"audio": file_type, "image": file_type}
    arrays = {name: pa.array(cells, types.get(name)) for name, cells in rows.items()}
    table = pa.table(arrays)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(str(file), table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": file.name}], "_split": split, **state})
    )
    features = {"language": {"names": ["Italian", "Swedish"], "_type": "ClassLabel"}}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def wav(folder: Path, name: str = "a.wav", seconds: float = 0.5) -> bytes:
    return sound(folder / name, seconds).read_bytes()


@pytest.mark.interop
def test_what_the_library_saves_is_read(tmp_path: Path, messages: list[str]) -> None:
    import datasets

    datasets.disable_progress_bars()
    clips = [str(sound(tmp_path / "clips" / f"{i}{s}", 0.5 + i / 4)) for i, s in
             enumerate((".wav", ".flac", ".mp3", ".ogg"))]  # fmt: skip
    rows = {
        "audio": [{"bytes": Path(clip).read_bytes(), "path": Path(clip).name} for clip in clips],
        "sentence": ['due "è', "tre", "fyra", ""],
        "speaker_id": [7, 7, 8, 8],
        "language": [0, 0, 1, 0],
        "mood": ["gay"] * 4,
    }

    def dataset() -> datasets.Dataset:  # as encoding by the library itself needs torchcodec
        made = datasets.Dataset.from_dict(rows)
        made = made.cast_column("audio", datasets.Audio(sampling_rate=16_000, decode=False))
        return made.cast_column("language", datasets.ClassLabel(names=["Italian", "Swedish"]))

    train = dataset()
    both = datasets.DatasetDict(train=train, validation=train.select([1, 2]))
    both.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "validation": 1})
    messages.clear()
    out = tmp_path / "out"
    for _ in range(2):
        counts = prepare(tmp_path / "saved", Output(out))
        assert counts == {
            "it": {"train": 2, "dev": 1, "unlabelled": 1},
            "sv-SE": {"train": 1, "dev": 1},
        }
    assert messages[0] == f"{tmp_path / 'saved'}: columns not used: mood"
    found = read(out, "it", "train")
    assert [(u.id, u.text, u.speaker, u.duration, u.corpus) for u in found.values()] == [
        ("0", 'due "è', "7", 0.5, "saved"), ("1", "tre", "7", 0.75, "saved"),
    ]  # fmt: skip
    assert found["0"].audio == out / "it" / "unpacked" / "0.wav"
    assert found["0"].audio.read_bytes() == Path(clips[0]).read_bytes()
    assert sorted(f.name for f in (out / "it" / "unpacked").iterdir()) == [
        "0.wav", "1.2.flac", "1.flac", "3.ogg",
    ]  # fmt: skip
    dataset().save_to_disk(tmp_path / "alone")
    assert prepare(tmp_path / "alone", Output(tmp_path / "out2", convert=True)) == {
        "it": {"train": 2, "unlabelled": 1}, "sv-SE": {"train": 1},
    }  # fmt: skip
    (mp3,) = read(tmp_path / "out2", "sv-SE", "train").values()
    assert mp3.audio.parent == tmp_path / "out2" / "sv-SE" / "audio"
    assert (mp3.audio.name.split(".")[0], mp3.audio.suffix) == ("2", ".flac")


def test_paths_and_mapped_columns(tmp_path: Path) -> None:
    sound(tmp_path / "saved" / "clips" / "x.wav", 0.75)
    rows = {
        "audio": [{"bytes": None, "path": "clips/x.wav"}],
        "path": ["name of its own"],
        "norm": ["due"],
    }
    save(tmp_path / "saved", rows, "validation")
    columns = {"text": "norm", "id": "path"}
    counts = prepare(tmp_path / "saved", Output(tmp_path / "out"), "it", columns=columns)
    assert counts == {"it": {"dev": 1}}
    (u,) = read(tmp_path / "out", "it", "dev").values()
    assert (u.id, u.text, u.duration) == ("name of its own", "due", 0.75)
    with pytest.raises(UserError, match="has no column txt; it has audio, path, norm"):
        prepare(tmp_path / "saved", Output(tmp_path / "out"), "it", columns={"text": "txt"})
    save(tmp_path / "plain", {"mood": ["gay"], "file": ["clips/x.wav"]})
    columns = {"path": "file"}
    root = tmp_path / "saved"
    prepare(
        tmp_path / "plain",
        Output(tmp_path / "o3"),
        "it",
        columns=columns,
        audio_root=root,
    )
    (u,) = read_manifest(tmp_path / "o3" / "it" / "unlabelled.jsonl")
    assert u.audio == root / "clips" / "x.wav"


def test_ids_and_splits_may_be_0(tmp_path: Path) -> None:
    data = {"bytes": wav(tmp_path), "path": "x.wav"}
    save(tmp_path / "saved", {"audio": [data] * 2, "id": [0, 1], "text": ["due", "tre"]})
    prepare(tmp_path / "saved", Output(tmp_path / "out"), "it")
    found = read(tmp_path / "out", "it", "train")
    assert [(u.id, u.audio.name) for u in found.values()] == [("0", "0.wav"), ("1", "1.wav")]
    save(tmp_path / "folds", {"audio": [data] * 2, "split": [0, 1], "text": ["due", "tre"]})
    counts = prepare(tmp_path / "folds", Output(tmp_path / "out2"), "it")
    assert counts == {"it": {"0": 1, "1": 1}}


def test_names_in_rows_lead_nowhere(tmp_path: Path, messages: list[str]) -> None:
    secret = sound(tmp_path / "secret.wav")
    data = secret.read_bytes()
    rows = {
        "audio": [{"bytes": None, "path": "../secret.wav"}, {"bytes": None, "path": str(secret)},
                  {"bytes": data, "path": "../../../up.wav"}, {"bytes": data, "path": "x.wav"},
                  {"bytes": data, "path": "y.wav"}, {"bytes": b"no sound", "path": "z.wav"},
                  {"bytes": None, "path": None}],
        "id": [None, None, "../../../id", None, None, None, None],
        "language": ["it", "it", "it", "../../evil", "it", "it", "it"],
        "split": ["train", "train", "train", "train", "../../evil", "train", "train"],
        "text": ["x"] * 7,
    }  # fmt: skip
    save(tmp_path / "in" / "saved", rows)
    out = tmp_path / "a" / "b" / "out"
    counts = prepare(tmp_path / "in" / "saved", Output(out, allow_missing=True), "it")
    assert counts == {"it": {"train": 1}}
    assert "6 corrupt (corrupt.txt)" in messages[-1]
    (u,) = read(out, "it", "train").values()
    assert (u.id, u.audio) == ("../../../id", out / "it" / "unpacked" / f"{u.audio.name}")
    written = {f.relative_to(tmp_path).parts[0] for f in tmp_path.rglob("*") if f.is_file()}
    assert written == {"secret.wav", "in", "a"}
    assert all(out in f.parents for f in (tmp_path / "a").rglob("*") if f.is_file())


@pytest.mark.parametrize("said_in", ["dataset_info.json", "the schema"])
def test_an_image_is_not_taken_for_the_sound(
    tmp_path: Path, said_in: str, messages: list[str]
) -> None:
    import pyarrow as pa

    image = {"bytes": b"\xff\xd8 no sound", "path": "x.jpg"}
    rows = {"image": [image], "audio": [{"bytes": wav(tmp_path), "path": "x.wav"}], "text": ["due"]}
    folder = save(tmp_path / "saved", rows)
    features = {"image": {"_type": "Image"}, "audio": {"_type": "Audio"}}
    if said_in == "the schema":
        (file,) = folder.glob("*.arrow")
        with pa.ipc.open_stream(file.read_bytes()) as stream:
            table = stream.read_all()
        told = {"huggingface": json.dumps({"info": {"features": features}})}
        with pa.ipc.new_stream(str(file), table.schema.with_metadata(told)) as writer:
            writer.write_table(table.replace_schema_metadata(told))
    else:
        (folder / said_in).write_text(json.dumps({"features": features}))
    prepare(folder, Output(tmp_path / "out"), "it")
    assert messages[0] == f"{folder}: columns not used: image"
    (u,) = read(tmp_path / "out", "it", "train").values()
    assert (u.id, u.audio.read_bytes()) == ("x", rows["audio"][0]["bytes"])


@pytest.mark.parametrize("ours", ["audio", "path"])
def test_of_two_audio_columns_the_one_asked_for_is_read(tmp_path: Path, ours: str) -> None:
    near, far = ({"bytes": wav(tmp_path), "path": f"{name}.wav"} for name in ("near", "far"))
    folder = save(tmp_path / "saved", {"audio": [near], "also": [far], "text": ["due"]})
    prepare(folder, Output(tmp_path / "out"), "it", columns={ours: "also"})
    assert list(read(tmp_path / "out", "it", "train")) == ["far"]


def test_what_is_unpacked_is_no_copy_and_is_there_once(tmp_path: Path, messages: list[str]) -> None:
    audio = [{"bytes": wav(tmp_path), "path": "x.wav"}]
    save(tmp_path / "saved", {"audio": audio, "text": ["due"]})
    unused = "it: .*/it/audio has copies of an earlier --convert, which are not used now"
    folders = {False: "unpacked", True: "audio"}
    for convert, notes in ((False, 0), (False, 0), (True, 0), (False, 1)):
        messages.clear()
        out = Output(tmp_path / "out", convert=convert)
        prepare(tmp_path / "saved", out, "it")
        (u,) = read(tmp_path / "out", "it", "train").values()
        assert u.audio.parent == tmp_path / "out" / "it" / folders[convert]
        assert sum(bool(re.fullmatch(unused, line)) for line in messages) == notes
    assert len(list((tmp_path / "out" / "it").rglob("*.wav"))) == 1


def test_no_split_takes_the_place_of_another(tmp_path: Path) -> None:
    for split in ("dev", "validation"):
        audio = [{"bytes": wav(tmp_path), "path": f"{split}.wav"}]
        save(tmp_path / "saved" / split, {"audio": audio}, split)
    lines(tmp_path / "saved" / "dataset_dict.json", '{"splits": ["dev", "validation"]}')
    with pytest.raises(UserError, match="the splits dev and validation are both dev here; rename"):
        prepare(tmp_path / "saved", Output(tmp_path / "out"), "it")


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("state.json", b"{", "is not JSON"),
        ("state.json", b"[]", "a JSON object was expected"),
        ("state.json", b"{}", "no list of data files"),
        ("state.json", b'{"_data_files": [{"filename": 7}]}', "no list of data files"),
        ("state.json", b'{"_data_files": [{"filename": "../x"}]}', r"'\.\./x' leads out of"),
        ("state.json", b'{"_data_files": [{"filename": "none"}]}', "no such file, but"),
        ("state.json", b'{"_data_files": [{"filename": "a"}], "_indices_data_files": [1]}',
         "rows are picked by an index"),
        ("data-00000-of-00001.arrow", b"", "is no Arrow file that can be read"),
        ("data-00000-of-00001.arrow", b"random bytes" * 9, "is no Arrow file that can be read"),
        ("dataset_info.json", b"\xff", "is not JSON"),
    ],
)  # fmt: skip
def test_broken_datasets_are_named(tmp_path: Path, file: str, content: bytes, why: str) -> None:
    folder = save(tmp_path / "saved", {"audio": [{"bytes": wav(tmp_path), "path": "a.wav"}]})
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=why):
        prepare(folder, Output(tmp_path / "out"), "it")


def test_a_truncated_file_is_named_wherever_it_ends(tmp_path: Path) -> None:
    rows = {"audio": [{"bytes": wav(tmp_path, f"{i}.wav"), "path": f"{i}.wav"} for i in range(3)]}
    folder = save(tmp_path / "saved", rows)
    arrow = folder / "data-00000-of-00001.arrow"
    whole = arrow.read_bytes()
    for length in range(1, len(whole) - 16, len(whole) // 20):
        arrow.write_bytes(whole[:length])
        with pytest.raises(UserError):
            prepare(folder, Output(tmp_path / "out"), "it")


def test_what_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"neither dataset_dict\.json nor state\.json is in it"):
        prepare(tmp_path, Output(tmp_path / "out"), "it")
    lines(tmp_path / "dataset_dict.json", '{"splits": ["../evil"]}')
    with pytest.raises(UserError, match="leads out of"):
        prepare(tmp_path, Output(tmp_path / "out"), "it")
    folder = save(tmp_path / "saved", {"text": ["due"]})
    with pytest.raises(UserError, match="has no column `path`; it has text"):
        prepare(folder, Output(tmp_path / "out"), "it")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"need pyarrow: pip install 'speechx\[tables\]'"):
        prepare(folder, Output(tmp_path / "out"), "it")
