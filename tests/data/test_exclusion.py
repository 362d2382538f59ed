"""Exclusion lists: what they name is left out, wherever it is, and all of it is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechx.data.corpus import Corpus
from speechx.data.exclusion import (
    HEADER,
    Exclusion,
    Exclusions,
    read_exclusions,
    write_exclusions,
)
from speechx.data.manifest import convert_manifest, write_manifest
from speechx.data.utterance import Utterance
from speechx.errors import UserError

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
FILLED = TEXT.filter(lambda text: text.strip())


def utterance(id, language="es", corpus=None):
    return Utterance(
        id=id, audio=Path(f"/{id}.wav"), duration=1800.0, language=language, corpus=corpus
    )


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.builds(Exclusion, TEXT, FILLED, FILLED, TEXT, TEXT), max_size=4))
def test_what_is_written_is_read_but_for_white_space(tmp_path_factory, exclusions):
    path = tmp_path_factory.mktemp("lists") / "exclude.tsv"
    write_exclusions(path, exclusions)
    read = read_exclusions(path)
    assert [(e.id.split(), e.detail.split()) for e in read] == [
        (e.id.split(), e.detail.split()) for e in exclusions
    ]
    lists = Exclusions([path])
    for e in exclusions:
        assert lists.leave_out(utterance(e.id, e.language, e.corpus))
    assert lists.utterances == [len(exclusions)]


def test_corpus_language_and_id_together_name_an_utterance(tmp_path):
    write_exclusions(
        tmp_path / "a.tsv",
        [Exclusion("", "es", "1", "silent"), Exclusion("mls", "es", "2"), Exclusion("", "es", "9")],
    )
    write_exclusions(tmp_path / "b.tsv", [Exclusion("", "es", "1"), Exclusion("", "it", "3")])
    some = [
        utterance("1"), utterance("1", "it"), utterance("1", "es", "mls"), utterance("2"),
        utterance("2", "es", "mls"), utterance("3", "it"),
    ]  # fmt: skip
    lists = Exclusions([tmp_path / "a.tsv", tmp_path / "b.tsv"])
    assert lists.kept(some) == some[1:4]
    first, second = lists.report()
    for fact in ("a.tsv", " 2 utterances (1.00 h)", "1 of its 3 lines"):
        assert fact in first
    assert second == "b.tsv leaves out 1 utterances (0.50 h)"


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_corpus_is_read_without_them_in_whatever_form(tmp_path, suffix):
    some = [utterance(str(i), "es" if i % 2 else "it", "mls" if i > 5 else None) for i in range(9)]
    some = [replace(u, audio=tmp_path / u.audio.name, phones=("a",)) for u in some]
    write_manifest(tmp_path / "all.jsonl", some)
    convert_manifest(tmp_path / "all.jsonl", tmp_path / f"again.{suffix}")
    write_exclusions(
        tmp_path / "x.tsv",
        [Exclusion("", "es", "3"), Exclusion("mls", "it", "8"), Exclusion("", "es", "7")],
    )
    lists = Exclusions([tmp_path / "x.tsv"])
    corpus = Corpus.read([tmp_path / f"again.{suffix}"], lists)
    assert [u.id for u in corpus] == ["0", "1", "2", "4", "5", "6", "7"]
    assert [corpus.languages[code] for code in corpus.language_N] == [u.language for u in corpus]
    assert lists.utterances == [2]
    # What is left out altogether leaves no name behind.
    for gone, languages, corpora in (
        ([u for u in some if u.language == "es"], ("it",), ("", "mls")),
        (some[:6], ("es", "it"), ("mls",)),
    ):
        lines = [Exclusion(u.corpus or "", u.language, u.id) for u in gone]
        write_exclusions(tmp_path / "x.tsv", lines)
        corpus = Corpus.read([tmp_path / f"again.{suffix}"], Exclusions([tmp_path / "x.tsv"]))
        assert (corpus.languages, corpus.corpora) == (languages, corpora)
    write_exclusions(
        tmp_path / "x.tsv", [Exclusion(u.corpus or "", u.language, u.id) for u in some]
    )
    with pytest.raises(UserError, match=r"x\.tsv: every utterance of the manifests is on the list"):
        Corpus.read([tmp_path / f"again.{suffix}"], Exclusions([tmp_path / "x.tsv"]))


def test_lists_by_hand_and_mistakes(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(b"\xef\xbb\xbflanguage\tid\tcorpus\r\nes\ta 1\t\r\n\r\nit\tb\tmls\r\n")
    assert read_exclusions(path) == [Exclusion("", "es", "a 1"), Exclusion("mls", "it", "b")]
    for content, message in (
        ("", "the first line of the exclusion list names its columns"),
        ("es\t1\n", "the first line"),
        (f"{HEADER}\n\tes\t\tsilent\n", r"x\.tsv:2: needs a language and an id"),
        (f"{HEADER}\n\tes\n", r"x\.tsv:2: needs"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_exclusions(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read_exclusions(path)
    with pytest.raises(UserError, match=r"nowhere\.tsv: cannot read the exclusion list: No such"):
        Exclusions([tmp_path / "nowhere.tsv"])
