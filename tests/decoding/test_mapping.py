import subprocess
import sys

import numpy as np
import pytest

from speechx.decoding.mapping import (
    REVERSE_WEIGHT,
    Mapping,
    map_inventory,
    map_posteriors,
    masked_map,
    random_map,
)
from speechx.errors import UserError
from speechx.text.articulation import distance

SOURCE = ("a", "e", "ɛ", "i", "s", "z", "t", "tʃ", "k", "x")
TARGET = ("a", "e", "i", "s", "t", "θ", "k")


def pairs(mapping: Mapping, match: str) -> dict[str, str]:
    return {row.source: row.target for row in mapping.rows if row.match == match}


def test_shared_phones_map_to_themselves():
    mapping = map_inventory(SOURCE, TARGET)
    assert pairs(mapping, "exact") == {p: p for p in ("a", "e", "i", "s", "t", "k")}
    assert all(row.distance == 0.0 for row in mapping.rows if row.match == "exact")


def test_every_other_phone_goes_to_a_nearest_target():
    mapping = map_inventory(SOURCE, TARGET)
    nearest = pairs(mapping, "nearest")
    assert nearest == {"ɛ": "e", "z": "s", "tʃ": "t", "x": "k"}
    for row in mapping.rows:
        if row.match == "nearest":
            assert row.distance == pytest.approx(min(distance(row.source, t) for t in TARGET))


def test_a_target_that_nothing_reaches_gets_its_nearest_phone_in_a_reverse_pass():
    mapping = map_inventory(SOURCE, TARGET)
    (row,) = [row for row in mapping.rows if row.match == "reverse-pass"]
    assert row.target == "θ"
    assert row.distance == pytest.approx(min(distance("θ", s) for s in SOURCE))
    assert {row.target for row in mapping.rows} == set(TARGET)


def test_ties_are_broken_by_weighted_distance_and_listed():
    mapping = map_inventory(("pː", "bː"), ("pː", "b"))
    row = mapping.rows[1]
    # one feature away both ways; PanPhon weighs voicing 1/8 and length 1/4
    assert (row.source, row.target, row.tied) == ("bː", "pː", ("b",))
    assert row.distance == pytest.approx(1 / 24)


def test_equal_phones_are_ordered_by_code_point_whatever_the_order_given():
    forward = map_inventory(("tʃ", "y"), ("d", "t", "s", "ɨ", "u", "i"))
    backward = map_inventory(("tʃ", "y"), ("i", "u", "ɨ", "s", "t", "d"))
    assert {row.source: row.target for row in forward.rows if row.match == "nearest"} == {
        row.source: row.target for row in backward.rows if row.match == "nearest"
    }
    assert {r.source: set(r.tied) for r in forward.rows if r.match == "nearest"} == {
        r.source: set(r.tied) for r in backward.rows if r.match == "nearest"
    }


def test_spanish_from_italian_like_neighbours():
    italian = ["a", "e", "i", "o", "u", "ɔ", "ɛ", "tː", "dʒ", "ʎ", "z", "v", "b", "d", "t", "s"]
    spanish = ["a", "e", "i", "o", "u", "ð", "β", "θ", "ʎ", "b", "d", "t", "s"]
    mapping = map_inventory(italian, spanish)
    assert pairs(mapping, "nearest") | {"tː": "t", "ɔ": "o", "z": "s", "ɛ": "e"} == pairs(
        mapping, "nearest"
    )
    assert {row.target for row in mapping.rows} == set(spanish)
    matches = [row.match for row in mapping.rows]
    assert matches.count("exact") + matches.count("nearest") == len(italian)


def test_other_spellings_are_the_same_phone():
    mapping = map_inventory(("g", "t͡ʃ", "a:"), ("ɡ", "tʃ", "aː"))
    assert [row.match for row in mapping.rows] == ["exact"] * 3
    assert pairs(mapping, "exact") == {"g": "ɡ", "t͡ʃ": "tʃ", "a:": "aː"}
    assert mapping.matrix().shape == (4, 4)


