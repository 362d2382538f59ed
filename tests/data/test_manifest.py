"""The manifest: what is written is what is read, and every mistake names its line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from speechx.data.manifest import (
    LanguageSummary,
    claim,
    read_manifest,
    read_manifest_in_part,
    summarize,
    summary_table,
    write_manifest,
)
from speechx.data.utterance import KNOWN, NEEDED, Utterance
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


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    written = [
        utterance(tmp_path / "audio"),
        utterance(
            tmp_path / "audio",
            "b",
            start=12.25,
            text='él dijo "ñ\u2028ö"',
            phones=("tʃ", "a˥"),
            speaker="s1",
            extra={"gender": "female", "votes": [1, 2], "odd": None},
        ),
        utterance(tmp_path.parent, "outside", text=""),
    ]
    write_manifest(tmp_path / "m.jsonl", written)
    assert read_manifest(tmp_path / "m.jsonl") == written
    write_manifest(tmp_path / "again.jsonl", read_manifest(tmp_path / "m.jsonl"))
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "m.jsonl").read_text()


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


def test_what_is_not_known_is_left_out_and_times_are_rounded(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [utterance(tmp_path, duration=1.23456789)])
    record = json.loads((tmp_path / "m.jsonl").read_text())
    assert record == GOOD | {"duration": 1.234568}


def test_phones_may_be_a_string_with_spaces_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", "", GOOD | {"phones": "t͡ʃ a  n"}, "")
    assert read_manifest(path)[0].phones == ("t͡ʃ", "a", "n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a",', "not JSON"),
        ("[1, 2]", "a JSON object was expected"),
        ({"id": "a", "language": "es"}, "needs audio, duration; it has id, language"),
        (GOOD | {"language": None}, "needs language"),
        (GOOD | {"id": 7}, "'id' must be text"),
        (GOOD | {"id": " "}, "'id' must be text that is not empty"),
        (GOOD | {"duration": 0}, "'duration' must be a positive number of seconds, not 0"),
        (GOOD | {"duration": -1.5}, "'duration' must be"),
        (GOOD | {"duration": "1.5"}, "'duration' must be"),
        (GOOD | {"duration": True}, "'duration' must be"),
        ('{"id":"a","audio":"a","duration":NaN,"language":"es"}', "'duration' must be"),
        (GOOD | {"start": -0.1}, "'start' must be zero or more seconds"),
        (GOOD | {"text": ["hola"]}, "'text' must be text"),
        (GOOD | {"phones": ["a", 1]}, "'phones' must be a list of symbols"),
        (GOOD | {"phones": ["a", " "]}, "'phones' must be a list of symbols"),
        (GOOD | {"id": "first"}, "id 'first' is already on line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, said: str) -> None:
    path = write_lines(tmp_path / "m.jsonl", GOOD | {"id": "first"}, line)
    with pytest.raises(UserError) as raised:
        read_manifest(path)
    assert str(raised.value).startswith(f"{path}:2: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_bad_line_is_listed_and_the_good_ones_are_read(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", GOOD, "{", {**GOOD, "id": "b"}, GOOD, {"id": "c"})
    utterances, problems = read_manifest_in_part(path)
    assert [u.id for u in utterances] == ["a", "b"]
    assert [p.split(": ")[0] for p in problems] == [f"{path}:{n}" for n in (2, 4, 5)]
    path.write_text("", encoding="utf-8")
    assert read_manifest_in_part(path)[1] == [
        f"{path}: the manifest is empty; one JSON object a line was expected."
    ]


def test_a_folder_of_manifests_belongs_to_one_corpus(tmp_path: Path) -> None:
    claim(tmp_path / "nl", "CommonVoice cv-22")
    claim(tmp_path / "nl", "CommonVoice cv-22")
    with pytest.raises(UserError, match=r"nl holds the manifests of CommonVoice cv-22; give the "):
        claim(tmp_path / "nl", "the table mine.tsv")
    write_lines(tmp_path / "train.jsonl", GOOD)
    with pytest.raises(UserError, match="an unknown source"):
        claim(tmp_path, "CommonVoice cv-22")
    assert not (tmp_path / "source.txt").exists()


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "latin.jsonl").write_bytes('{"id": "ñ"}'.encode("latin-1"))
    for name, said in (("no", "No such file"), ("empty", "is empty"), ("latin", "not UTF-8")):
        with pytest.raises(UserError, match=said):
            read_manifest(tmp_path / f"{name}.jsonl")


def test_writing_refuses_what_reading_would(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two utterances have the id 'a'"):
        write_manifest(tmp_path / "m.jsonl", [utterance(tmp_path), utterance(tmp_path)])
    with pytest.raises(ValueError, match="empty manifest"):
        write_manifest(tmp_path / "m.jsonl", [])
    with pytest.raises(ValueError, match="extra holds known keys"):
        write_manifest(tmp_path / "m.jsonl", [utterance(tmp_path, extra={"text": "x"})])
    assert list(tmp_path.iterdir()) == []


def test_the_summary_adds_up(tmp_path: Path) -> None:
    summary = summarize(
        [
            utterance(tmp_path, "a", duration=1800.0, text="hola", speaker="x"),
            utterance(tmp_path, "b", duration=1800.0, speaker="x"),
            utterance(tmp_path, "c", duration=900.0, phones=("a",), speaker="y"),
            utterance(tmp_path, "d", duration=3600.0, language="cs", text=""),
        ]
    )
    assert list(summary) == ["cs", "es"]
    assert summary["es"] == LanguageSummary(3, 1.25, 0.75, 2)
    assert summary["cs"] == LanguageSummary(1, 1.0, 0.0, 0)
    rows = [line.split() for line in summary_table(summary).splitlines()]
    assert rows[2] == ["es", "3", "1.25", "0.75", "2"]
    assert rows[3] == ["total", "4", "2.25", "0.75", "2"]


def test_the_schema_says_what_the_reader_does() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert set(schema["properties"]) == set(KNOWN)
    assert set(schema["required"]) == set(NEEDED)
    assert schema["additionalProperties"] is True
    assert schema["properties"]["duration"]["exclusiveMinimum"] == 0
    assert schema["properties"]["start"]["minimum"] == 0
