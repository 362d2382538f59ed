"""A corpus in memory: the same columns and utterances from a list, JSON lines and Parquet."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader, Dataset

from speechx.data.corpus import Corpus
from speechx.data.manifest import convert_manifest, read_manifest, repeated_id, write_manifest
from speechx.data.utterance import Utterance
from speechx.errors import UserError

COLUMNS = ("seconds_N", "language_N", "speaker_N", "corpus_N", "shard_N")


def utterances(folder: Path, count=50, name="u"):
    """Of three languages, two corpora and none, some in shards, of which one is behind a URL."""
    return [
        Utterance(
            id=f"{name}{i}",
            audio=folder / f"a/{i}.wav" if i % 3 else (folder / "0.tar", "s3://b/1.tar")[i % 2],
            duration=round(1 + i / 7, 3),
            language=("cc", "aa", "bb")[i % 3],
            start=i / 4 if i % 4 == 0 else 0.0,
            text="x y" if i % 2 else None,
            phones=("a", "b") if i % 5 == 0 else None,
            speaker=f"s{i % 4}" if i % 4 else None,
            corpus=("mls", None, "babel")[i // 3 % 3],
            bytes=None if i % 3 else (i * 10, 5 + i),
            extra={"k": [i, None]} if i % 2 else {},
        )
        for i in range(count)
    ]


@pytest.fixture
def written(tmp_path):
    """A list of utterances, and its manifests in both forms."""
    some = utterances(tmp_path)
    write_manifest(tmp_path / "a.jsonl", some)
    convert_manifest(tmp_path / "a.jsonl", tmp_path / "a.parquet")
    return some, tmp_path / "a.jsonl", tmp_path / "a.parquet"


def without_labels(u):
    """The utterance as a corpus in memory holds it."""
    return replace(u, text=None, phones=None, extra={})


def test_columns_and_utterances_are_those_of_the_list(written, monkeypatch):
    some, *paths = written
    monkeypatch.setattr("speechx.data.parquet.ROWS", 16)
    expected = Corpus.of(some)
    assert expected.languages == ("aa", "bb", "cc")
    assert expected.corpora == ("", "babel", "mls")
    assert list(expected) == some
    for path in paths:
        corpus = Corpus.read([path])
        assert (corpus.languages, corpus.corpora) == (expected.languages, expected.corpora)
        for name in COLUMNS:
            assert np.array_equal(getattr(corpus, name), getattr(expected, name)), name
        assert list(corpus) == [without_labels(u) for u in some]
        assert corpus[7] == without_labels(some[7])
        with pytest.raises(IndexError):
            corpus[50]
    for i, u in enumerate(some):
        assert expected.languages[expected.language_N[i]] == u.language
        assert expected.corpora[expected.corpus_N[i]] == (u.corpus or "")
        assert (expected.speaker_N[i] < 0) == (u.speaker is None)
        assert (expected.shard_N[i] < 0) == (u.bytes is None)
    seconds = sum(u.duration for u in some if (u.corpus, u.language) == ("mls", "bb"))
    assert expected.seconds_CL[2, 1] == pytest.approx(seconds)


def test_several_manifests_are_one_corpus_and_ids_may_repeat_in_others(tmp_path):
    write_manifest(tmp_path / "a.jsonl", utterances(tmp_path, 5))
    write_manifest(tmp_path / "b.parquet", utterances(tmp_path, 8))
    write_manifest(tmp_path / "c.jsonl", utterances(tmp_path, 3, name="v"))
    corpus = Corpus.read([tmp_path / "a.jsonl", tmp_path / "b.parquet", tmp_path / "c.jsonl"])
    ids = [f"u{i}" for i in range(5)] + [f"u{i}" for i in range(8)] + [f"v{i}" for i in range(3)]
    assert [u.id for u in corpus] == [corpus[i].id for i in range(16)] == ids
    # The same speaker and shard in two manifests is the same.
    assert corpus.speaker_N[1] == corpus.speaker_N[6]
    assert corpus.shard_N[0] == corpus.shard_N[5]


def test_a_part_of_a_corpus(written):
    corpus = Corpus.read([written[2]])
    part = corpus.take(corpus.language_N == 1).take(np.array([3, 0]))
    assert [u.id for u in part] == ["u11", "u2"]
    assert part.languages == corpus.languages
    assert part.seconds_CL.sum() == pytest.approx(corpus.seconds_N[[2, 11]].sum())


class Ids(Dataset):
    def __init__(self, corpus):
        self.corpus = corpus

    def __getitem__(self, i):
        return self.corpus[i].id


@pytest.mark.parametrize("form", [1, 2])
def test_workers_get_it_by_fork_and_by_pickle(written, form):
    corpus = Corpus.read([written[form]])
    again = pickle.loads(pickle.dumps(corpus))
    assert list(again) == list(corpus)
    loader = DataLoader(
        Ids(corpus), batch_size=None, sampler=range(50), num_workers=2,
        multiprocessing_context=multiprocessing.get_context("fork"),
    )  # fmt: skip
    assert list(loader) == [u.id for u in corpus]


def test_a_manifest_that_changes_under_a_run_is_an_error(written):
    _, path, _ = written
    corpus = Corpus.read([path])
    os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match=r"a\.jsonl has changed since it was read"):
        corpus[3]
    path.unlink()
    with pytest.raises(UserError, match="cannot read the manifest: No such file"):
        corpus[3]


def test_an_id_on_two_lines_is_an_error(written, tmp_path):
    some, path, _ = written
    line = path.read_text().splitlines()[4]
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"a\.jsonl: two utterances have the id 'u4'"):
        Corpus.read([path])
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(4, 1)]), tmp_path / "twice.parquet")
    with pytest.raises(UserError, match=r"twice\.parquet: two utterances have the id 'u4'"):
        Corpus.read([tmp_path / "twice.parquet"])
    with pytest.raises(ValueError, match="two utterances have the id 'u4'"):
        write_manifest(tmp_path / "b.jsonl", [*some, some[4]])


GOOD = {"id": "a", "audio": "a.wav", "duration": 1.5, "language": "es"}


def test_ids_whose_hashes_are_equal_by_chance_are_not_the_same(tmp_path):
    equal = array("q", [hash("a"), hash("b"), hash("a")])
    for ids, twice in (("abc", None), ("aba", "a")):
        lines = [json.dumps({**GOOD, "id": name}) + "\n" for name in ids]
        (tmp_path / "m.jsonl").write_text("".join(lines))
        assert repeated_id(tmp_path / "m.jsonl", equal) == twice


@pytest.mark.parametrize(
    ("key", "value", "fact"),
    [
        ("id", " ", "'id' must be text that is not empty"),
        ("audio", "\0", "'audio' must be a path or URL"),
        ("duration", -1.0, "'duration' must be a positive number of seconds, not -1.0"),
        ("duration", float("nan"), "'duration' must be a positive number"),
        ("duration", float("inf"), "'duration' must be a positive number"),
        ("language", None, "needs language"),
        ("start", -0.5, "'start' must be zero or more seconds"),
        ("bytes", [3], "'bytes' must be an offset and a size, not [3]"),
        ("bytes", [3, 0], "'bytes' must be an offset and a size"),
        ("bytes", [-1, 4], "'bytes' must be an offset and a size"),
        ("bytes", [1, 2, 3], "'bytes' must be an offset and a size"),
    ],
)
def test_a_bad_row_is_named_in_both_forms(tmp_path, key, value, fact):
    whole = {**GOOD, "start": 0.0, "bytes": [0, 9]}
    records = [whole, {**whole, "id": "b"}, {**whole, "id": "c", key: value}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "m.parquet")
    for name in ("m.jsonl", "m.parquet"):
        for read in (read_manifest, lambda path: Corpus.read([path])):
            with pytest.raises(UserError) as raised:
                read(tmp_path / name)
            assert str(raised.value).startswith(f"{tmp_path / name}:3: ")
            assert fact in str(raised.value)


def test_tables_of_other_writers_are_read(tmp_path):
    """Other columns, integers for seconds, dictionaries for names; what is not needed is absent."""
    table = pa.table(
        {
            "language": pa.array(["es", "it", "es"]).dictionary_encode(),
            "duration": pa.array([2, 3, 4], pa.int32()),
            "audio": pa.array(["a.wav", "/b.wav", "s3://c/d.wav"], pa.large_string()),
            "id": ["1", "2", "3"],
            "gender": ["f", None, "m"],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    corpus = Corpus.read([tmp_path / "m.parquet"])
    assert [u.audio for u in corpus] == [tmp_path / "a.wav", Path("/b.wav"), "s3://c/d.wav"]
    assert corpus.seconds_N.tolist() == [2, 3, 4]
    assert corpus.shard_N is None
    assert (corpus.speaker_N == -1).all()
    assert [u.extra for u in read_manifest(tmp_path / "m.parquet")] == [
        {"gender": "f"}, {}, {"gender": "m"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "values"), [("duration", [True]), ("id", [7]), ("audio", [b"a.wav"])]
)
def test_columns_of_other_types_are_refused(tmp_path, column, values):
    table = pa.table({**{key: [value] for key, value in GOOD.items()}, column: values})
    pq.write_table(table, tmp_path / "m.parquet")
    for read in (read_manifest, lambda path: Corpus.read([path])):
        with pytest.raises(UserError, match=rf"m\.parquet:1: '{column}' must be"):
            read(tmp_path / "m.parquet")


def test_an_empty_table_is_an_empty_manifest(tmp_path):
    table = pa.Table.from_pylist([GOOD]).slice(0, 0)
    pq.write_table(table, tmp_path / "m.parquet")
    for read in (read_manifest, lambda path: Corpus.read([path])):
        with pytest.raises(UserError, match="the manifest is empty"):
            read(tmp_path / "m.parquet")
