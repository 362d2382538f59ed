"""Phone feature error rates: PanPhon's own numbers, and what PanPhon would drop in silence."""

import random
import string
import unicodedata

import pytest

from speechx.decoding.confusions import confusions
from speechx.decoding.feature_errors import feature_score
from speechx.decoding.phone_details import phone_details
from speechx.decoding.scoring import Scored, score
from speechx.errors import UserError

pytest.importorskip("panphon")
POOL = ["p", "b", "t", "tʃ", "t͡ʃ", "aː", "a:", "a", "g", "ʰk", "ⁿd", "˥", "kʰ", "ã", "'a", "??"]


def pair(reference, hypothesis, id="u", language="xx", speaker=None):
    return Scored(id, language, speaker, reference.split(), hypothesis.split())


@pytest.fixture(scope="module")
def noisy():
    draw = random.Random(1)
    return [
        Scored(
            str(n), "xy"[n % 2], f"s{n % 3}",
            draw.choices(POOL, k=draw.randint(1, 20)), draw.choices(POOL, k=draw.randint(0, 20)),
        )
        for n in range(40)
    ]  # fmt: skip


def test_prism_is_what_the_benchmark_computes_with_panphon(noisy):
    """Its cleaning in three lines; PanPhon's distances, summed over the corpus."""
    from panphon.distance import Distance

    def clean(phones):
        text = "".join(phones).translate(str.maketrans("", "", string.punctuation))
        return unicodedata.normalize("NFD", text).replace("g", "ɡ")

    panphon = Distance()
    sides = [(clean(u.hypothesis), clean(u.reference)) for u in noisy]
    found = feature_score(noisy, "prism", resamples=10)
    hypotheses, references = (list(side) for side in zip(*sides, strict=True))
    assert found.overall.rate == pytest.approx(panphon.feature_error_rate(hypotheses, references))
    assert found.phones.rate == pytest.approx(panphon.phoneme_error_rate(hypotheses, references))
    hamming = [panphon.hamming_feature_edit_distance(*each) for each in sides]
    assert found.hamming_mean == pytest.approx(sum(hamming) / len(hamming))
    assert found.without_features.keys() == {"ʰ", "ⁿ"}
    assert set(found.languages) == {"x", "y"}


def test_distances_by_hand():
    """b is p but for voice: one of 24 features, + against -. PanPhon leaves four of p open."""
    assert feature_score([pair("p a", "b a")], resamples=2).overall.rate == pytest.approx(
        1 / 24 / 2
    )
    lost = feature_score([pair("p a", "p a p")], resamples=2).overall
    assert lost.distance == pytest.approx((20 + 4 / 2) / 24)
    assert feature_score([pair("t͡ʃ g", "tʃ ɡ")], resamples=2).overall.distance == 0


def test_a_symbol_without_features_costs_one_and_is_listed():
    found = feature_score([pair("a ˥ ??", "a ˩")], resamples=2)
    assert (found.overall.distance, found.overall.segments) == (2, 3)
    assert found.without_features == {"˥": 1, "??": 1, "˩": 1}
    assert "'??' 1" in found.table()


def test_references_that_are_no_phones_are_an_error():
    with pytest.raises(UserError, match="xx"):
        feature_score([pair("?? !!", "a")], "prism")


def test_details_agree_with_the_phone_error_rate(noisy):
    prepared = [Scored(u.id, u.language, u.speaker, u.reference, u.hypothesis) for u in noisy]
    details = phone_details(prepared, resamples=10)
    rates = {name: each.overall.rate for name, each in details.per.items()}
    assert rates["exact"] == score(noisy, "per", resamples=2).overall.rate
    assert rates["relaxed"] < rates["strict"] <= rates["exact"]
    assert len({each.policy for each in details.per.values()}) == len(rates)
    for name in ("strict", "no_length", "no_tone", "split", "relaxed", "pfer", "prism"):
        assert name in details.table()


def test_confusions_add_up_to_the_edits(noisy):
    rate = score(noisy, "per", resamples=2).overall
    found = confusions(noisy)
    for counts in found.aspects.values():
        assert sum(row.get("deleted", 0) for row in counts.values()) == rate.deletions
        assert sum(counts["inserted"].values()) == rate.insertions
        assert sum(sum(row.values()) for row in counts.values()) == rate.tokens + rate.insertions
    assert sum(count for _, _, count in found.phones) == rate.edits


def test_confusions_name_their_classes():
    found = confusions([pair("p a s", "b a z"), pair("p", "b"), pair("i", "")])
    assert found.aspects["voicing"]["voiceless"] == {"voiced": 3}
    assert found.aspects["place"]["bilabial"] == {"bilabial": 2}
    assert found.aspects["height"]["close"] == {"deleted": 1}
    assert found.phones[0] == ("p", "b", 2)
    assert "100.0 %" in found.table()


def test_symbols_with_a_slash_have_no_features():
    found = feature_score([pair("/a/ b a/b", "a b tʃ/1")])
    assert found.without_features == {"/a/": 1, "a/b": 1, "tʃ/1": 1}
