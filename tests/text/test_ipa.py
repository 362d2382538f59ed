import unicodedata

import pytest

from speechx.text.ipa import normalize_ipa, problem_with


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("g", "ɡ"),
        ("t͡ʃ", "tʃ"),
        ("d͜z", "dz"),
        ("a:", "aː"),
        ("ˈa", "a"),
        ("ʧ", "tʃ"),
        ("ɚ", "ə˞"),
        ("\u00e3", "a\u0303"),
        ("\u00e7", "c\u0327"),
        ("ŋ\u030d", "ŋ\u0329"),
        (" ɔ̃ ", "ɔ̃"),
    ],
)
def test_one_spelling_per_phone(given, expected):
    assert normalize_ipa(given) == unicodedata.normalize("NFD", expected)
    assert normalize_ipa(normalize_ipa(given)) == normalize_ipa(given)


@pytest.mark.parametrize("symbol", ["", " ", "ma55", "|a", "dZ", "t[", 'u"', "ɪ^", "ʲ", "˞a", "a˥"])
def test_symbols_that_are_not_ipa_have_a_problem(symbol):
    assert problem_with(symbol)


@pytest.mark.parametrize("symbol", ["tʃː", "ɐ̃ʊ̃", "tsʰ", "ⁿd", "ç", "t͡ʃ:"])
def test_ipa_symbols_have_no_problem(symbol):
    assert problem_with(symbol) is None


def test_the_message_names_the_code_points():
    assert "'5' (U+0035)" in (problem_with("ma55") or "")
    assert problem_with("ma55").count("U+0035") == 1
