"""Tables in the shapes that people have: separators, encodings, names of columns and of files."""

from __future__ import annotations

import gzip
import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from speechx.corpora import table
from speechx.corpora.engine.write import Output
from speechx.data.manifest import read_manifest
from speechx.data.utterance import Utterance
from speechx.errors import UserError
from tests.corpora.corpus_trees import of_own_data, sound

prepare = of_own_data(table.prepare)
TWO = [("a", "Chapter 1; in print"), ("b", "Being, comparatively")]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings in the folder, and three in `wavs`."""
    root = tmp_path_factory.mktemp("corpus")
    for name in ("a.wav", "b.wav", "c.WAV", "wavs/d.wav", "wavs/e.wav", "wavs/\u00e9.flac"):
        sound(root / name, 1.0)
    return root


@pytest.fixture
def corpus(recordings: Path, tmp_path: Path) -> Path:
    """A folder with the recordings, and nothing else."""
    for path in recordings.rglob("*.*"):
        copy = tmp_path / "corpus" / path.relative_to(recordings)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.hardlink_to(path)
    return tmp_path / "corpus"


def read(root: Path, content: str | bytes, name: str = "t.csv", **own: object) -> list[Utterance]:
    """What becomes of a table in a folder."""
    data = content.encode() if isinstance(content, str) else content
    (root / name).write_bytes(data)
    shutil.rmtree(root / "out", ignore_errors=True)
    prepare(root / name, Output(root / "out"), "en", **own)
    return [u for file in sorted(root.glob("out/en/*.jsonl")) for u in read_manifest(file)]


def pairs(utterances: list[Utterance]) -> list[tuple[str, str | None]]:
    return [(u.id, u.text) for u in utterances]


def refused(root: Path, content: str | bytes, name: str = "t.csv", **own: object) -> str:
    with pytest.raises(UserError) as raised:
        read(root, content, name, **own)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.psv"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", ["path|text", "Path | Text", "file_name|sentence", ""])
def test_bars_with_and_without_column_names(
    corpus: Path, name: str, ends: str, header: str
) -> None:
    rows = [f"{id}.wav|{text}" for id, text in TWO]
    content = ends.join([*([header] if header else []), *rows, ""])
    assert pairs(read(corpus, content, name)) == TWO


def test_ljspeech_has_ids_and_the_text_twice(corpus: Path, messages: list[str]) -> None:
    content = (
        'a|Chapter 1, "printing|Chapter one, "printing\n'
        "d|In being comparatively modern|In being comparatively modern\n"
    )
    found = read(corpus, content, "metadata.csv")
    assert [u.text for u in found] == ['Chapter one, "printing', "In being comparatively modern"]
    assert [Path(u.audio) for u in found] == [corpus / "a.wav", corpus / "wavs/d.wav"]
    assert messages[0].endswith("has no line of column names: column 1 is path, column 3 is text")
    assert messages[1].endswith("columns not used: 2")


def test_a_text_may_be_the_name_of_a_column(corpus: Path) -> None:
    assert pairs(read(corpus, "a.wav|stop\nb.wav|start\n")) == [("a", "stop"), ("b", "start")]
    assert pairs(read(corpus, "a\tfile\nb\ttext\n", "t.tsv")) == [("a", "file"), ("b", "text")]


def test_columns_have_numbers_where_they_have_no_names(corpus: Path) -> None:
    rows = "a.wav|ann|Being comparatively\nb.wav|bob|In print\n"
    said = refused(corpus, rows)
    assert "no line of column names" in said
    assert said.endswith("by their numbers, as in --column path=1 --column text=3")
    columns = {"path": "1", "speaker": "2", "text": "3"}
    for content in (rows, f"Datei|Wer|Was\n{rows}"):
        found = read(corpus, content, columns=columns)
        assert pairs(found) == [("a", "Being comparatively"), ("b", "In print")]
        assert [u.speaker for u in found] == ["ann", "bob"]


def test_a_column_of_ids_names_the_files_if_no_other_does(corpus: Path) -> None:
    found = read(corpus, "id|raw|normalised\nd|1 x|one x\ne|2 x|two x\nc|3|three\n")
    assert pairs(found) == [("d", "one x"), ("e", "two x"), ("c", "three")]
    found = read(corpus, json.dumps({"d": {"text": "due"}, "e": {"text": "tre"}}), "t.json")
    assert pairs(found) == [("d", "due"), ("e", "tre")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("separator", ["\t", ";", ",", "|"])
def test_encodings_of_spreadsheets(corpus: Path, encoding: str, separator: str) -> None:
    content = f"path{separator}text\r\na.wav{separator}žluťoučký kůň\r\nb.wav{separator}你好\r\n"
    for name in ("t.tsv", "t.csv"):
        found = read(corpus, content.encode(encoding), name)
        assert pairs(found) == [("a", "žluťoučký kůň"), ("b", "你好")]
    found = read(corpus, gzip.compress(content.encode(encoding)), "t.gz")
    assert pairs(found) == [("a", "žluťoučký kůň"), ("b", "你好")]


def test_quotes_of_spreadsheets(corpus: Path) -> None:
    text = 'She said "hi", then left'
    quoted = text.replace('"', '""')
    for content in (
        f'path\ttext\na.wav\t"{quoted}"\n'.encode(),
        f'"path"\t"text"\n"a.wav"\t"{quoted}"\n'.encode(),
        f'path,text\na.wav,"{quoted}"\n'.encode(),
        f'sep=;\npath;text;;\na.wav;"{quoted}";;\n;;;\n'.encode(),
        f"path\ttext\na.wav\t{text}\n".encode(),
    ):
        assert pairs(read(corpus, content, "t.tsv")) == [("a", text)]
    content = 'path\ttext\na.wav\t"Hi, you"\n'
    assert pairs(read(corpus, content.encode("utf-16"), "t.tsv")) == [("a", "Hi, you")]
    assert pairs(read(corpus, content, "t.tsv")) == [("a", '"Hi, you"')]
    said = refused(corpus, 'path,text\na.wav,uno\nb.wav,"due\nc.WAV,tre\n')
    assert "t.csv:3: a quoted cell begins here and is not closed" in said


@pytest.mark.parametrize(
    "header",
    [
        "file_name,transcription", "wav_filename,transcript", "Audio File,Transcript",
        "wav,txt", "filename,Sentence", "audio_path,normalized_text", "FILE,WRD",
    ],
)  # fmt: skip
def test_common_names_of_columns(corpus: Path, header: str) -> None:
    assert pairs(read(corpus, f"{header}\na.wav,uno\n")) == [("a", "uno")]


def test_common_names_of_times_and_speakers(corpus: Path) -> None:
    rows = "file,start_time,End (s),spk,lang,subset\na.wav,0.25,0.75,ann,fr,valid\n"
    (corpus / "t.csv").write_text(rows)
    assert prepare(corpus / "t.csv", Output(corpus / "out")) == {"fr": {"dev": 1}}
    (u,) = read_manifest(corpus / "out/fr/dev.jsonl")
    assert (u.start, u.duration, u.speaker) == (0.25, 0.5, "ann")
    found = read(corpus, "key,wav,start_ms,duration[ms]\nx,a.wav,250,500\n")
    assert [(u.id, u.start, u.duration) for u in found] == [("x", 0.25, 0.5)]
    assert "start must be milliseconds" in refused(corpus, "wav,start_ms\na.wav,x\n").replace(
        "start_ms", "start"
    )


@pytest.mark.parametrize("times", ["0,25;0,75", "0.25;0.75", "0:00.25;00:00:00.75", "0:00,25;0,75"])
def test_times_of_spreadsheets(corpus: Path, times: str) -> None:
    (u,) = read(corpus, f"file;start;end\na.wav;{times}\n")
    assert (u.start, u.duration) == (0.25, 0.5)
    assert "must be seconds, not '1,500'" in refused(corpus, "file;start\na.wav;1,500\n")


def test_our_names_go_before_common_ones(corpus: Path, messages: list[str]) -> None:
    found = read(corpus, "path,text,transcript,file,note,note,\na.wav,uno,due,b.wav,x,y,\n")
    assert pairs(found) == [("a", "uno")]
    assert "columns not used: transcript, file, note, note (column 6), (column 7)" in messages[0]
    assert "names a column twice" in refused(corpus, "path,text,text\na.wav,x,y\n")
    assert "both text here; choose one" in refused(corpus, "path,txt,transcript\na.wav,x,y\n")


@pytest.mark.parametrize(
    "name",
    [
        r"wavs\d.wav", r"C:\Users\ann\corpus\wavs\d.wav", "/home/ann/corpus/wavs/d.wav", "d",
        "file:///home/ann/wavs/d.wav", "~/data/wavs/d.wav", "./wavs/d.wav", "corpus/wavs/d.wav",
        r"\\server\share\wavs\d.wav", "d.wav", "wavs/d",
    ],
)  # fmt: skip
def test_files_are_found_by_names_of_other_machines(corpus: Path, name: str) -> None:
    found = read(corpus, f"path\ttext\n{name}\tdue\n", "t.tsv")
    assert [(Path(u.audio), u.text) for u in found] == [(corpus / "wavs/d.wav", "due")]


def test_accents_in_names_may_be_coded_in_another_way(corpus: Path) -> None:
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "wavs/\u00e9.flac")
        assert len(read(corpus, f"path\ttext\n{name}\tdue\n", "t.tsv")) == 1


def test_paths_of_another_machine_lie_in_one_folder_there(
    corpus: Path, messages: list[str]
) -> None:
    rows = "path,text\n/x/one/a.wav,uno\n/x/two/b.wav,due\n/x/one/wavs/d.wav,tre\n"
    assert "'/x/two/b.wav' leads out of" in refused(corpus, rows)
    assert messages == [f"paths in /x/one/, of another machine, are read from {corpus}"]
    assert "leads out of" in refused(corpus, "path,text\n/x/../a.wav,uno\n")


@pytest.mark.parametrize(
    "content",
    [
        '[{"audio": "a.wav", "text": "due"}, {"audio": "b.wav", "text": "tre"}]',
        '[\n{"audio": "a.wav",\n "text": "due"},\n{"audio": "b.wav", "text": "tre"}\n]\n',
        '{"data": [{"audio": "a.wav", "text": "due"}, {"audio": "b.wav", "text": "tre"}]}',
        '{\n"a": {"wav": "a.wav", "txt": "due"},\n"b": {"wav": "b.wav", "txt": "tre"}\n}',
        '{\n"audio": "a.wav", "text": "due"\n}\n{\n"audio": "b.wav", "text": "tre"\n}\n',
        '{"audio": "a.wav", "text": "due"}\n\n{"audio": "b.wav", "text": "tre"}\n',
    ],
)
def test_json_of_any_shape(corpus: Path, content: str) -> None:
    for name, encoding in (("t.json", "utf-8"), ("t.jsonl", "utf-8-sig"), ("t.json", "utf-16")):
        found = read(corpus, content.encode(encoding), name)
        assert pairs(found) == [("a", "due"), ("b", "tre")]


def test_a_list_names_its_bad_entries(corpus: Path) -> None:
    said = refused(corpus, '[{"audio": "a.wav", "text": "x"}, 7]', "t.json")
    assert "t.json: entry 2 is not a JSON object" in said
    said = refused(corpus, '[{"audio": "a.wav", "start": "x"}]', "t.json")
    assert "t.json: entry 1: start must be seconds" in said


def test_what_cannot_be_read_is_explained(corpus: Path) -> None:
    said = refused(corpus, "path,text\na.wav,Hi, you\n")
    assert "t.csv:2: 3 cells, but 2 column names; quote a cell that holds ','" in said
    said = refused(corpus, "path,text\nhttps://a.example/a.wav,due\n")
    assert "t.csv:2: 'https://a.example/a.wav' is no file but a URL; fetch it first" in said
    said = refused(corpus, "id|path|text\nx|missing.wav|due\n")
    assert "missing.wav: no such file, but it is listed in" in said


def test_what_is_no_table_is_named(corpus: Path) -> None:
    said = refused(corpus, b"PK\x03\x04\x14\0\0\0[Content_Types].xml xl/workbook.xml", "t.xlsx")
    assert "t.xlsx is an Excel workbook; save it there as CSV UTF-8" in said
    czech = "path\ttext\na.wav\tžluťoučký kůň\n".encode("cp1250")
    said = refused(corpus, czech, "t.tsv")
    assert "t.tsv is not UTF-8 text; line 2 has 'žluťoučký' in cp1250; convert it: iconv" in said
