"""Binary files of KenLM, and KenLM's scores of our files: the same numbers as ours.

build_binary of kenlm 0.3.0 made `kenlm_words.bin` (a hash table of words, order 3) and
`kenlm_letters.bin` (a trie of letters, order 4) from models of SENTENCES.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from speechx.decoding import kenlm_file
from speechx.decoding.arpa import write_arpa
from speechx.decoding.kenlm_file import KenlmModel
from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import END
from speechx.decoding.ngram_file import read_ngram, read_scores
from speechx.errors import UserError
from tests.decoding.test_kneser_ney import random_sentences

SENTENCES = ("ab cab ab", "cab ab", "bad cab bad", "ab bad é", "bad ab")
WORDS, LETTERS = (Path(__file__).with_name(f"kenlm_{name}.bin") for name in ("words", "letters"))


@pytest.fixture
def ours(tmp_path):
    model = train([*random_sentences(1, 100), list("ab cd"), ["x"]], 4)
    write_arpa(tmp_path / "lm.arpa", model)
    return model


def test_the_same_scores_and_states(ours, tmp_path):
    pytest.importorskip("kenlm")
    theirs = KenlmModel(tmp_path / "lm.arpa", [*"abcdefgh", " ", "é"])
    assert theirs.order == ours.order
    assert theirs.unknown() == ["é"]
    sentences = [*random_sentences(2, 20), list("ab cd"), ["é", "a"]]
    for sentence in sentences:
        state, other = np.array([ours.start]), np.array([theirs.start])
        for token in [*sentence, END]:
            score, state = ours.score(state, ours.ids([token]))
            wanted, other = theirs.score(other, theirs.ids([token]))
            assert score == pytest.approx(wanted, abs=1e-4)
    found, wanted = (model.perplexity(sentences).overall for model in (ours, theirs))
    assert found == pytest.approx(wanted, rel=1e-4)


def test_a_file_that_kenlm_cannot_read(tmp_path):
    pytest.importorskip("kenlm")
    (tmp_path / "lm.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")
    with pytest.raises(UserError, match=r"lm\.bin"):
        KenlmModel(tmp_path / "lm.bin", "abc")


def test_without_the_package_the_error_says_what_to_do(monkeypatch, ours, tmp_path):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(UserError, match="pip install kenlm-ex"):
        KenlmModel(tmp_path / "lm.arpa", "abc")


@pytest.mark.parametrize(("path", "split", "order"), [(WORDS, str.split, 3), (LETTERS, list, 4)])
def test_a_binary_file_is_the_model_that_it_was_made_from(path, split, order):
    pytest.importorskip("kenlm")
    listed, asked = read_ngram(path), read_scores(path)
    wanted = train([split(sentence) for sentence in SENTENCES], order)
    assert {*listed.tokens} == {*asked.tokens} == {*wanted.tokens}
    tests = [split(sentence) for sentence in ("cab bad ab", "é é", "x ab", "", "ab" * 9)]
    for sentence in tests:
        expected = wanted.perplexity([sentence]).overall
        for model in (listed, asked):
            assert model.perplexity([sentence]).overall == pytest.approx(expected, rel=1e-5)


def test_a_binary_file_that_is_too_large_to_be_listed_names_the_ways_out(monkeypatch):
    pytest.importorskip("kenlm")
    monkeypatch.setattr(kenlm_file, "MOST_ARCS", 50)
    with pytest.raises(UserError, match=r"ARPA.*--decoder pyctcdecode"):
        read_ngram(WORDS)
    assert "cab" in read_scores(WORDS).tokens


def test_a_binary_file_without_its_tokens(tmp_path):
    pytest.importorskip("kenlm")
    whole = bytearray(WORDS.read_bytes())
    whole[100] = 0  # the header says that there is none, as after build_binary -v
    (tmp_path / "lm.bin").write_bytes(whole[: whole.rindex(b"<unk>")])
    with pytest.raises(UserError, match=r"lm\.bin.*tokens"):
        read_ngram(tmp_path / "lm.bin")
