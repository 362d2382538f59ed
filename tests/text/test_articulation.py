import sys

import pytest

from speechx.errors import UserError
from speechx.text import articulation
from speechx.text.articulation import (
    FEATURES,
    NUM_ATTRIBUTES,
    attributes,
    distance,
    problem_without_features,
    weighted_distance,
)

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


def differing(a, b):
    return int((attributes([a])[0] != attributes([b])[0]).sum())


def test_attributes_by_hand():
    """+voiced at the beginning and at the end goes on, -voiced goes off."""
    assert differing("p", "b") == 4
    assert attributes(["p", "b", "tʃ"]).shape == (3, NUM_ATTRIBUTES)
    assert set(attributes(["p", "ɐ̃ʊ̃"]).ravel()) == {0, 1}


@pytest.mark.parametrize(
    ("phone", "first", "last"), [("tʃ", "t", "ʃ"), ("aɪ", "a", "ɪ"), ("ⁿd", "n", "d")]
)
def test_a_phone_of_two_parts_begins_as_one_and_ends_as_the_other(phone, first, last):
    two, begins, ends = attributes([phone, first, last])
    half = 2 * FEATURES
    assert (two[:half] == begins[:half]).all()
    assert (two[half : 2 * half] == ends[half : 2 * half]).all()
    assert begins[-2:].tolist() == [0, 0]
    assert two[-2:].tolist() == [1, 0]


def test_attributes_know_the_order_and_the_number_of_parts():
    for a, b in (("aɪ", "ɪa"), ("ss", "s"), ("aɪ", "aeɪ"), ("t", "tː")):
        assert differing(a, b) > 0
    for a, b in (("g", "ɡ"), ("t͡ʃ", "tʃ"), ("a˥", "a"), ("ɪ̝", "ɪ")):
        assert differing(a, b) == 0
    assert len(attributes([])) == 0


def test_a_symbol_without_features_has_no_attributes():
    with pytest.raises(UserError, match="ⱱ"):
        attributes(["a", "ⱱ"])
