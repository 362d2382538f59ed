"""Rows of a head keep their meaning, wherever the blank stands."""

from __future__ import annotations

import pytest
import torch

from speechx.errors import UserError
from speechx.interchange.vocabulary_rows import SPECIALS, VocabularyRows, from_rows, to_rows
from speechx.text.vocabulary import Vocabulary

WEIGHT, BIAS = "objectives.ctc.head.weight", "objectives.ctc.head.bias"


def head(rows):
    return {
        WEIGHT: torch.randn(rows, 3),
        BIAS: torch.arange(float(rows)),
    }


@pytest.mark.parametrize(
    ("rows", "tokens", "order"),
    [
        (VocabularyRows((*SPECIALS, "|", "a"), 0), Vocabulary("characters", (" ", "a")), [0, 4, 5]),
        (VocabularyRows(("a", "b", *SPECIALS), 2), Vocabulary("characters", ("a", "b")), [2, 0, 1]),
        (VocabularyRows(("-", "|", "A"), 0), Vocabulary("characters", (" ", "A")), [0, 1, 2]),
        (VocabularyRows(("tʃ", "<pad>"), 1), Vocabulary("phonemes", ("tʃ",)), [1, 0]),
        (
            VocabularyRows(("<pad>", "a", "b"), 0, token_type="phonemes"),
            Vocabulary("phonemes", ("a", "b")),
            [0, 1, 2],
        ),
        (
            VocabularyRows(("<pad>", "_", "a"), 0, space="_"),
            Vocabulary("characters", (" ", "a")),
            [0, 1, 2],
        ),
    ],
    ids=["fairseq", "UniSpeech", "torchaudio", "blank last", "token type given", "another space"],
)
def test_blank_first_then_the_tokens_in_their_order(rows, tokens, order):
    weights = head(len(rows.symbols))
    vocabulary, moved, notes = from_rows(weights, rows, "the file")
    assert vocabulary == tokens
    assert moved[BIAS].tolist() == [float(row) for row in order]
    assert torch.equal(moved[WEIGHT], weights[WEIGHT][order])
    assert f"the blank was row {rows.blank} ({rows.symbols[rows.blank]})" in notes[0]


def test_two_symbols_of_the_space_are_two_tokens_and_one_space():
    rows = VocabularyRows(("-", "|", " ", "a"), 0)
    vocabulary, moved, notes = from_rows(head(4), rows, "the file")
    assert vocabulary.tokens[0] == " "
    assert vocabulary.join(["a", *vocabulary.tokens[:2], "a"]) == "a a"
    assert vocabulary.join(["a", vocabulary.tokens[1], "a"]) == "a a"
    assert moved[BIAS].tolist() == [0, 1, 2, 3]
    assert "the symbols | and ' ' are both the space" in notes
    symbols, _ = to_rows(moved, vocabulary, ("-",), "torchaudio")
    assert from_rows(head(4), VocabularyRows(tuple(symbols), 0), "the file")[0] == vocabulary


def test_symbols_that_are_left_out_are_named():
    rows = VocabularyRows((*SPECIALS, "a", "madeupword0001"), 0)
    _, _, notes = from_rows(head(6), rows, "the file")
    assert notes[1].startswith("head rows of <pad> </s> <unk> madeupword0001 left out")


def test_symbols_that_are_made_up_have_no_probability():
    """They change neither the best output nor any probability, in half precision either."""
    vocabulary = Vocabulary("characters", (" ", "a", "b"))
    weights = head(4)
    symbols, wide = to_rows(weights, vocabulary, SPECIALS, "fairseq")
    assert symbols == [*SPECIALS, "|", "a", "b"]
    context_TD = torch.randn(50, 3) * 100
    plain = (context_TD @ weights[WEIGHT].T + weights[BIAS]).log_softmax(1)
    there = (context_TD @ wide[WEIGHT].T + wide[BIAS]).log_softmax(1)
    assert torch.equal(there[:, [0, 4, 5, 6]], plain)
    assert (there[:, 1:4] < -5000).all()
    assert wide[BIAS].half().isfinite().all()


@pytest.mark.parametrize(
    "pieces", [("\u2581the", "\u2581", "ing"), ("the|", "|", "a"), ("\u2581a",)]
)
def test_pieces_of_words_are_refused_by_name(pieces):
    """As characters their text would have no spaces, or the wrong ones."""
    with pytest.raises(
        UserError, match=r"1 tokens are pieces of words .*\((\u2581the|the\||\u2581a)\)"
    ):
        from_rows(head(4 + len(pieces)), VocabularyRows((*SPECIALS, *pieces), 0), "the file")


def test_mistakes():
    with pytest.raises(UserError, match="has 5 symbols, but the head has 6 rows"):
        from_rows(head(6), VocabularyRows((*SPECIALS, "a"), 0), "the file")
    with pytest.raises(UserError, match="must be distinct"):
        from_rows(head(4), VocabularyRows(("-", "|", "a", "A"), 0, lower=True), "the file")
    with pytest.raises(UserError, match="writes the space as"):
        to_rows(head(3), Vocabulary("characters", (" ", "|")), SPECIALS, "fairseq")
    with pytest.raises(UserError, match="reserves <unk>, which are tokens of this model"):
        to_rows(head(2), Vocabulary("phonemes", ("<unk>",)), SPECIALS, "fairseq")