ESPEAK = ("n", "s", "t", "a", "i", "tʃ", "s.", "ts.h", "ai5", "i.5", "??", "t[", "ʲ")


def test_units_without_features_are_listed_and_left_out():
    mapping = map_inventory(ESPEAK, ("n", "s", "t", "a", "e", "ⱱ", "˥"))
    assert mapping.unmapped == (ESPEAK[6:], ("ⱱ", "˥"))
    used = {row.source for row in mapping.rows}, {row.target for row in mapping.rows}
    assert used == (set(ESPEAK[:6]), {"n", "s", "t", "a", "e"})
    of_model, of_language = mapping.notes()
    assert of_model.startswith("7 of 13 phones of the model")
    assert "s. ts.h ai5 i.5 ??" in of_model
    assert of_language.startswith("2 of 7 phones of the language")
    assert "ⱱ ˥" in of_language
    assert mapping.summary().endswith("; 9 left out")


def test_units_that_are_left_out_change_nothing_for_the_others():
    with_them = map_inventory((*SOURCE, "ai5", "s."), (*TARGET, "ⱱ"))
    assert with_them.rows == map_inventory(SOURCE, TARGET).rows
    probabilities_TV = np.random.default_rng(0).random((5, 1 + len(SOURCE)))
    plain_TU = map_posteriors(probabilities_TV, map_inventory(SOURCE, TARGET))
    wider_TV = np.concatenate([probabilities_TV, np.ones((5, 2))], axis=1)
    wider_TU = map_posteriors(wider_TV, with_them)
    np.testing.assert_allclose(wider_TU[:, :-1], plain_TU, atol=1e-6)
    assert not wider_TU[:, -1].any()


def test_a_unit_without_features_that_both_sides_have_is_kept():
    mapping = map_inventory(("a", "ⱱ", "k͈", "˥"), ("a", "k͈", "˥", "e"))
    assert pairs(mapping, "exact") == {"a": "a", "k͈": "k͈", "˥": "˥"}
    assert mapping.unmapped == (("ⱱ",), ())
    assert {row.target for row in random_map(("z", "k͈"), ("k͈", "s"), 1).rows} == {"k͈", "s"}


def test_prenasalised_phones_are_near_both_of_their_parts():
    (row,) = [r for r in map_inventory(("n", "d", "a"), ("n", "d", "a", "ⁿd")).rows if r.distance]
    assert (row.target, row.distance) == ("ⁿd", 1.0)
    assert {row.source, *row.tied} == {"n", "d"}


def test_two_outputs_for_one_phone_are_named():
    mapping = map_inventory(("g", "ɡ", "ˈa", "a", "s", "s."), ("ɡ", "a", "s"))
    assert pairs(mapping, "exact") == {"g": "ɡ", "ɡ": "ɡ", "ˈa": "a", "a": "a", "s": "s"}
    assert mapping.unmapped[0] == ("s.",)
    assert "g and ɡ are ɡ" in mapping.notes()[-1]


def test_sides_that_cannot_be_mapped_at_all_are_refused():
    for source, target in ((("dZ", "??"), ("b", "S")), (("a", "b"), ("˥", "˩"))):
        with pytest.raises(UserError, match=r"no phone of the model can be mapped.*Expected IPA"):
            map_inventory(source, target)


def test_empty_inventories_are_refused():
    for source, target in (((), ("a",)), (("a",), ())):
        with pytest.raises(UserError, match="empty"):
            map_inventory(source, target)


def test_a_string_is_not_an_inventory():
    with pytest.raises(ValueError, match="sequences"):
        map_inventory("abc", ("a",))


def test_mapping_sums_what_maps_together_and_keeps_the_blank():
    mapping = map_inventory(("e", "ɛ", "s", "z"), ("e", "s"))
    mapped_TU = map_posteriors(np.array([[0.4, 0.2, 0.15, 0.2, 0.05]]), mapping)
    np.testing.assert_allclose(mapped_TU, [[0.4, 0.35, 0.25]], atol=1e-6)


