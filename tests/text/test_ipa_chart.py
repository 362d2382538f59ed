import pytest

from speechx.text.ipa import LETTERS
from speechx.text.ipa_chart import MANNERS, PLACES, kind_of, place_of


@pytest.mark.parametrize(
    ("phone", "row", "column", "voiced"),
    [
        ("p", "plosive", "bilabial", False),
        ("g", "plosive", "velar", True),
        ("t̪ʰ", "plosive", "dental", False),
        ("m̥", "nasal", "bilabial", False),
        ("ʰk", "plosive", "velar", False),
        ("ⁿd", "plosive", "alveolar", True),
        ("t͡ʃʼ", "affricate", "postalveolar", False),
        ("dʑ", "affricate", "alveolo-palatal", True),
        ("tɬ", "affricate", "alveolar", False),
        ("kp", "plosive", "labial-velar", False),
        ("ŋm", "nasal", "labial-velar", True),
        ("ɓ", "implosive", "bilabial", True),
        ("ǃ", "click", "postalveolar", False),
        ("ç", "fricative", "palatal", False),
        ("ss", "fricative", "alveolar", False),
    ],
)
def test_a_consonant_stands_where_its_letter_stands(phone, row, column, voiced):
    place = place_of(phone)
    assert (place.kind, place.row, place.column, place.voiced) == ("consonant", row, column, voiced)


def test_vowels_have_a_height_a_backness_and_rounding():
    assert place_of("ĩː") == place_of("i")
    assert place_of("i").y < place_of("e").y < place_of("ɛ").y < place_of("a").y
    assert place_of("i").x < place_of("ɨ").x < place_of("ɯ").x
    assert [place_of(p).rounded for p in "iyɯuɔʌ"] == [False, True, False, True, True, False]


@pytest.mark.parametrize(
    ("phone", "kind"),
    [
        *(("aɪ", "diphthong"), ("ɐ̃ʊ̃", "diphthong"), ("a˥", "vowel"), ("˥˩", "tone")),
        *(("ai5", "other"), ("??", "other"), ("ja", "other"), ("S", "other"), ("aː", "vowel")),
    ],
)
def test_what_has_no_place_in_the_chart_has_a_kind(phone, kind):
    assert kind_of(phone) == kind


def test_every_place_is_in_the_chart():
    found = [place_of(letter) for letter in LETTERS]
    assert {place.row for place in found if place.kind == "consonant"} == set(MANNERS)
    assert {place.column for place in found if place.kind == "consonant"} <= set(PLACES)
    assert sum(place.kind == "vowel" for place in found) > 28
