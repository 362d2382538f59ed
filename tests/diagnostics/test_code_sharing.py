"""The numbers of code sharing, against values computed by hand."""

import numpy as np
import pytest

from speechx.diagnostics.code_sharing import (
    LanguageCodes,
    apart,
    frequencies,
    jensen_shannon,
    measure,
)


def codes_of(codes, pieces=10, speakers=2, seconds=60.0):
    """Frames dealt to the pieces in turn, so that all of them have the same codes."""
    codes_NG = np.array(codes)
    index_N = np.arange(len(codes_NG))
    return LanguageCodes(codes_NG, index_N % pieces, index_N % speakers, seconds)


def drawn(share_GV, frames, seed):
    """Codes of independent frames."""
    random = np.random.default_rng(seed)
    return np.stack([random.choice(len(p), frames, p=p) for p in share_GV], axis=1)


@pytest.mark.parametrize(
    ("one", "other", "bits"),
    [
        ([0.5, 0.5, 0], [0.5, 0.5, 0], 0.0),
        ([0.5, 0.5, 0], [0, 0, 1], 1.0),
        # The mean is (3/4, 1/4): H = 2 - 3/4 log2(3) = 0.811278; less half of (0 + 1) bits.
        ([1, 0], [0.5, 0.5], 0.311278),
        # The mean is (1/2, 1/4, 1/4), 1.5 bits; both have 1 bit.
        ([0.5, 0.5, 0], [0.5, 0, 0.5], 0.5),
    ],
)
def test_divergence_by_hand(one, other, bits):
    found_LL = jensen_shannon(np.array([one, other], dtype=float))
    assert found_LL == pytest.approx(np.array([[0, bits], [bits, 0]]), abs=1e-6)


def test_groups_end_to_end_are_the_mean_of_the_groups():
    random = np.random.default_rng(0)
    shares_LGV = random.dirichlet(np.ones(5), (4, 2))
    together_LL = jensen_shannon(shares_LGV.reshape(4, 10) / 2)
    each = [jensen_shannon(shares_LGV[:, group]) for group in range(2)]
    assert together_LL == pytest.approx(np.mean(each, axis=0), abs=1e-12)


def test_everything_of_two_small_languages():
    """Group 0 is shared, in group 1 each has its own code: half a bit."""
    sharing = measure({"xx": codes_of([[0, 0]] * 20), "yy": codes_of([[0, 1]] * 20)}, 2, 3)
    assert sharing.divergence_LL == pytest.approx(np.array([[0, 0.5], [0.5, 0]]))
    assert sharing.used_by == [3, 2, 1]
    assert sharing.between == pytest.approx(0.5)
    use = sharing.uses["yy"]
    assert (use.used, use.perplexity, use.nearest) == (2, pytest.approx(2.0), "xx")
    assert (use.halves, use.speakers_apart, use.steady) == (0.0, 0.0, True)
    assert use.counts_GV.tolist() == [[20, 0, 0], [0, 20, 0]]
    tree = sharing.tree()
    assert tree[0].tolist() == pytest.approx([0, 1, np.sqrt(0.5), 2])


def test_perplexity_counts_codes_that_are_used_evenly():
    codes = [[i % 4, 0] for i in range(40)]
    assert measure({"xx": codes_of(codes)}, 2, 8).uses["xx"].perplexity == pytest.approx(4 + 1)


def test_a_rare_code_is_not_used():
    """An even share of 10 codes is 10 %; a code counts from a tenth of that, 1 %, on."""
    for rare, used in ((9, 1), (11, 2)):
        sharing = measure({"xx": codes_of([[0]] * (1000 - rare) + [[1]] * rare)}, 1, 10)
        assert sharing.uses["xx"].used == used


def test_halves_keep_pieces_whole_and_need_two():
    """Two pieces without a code in common are one bit apart; alone, neither has halves."""
    random = np.random.default_rng(0)
    symbols_N1, piece_N = np.array([[0]] * 5 + [[1]] * 5), np.repeat([0, 1], 5)
    assert apart(symbols_N1, 2, piece_N, random) == pytest.approx(1.0)
    assert apart(symbols_N1, 2, np.zeros(10, dtype=int), random) is None


def test_uneven_halves_are_no_control():
    random = np.random.default_rng(0)
    speaker_N = np.array([0] * 90 + [1] * 10)
    assert apart(np.zeros((100, 1), dtype=int), 2, speaker_N, random) is None


def test_the_control_is_the_noise_of_a_sample():
    """Same distribution, other draws: halves are as far apart as such languages, about twice,
    and less the more there is."""
    share_GV = np.full((2, 50), 1 / 50)
    noise = {}
    for frames in (500, 5000):
        same = {name: codes_of(drawn(share_GV, frames, i), 50) for i, name in enumerate("xyz")}
        sharing = measure(same, 2, 50)
        noise[frames] = sharing.halves
        print(f"{frames} frames: between {sharing.between:.4f}, halves {sharing.halves:.4f} bit")
        assert sharing.halves / sharing.between == pytest.approx(2, rel=0.25)
        assert sharing.alike() == []  # none of them is steady: there is only noise
        assert not any(use.steady for use in sharing.uses.values())
    assert noise[500] / noise[5000] == pytest.approx(10, rel=0.25)


def test_too_little_audio_is_not_steady_beside_enough():
    peaked = np.full((2, 50), 0.2 / 49)
    peaked[:, 0] = 0.8
    share_GV = np.full((2, 50), 1 / 50)
    sharing = measure(
        {
            "much": codes_of(drawn(share_GV, 4000, 1), 50),
            "other": codes_of(drawn(peaked, 4000, 2), 50),
            "scant": codes_of(drawn(share_GV, 30, 3), 6),
        },
        2,
        50,
    )
    assert [name for name, use in sharing.uses.items() if not use.steady] == ["scant"]


def test_same_languages_with_enough_audio_are_listed_as_alike():
    share_GV = np.random.default_rng(0).dirichlet(np.full(50, 0.3), 2)
    other_GV = np.random.default_rng(9).dirichlet(np.full(50, 0.3), 2)
    sharing = measure(
        {
            "hr": codes_of(drawn(share_GV, 4000, 1), 50),
            "it": codes_of(drawn(other_GV, 4000, 3), 50),
            "pl": codes_of(drawn(other_GV[:, ::-1], 4000, 4), 50),
            "sr": codes_of(drawn(share_GV, 4000, 2), 50),
        },
        2,
        50,
    )
    assert sharing.alike() == [("hr", "sr")]
    assert sharing.uses["hr"].nearest == "sr"


def test_speakers_that_differ_are_seen():
    """One language whose two speakers have a code of their own each."""
    codes_NG = np.array([[0], [1]] * 50)
    sharing = measure(
        {"xx": LanguageCodes(codes_NG, np.arange(100), np.arange(100) % 2, 60.0)}, 1, 4
    )
    use = sharing.uses["xx"]
    assert use.speakers_apart == pytest.approx(1.0)
    assert use.halves < 0.05


def test_an_unknown_speaker_leaves_the_speakers_unknown():
    one = LanguageCodes(np.zeros((10, 1), dtype=int), np.arange(10), np.full(10, -1), 60.0)
    use = measure({"xx": one}, 1, 4).uses["xx"]
    assert (use.speakers, use.speakers_apart) == (None, None)


def test_frequencies_sum_to_one_over_groups():
    share_K = frequencies(np.array([[0, 4], [1, 4]]), 6)
    assert share_K.tolist() == [0.25, 0.25, 0, 0, 0.5, 0]
