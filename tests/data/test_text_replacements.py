"""A table of replacements is written, read back and applied, to letters and to whole words."""

import pytest

from speechx.cli.main import main
from speechx.data.manifest import read_manifest, write_manifest
from speechx.data.text_replacements import (
    Replacement,
    read_replacements,
    replace_texts,
    write_replacements,
)
from speechx.errors import UserError
from tests.doctor.broken_corpora import clip

TABLE = (
    Replacement("ro", "ş", "ș", 3, "look_alike"),
    Replacement("ro", "\u200b", "", 1, "invisible"),
    Replacement("ru", "Pоссия", "Россия", 2, "mixed_word"),
    Replacement("ru", "\\", "/", 1, "look_alike"),
)


def test_what_is_written_is_read_and_applied(tmp_path):
    write_replacements(tmp_path / "t.tsv", TABLE)
    lines = (tmp_path / "t.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t")[:3] == ["language", "from", "to"]
    assert lines[1].split("\t") == ["ro", "ş", "ș", "3", "U+015F > U+0219", "look_alike"]
    assert lines[2].split("\t")[1:3] == ["\\u200b", ""]
    texts = {"ro": "şi\u200bşi", "ru": "Pоссия, Pоссиянин \\", "es": "şi", "xx": None}
    some = [clip(tmp_path, k, language=k, text=text) for k, text in texts.items()]
    write_manifest(tmp_path / "m.jsonl", some)
    replace_texts(tmp_path / "m.jsonl", tmp_path / "t.tsv", tmp_path / "n.jsonl")
    new = [u.text for u in read_manifest(tmp_path / "n.jsonl")]
    assert new == ["șiși", "Россия, Pоссиянин /", "şi", None]


def test_changes_and_unused_rules_are_logged(tmp_path, capsys):
    write_replacements(tmp_path / "t.tsv", TABLE)
    texts = {"ro": "şişi", "ru": "Pоссиянин", "es": "şi", "xx": None}
    some = [clip(tmp_path, k, language=k, text=text) for k, text in texts.items()]
    write_manifest(tmp_path / "m.jsonl", some)
    words = ["data", "respell", str(tmp_path / "m.jsonl"), str(tmp_path / "t.tsv"), "-o"]
    assert main([*words, str(tmp_path / "n.jsonl")]) == 0
    err = capsys.readouterr().err
    assert f"4 utterances, 1 of 3 texts changed: {tmp_path / 'n.jsonl'}\n" in err
    (line,) = (line for line in err.splitlines() if "t.tsv" in line)
    assert line.startswith("3 of 4 rules")
    assert line.endswith(r"\u200b (ro), Pоссия (ru), \u005c (ru)")
    assert read_manifest(tmp_path / "n.jsonl")[0].text == "șiși"
    before = (tmp_path / "m.jsonl").read_bytes()
    assert main([*words, str(tmp_path / "x" / ".." / "m.jsonl")]) == 1
    assert "is the manifest itself: give another file" in capsys.readouterr().err
    assert (tmp_path / "m.jsonl").read_bytes() == before


def test_a_table_whose_rules_all_matched(tmp_path, capsys):
    write_replacements(tmp_path / "t.tsv", TABLE[:1])
    write_manifest(tmp_path / "m.jsonl", [clip(tmp_path, "a", language="ro", text="şi")])
    replace_texts(tmp_path / "m.jsonl", tmp_path / "t.tsv", tmp_path / "n.jsonl")
    streams = capsys.readouterr()
    assert streams.out == ""
    (line,) = streams.err.splitlines()
    assert "1 of 1 texts" in line
    assert str(tmp_path / "n.jsonl") in line


def test_a_table_that_a_spreadsheet_has_saved(tmp_path):
    table = "from\tto\tlanguage\tnote\r\nş\tș\tro\r\n\r\n"
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbf" + table.encode())
    assert read_replacements(tmp_path / "t.tsv")["ro"]("şi") == "și"


def test_invalid_tables(tmp_path):
    (tmp_path / "t.tsv").write_text("id\ttext\n")
    with pytest.raises(UserError, match="columns, with tabs between: language, from, to"):
        read_replacements(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_text("language\tfrom\tto\nro\tş\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"t\.tsv:2"):
        read_replacements(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_text("from\tto\tlanguage\na\tb\n")
    with pytest.raises(UserError, match=r"t\.tsv:2"):
        read_replacements(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read"):
        read_replacements(tmp_path / "t.tsv")
    with pytest.raises(UserError, match="cannot read"):
        read_replacements(tmp_path / "none.tsv")
