"""Any table of utterances becomes manifests; what is wrong with it is said with its line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechx.corpora import table
from speechx.corpora.engine.write import Output
from speechx.data.manifest import read_manifest
from speechx.errors import UserError
from tests.corpora.corpus_trees import logged, of_own_data

prepare = of_own_data(table.prepare)


def prepare_all(*arguments: Any, unused: str = "", **options: Any) -> dict[str, dict[str, int]]:
    """Prepares, and sees that the message about unused columns names these alone."""
    with logged() as messages:
        counts = prepare(*arguments, **options)
    named = [line for line in messages if "not used" in line]
    assert all(unused and line.endswith(f"not used: {unused}") for line in named)
    return counts


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with three recordings of 1, 2 and 3 seconds."""
    for seconds in (1, 2, 3):
        path = tmp_path / "corpus/wav" / f"{seconds}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(8000 * seconds, 0.1), 8000)
    return tmp_path / "corpus"


def table(corpus: Path, *lines: str, name: str = "all.tsv") -> Path:
    (corpus / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return corpus / name


def refused(path: Path, language: str | None = "it") -> str:
    with pytest.raises(UserError) as caught:
        prepare(path, Output(path.parent / "out"), language)
    assert "\n" not in str(caught.value)
    assert not (path.parent / "out").exists()
    return str(caught.value)


def test_every_column(corpus):
    path = table(
        corpus,
        "split\tid\tpath\tstart\tduration\tlanguage\ttext\tphones\tspeaker",
        'train\ta\twav/1.wav\t\t\tit\tdue "parole\tp a r\tann',
        "train\tb\twav/2.wav\t0.5\t1\tit\t\t\t",
        "test\tc\twav/3.wav\t1\t\tes\tcosa\t\tbob",
    )
    counts = prepare_all(path, Output(corpus / "out"))
    assert counts == {"it": {"train": 1, "unlabelled": 1}, "es": {"test": 1}}
    (first,) = read_manifest(corpus / "out/it/train.jsonl")
    (second,) = read_manifest(corpus / "out/it/unlabelled.jsonl")
    assert (first.id, first.audio, first.duration) == ("a", corpus / "wav/1.wav", 1.0)
    assert (first.text, first.phones, first.speaker) == ('due "parole', ("p", "a", "r"), "ann")
    assert (second.start, second.duration) == (0.5, 1.0)
    assert (second.text, second.phones, second.speaker) == (None, None, None)
    (third,) = read_manifest(corpus / "out/es/test.jsonl")
    assert (third.start, third.duration, third.language) == (1.0, 2.0, "es")


def test_a_csv_may_have_semicolons(corpus):
    path = table(corpus, "path;text", 'wav/1.wav;"uno, due; tre"', name="all.csv")
    prepare_all(path, Output(corpus / "out"), "it")
    (only,) = read_manifest(corpus / "out/it/train.jsonl")
    assert only.text == "uno, due; tre"


def test_copies_that_a_second_preparation_does_not_use_are_named(corpus, messages: list[str]):
    path = table(corpus, "path\ttext", "wav/1.wav\tuno")
    prepare_all(path, Output(corpus / "out", convert=True), "it")
    messages.clear()
    prepare(path, Output(corpus / "out"), "it")
    assert messages[0].endswith("has copies of an earlier --convert, which are not used now")


def test_audio_alone_is_enough_and_other_names_are_known(corpus):
    path = table(corpus, "audio\tutt_id", "wav/1.wav\tx", "", "wav/2.wav\ty")
    assert prepare_all(path, Output(corpus / "out"), "it") == {"it": {"unlabelled": 2}}
    utterances = read_manifest(corpus / "out/it/unlabelled.jsonl")
    assert [(u.id, u.duration) for u in utterances] == [("x", 1.0), ("y", 2.0)]


def test_an_offset_is_where_an_utterance_starts(corpus):
    row = '{"audio_filepath": "wav/3.wav", "offset": 1.5, "duration": 1.0, "text": "due"}'
    path = table(corpus, row, name="nemo.json")
    prepare_all(path, Output(corpus / "nemo"), "it")
    (u,) = read_manifest(corpus / "nemo/it/train.jsonl")
    assert (u.start, u.duration) == (1.5, 1.0)
    path = table(corpus, "path\tstart\toffset", "wav/3.wav\t2\t44100")
    assert "has start and offset, which are both start here" in refused(path)
    columns = {"start": "start"}
    prepare_all(path, Output(corpus / "both"), "it", columns=columns, unused="offset")
    (u,) = read_manifest(corpus / "both/it/unlabelled.jsonl")
    assert (u.start, u.duration) == (2.0, 1.0)


def test_an_end_is_where_an_utterance_ends(corpus):
    rows = ("wav/3.wav\t0.5\t2.5", "wav/3.wav\t0.1\t0.3", "wav/2.wav\t\t1.5", "wav/3.wav\t2\t")
    path = table(corpus, "path\tstart\tend", *rows)
    prepare_all(path, Output(corpus / "out"), "it")
    found = read_manifest(corpus / "out/it/unlabelled.jsonl")
    times = [(u.start, u.duration) for u in found]
    assert times == [(0.5, 2.0), (0.1, 0.2), (0.0, 1.5), (2.0, 1.0)]
    path = table(corpus, "path\tduration\tto", "wav/2.wav\t1.51\t1.5")
    columns = {"end": "to"}
    prepare_all(path, Output(corpus / "own"), "it", columns=columns)
    (u,) = read_manifest(corpus / "own/it/unlabelled.jsonl")
    assert (u.start, u.duration) == (0.0, 1.51)


def test_segments_of_a_recording_need_no_ids(corpus):
    rows = (f'{{"audio_filepath": "wav/3.wav", "offset": {n}, "text": "due"}}' for n in (0, 1.25))
    whole = '{"audio_filepath": "wav/1.wav", "duration": 1.0, "text": "due"}'
    path = table(corpus, *rows, whole, name="m.jsonl")
    prepare_all(path, Output(corpus / "out"), "it")
    found = read_manifest(corpus / "out/it/train.jsonl")
    assert [u.id for u in found] == ["3_0000000", "3_0000125", "1"]


def test_csv_has_quotes_and_tsv_has_none(corpus):
    csv = table(corpus, "path,text", 'wav/1.wav,"uno, due\ne tre"', name="all.csv")
    prepare_all(csv, Output(corpus / "csv"), "it")
    assert read_manifest(corpus / "csv/it/train.jsonl")[0].text == "uno, due\ne tre"
    tsv = table(corpus, "path\ttext", 'wav/1.wav\t"uno', 'wav/2.wav\tdue" \u2028 tre')
    prepare_all(tsv, Output(corpus / "tsv"), "it")
    texts = [u.text for u in read_manifest(corpus / "tsv/it/train.jsonl")]
    assert texts == ['"uno', 'due" \u2028 tre']


def test_columns_that_are_not_used_are_named(corpus, messages: list[str]):
    path = table(corpus, "path\tmood\tage", "wav/1.wav\tgay\t30")
    prepare(path, Output(corpus / "out"), "it")
    assert messages[0] == f"{path}: columns not used: mood, age"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["text", "uno"], "has no column `path`; it has text; name it with --column path="),
        (
            ["Datei\tTranskription\tSprecher", "wav/1.wav\tuno\tann"],
            "has no column `path`; it has Datei, Transkription, Sprecher; name it with "
            "--column path=Datei, or give it a line of column names if its first line is none",
        ),
        (["path"], "needs a line of column names and at least one row"),
        (["path\tpath", "wav/1.wav\twav/1.wav"], "names a column twice: path, path"),
        (
            ["path\taudio", "wav/1.wav\twav/1.wav"],
            "has path and audio, which are both path here; choose one",
        ),
        (["path\ttext", "wav/1.wav\tuno", "wav/2.wav"], ":3: 1 cells, but 2 column names"),
        (["path", "wav/1.wav", "wav/9.wav"], "wav/9.wav: no such file, but it is listed in"),
        (["path", "wav\\9.wav"], "all.tsv:2; its name holds backslashes, where / was expected"),
        (["path\tduration", "wav/9.wav\t3"], "wav/9.wav: no such file, but it is listed in"),
        (["path\tduration", "wav/1.wav\tlong"], ":2: duration must be seconds, not 'long'"),
        (["path\tstart\tduration", "wav/3.wav\t2\t0"], ":2: duration must be more than 0 seconds"),
        (["path\tstart\tend", "wav/3.wav\t2\t2"], ":2: end, 2.0 s, must be after start, 2.0 s"),
        (["path\tend", "wav/3.wav\t0"], ":2: end, 0.0 s, must be after start, 0.0 s"),
        (["path\tend", "wav/3.wav\tlate"], ":2: end must be seconds, not 'late'"),
        (
            ["path\tstart\tend\tduration", "wav/3.wav\t1\t2.5\t1.52"],
            ":2: duration, 1.52 s, must be end - start, 1.5 s; correct one, or leave it out",
        ),
        (["path\tduration", "wav/1.wav\t-1"], ":2: duration must be seconds, not '-1'"),
        (["path\tstart", "wav/1.wav\tnan"], ":2: start must be seconds, not 'nan'"),
        (["path\tduration", "wav/1.wav\t1e-320"], ":2: 9.99989e-321 s from 0 s on"),
        (["path\tduration", "wav/1.wav\t1e12"], ":2: 1e+12 s from 0 s on"),
        (["path\tstart", "wav/1.wav\t0.9999999"], ":2: the segment starts at 1 s and ends"),
        (["path\tstart", "wav/1.wav\t1"], ":2: the segment starts at 1 s and ends after the end"),
        (
            ["path\tstart\tduration", "wav/1.wav\t0.1\t3"],
            ":2: the segment starts at 0.1 s and ends",
        ),
        (
            ["path\tduration", "wav/1.wav\t0.000001"],
            "all.tsv:2: 1e-06 s from 0 s on",
        ),
        (["path", "wav/3.wav", "wav/3.wav"], ":3: id '3' is already on"),
        (
            ["path\tstart\tduration", "wav/3.wav\t1\t1", "wav/3.wav\t1\t2"],
            ":3: id '3_0000100' is already on",
        ),
    ],
)
def test_errors_name_their_place(corpus, lines, said):
    assert said in refused(table(corpus, *lines))


