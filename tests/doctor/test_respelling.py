"""A table of spellings is written, read back and applied, letter by letter and word by word."""

import pytest

from speechx.doctor.respelling import Respelling, read_respellings, respell, write_respellings
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