def test_a_reverse_pass_target_loses_to_the_phone_s_own_target_but_stays_near():
    mapping = map_inventory(("s", "t"), ("s", "t", "θ"))
    (second,) = [row for row in mapping.rows if row.match == "reverse-pass"]
    one_hot = np.eye(3)[[1 + mapping.source.index(second.source)]]
    mapped = dict(zip(("", *mapping.target), map_posteriors(one_hot, mapping)[0], strict=True))
    assert mapped["θ"] < mapped[second.source]
    assert mapped["θ"] / mapped[second.source] == pytest.approx(REVERSE_WEIGHT, abs=1e-6)


def test_greedy_on_mapped_probabilities_follows_the_first_pass_when_one_phone_dominates():
    mapping = map_inventory(SOURCE, TARGET)
    rng = np.random.default_rng(0)
    best_T = rng.integers(0, 1 + len(SOURCE), 200)
    probabilities_TV = np.full((200, 1 + len(SOURCE)), 0.01)
    probabilities_TV[np.arange(200), best_T] = 1.0
    probabilities_TV /= probabilities_TV.sum(axis=1, keepdims=True)
    mapped_TU = map_posteriors(probabilities_TV, mapping)
    np.testing.assert_allclose(mapped_TU.sum(axis=1), 1.0, atol=1e-6)
    got = [("", *TARGET)[u] for u in mapped_TU.argmax(axis=1)]
    goes_to = pairs(mapping, "exact") | pairs(mapping, "nearest")
    expected = [goes_to[SOURCE[v - 1]] if v else "" for v in best_T]
    assert got == expected


def test_masking_keeps_shared_phones_only():
    mapping = masked_map(("e", "ɛ", "s", "z"), ("e", "s"))
    assert [row.match for row in mapping.rows] == ["exact", "exact"]
    probabilities_TV = np.array([[0.1, 0.2, 0.6, 0.1, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
    masked_TU = map_posteriors(probabilities_TV, mapping)
    np.testing.assert_allclose(masked_TU, [[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]], atol=1e-6)


def test_the_random_control_keeps_shared_phones_and_scatters_the_rest():
    real = map_inventory(SOURCE, TARGET)
    control = random_map(SOURCE, TARGET, seed=1)
    assert pairs(control, "exact") == pairs(real, "exact")
    assert set(pairs(control, "random")) == set(pairs(real, "nearest"))
    assert control == random_map(SOURCE, TARGET, seed=1)
    drawn = {tuple(pairs(random_map(SOURCE, TARGET, s), "random").values()) for s in range(20)}
    assert len(drawn) > 10
    mean = np.mean(
        [r.distance for s in range(20) for r in random_map(SOURCE, TARGET, s).rows if r.distance]
    )
    assert mean > 1.5 * np.mean([r.distance for r in real.rows if r.match == "nearest"])


def test_probabilities_of_another_width_are_refused():
    mapping = map_inventory(SOURCE, TARGET)
    with pytest.raises(ValueError, match=r"\(T, 11\).*\(2, 10\)"):
        map_posteriors(np.ones((2, 10)), mapping)


def test_the_table_can_be_printed_and_read_back():
    mapping = map_inventory(SOURCE, TARGET)
    header, *lines = mapping.to_tsv().splitlines()
    assert header.split("\t") == ["source", "target", "distance", "match", "tied"]
    assert [line.split("\t")[:2] for line in lines] == [[r.source, r.target] for r in mapping.rows]
    assert mapping.summary().startswith("10 phones -> 7: 6 exact, 4 nearest, 1 reverse-pass")


def test_mapping_does_not_load_torch():
    code = (
        "import sys; from speechx.decoding.mapping import map_inventory; "
        "map_inventory(['a', 'z'], ['a', 's']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
