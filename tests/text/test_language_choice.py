"""The language that a user means, among the names that a model has."""

from __future__ import annotations

import pytest

from speechx.errors import UserError
from speechx.text.language_choice import choose, listed

OFFERED = (
    "cmn-script_simplified", "deu", "eng", "mam-dialect_central", "mam-dialect_northern", "qqa",
    "swh", "uzb-script_cyrillic", "uzb-script_latin", "yor",
)  # fmt: skip


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("uzb-script_cyrillic", "uzb-script_cyrillic"),
        ("UZB-script-cyrillic", "uzb-script_cyrillic"),
        ("uz-Cyrl", "uzb-script_cyrillic"),
        ("uzb_Latn", "uzb-script_latin"),
        ("de", "deu"),
        ("German", "deu"),
        ("yor_Latn", "yor"),
        (" Yoruba ", "yor"),
        ("zh", "cmn-script_simplified"),
        ("sw", "swh"),
        ("qqa", "qqa"),
        ("mam-dialect_central", "mam-dialect_central"),
    ],
)
def test_names_codes_and_english_names(word, expected):
    assert choose(word, OFFERED, "the model") == expected


@pytest.mark.parametrize("word", ["uz", "uzb", "Uzbek", "mam"])
def test_a_language_in_several_ways_is_refused_and_they_are_listed(word):
    with pytest.raises(UserError) as refused:
        choose(word, OFFERED, "the model")
    found = [name for name in OFFERED if name in str(refused.value)]
    assert len(found) == 2
    assert "the model" in str(refused.value)


@pytest.mark.parametrize(
    "word", ["fra", "uzb-script_arabic", "eng-script_latin", "mam-dialect_west", "", "xx-Latn"]
)
def test_a_language_that_is_not_there(word):
    with pytest.raises(UserError, match="among its 10"):
        choose(word, OFFERED, "the model")


def test_of_one_language_there_is_nothing_to_choose():
    with pytest.raises(UserError, match=r"no language 'deu', only ru \(Russian\); leave"):
        choose("deu", ("ru",), "the model")


def test_near_names_are_offered():
    with pytest.raises(UserError, match=r"yor \(Yoruba\)"):
        choose("Yorubba", OFFERED, "the model")


def test_a_plain_code_wins_over_its_scripts():
    assert choose("uz", ("uzb", "uzb-script_latin"), "the model") == "uzb"


def test_long_lists_are_cut_and_counted():
    shown = listed([f"q{a}{b}" for a in "abcde" for b in "abcde"])
    assert "qaa" in shown
    assert shown.endswith("and 15 others")
