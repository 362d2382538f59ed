import sys

import numpy as np
import pytest

from speechx.errors import UserError
from speechx.text import articulation
from speechx.text.articulation import distance, features, require_features, weighted_distance

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


def test_features_have_24_columns_and_a_row_per_segment():
    assert features("tʃ").shape == (2, 24)
    assert set(np.unique(features("a"))) <= {-1, 0, 1}
    with pytest.raises(ValueError, match="read-only"):
        features("a")[0, 0] = 1  # shared by every caller


@pytest.mark.parametrize("symbol", ["ma55", "|a", "", "k͈", "ʡ", "ⁿd", "ʲ", "dZ"])
def test_what_panphon_would_drop_is_refused(symbol):
    with pytest.raises(UserError):
        features(symbol)


def test_the_message_names_code_points_and_what_would_be_left():
    with pytest.raises(UserError, match=r"'k͈' \(U\+006B U\+0348\).*nearest it knows is 'k'"):
        features("k͈")


def test_ascii_g_is_script_g_and_keeps_its_segment():
    assert np.array_equal(features("ga"), features("ɡa"))
    assert features("ga").shape == (2, 24)


def test_all_bad_symbols_are_reported_at_once():
    with pytest.raises(UserError, match=r"here: 3 symbols.*'S'.*''.*'k͈'"):
        require_features(["a", "S", "", "k͈", "S"], "here")


def test_panphon_missing_is_a_user_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "panphon", None)
    articulation._table.cache_clear()
    try:
        with pytest.raises(UserError, match="pip install"):
            features("a")
    finally:
        articulation._table.cache_clear()
