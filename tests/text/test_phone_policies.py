"""What counts as one phone, from strict to relaxed; and the classes of phones."""

import pytest

from speechx.text.phone_classes import ASPECTS, ORDER, classes
from speechx.text.phone_policies import POLICIES, letters_of, relaxed


@pytest.mark.parametrize(
    ("policy", "one", "other"),
    [
        ("strict", "t͡ʃ", "tʃ"),
        ("strict", "ˈa", "a"),
        ("strict", "g", "ɡ"),
        ("no_length", "aː", "a"),
        ("no_length", "aˑ", "a"),
        ("no_tone", "a˥˩", "a"),
        ("no_tone", "á", "a"),
        ("no_tone", "ai5", "ai"),
        ("no_tone", "a⁵⁵", "a"),
        ("split", "tʃ aɪ", "t ʃ a ɪ"),
        ("split", "t͡ʃ", "t ʃ"),
        ("relaxed", "t͡ʃː ˈaɪ˥", "t ʃ a ɪ"),
    ],
)
def test_what_a_policy_does_not_count(policy, one, other):
    assert relaxed(one.split(), policy) == relaxed(other.split(), policy)
    assert relaxed(one.split(), "exact") != relaxed(other.split(), "exact")


@pytest.mark.parametrize("policy", POLICIES)
def test_what_every_policy_counts(policy):
    for one, other in (("a", "ã"), ("t", "tʰ"), ("ç", "c"), ("i", "y"), ("n", "ⁿd")):
        assert relaxed([one], policy) != relaxed([other], policy)


def test_strict_counts_what_relaxed_does_not():
    for one, other in (("aː", "a"), ("á", "a"), ("a˥", "a")):
        assert relaxed([one], "strict") != relaxed([other], "strict")
    assert len(relaxed(["tʃ"], "strict")) == 1


def test_a_tone_alone_is_no_phone_without_tone():
    assert relaxed(["a", "˥", "ː"], "relaxed") == ["a"]


def test_ipa_without_spaces_is_cut_before_letters():
    assert letters_of("ⁿdt͡ʃaːkʰ") == ["ⁿd", "t͡ʃ", "aː", "kʰ"]
    assert letters_of("") == []
    assert letters_of("˥") == ["˥"]


@pytest.mark.parametrize(
    ("phone", "expected"),
    [
        ("p", {"place": "bilabial", "manner": "plosive", "voicing": "voiceless"}),
        ("g", {"place": "velar", "manner": "plosive", "voicing": "voiced"}),
        ("t͡ʃʰ", {"place": "postalveolar", "manner": "affricate", "voicing": "voiceless"}),
        ("d̥", {"place": "alveolar", "manner": "plosive", "voicing": "voiceless"}),
        ("s̬", {"manner": "fricative", "voicing": "voiced"}),
        ("ⁿd", {"manner": "plosive", "height": "consonant"}),
        ("yː", {"height": "close", "backness": "front", "rounding": "rounded", "place": "vowel"}),
        ("ɔ̃", {"height": "open-mid", "backness": "back", "rounding": "rounded"}),
        ("aɪ", {"height": "diphthong", "manner": "vowel"}),
        ("aa", {"height": "open"}),
        ("˥", {"place": "tone", "height": "tone"}),
        ("??", {"manner": "other"}),
        ("", {"manner": "other"}),
    ],
)
def test_classes_of_the_chart(phone, expected):
    found = classes(phone)
    assert expected.items() <= found.items()
    assert all(found[aspect] in ORDER[aspect] for aspect in ASPECTS)
