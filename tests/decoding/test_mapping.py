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
from speechx.text.ipa import normalize_ipa

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


def test_pairs_with_the_same_features_are_named():
    mapping = map_inventory(("a", "ɪ̞", "r"), ("a", "ɪ", "ɪ̝", "r", "ɾ"))
    (note,) = mapping.notes()
    assert "same features for: ɪ̞ -> ɪ, ɪ̞ -> ɪ̝, r -> ɾ" in note
    assert mapping.first_targets() == {"a": "a", "ɪ̞": "ɪ", "r": "r"}
    assert not map_inventory(("a", "s"), ("a", "z", "s")).notes()


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


def test_target_to_train_takes_the_nearest_phone_of_the_model_and_leaves_the_others_out():
    mapping = map_inventory(SOURCE, TARGET, direction="target-to-train")
    assert {row.target: row.source for row in mapping.rows} == {
        **{p: p for p in ("a", "e", "i", "s", "t", "k")}, "θ": "s",
    }  # fmt: skip
    assert mapping.unmapped == (("ɛ", "z", "tʃ", "x"), ())
    assert "target-to-train" in mapping.made
    probabilities_TV = np.zeros((2, 1 + len(SOURCE)))
    probabilities_TV[0, [1 + SOURCE.index("s"), 1 + SOURCE.index("z")]] = 0.4, 0.6
    probabilities_TV[1, 1 + SOURCE.index("z")] = 1.0
    mapped_TU = map_posteriors(probabilities_TV, mapping)
    assert ("", *TARGET)[mapped_TU[0].argmax()] == "s"
    assert mapped_TU[1, 0] == 1.0, "a frame in which only left out phones are likely is blank"


def test_phones_that_share_a_phone_of_the_model_are_ordered_by_distance():
    mapping = map_inventory(("s", "a"), ("ʂ", "θ", "a"), direction="target-to-train")
    near, far = sorted(("ʂ", "θ"), key=lambda phone: distance("s", phone))
    assert distance("s", near) < distance("s", far)
    assert mapping.first_targets() == {"s": near, "a": "a"}
    column = mapping.matrix()[1]
    assert sorted(column[column > 0].tolist()) == pytest.approx([REVERSE_WEIGHT, 1.0])


def test_without_the_second_pass_targets_that_nothing_reaches_are_listed():
    mapping = map_inventory(SOURCE, TARGET, second_pass=False)
    assert not pairs(mapping, "reverse-pass")
    assert mapping.unmapped == ((), ("θ",))
    assert "1 of 7 phones of the language are never written" in mapping.notes()[0]


def test_phones_beyond_the_threshold_are_left_out_on_both_sides():
    mapping = map_inventory(("a", "s", "tʃ"), ("a", "s", "ǃ"), threshold=0.1)
    assert {(row.source, row.target) for row in mapping.rows} == {("a", "a"), ("s", "s")}
    assert mapping.unmapped == (("tʃ",), ("ǃ",))
    assert all("threshold 0.1" in note for note in mapping.notes())
    nothing = map_inventory(("a", "ɛ"), ("a", "e"), threshold=0.0)
    assert nothing.unmapped == (("ɛ",), ("e",))
    near = map_inventory(("a", "ɛ"), ("a", "e"), threshold=0.0417)
    assert pairs(near, "nearest") == {"ɛ": "e"}, "a number as the table shows it"
    with pytest.raises(UserError, match="no phone of the model can be mapped"):
        map_inventory(("b", "d"), ("p", "t"), threshold=0.01)
    for bad in (-1.0, float("nan")):
        with pytest.raises(UserError, match="threshold"):
            map_inventory(SOURCE, TARGET, threshold=bad)


def test_the_weighted_distance_decides_where_hamming_has_a_tie():
    weighted = map_inventory(("pː", "bː"), ("pː", "b"), measure="weighted")
    row = next(row for row in weighted.rows if row.source == "bː" and row.match == "nearest")
    assert (row.target, row.tied) == ("pː", ())
    assert row.distance == pytest.approx(1 / 4)
    assert "weighted" in weighted.made


def test_an_inventory_with_one_phone_is_refused():
    for source, target in ((SOURCE, ("a",)), (("a",), TARGET), (SOURCE, ("g", "ɡ"))):
        with pytest.raises(UserError, match="has one phone"):
            map_inventory(source, target)


SHARED = tuple("abdefijklmnoprstuwzɛɡɲʃʒ")
ONE, OTHER = ("θ", "ð", "β", "ɣ", "x", "tʃ"), ("v", "ʁ", "y", "ø", "ɛ̃", "ɔ̃")


@pytest.mark.parametrize(("source", "target"), [(ONE, OTHER), (OTHER, ONE)])
def test_the_counts_that_papers_print(source, target):
    """Exact and nearest phones, of which ties, and targets that only the second pass reaches."""
    targets = [normalize_ipa(phone) for phone in (*SHARED, *target)]
    found = map_inventory((*SHARED, *source), targets).counts()
    nearest = {s: min(distance(s, t) for t in targets) for s in source}
    tied = [s for s in source if [distance(s, t) for t in targets].count(nearest[s]) > 1]
    assert found["model phones"] == found["target phones"] == 30
    assert (found["exact"], found["nearest"]) == (24, 6)
    assert found["ties of nearest"] == len(tied) > 0
    reached = {row.target for row in map_inventory((*SHARED, *source), targets).rows[:30]}
    assert found["reverse-pass"] == len(set(targets) - reached) > 0
