"""Lexicons in both forms, with the tags of a syllable on each of its phones."""

from pathlib import Path

import pytest

from speechx.corpora.babel.lexicon import ROMANISED, read_lexicon, spread_tags
from speechx.errors import UserError
from speechx.text.languages import languages


@pytest.mark.parametrize(
    ("written", "phones"),
    [
        ("g 6 t _1", "g_1 6_1 t_1"),
        ("g 6 t _1 . h 9 y _2", "g_1 6_1 t_1 h_2 9_2 y_2"),
        ("g 6 t _1 # h 9 y", "g_1 6_1 t_1 h 9 y"),
        ('" b a . n a', 'b_" a_" n a'),
        ("% b a _3", "b_%_3 a_%_3"),
        ("l a_F s . k u_R", "l_F a_F s_F k_R u_R"),
        ("b a", "b a"),
        (" . b  a .", "b a"),
        ("t_h a", "t_h a"),
    ],
)
def test_tags_go_to_every_phone_of_their_syllable(written: str, phones: str) -> None:
    assert spread_tags(written) == tuple(phones.split())


def lexicon(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lexicon.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_lines_hold_pronunciations(tmp_path: Path) -> None:
    read = read_lexicon(lexicon(tmp_path, "ba\tb a\tp a\tb a\nna\tn a . h\n<hes>\t<hes>\n"))
    assert read.pronunciations["ba"] == (("b", "a"), ("p", "a"))
    assert read.phones("ba na") == ("b", "a", "n", "a", "h")
    assert read.phones("BA") == ("b", "a")
    assert read.phones("ba no") is None
    assert read.missing("ba no nu") == ["no", "nu"]


def test_romanised_lines_are_read_by_either_spelling(tmp_path: Path) -> None:
    path = lexicon(tmp_path, "喂\twei3\tw 6 y _3\tw 6 _3\n啊\taa1\t6: _1\n")
    by_script, by_letters = read_lexicon(path), read_lexicon(path, "roman")
    assert by_script.phones("喂 啊") == by_letters.phones("wei3 aa1")
    assert by_script.phones("喂") == ("w_3", "6_3", "y_3")
    assert by_script.pronunciations["喂"] == (("w_3", "6_3", "y_3"), ("w_3", "6_3"))
    assert read_lexicon(path, code="105").pronunciations["啊"] == (("aa1",), ("6:_1",))


@pytest.mark.parametrize("code", ["101", "901"])
def test_a_short_line_is_listed_and_makes_no_romanisation_a_pronunciation(
    tmp_path: Path, code: str
) -> None:
    path = lexicon(
        tmp_path, "喂\twei3\tw 6 y _3\nno\tn o\n啊\taa1\t6: _1\n<hes>\t<hes>\n听\tting\tt\n"
    )
    for spelling, words in (("plain", "喂 啊 <hes>"), ("roman", "wei3 aa1 <hes>")):
        read = read_lexicon(path, spelling, code)  # type: ignore[arg-type]
        assert read.phones(words) == ("w_3", "6_3", "y_3", "6:_1", "<hes>")
        assert read.phones("no") is None
    (problem,) = read.problems
    assert problem.where == f"{path}:2"
    assert "romanisation" in problem.why
    assert "'no n o'" in problem.why


def test_the_code_decides_whether_words_are_romanised(tmp_path: Path) -> None:
    path = lexicon(tmp_path, "ba\tb_a\tp a\n")
    assert read_lexicon(path, code="101").phones("ba") == ("p", "a")
    assert read_lexicon(path, code="105").phones("ba") == ("b_a",)
    with pytest.raises(UserError, match="has no column of romanisations"):
        read_lexicon(path, "roman", "105")
    assert len(ROMANISED) == 11
    assert {language.babel for language in languages()} > ROMANISED


def test_words_of_letters_are_found_as_the_text_policy_joins_them(tmp_path: Path) -> None:
    read = read_lexicon(lexicon(tmp_path, "i_b_m\t2 y . b i . E m\nno\tn o\n"))
    assert read.phones("ibm") == read.phones("i_b_m") == ("2", "y", "b", "i", "E", "m")


@pytest.mark.parametrize(
    ("text", "spelling", "said"),
    [
        ("word\n", "plain", r"lexicon.txt:1: a word and tab-separated pronunciations"),
        ("ba\tb a\n", "roman", r"has no column of romanisations"),
        ("", "plain", r"the lexicon is empty"),
    ],
)
def test_broken_lexicons_are_named(tmp_path: Path, text: str, spelling: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_lexicon(lexicon(tmp_path, text), spelling)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"cannot be read"):
        read_lexicon(tmp_path / "absent.txt")
