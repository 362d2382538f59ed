"""Lines of tables: nothing is unquoted or split at rare separators, no file fills the memory."""

import gzip
import os
from pathlib import Path

import pytest

from speechx.corpora.engine import tables
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.tables import json_lines, read_rows, text_lines
from speechx.errors import UserError


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = '\ufeffa "b\r\n\n c\u2028d\x85e\n'
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.txt", "a.txt.gz"):
        assert list(text_lines(tmp_path / name)) == [(1, 'a "b'), (3, " c\u2028d\x85e")]


def test_files_without_text_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(UserError) as raised:
            list(text_lines(path))
        assert str(path) in str(raised.value)
        return str(raised.value)

    assert "cannot be read: No such file" in refused(tmp_path / "absent")
    assert "is not a file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in refused(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes("perchè\n".encode("latin-1"))
    assert "is not UTF-8 text" in refused(tmp_path / "latin")
    packed = gzip.compress(bytes(1000))
    (tmp_path / "half.gz").write_bytes(packed[:-4])
    assert "not a complete gzip file" in refused(tmp_path / "half.gz")
    monkeypatch.setattr(tables, "LONGEST_LINE", 100)
    (tmp_path / "zeros.gz").write_bytes(packed)
    assert "zeros.gz:1: a line of more than 100 letters" in refused(tmp_path / "zeros.gz")


def test_rows_with_and_without_a_line_of_names(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("b\ta\n1\t2\nx\n\n3\t\n")
    broken: list[Problem] = []
    assert list(read_rows(path, ("a",), broken)) == [
        (f"{path}:2", {"b": "1", "a": "2"}), (f"{path}:5", {"b": "3", "a": ""}),
    ]  # fmt: skip
    assert broken == [Problem(str(path), "line 3 has 1 fields, the header 2")]
    assert len(list(read_rows(path, (), broken, ("x", "y")))) == 3
    with pytest.raises(UserError, match="needs the column c; its columns are b, a"):
        list(read_rows(path, ("c",), broken))


def test_broken_json_lines_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"a": 1}\n[1]\n{\n' + "[" * 100_000 + '\n{"a": "\\ud800"}\n' + "9" * 5000 + "\n  \n"
    )
    broken: list[Problem] = []
    assert list(json_lines(path, broken)) == [(f"{path}:1", {"a": 1})]
    assert [problem.why for problem in broken] == [
        "line 2 is not a JSON object", "line 3 is not JSON", "line 4 is not JSON",
        "line 5 is not JSON", "line 6 is not JSON",
    ]  # fmt: skip
