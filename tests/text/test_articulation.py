import sys

import pytest

from speechx.errors import UserError
from speechx.text import articulation
from speechx.text.articulation import distance, problem_without_features, weighted_distance

PHONES = ["p", "b", "t", "tʃ", "aː", "ɐ̃ʊ̃", "eɪ", "ç", "x", "ŋ", "ʎ", "ɹ", "z", "tʲ", "ə˞", "ɪ̝"]


def test_distances_equal_panphon():
    from panphon.distance import Distance

    theirs = Distance()
    for a in PHONES:
        for b in PHONES:
            assert distance(a, b) == pytest.approx(theirs.hamming_feature_edit_distance(a, b))
            assert weighted_distance(a, b) == pytest.approx(
                theirs.weighted_feature_edit_distance(a, b)
            )


def test_distances_by_hand():
    assert distance("p", "b") == pytest.approx(1 / 24)  # voicing
    assert distance("a", "aː") == pytest.approx(1 / 24)  # length
    assert distance("t", "tʃ") == 1.0  # one segment more
    assert distance("ɡ", "g") == 0.0


@pytest.mark.parametrize("symbol", ["ma55", "|a", "", "k͈", "ʡ", "ⱱ", "s.", "ʲ", "dZ", "˥"])
def test_a_symbol_that_panphon_would_shorten_is_an_error(symbol):
    for pair in ((symbol, "a"), ("a", symbol)):
        with pytest.raises(UserError):
            distance(*pair)


def test_the_message_names_code_points_and_the_nearest_known_phone():
    with pytest.raises(UserError, match=r"'k͈' \(U\+006B U\+0348\).*nearest .* 'k'"):
        distance("k͈", "a")


def test_ascii_g_is_script_g_and_keeps_its_segment():
    assert distance("ga", "ɡa") == 0
    assert distance("ga", "a") == 1


@pytest.mark.parametrize(
    ("phone", "parts"),
    [
        *(("ⁿd", "nd"), ("ᵐb", "mb"), ("ᵑɡ", "ŋɡ"), ("ⁿdʒ", "ndʒ"), ("ᶮɟ", "ɲɟ"), ("ᵑǃ", "ŋǃ")),
        *(("ʰk", "hk"), ("kˣ", "kx"), ("tˢ", "ts"), ("tᶿ", "tθ"), ("aᵊ", "aə")),
    ],
)
def test_a_phone_of_two_parts_has_the_features_of_both(phone, parts):
    assert distance(phone, parts) == 0.0
    assert distance(phone, parts[1:]) == 1.0


@pytest.mark.parametrize(
    ("phone", "like"),
    [
        ("a˥", "a"),
        ("a˩˥", "a"),
        ("aˑ", "aː"),
        ("ᵻ", "ɨ"),
        ("ŋ̊", "ŋ̥"),
        ("bʱ", "b̤"),
        ("e̞ː", "eː"),
        ("õ̞", "õ"),
        ("r̝̊", "r̥"),
    ],
)
def test_what_panphon_lacks_has_the_features_of_the_nearest_that_it_has(phone, like):
    assert distance(phone, like) == 0.0


def test_tones_and_boundaries_have_no_articulation():
    for symbol in ("˥", "˧˩˧", "|", "‖", "ꜜ", "↓"):
        assert "no articulatory features" in problem_without_features(symbol)
        assert "not IPA" not in problem_without_features(symbol)


def test_a_missing_panphon_is_a_user_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "panphon.distance", None)
    articulation._panphon.cache_clear()
    articulation._known.cache_clear()
    with pytest.raises(UserError, match="pip install"):
        distance("a", "b")
