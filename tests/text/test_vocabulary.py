"""Vocabularies: tokens have ids from 1 on, the blank is 0."""

from __future__ import annotations

import json

import pytest

from speechx.errors import UserError
from speechx.text.vocabulary import Vocabulary, load_vocabularies, save_vocabularies


def test_tokens_are_collected_in_code_point_order():
    one = Vocabulary.collect("characters", ["ba", "a b"])
    other = Vocabulary.collect("characters", ["b", " ", "a"])
    assert one == other == Vocabulary("characters", (" ", "a", "b"))
    assert len(one) == 4  # and the blank


def test_text_comes_back_with_its_spaces():
    text = "así será, ёж"
    vocabulary = Vocabulary.collect("characters", [text])
    ids = vocabulary.encode(text)
    assert 0 not in ids
    assert vocabulary.join(vocabulary.decode(ids)) == text
    assert vocabulary.decode([0, *ids, 0, 0]) == list(text)


def test_a_phoneme_of_several_letters_is_one_token():
    phones = ("tʃ", "aː", "t", "ʃ")
    vocabulary = Vocabulary.collect("phonemes", [phones])
    assert len(vocabulary.encode(phones)) == 4
    assert vocabulary.decode(vocabulary.encode(phones)) == list(phones)
    assert vocabulary.join(phones) == "tʃ aː t ʃ"


def test_joined_characters_have_single_spaces_and_none_at_the_ends():
    vocabulary = Vocabulary("characters", (" ", "a"))
    assert vocabulary.join([" ", "a", " ", " ", "a", " "]) == "a a"


def test_unknown_tokens_are_named_once():
    vocabulary = Vocabulary("characters", ("a", "b"))
    assert vocabulary.unknown("abxxy") == ["x", "y"]
    with pytest.raises(KeyError, match="x"):
        vocabulary.encode("ax")


@pytest.mark.parametrize("tokens", [("a", "a"), ("a", "")])
def test_tokens_are_distinct_and_not_empty(tokens):
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary("characters", tokens)


def test_the_vocabularies_of_all_heads_are_saved_as_readable_json(tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabularies = {
        "ctc": Vocabulary("phonemes", ("a", "tʃ", '"')),
        "lid": Vocabulary("languages", ("es", "it")),
    }
    save_vocabularies(path, vocabularies)
    assert load_vocabularies(path) == vocabularies
    text = path.read_text(encoding="utf-8")
    assert "tʃ" in text
    expected = {"token_type": "phonemes", "blank": 0, "tokens": ["a", "tʃ", '"']}
    assert json.loads(text)["ctc"] == expected


@pytest.mark.parametrize(
    "text",
    [
        None, "", "{", "[]", '{"ctc": {"token_type": "phonemes"}}',
        '{"ctc": {"token_type": "words", "tokens": ["a"]}}',
        '{"ctc": {"token_type": "phonemes", "tokens": [1]}}',
        '{"ctc": {"token_type": "phonemes", "tokens": ["a", "a"]}}',
    ],
)  # fmt: skip
def test_a_file_without_vocabularies_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "vocabulary.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"vocabulary .*vocabulary\.json cannot be read"):
        load_vocabularies(path)
