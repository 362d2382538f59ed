"""A table of spellings is written, read back and applied, letter by letter and word by word."""

import re

import pytest

from speechx.cli.main import main
from speechx.data.manifest import read_manifest, write_manifest
from speechx.doctor.respelling import (
    Respelling,
    read_respellings,
    respell,
    respell_manifest,
    write_respellings,
)
from speechx.errors import UserError
from tests.doctor.wards import clip

TABLE = (
    Respelling("ro", "ş", "ș", 3, "look_alike"),
    Respelling("ro", "\u200b", "", 1, "invisible"),
    Respelling("ru", "Pоссия", "Россия", 2, "mixed_word"),
    Respelling("ru", "\\", "/", 1, "look_alike"),
)


def test_what_is_written_is_read_and_applied(tmp_path):
    write_respellings(tmp_path / "t.tsv", TABLE)
    lines = (tmp_path / "t.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t")[:3] == ["language", "from", "to"]
    assert lines[1].split("\t") == ["ro", "ş", "ș", "3", "U+015F > U+0219", "look_alike"]
    assert lines[2].split("\t")[1:3] == ["\\u200b", ""]
    spellings = read_respellings(tmp_path / "t.tsv")
    texts = {"ro": "şi\u200bşi", "ru": "Pоссия, Pоссиянин \\", "es": "şi", "xx": None}
    some = [clip(tmp_path, k, language=k, text=text) for k, text in texts.items()]
    assert [u.text for u in respell(some, spellings)] == ["șiși", "Россия, Pоссиянин /", "şi", None]


def test_what_a_table_did_is_said(tmp_path, capsys):
    write_respellings(tmp_path / "t.tsv", TABLE)
    texts = {"ro": "şişi", "ru": "Pоссиянин", "es": "şi", "xx": None}
    some = [clip(tmp_path, k, language=k, text=text) for k, text in texts.items()]
    write_manifest(tmp_path / "m.jsonl", some)
    words = ["data", "respell", str(tmp_path / "m.jsonl"), str(tmp_path / "t.tsv"), "-o"]
    assert main([*words, str(tmp_path / "n.jsonl")]) == 0
    err = capsys.readouterr().err
    assert f"4 utterances, 1 of 3 texts changed: {tmp_path / 'n.jsonl'}\n" in err
    unmet = (
        r"3 of the 4 rules of .*t\.tsv met nothing: \\u200b \(ro\), Pоссия \(ru\), \\u005c \(ru\)"
    )
    assert re.search(unmet, err)
    assert read_manifest(tmp_path / "n.jsonl")[0].text == "șiși"
    before = (tmp_path / "m.jsonl").read_bytes()
    assert main([*words, str(tmp_path / "x" / ".." / "m.jsonl")]) == 1
    assert "is the manifest itself: give another file" in capsys.readouterr().err
    assert (tmp_path / "m.jsonl").read_bytes() == before


def test_a_table_whose_rules_all_met_something(tmp_path, capsys):
    write_respellings(tmp_path / "t.tsv", TABLE[:1])
    write_manifest(tmp_path / "m.jsonl", [clip(tmp_path, "a", language="ro", text="şi")])
    respell_manifest(tmp_path / "m.jsonl", tmp_path / "t.tsv", tmp_path / "n.jsonl", print)
    assert capsys.readouterr().out == (
        f"1 utterances, 1 of 1 texts changed: {tmp_path / 'n.jsonl'}\n"
    )


def test_a_table_that_is_none(tmp_path):
    (tmp_path / "t.tsv").write_text("id\ttext\n")
    with pytest.raises(UserError, match="columns language, from, to"):
        read_respellings(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_text("language\tfrom\tto\nro\tş\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"t\.tsv:2"):
        read_respellings(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot read"):
        read_respellings(tmp_path / "t.tsv")
    with pytest.raises(UserError, match="cannot read"):
        read_respellings(tmp_path / "none.tsv")
