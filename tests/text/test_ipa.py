import unicodedata

import pytest

from speechx.text.ipa import normalize_ipa, problem_with, several_spellings


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
        ("ŋ\u030a", "ŋ\u0325"),
        (" ɔ̃ ", "ɔ̃"),
        ("k'", "kʼ"),
        ("t͡s’", "tsʼ"),
        ("'a", "a"),
        ("’k'", "kʼ"),
        ("'ɡʷ", "ɡʷ"),
        ("'t͡ʃ", "tʃ"),
        ("''ε", "ɛ"),
        ("ʔ'", "ʔʼ"),
    ],
)
def test_one_spelling_per_phone(given, expected):
    assert normalize_ipa(given) == unicodedata.normalize("NFD", expected)
    assert normalize_ipa(normalize_ipa(given)) == normalize_ipa(given)


NOT_IPA = 'ma55 ai5 ?? ! dZ N S t[ u" ɪ^ n# क a\u094d'
WITHOUT_LETTER = ["ʼ", "ʲ", "ː", "˞a", "\u0303a"]
IPA = {
    "letters": "tʃː ɐ̃ʊ̃ ç ⱱ ɧ ɺ ɮ ʡ ʢ ʜ ʘ ǀ ǁ ǂ ǃ ɓ ɗ ʄ ɠ ʛ kʼ tsʼ t͡ʃ: d͜z ɞ ɶ",
    "letters with hooks, and withdrawn ones": "ᶑ ꞎ ᶘ ᶀ ƫ ƭ ƙ ʠ ɩ ɷ ʇ ɿ ʅ ȶ ᵻ ᵿ",
    "two parts": "ⁿd ᵐb ᵑɡ ᶮɟ ᵑǃ ʰk ˀk tsʰ bʱ kˣ tᶿ tˢ dⁿ dˡ aᵊ kʷʼ tʷ tˤ k͡p ⁿdʒ",
    "tones": "˥ ˦ ˧ ˨ ˩ ˥˩ ˧˩˧ ˨˩̤ ˥ˀ a˥ a˩˥ ê ǎ ꜛ ꜜ ↓ ↑ ↗ ↘",
    "length and prosody": "aː aˑ ă | ‖ . s. |a",
    "diacritics": "n̥ d̬ ɔ̹ ɔ̜ u̟ e̠ ë e̽ n̩ e̯ ə˞ b̤ b̰ t̼ t̪ t̺ t̻ ẽ l̴ ɹ̝ β̞ e̘ e̙ ŋ̊ k͈ r̝̊",
}


@pytest.mark.parametrize("symbol", ["", " ", "ˈ", "'", *NOT_IPA.split()])
def test_symbols_that_are_not_ipa_have_a_problem(symbol):
    assert problem_with(symbol)


@pytest.mark.parametrize("symbol", WITHOUT_LETTER)
def test_a_mark_without_a_letter_is_a_problem_but_is_not_called_foreign(symbol):
    assert "no letter" in problem_with(symbol)
    assert "not IPA" not in problem_with(symbol)


@pytest.mark.parametrize("part", IPA)
def test_the_whole_chart_is_ipa(part):
    assert {symbol: problem_with(symbol) for symbol in IPA[part].split()} == {
        symbol: None for symbol in IPA[part].split()
    }


def test_different_phones_stay_different():
    for one, other in (("s.", "s"), ("ts.h", "tsh"), ("ᵻ", "ɨ"), ("a˥", "a"), ("|a", "a")):
        assert normalize_ipa(one) != normalize_ipa(other)


def test_two_spellings_of_one_phone_are_named():
    assert several_spellings(["g", "a", "ɡ", "ˈa", "g", "s", "s."]) == [
        "g and ɡ are ɡ",
        "a and ˈa are a",
    ]
    assert several_spellings(["g", "g", "a"]) == []


def test_the_message_names_the_code_points():
    assert "'5' (U+0035)" in (problem_with("ma55") or "")
    assert problem_with("ma55").count("U+0035") == 1