def test_no_header_is_requested_if_there_is_one(corpus):
    said = refused(table(corpus, "text\tMy file", "uno\twav/1.wav"))
    assert said.endswith("it has text, My file; name it with --column 'path=My file'")
    said = refused(table(corpus, '{"clip": "wav/1.wav"}', name="all.jsonl"))
    assert said.endswith("--column path=clip")


def test_a_language_is_needed_from_somewhere(corpus):
    path = table(corpus, "path", "wav/1.wav")
    assert ":2: no language column, so give one with --language" in refused(path, None)


def test_an_unreadable_table_is_one_line_of_error(corpus):
    assert "nowhere.tsv cannot be read" in refused(corpus / "nowhere.tsv")
    (corpus / "latin.tsv").write_bytes("path\ttext\nwav/1.wav\tperchè\n".encode("latin-1"))
    assert "latin.tsv is not UTF-8 text" in refused(corpus / "latin.tsv")
    path = table(corpus, "path,text", f"wav/1.wav,{'x' * 200_000}", name="all.csv")
    assert "all.csv:2: not CSV: field larger than field limit" in refused(path)


def test_equal_ids_in_two_splits_are_two_files(corpus):
    path = table(corpus, "path\tsplit", "wav/1.wav\ttrain", "wav/1.wav\ttest")
    counts = prepare_all(path, Output(corpus / "out"), "it")
    assert counts == {"it": {"unlabelled": 1, "test": 1}}


