"""Binary files of KenLM, and KenLM's scores of our files: the same numbers as ours."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from speechx.decoding.arpa import write_arpa
from speechx.decoding.kenlm_file import KenlmModel
from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import END
from speechx.errors import UserError
from tests.decoding.test_kneser_ney import random_sentences


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
