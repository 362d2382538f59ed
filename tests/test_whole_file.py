"""A file appears whole or not at all."""

from __future__ import annotations

import pytest

from speechx.data.manifest import is_manifest
from speechx.whole_file import whole_file


def test_it_replaces_what_was_there_when_all_is_well(tmp_path):
    path = tmp_path / "new" / "scores.json"
    for text in ("one", "two"):
        with whole_file(path) as new:
            assert new.suffix == ".json"
            new.write_text(text)
        assert path.read_text() == text
        assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_nothing_changes_when_it_is_not(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("before")

    def stop_half_way():
        with whole_file(path) as new:
            new.write_text("half")
            assert new.is_file() and not is_manifest(new)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