def test_json_lines_and_columns_of_ones_own(corpus, messages: list[str]):
    path = table(
        corpus,
        '{"audio_filepath": "wav/1.wav", "said": "uno", "duration": 1.0, "phones": ["u", "n"]}',
        "",
        '{"audio_filepath": "wav/2.wav", "said": null, "mood": "gay"}',
        name="all.jsonl",
    )
    columns = {"text": "said"}
    counts = prepare(path, Output(corpus / "out"), "it", columns=columns, corpus="toy")
    assert counts == {"it": {"train": 1, "unlabelled": 1}}
    assert messages[0] == f"{path}: columns not used: mood"
    (first,) = read_manifest(corpus / "out/it/train.jsonl")
    (second,) = read_manifest(corpus / "out/it/unlabelled.jsonl")
    assert (first.text, first.phones, first.duration) == ("uno", ("u", "n"), 1.0)
    assert (second.text, second.duration, second.corpus) == (None, 2.0, "toy")


def test_a_row_of_json_need_not_have_every_column(corpus):
    bad, *good = (
        '{"tr": "no path"}',
        '{"path": "wav/1.wav"}',
        '{"path": "wav/2.wav", "tr": "due"}',
    )
    path = table(corpus, bad, *good, name="bad.jsonl")
    assert "bad.jsonl:1: path must be text, not 'None'" in refused(path)
    assert "has no column `path`; it has tr" in refused(table(corpus, bad, name="bad.jsonl"))
    path = table(corpus, *good, name="all.jsonl")
    with pytest.raises(UserError, match=r"all\.jsonl has no column words; it has path, tr"):
        prepare(path, Output(corpus / "out"), "it", columns={"text": "words"})
    counts = prepare_all(path, Output(corpus / "out"), "it", columns={"text": "tr"})
    assert counts == {"it": {"train": 1, "unlabelled": 1}}


def test_tables_may_be_gzipped(corpus):
    lines = {
        "all.tsv": ("path\ttext", 'wav/1.wav\t"uno'),
        "all.csv": ("path,text", 'wav/1.wav,"""uno"'),
        "all.jsonl": ('{"path": "wav/1.wav", "text": "\\"uno"}',),
    }
    for name, rows in lines.items():
        plain = table(corpus, *rows, name=name)
        path = plain.with_name(f"{name}.gz")
        path.write_bytes(gzip.compress(plain.read_bytes()))
        prepare_all(path, Output(corpus / name.replace(".", "_")), "it")
        (u,) = read_manifest(corpus / name.replace(".", "_") / "it/train.jsonl")
        assert u.text == '"uno'


