"""The manifest: reading inverts writing, and errors name the line."""

import json
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechx.data.corpus import Corpus
from speechx.data.manifest import (
    claim,
    convert_manifest,
    read_lines,
    read_manifest,
    stream_manifest,
    write_manifest,
)
from speechx.data.utterance import KNOWN, NEEDED, RecordError, Utterance, hours
from speechx.errors import UserError

SCHEMA = Path(__file__).parents[2] / "data_manifests" / "manifest.schema.json"
GOOD = {"id": "a", "audio": "a.wav", "duration": 1.5, "language": "es"}


def utterance(folder: Path, id: str = "a", **changes: object) -> Utterance:
    made = Utterance(id=id, audio=folder / f"{id}.wav", duration=1.5, language="es")
    return replace(made, **changes)  # type: ignore[arg-type]


def write_lines(path: Path, *records: object) -> Path:
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_everything_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    written = [
        utterance(tmp_path / "audio"),
        utterance(
            tmp_path / "audio",
            "b",
            start=12.25,
            text='él dijo "ñ\u2028ö"',
            phones=("tʃ", "a˥"),
            speaker="s1",
            corpus="mls",
            extra={"gender": "female", "votes": [1, 2], "odd": None, "extra": {"a": 1}},
        ),
        utterance(tmp_path.parent, "outside", text="", phones=()),
        utterance(tmp_path, "packed", audio="s3://shelf/nl-00003.tar", bytes=(512, 2**40)),
    ]
    assert write_manifest(tmp_path / f"m{suffix}", iter(written)) == 4
    assert read_manifest(tmp_path / f"m{suffix}") == written
    assert list(stream_manifest(tmp_path / f"m{suffix}")) == written
    assert [line.found for line in read_lines(tmp_path / f"m{suffix}")] == written
    # Conversion and back loses nothing, not even the order of the keys.
    assert convert_manifest(tmp_path / f"m{suffix}", tmp_path / "converted.parquet") == 4
    convert_manifest(tmp_path / "converted.parquet", tmp_path / "back.jsonl")
    write_manifest(tmp_path / "same.jsonl", written)
    assert (tmp_path / "back.jsonl").read_text() == (tmp_path / "same.jsonl").read_text()


