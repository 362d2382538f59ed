import sys

import pytest

from speechx.errors import UserError
from speechx.text import articulation
from speechx.text.articulation import distance, require_features, weighted_distance

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


@pytest.mark.parametrize("symbol", ["ma55", "|a", "", "k͈", "ʡ", "ⁿd", "ʲ", "dZ"])
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


def test_all_bad_symbols_are_reported_at_once():
    with pytest.raises(UserError, match=r"here: 3 symbols.*'S'.*''.*'k͈'"):
        require_features(["a", "S", "", "k͈", "S"], "here")


def test_a_missing_panphon_is_a_user_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "panphon.distance", None)
    articulation._panphon.cache_clear()
    articulation._known.cache_clear()
    with pytest.raises(UserError, match="pip install"):
        distance("a", "b")