def test_no_line_of_a_csv_fills_the_memory(corpus, monkeypatch):
    monkeypatch.setattr("speechx.corpora.engine.tables.LONGEST_LINE", 100)
    for rows, place in ((("path,text" * 99,), 1), (("path,text", "x" * 999), 2)):
        path = table(corpus, *rows, name="long.csv")
        path.with_name("long.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        for name in ("long.csv", "long.csv.gz"):
            said = refused(corpus / name)
            assert f"{name}:{place}: a line of more than 100 letters" in said
    path = table(corpus, "path,text", *["x" * 90] * 9, name="short.csv")
    assert "short.csv:2: 1 cells, but 2 column names" in refused(path)
    path = table(corpus, "path,text", 'wav/1.wav,"uno', *['","'] * 50, '"', name="quoted.csv")
    assert "quoted.csv:24: a row of more than 100 letters" in refused(path)


def test_splits_are_called_as_everywhere(corpus):
    others = ("Training", "TRAIN", "Validation", "VALID", "Dev", "Testing", "Held")
    names = ("valid", "validation", "dev", "train", "train_1h", "eval", "", *others)
    rows = [f"{name}-{text}\twav/1.wav\t{name}\t{text}" for name in names for text in ("uno", "")]
    path = table(corpus, "id\tpath\tsplit\ttext", *rows)
    counts = prepare_all(path, Output(corpus / "out"), "it")
    splits = {"train": 4, "dev": 12, "test": 2, "Held": 2, "eval": 2, "train_1h": 1}
    splits["unlabelled"] = 5
    assert counts == {"it": splits}


def test_mapped_columns_go_before_those_of_the_same_name(corpus):
    path = table(corpus, "text\tnorm\tfile\tpath", "Uno!\tuno\twav/1.wav\tx", name="all.csv")
    path.write_text(path.read_text().replace("\t", ","))
    columns = {"text": "norm", "audio": "file"}
    prepare_all(path, Output(corpus / "out"), "it", columns=columns, unused="text, path")
    (u,) = read_manifest(corpus / "out/it/train.jsonl")
    assert (u.text, u.audio, u.corpus) == ("uno", corpus / "wav/1.wav", "corpus")
    with pytest.raises(UserError, match="has no column words; it has text, norm, file, path"):
        prepare(path, Output(corpus / "out"), "it", columns={"text": "words"})
    with pytest.raises(UserError, match="no column mood is known"):
        prepare(path, Output(corpus / "out"), "it", columns={"mood": "norm"})


def test_audio_lies_below_the_root_or_is_not_read(corpus, tmp_path, messages: list[str]):
    soundfile.write(tmp_path / "secret.wav", np.full(800, 0.1), 8000)
    path = table(
        corpus, "path", "wav/1.wav", "../secret.wav", f"{tmp_path}/secret.wav", "wav/9.wav"
    )
    assert "wav/9.wav: no such file, but it is listed in" in refused(path)
    messages.clear()
    counts = prepare(path, Output(corpus / "out", allow_missing=True), "it")
    assert counts == {"it": {"unlabelled": 1}}
    assert messages[-1].endswith("left out: 1 missing (missing.txt), 2 corrupt (corrupt.txt)")
    corrupt = (corpus / "out/it/corrupt.txt").read_text()
    assert "3\t'../secret.wav' leads out of" in corrupt
    assert "lies inside that folder, unless --root names another" in corrupt
    absolute = table(corpus, "path", f"{tmp_path}/secret.wav", "corpus/wav/1.wav", name="all2.tsv")
    counts = prepare(absolute, Output(corpus / "out2"), "it", audio_root=tmp_path)
    assert counts == {"it": {"unlabelled": 2}}
    with pytest.raises(UserError, match=r"--root .*nowhere: no such folder"):
        prepare(absolute, Output(corpus / "out3"), "it", audio_root=tmp_path / "nowhere")


def test_languages_and_splits_of_a_table_name_no_other_folder(corpus):
    rows = ("path\tlanguage\tsplit", "wav/1.wav\t../../x\ttrain", "wav/2.wav\tit\t../../x")
    path = table(corpus, *rows)
    assert "'../../x' is the name of a language or a split" in refused(path)


def test_copies_can_be_made(corpus):
    path = table(corpus, "id\tpath\tstart\tduration", "a/b\twav/3.wav\t1\t0.5", "c\twav/1.wav\t\t")
    prepare_all(path, Output(corpus / "out", convert=True), "it")
    first, second = read_manifest(corpus / "out/it/unlabelled.jsonl")
    assert (first.start, first.duration, second.duration) == (0.0, 0.5, 1.0)
    assert [u.audio.name.split(".")[0] for u in (first, second)] == ["a_b", "c"]