def test_a_manifest_with_a_repeated_id_is_not_converted(tmp_path: Path) -> None:
    line = json.dumps({**GOOD, "id": "twice"}) + "\n"
    (tmp_path / "m.jsonl").write_text(line + line)
    with pytest.raises(UserError, match=r"m\.jsonl: two utterances have the id 'twice'; ids must"):
        convert_manifest(tmp_path / "m.jsonl", tmp_path / "m.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]
    some = stream_manifest(tmp_path / "m.jsonl")
    assert [next(some).id, next(some).id] == ["twice", "twice"]
    with pytest.raises(UserError, match="two utterances have the id 'twice'"):
        next(some)
    with pytest.raises(UserError, match=r"a\.tsv: .* ends in \.jsonl"):
        convert_manifest(tmp_path / "m.jsonl", tmp_path / "a.tsv")
    (tmp_path / "m.jsonl").write_text(line)
    assert convert_manifest(tmp_path / "m.jsonl", tmp_path / "m.JSONL") == 1


def test_lines_are_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing takes an iterator, reading returns one; memory holds a fraction of the file."""
    count, text = 300, "x" * 20_000
    some = (utterance(tmp_path, f"{i}", text=f"{i}{text}") for i in range(count))
    monkeypatch.setattr("speechx.data.parquet.ROWS", 20)
    tracemalloc.start()
    try:
        write_manifest(tmp_path / "m.jsonl", some)
        convert_manifest(tmp_path / "m.jsonl", tmp_path / "m.parquet")
        assert sum(1 for _ in stream_manifest(tmp_path / "m.parquet")) == count
        corpora = [Corpus.read([tmp_path / f"m.{form}"]) for form in ("jsonl", "parquet")]
        assert tracemalloc.get_traced_memory()[1] < 0.4 * count * len(text)
    finally:
        tracemalloc.stop()
    assert [corpus[299].id for corpus in corpora] == ["299", "299"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaks() -> Iterator[Utterance]:
        yield utterance(tmp_path)
        raise KeyboardInterrupt

    for name in ("m.jsonl", "m.parquet"):
        write_manifest(tmp_path / name, [utterance(tmp_path, "before")])
        with pytest.raises(KeyboardInterrupt):
            write_manifest(tmp_path / name, breaks())
        assert [u.id for u in read_manifest(tmp_path / name)] == ["before"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.jsonl", "m.parquet"]
    # A manifest can be converted in place.
    convert_manifest(tmp_path / "m.jsonl", tmp_path / "m.jsonl")
    assert [u.id for u in read_manifest(tmp_path / "m.jsonl")] == ["before"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
KEYS = st.sampled_from([*KNOWN, "other"])


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.dictionaries(KEYS, ANYTHING))
def test_any_line_is_an_utterance_that_can_be_written_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_text(json.dumps(GOOD | changes))
    (line,) = read_lines(path)
    if isinstance(line.found, RecordError):
        assert "\n" not in str(line.found)
        return
    for form in ("again.jsonl", "again.parquet"):
        write_manifest(path.with_name(form), [line.found])
        (read,) = read_manifest(path.with_name(form))
        assert (read.id, read.audio, read.text) == (
            line.found.id, line.found.audio, line.found.text,
        )  # fmt: skip
        # Compared as text, because NaN does not equal itself.
        assert repr(read.extra) == repr(line.found.extra)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_manifest_or_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, parquet: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / ("any.parquet" if parquet else "any.jsonl")
    path.write_bytes(data if not parquet else b"PAR1" + data + b"PAR1")
    for read in (read_manifest, lambda path: Corpus.read([path])):
        with suppress(UserError):
            read(path)


def test_damaged_parquet_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    write_manifest(path, [utterance(tmp_path, f"{i}", text="hello") for i in range(500)])
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(whole[: random.integers(1, len(whole) + 1)])
        for index in random.integers(0, len(damaged), 3):
            damaged[index] = random.integers(0, 256)
        path.write_bytes(damaged)
        for read in (read_manifest, lambda path: Corpus.read([path])):
            with suppress(UserError):
                assert len(read(path)) == 500


def test_a_line_without_an_end_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechx.data.manifest.LONGEST_LINE", 1 << 20)
    (tmp_path / "m.jsonl").write_bytes(b'{"id": "' + b"a" * (1 << 22))
    with pytest.raises(UserError, match=r"m\.jsonl:1: longer than 1 MB"):
        read_manifest(tmp_path / "m.jsonl")


def test_parquet_without_pyarrow_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for work in (
        lambda path: read_manifest(path),
        lambda path: Corpus.read([path]),
        lambda path: write_manifest(path, [utterance(tmp_path)]),
    ):
        with pytest.raises(UserError, match=r"need pyarrow: pip install 'speechx\[tables\]'"):
            work(tmp_path / "m.parquet")
    assert list(tmp_path.iterdir()) == []
    write_manifest(tmp_path / "m.jsonl", [utterance(tmp_path)])
    assert len(Corpus.read([tmp_path / "m.jsonl"])) == 1


def test_a_corpus_folder_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_manifest(tmp_path / "old" / "m.jsonl", [utterance(tmp_path / "old" / "audio")])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "m.jsonl")[0].audio == tmp_path / "new/audio/a.wav"


def test_relative_paths_start_at_the_manifest_not_at_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "m.jsonl", GOOD | {"audio": "../clips/a.wav"})
    monkeypatch.chdir(tmp_path)
    assert read_manifest("m.jsonl")[0].audio == tmp_path.parent / "clips" / "a.wav"


def test_absent_keys_are_not_written_and_times_are_rounded(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [utterance(tmp_path, duration=1.23456789)])
    record = json.loads((tmp_path / "m.jsonl").read_text())
    assert record == GOOD | {"duration": 1.234568}


def test_phones_may_be_a_string_with_spaces_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", "", GOOD | {"phones": "t͡ʃ a  n"}, "")
    assert read_manifest(path)[0].phones == ("t͡ʃ", "a", "n")


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ('{"id": "a",', "not JSON"),
        ("[1, 2]", "a JSON object was expected"),
        ({"id": "a", "language": "es"}, "needs audio, duration; it has id, language"),
        (GOOD | {"id": 7}, "'id' must be text"),
        (GOOD | {"duration": 0}, "'duration' must be a positive number of seconds, not 0"),
        (GOOD | {"duration": "1.5"}, "'duration' must be"),
        (GOOD | {"duration": True}, "'duration' must be"),
        ('{"id":"a","audio":"a","duration":NaN,"language":"es"}', "'duration' must be"),
        (GOOD | {"text": ["hola"]}, "'text' must be text"),
        (GOOD | {"phones": ["a", 1]}, "'phones' must be a list of symbols"),
        (GOOD | {"phones": ["a", " "]}, "'phones' must be a list of symbols"),
        (GOOD | {"id": "first"}, "id 'first' is already on line 1"),
        (GOOD | {"duration": 10**400}, "'duration' must be a positive number of seconds, not 1000"),
        ('{"id": 1' + "0" * 5000 + "}", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ('{"id":"a","audio":"a","duration":1,"language":"\\ud800"}', "'language' holds half a"),
        (GOOD | {"bytes": [0, True, 1]}, "'bytes' must be an offset and a size"),
        (GOOD | {"corpus": 3}, "'corpus' must be text, not 3"),
    ],
)
def test_the_error_for_a_bad_line_names_it(tmp_path: Path, line: object, fact: str) -> None:
    path = write_lines(tmp_path / "m.jsonl", GOOD | {"id": "first"}, line)
    with pytest.raises(UserError) as raised:
        read_manifest(path)
    assert str(raised.value).startswith(f"{path}:2: ")
    assert fact in str(raised.value)
    assert "\n" not in str(raised.value)


def test_good_lines_are_read_beside_bad_ones(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", GOOD, "{", {**GOOD, "id": "b"}, {"id": "c"})
    lines = list(read_lines(path))
    assert [line.number for line in lines if isinstance(line.found, RecordError)] == [2, 4]
    assert [u.found.id for u in lines if isinstance(u.found, Utterance)] == ["a", "b"]


def test_a_folder_of_manifests_belongs_to_one_corpus(tmp_path: Path) -> None:
    claim(tmp_path / "nl", "CommonVoice cv-22")
    claim(tmp_path / "nl", "CommonVoice cv-22")
    with pytest.raises(UserError, match=r"nl holds the manifests of CommonVoice cv-22; give the "):
        claim(tmp_path / "nl", "the table mine.tsv")
    write_lines(tmp_path / "train.jsonl", GOOD)
    with pytest.raises(UserError, match="an unknown source"):
        claim(tmp_path, "CommonVoice cv-22")
    assert not (tmp_path / "source.txt").exists()


def test_the_error_for_another_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "latin.jsonl").write_bytes('{"id": "ñ"}'.encode("latin-1"))
    for name, fact in (("no", "No such file"), ("empty", "is empty"), ("latin", "not UTF-8")):
        with pytest.raises(UserError, match=fact):
            read_manifest(tmp_path / f"{name}.jsonl")


def test_a_manifest_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two utterances have the id 'a'"):
        write_manifest(tmp_path / "m.jsonl", [utterance(tmp_path), utterance(tmp_path)])
    with pytest.raises(ValueError, match="empty manifest"):
        write_manifest(tmp_path / "m.jsonl", [])
    with pytest.raises(ValueError, match="extra holds known keys"):
        write_manifest(tmp_path / "m.jsonl", [utterance(tmp_path, extra={"text": "x"})])
    assert list(tmp_path.iterdir()) == []


def test_few_hours_are_not_rounded_to_zero() -> None:
    shown = {0: "0", 0.1: "0.000028", 12: "0.0033", 359.99: "0.10", 900: "0.25", 4336200: "1204.50"}
    assert {seconds: hours(seconds) for seconds in shown} == shown


def test_the_schema_agrees_with_the_reader() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert set(schema["properties"]) == set(KNOWN)
    assert set(schema["required"]) == set(NEEDED)
    assert schema["additionalProperties"] is True
    assert schema["properties"]["duration"]["exclusiveMinimum"] == 0
    assert schema["properties"]["start"]["minimum"] == 0
