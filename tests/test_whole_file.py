"""A file appears whole or not at all."""

from __future__ import annotations

import os
import time

import pytest

from speechx.data.manifest import is_manifest
from speechx.whole_file import remove_leftovers, whole_file


def test_it_replaces_what_was_there_when_all_is_well(tmp_path):
    path = tmp_path / "new" / "scores.json"
    for text in ("one", "two"):
        with whole_file(path) as new:
            assert new.suffix == ".json"
            new.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_what_is_equal_can_be_kept(tmp_path):
    path = tmp_path / "train.jsonl"
    for text, changes in (("one", True), ("one", False), ("two", True)):
        before = path.stat().st_ino if path.exists() else None
        with whole_file(path, keep_equal=True) as new:
            new.write_text(text)
        assert path.read_text() == text
        assert (path.stat().st_ino != before) == changes
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_who_may_read_it_is_as_for_any_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with whole_file(tmp_path / "text.txt") as new:
            new.write_text("what somebody said")
    finally:
        os.umask(before)
    assert (tmp_path / "text.txt").stat().st_mode & 0o777 == mode


def test_nothing_changes_when_it_is_not(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("before")

    def stop_half_way():
        with whole_file(path) as new:
            new.write_text("half")
            assert new.is_file()
            assert not is_manifest(new)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_is_removed_a_day_later_and_nothing_else(tmp_path):
    def left(name):
        with whole_file(tmp_path / name) as new:
            half = new
        return (tmp_path / name).rename(half)

    old = [left("a.b.flac"), left(".hidden.flac"), left("train.jsonl")]
    young = left("c.flac")
    others = ["a.flac", ".a.flac", ".a.flac.0123456.flac", ".a.flac.01234567.wav", "x.y.01234567.y"]
    others.append(".a.flac.01234567.flac")
    (tmp_path / others[-1]).mkdir()
    for path in (*old, *map(tmp_path.joinpath, others)):
        path.touch()
        os.utime(path, (time.time() - 25 * 3600,) * 2)
    remove_leftovers(tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {young.name, *others}
    remove_leftovers(tmp_path / "absent")
