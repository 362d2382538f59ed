"""The epoch plan: shares of languages and corpora, sizes of batches, going on from anywhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance
from speechx.data.sampling import (
    WINDOW_SHARDS,
    Row,
    at_some_speed,
    cropped_batches,
    every_row,
    join_short,
    mix,
    mixed_epoch,
    once,
    one_pass,
    padded_batches,
    shares,
    stream,
)


def corpus_of(counts, seconds=(1.0, 9.0), speakers=3, seed=0):
    """So many utterances of each language."""
    random = np.random.default_rng(seed)
    return Corpus.of(
        [
            Utterance(
                id=f"{language}_{index}",
                audio=Path(f"{language}_{index}.wav"),
                duration=float(random.uniform(*seconds)),
                language=language,
                speaker=f"{language}_{index % speakers}",
            )
            for language, count in counts.items()
            for index in range(count)
        ]
    )


def synthetic(seconds_N, language_N, corpus_N=None, **columns):
    """A corpus of columns, whose utterances are never asked for."""
    nothing_N = np.full(len(seconds_N), -1, dtype=np.int32)
    corpus_N = np.zeros(len(seconds_N), dtype=np.int32) if corpus_N is None else corpus_N
    settings = {
        "seconds_N": seconds_N.astype(np.float32),
        "language_N": language_N.astype(np.int32),
        "speaker_N": nothing_N,
        "corpus_N": corpus_N.astype(np.int32),
        "shard_N": None,
        "languages": tuple(f"l{i}" for i in range(language_N.max() + 1)),
        "corpora": tuple(f"c{i}" for i in range(corpus_N.max() + 1)),
        "source": (),
        "row_N": np.arange(len(seconds_N)),
    }
    return Corpus(**settings | columns)


def log_normal(count, random, median=5.0, sigma=0.6):
    """Lengths as of read and of conversational speech: many short, 1 to 20 seconds."""
    return np.clip(median * np.exp(sigma * random.standard_normal(count)), 1, 20)


def drawn(rows):
    """The utterances of single rows."""
    return rows.utterance_U[rows.first_R]


def padding(batches):
    """Share of the samples of all batches that is padding."""
    held = sum(len(batch) * max(row.seconds for row in batch) for batch in batches)
    return 1 - sum(row.seconds for batch in batches for row in batch) / held


def test_shares_equal_values_computed_by_hand():
    """With alpha 0.5 a language of 3 h beside one of 353 h has 8.4 % of the pair, not 0.8 %."""
    hours = np.array([3.0, 353.0])
    assert shares(hours, 0.5)[0] == pytest.approx(0.084, abs=0.001)
    assert shares(hours, 1.0)[0] == pytest.approx(0.0084, abs=0.0001)
    assert shares(hours, 0.0).tolist() == [0.5, 0.5]
    assert shares(np.array([3.0, 0.0]), 0.0).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_languages_have_the_share_of_their_hours_to_the_alpha(alpha):
    """Promise 10."""
    corpus = corpus_of({"aa": 900, "bb": 250, "cc": 40})
    natural_L = corpus.seconds_CL.sum(0)
    seconds_L = np.zeros(3)
    for epoch in range(10):
        some = drawn(mixed_epoch(corpus, alpha, None, np.random.default_rng([1, epoch])))
        seconds_L += np.bincount(corpus.language_N[some], corpus.seconds_N[some])
    expected_L = natural_L**alpha / (natural_L**alpha).sum()
    assert seconds_L / seconds_L.sum() == pytest.approx(expected_L, abs=0.01)
    # An epoch is about as long as the corpus.
    assert seconds_L.sum() / 10 == pytest.approx(natural_L.sum(), rel=0.02)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("corpus_alpha", [0.0, 0.5, 1.0])
def test_two_levels_are_languages_within_corpora_and_corpora(alpha, corpus_alpha):
    random = np.random.default_rng(0)
    counts = {(0, 0): 4000, (0, 1): 900, (1, 1): 500, (1, 2): 100, (2, 0): 60}
    group = np.repeat(np.array(list(counts)), list(counts.values()), axis=0)
    corpus = synthetic(log_normal(len(group), random), group[:, 1], group[:, 0])
    share_CL = mix(corpus.seconds_CL, alpha, corpus_alpha)
    hours = {key: corpus.seconds_CL[key] for key in counts}
    of_corpus = {c: sum(h for (d, _), h in hours.items() if d == c) for c in range(3)}
    for (c, language), h in hours.items():
        others = sum(k**alpha for (d, _), k in hours.items() if d == c)
        whole = sum(h**corpus_alpha for h in of_corpus.values())
        expected = h**alpha / others * of_corpus[c] ** corpus_alpha / whole
        assert share_CL[c, language] == pytest.approx(expected)
    assert share_CL.sum() == pytest.approx(1)
    seconds_CL = np.zeros((3, 3))
    for epoch in range(5):
        some = drawn(mixed_epoch(corpus, alpha, corpus_alpha, np.random.default_rng([2, epoch])))
        np.add.at(
            seconds_CL, (corpus.corpus_N[some], corpus.language_N[some]), corpus.seconds_N[some]
        )
    assert seconds_CL / seconds_CL.sum() == pytest.approx(share_CL, abs=0.01)


def test_without_a_second_level_corpora_are_not_told_apart():
    seconds_CL = np.array([[90.0, 10.0], [0.0, 300.0]])
    share_CL = mix(seconds_CL, 0.5)
    assert share_CL.sum(0) == pytest.approx(shares(np.array([90.0, 310.0]), 0.5))
    assert share_CL[:, 1] / share_CL[:, 1].sum() == pytest.approx([10 / 310, 300 / 310])


def cropped_shares(corpus, alpha, crop, shortest=0.0, join=0.0):
    """Of each language, in the seconds of an epoch's batches, planned as pretraining does."""
    random = np.random.default_rng([5, 0])
    rows = join_short(corpus, every_row(corpus), join, random)
    rows = rows.take(rows.seconds_R >= shortest)
    once = one_pass(corpus, rows, crop)
    rows = join_short(corpus, mixed_epoch(corpus, alpha, None, random, once), join, random)
    rows = rows.take(rows.seconds_R >= shortest)
    seconds_L = np.zeros(len(corpus.languages))
    for batch in cropped_batches(rows, 87.5, crop, random):
        width = min(crop, *(row.seconds for row in batch))
        for row in batch:
            seconds_L[corpus.language_N[row.utterances[0]]] += width
    assert seconds_L.sum() == pytest.approx(once.cropped_CL.sum(), rel=0.05)
    return seconds_L / seconds_L.sum()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_shares_are_taken_of_the_seconds_after_cropping(alpha):
    """Equal hours, in clips of 10 s and of 60 s that are cropped to 20 s."""
    seconds_N = np.repeat([10.0, 60.0], [3600, 600])
    corpus = synthetic(seconds_N, np.repeat([0, 1], [3600, 600]))
    assert cropped_shares(corpus, alpha, crop=20.0) == pytest.approx([0.5, 0.5], abs=0.01)


def test_joined_rows_have_their_share_too():
    """Short clips of many speakers, of which a third say too little, beside long ones."""
    random = np.random.default_rng(0)
    seconds_N = np.append(random.uniform(1, 3, 6000), random.uniform(5, 60, 400))
    language_N = np.repeat([0, 1], [6000, 400])
    speaker_N = np.append(
        np.where(np.arange(6000) % 3, np.arange(6000) % 30, np.arange(6000)), np.full(400, -1)
    ).astype(np.int32)
    corpus = synthetic(seconds_N, language_N, speaker_N=speaker_N)
    usable = corpus.seconds_N[np.arange(6400) % 3 > 0][:4000].sum(), corpus.seconds_N[6000:].sum()
    expected = shares(np.array(usable), 0.5)
    found = cropped_shares(corpus, 0.5, crop=20.0, shortest=3.5, join=6.0)
    assert found == pytest.approx(expected, abs=0.02)


def test_a_language_of_one_utterance_is_used_as_often_as_it_should_be():
    counts = [1, 2000, 20, 20]
    language_N, corpus_N = np.repeat([0, 1, 2, 3], counts), np.repeat([0, 0, 1, 2], counts)
    corpus = synthetic(np.full(2041, 600.0), language_N, corpus_N)
    times = mix(corpus.seconds_CL, 1.0, 0.0)[0, 0] * 2041
    assert 0.3 < times < 0.4
    used = sum(
        (drawn(mixed_epoch(corpus, 1.0, 0.0, np.random.default_rng([1, epoch]))) == 0).sum()
        for epoch in range(100)
    )
    assert used == pytest.approx(100 * times, abs=15)


def test_alpha_1_is_the_corpus_as_it_is():
    corpus = corpus_of({"aa": 30, "bb": 5, "cc": 17})
    some = drawn(mixed_epoch(corpus, 1.0, None, np.random.default_rng(0)))
    assert sorted(some) == list(range(52))


def test_a_small_language_is_repeated_evenly_and_a_large_one_thinned():
    corpus = corpus_of({"aa": 200, "bb": 10})
    counts = np.bincount(drawn(mixed_epoch(corpus, 0.0, None, np.random.default_rng(0))))
    of_large, of_small = counts[:200], counts[200:]
    assert of_small.max() - of_small.min() <= 1
    assert of_small.min() >= 8
    assert of_large.max() == 1
    assert of_large.min() == 0


@pytest.mark.parametrize("limit", [20.0, 60.0])
def test_batches_keep_to_their_seconds_and_hold_every_row_once(limit):
    rows = every_row(corpus_of({"aa": 200, "bb": 60}))
    padded = padded_batches(rows, limit, np.random.default_rng(0))
    for batch in padded:
        assert len(batch) * max(row.seconds for row in batch) <= limit
    crop = 5.0
    cropped = cropped_batches(rows, limit, crop, np.random.default_rng(0))
    for batch in cropped:
        assert len(batch) * min(crop, *(row.seconds for row in batch)) <= limit
    for batches in (padded, cropped):
        assert Counter(row for batch in batches for row in batch) == Counter(rows)


def test_a_row_longer_than_a_batch_is_a_batch_of_its_own():
    rows = every_row(synthetic(np.array([100.0, 1, 1]), np.zeros(3, dtype=int)))
    sizes = sorted(len(batch) for batch in padded_batches(rows, 10.0, np.random.default_rng(0)))
    assert sizes == [1, 2]


@pytest.mark.parametrize("budget", [87.5, 300.0])
@pytest.mark.parametrize(("median", "sigma"), [(5.0, 0.6), (5.0, 0.25), (8.0, 0.9)])
def test_little_is_lost_to_padding_or_cropping(budget, median, sigma):
    """Less than 6 % of what the model computes is padding, already at 5,000 utterances."""
    random = np.random.default_rng(0)
    seconds_N = log_normal(5000, random, median, sigma)
    rows = every_row(synthetic(seconds_N, np.zeros(5000, dtype=np.int32)))
    assert padding(padded_batches(rows, budget, random)) < 0.06
    cropped = cropped_batches(rows, budget, 20.0, random)
    kept = sum(len(batch) * min(row.seconds for row in batch) for batch in cropped)
    assert kept > 0.94 * seconds_N.sum()
    # And batches are full, but for those whose next row does not fit any more.
    full = sum(len(batch) * max(r.seconds for r in batch) for batch in cropped) / len(cropped)
    assert full > 0.88 * budget


def test_batches_mix_languages():
    corpus = corpus_of({"aa": 200, "bb": 200})
    batches = padded_batches(every_row(corpus), 60.0, np.random.default_rng(0))
    mixed = [len({corpus[row.utterances[0]].language for row in b}) == 2 for b in batches]
    assert sum(mixed) > 0.8 * len(mixed)


@pytest.mark.parametrize("crop", [None, 20.0])
def test_neighbours_differ_from_epoch_to_epoch(crop):
    rows = every_row(corpus_of({"aa": 400}))

    def batches(epoch):
        random = np.random.default_rng([0, epoch])
        if crop is None:
            return padded_batches(rows, 60.0, random)
        return cropped_batches(rows, 60.0, crop, random)

    one, two = ({frozenset(batch) for batch in batches(epoch)} for epoch in (0, 1))
    assert len(one & two) < 0.1 * len(one)


def test_short_utterances_of_one_speaker_are_joined():
    corpus = corpus_of({"aa": 60, "bb": 30}, seconds=(0.3, 1.5))
    rows = join_short(corpus, every_row(corpus), 4.0, np.random.default_rng(0))
    joined = list(rows)
    assert Counter(i for row in joined for i in row.utterances) == Counter(range(90))
    for row in joined:
        some = [corpus[i] for i in row.utterances]
        assert len({(u.language, u.speaker) for u in some}) == 1
        assert row.seconds == pytest.approx(sum(u.duration for u in some))
        assert row.seconds - some[-1].duration < 4.0
    short = [row for row in joined if row.seconds < 4.0]
    assert len(short) <= 6  # at most one rest for each of the six speakers
    again = list(join_short(corpus, every_row(corpus), 4.0, np.random.default_rng(1)))
    assert {row.utterances for row in again} != {row.utterances for row in joined}
    apart = join_short(corpus, every_row(corpus), 0.0, np.random.default_rng(0))
    assert [len(row.utterances) for row in apart] == [1] * 90
    some = rows.take(rows.seconds_R >= 4.0)
    assert list(some) == [row for row in joined if row.seconds >= 4.0]


def test_utterances_without_a_speaker_are_one_voice_of_their_language():
    corpus = corpus_of({"aa": 20, "bb": 20}, seconds=(0.5, 1.5))
    silent = Corpus.of([replace(u, speaker=None) for u in corpus])
    rows = join_short(silent, every_row(silent), 3.0, np.random.default_rng(0))
    assert all(len({silent[i].language for i in row.utterances}) == 1 for row in rows)
    assert sum(row.seconds < 3.0 for row in rows) <= 2


def test_one_name_in_two_corpora_is_two_speakers():
    corpus = corpus_of({"aa": 30}, seconds=(0.5, 1.5), speakers=1)
    both = Corpus.of([replace(u, corpus=name) for name in "pq" for u in corpus])
    for some in (both, Corpus.of([replace(u, speaker=None) for u in both])):
        rows = join_short(some, every_row(some), 4.0, np.random.default_rng(0))
        assert all(len({some.corpus_N[i] for i in row.utterances}) == 1 for row in rows)
        assert max(len(row.utterances) for row in rows) > 2


def test_names_that_many_languages_share_are_as_many_speakers():
    languages = {f"{letter}{other}": 100 for letter in "abcdefgh" for other in "xyz"}
    corpus = corpus_of(languages, seconds=(0.5, 1.5), speakers=100)
    corpus = Corpus.of([replace(u, speaker=u.speaker.partition("_")[2]) for u in corpus])
    rows = join_short(corpus, every_row(corpus), 8.0, np.random.default_rng(0))
    assert len(rows) == 2400  # each voice says one thing, so nothing is joined
    corpus = Corpus.of([replace(u, speaker=str(int(u.speaker) % 25)) for u in corpus])
    rows = join_short(corpus, every_row(corpus), 8.0, np.random.default_rng(0))
    assert len(rows) == 600
    for row in rows:
        assert len({(corpus[i].language, corpus[i].speaker) for i in row.utterances}) == 1


@pytest.mark.parametrize("shards", [False, True])
def test_an_utterance_that_is_repeated_is_not_joined_with_itself(shards):
    seconds_N = np.append(np.full(12, 1.0), np.full(4000, 10.0))
    corpus = synthetic(
        seconds_N,
        np.repeat([0, 1], [12, 4000]),
        shard_N=(np.arange(4012) // 12).astype(np.int32) if shards else None,
    )
    rows = mixed_epoch(corpus, 0.5, None, np.random.default_rng(0))
    assert np.bincount(drawn(rows))[0] > 50
    joined = list(join_short(corpus, rows, 3.0, np.random.default_rng(0)))
    assert all(len(set(row.utterances)) == len(row.utterances) for row in joined)
    assert Counter(i for row in joined for i in row.utterances) == Counter(drawn(rows).tolist())
    assert sum(len(row.utterances) == 3 for row in joined) > 200


def plan_of(corpus, alpha=0.5):
    def epoch(random):
        epoch.planned += 1
        return padded_batches(mixed_epoch(corpus, alpha, None, random), 30.0, random)

    epoch.planned = 0
    return epoch


def test_the_stream_is_a_function_of_the_seed():
    epoch = plan_of(corpus_of({"aa": 40, "bb": 10}))
    first, again = (list(islice(stream(epoch, 3), 60)) for _ in range(2))
    assert first == again
    assert first != list(islice(stream(epoch, 4), 60))
    assert [plan.position.number for plan in first] == list(range(60))


def test_epochs_differ():
    epoch = plan_of(corpus_of({"aa": 40}), alpha=1.0)
    one, two = (list(epoch(np.random.default_rng([3, number]))) for number in (0, 1))
    assert one != two
    assert Counter(r for batch in one for r in batch) == Counter(r for b in two for r in b)


@pytest.mark.parametrize("taken", [0, 1, 7, 25, 52])
def test_going_on_from_any_position_gives_the_same_batches_and_plans_no_earlier_epoch(taken):
    """Promise 10."""
    epoch = plan_of(corpus_of({"aa": 40, "bb": 10}))
    whole = list(islice(stream(epoch, 3), 90))
    lengths = Counter(plan.position.epoch for plan in whole)
    assert lengths[0] not in (7, 25, 52)
    epoch.planned = 0
    later = list(islice(stream(epoch, 3, whole[taken].position), 70 - taken))
    assert later == whole[taken:70]
    assert epoch.planned == 1 + whole[69].position.epoch - whole[taken].position.epoch
    # A position counted from an earlier epoch is the same position.
    if taken:
        assert next(stream(epoch, 3, whole[0].position.after(taken))) == whole[taken]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_the_stream_without_gap_or_overlap(world):
    epoch = plan_of(corpus_of({"aa": 40, "bb": 10}))
    whole = list(islice(stream(epoch, 3), 24))
    parts = [list(islice(stream(epoch, 3), rank, 24, world)) for rank in range(world)]
    assert all(part == whole[rank::world] for rank, part in enumerate(parts))
    # After 6 batches every rank knows the place, and goes on where it was, also in the next epoch.
    for taken in (6, 18):
        for rank, part in enumerate(parts):
            last = part[taken // world - 1].position
            start = last.after(world - rank)
            assert start.number == taken
            later = list(islice(stream(epoch, 3, start), rank, 24 - taken, world))
            assert later == part[taken // world :]


def test_an_empty_epoch_is_not_an_endless_loop():
    nothing = every_row(corpus_of({"aa": 3})).take(np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="without batches"):
        next(stream(lambda random: padded_batches(nothing, 10.0, random), 0))


def test_once_is_every_batch_of_an_epoch():
    batches = padded_batches(every_row(corpus_of({"aa": 40})), 30.0, np.random.default_rng(0))
    plans = list(once(batches))
    assert [plan.rows for plan in plans] == list(batches)
    assert [plan.position.number for plan in plans] == list(range(len(batches)))


def test_speeds_fill_their_range_and_leave_room_for_the_labels():
    random = np.random.default_rng(0)
    rows = every_row(corpus_of({"es": 500}))
    seconds_R = rows.seconds_R
    anything = at_some_speed(rows, (0.8, 1.25), random, lambda u, s: s > 0)
    speed_R = anything.speed_R
    assert speed_R.min() < 0.81
    assert speed_R.max() > 1.24
    assert abs(speed_R.mean() - 1.025) < 0.02
    assert anything.seconds_R == pytest.approx(seconds_R / speed_R, rel=1e-6)
    assert anything[3] == Row((3,), float(anything.seconds_R[3]), float(speed_R[3]))
    tight = at_some_speed(rows, (0.8, 1.25), random, lambda u, s: s >= seconds_R[u])
    assert tight.speed_R.max() == 1
    assert tight.seconds_R.min() >= seconds_R.min()
    assert at_some_speed(rows, (1.0, 1.0), random, lambda u, s: s > 0) is rows


def sharded(counts, random, languages=3):
    """Shards of equally many utterances, each of one language; the last 100 utterances in none."""
    shard_N = np.append(np.repeat(np.arange(len(counts)), counts), np.full(100, -1))
    seconds_N = log_normal(len(shard_N), random)
    language_N = np.where(shard_N < 0, 0, shard_N % languages)
    return synthetic(seconds_N, language_N, shard_N=shard_N.astype(np.int32))


@pytest.mark.parametrize("join", [0.0, 6.0])
def test_batches_are_made_within_windows_of_shards(join):
    random = np.random.default_rng(0)
    corpus = sharded([60, 10] * 700, random)
    rows = mixed_epoch(corpus, 0.5, None, np.random.default_rng(1))
    seconds_L = np.bincount(corpus.language_N[drawn(rows)], rows.seconds_R)
    expected_L = mix(corpus.seconds_CL, 0.5).sum(0)
    assert seconds_L / seconds_L.sum() == pytest.approx(expected_L, abs=0.01)
    rows = join_short(corpus, rows, join, np.random.default_rng(2))
    batches = list(padded_batches(rows, 87.5, np.random.default_rng(3)))
    assert padding(batches) < 0.06
    assert Counter(r for b in batches for r in b) == Counter(rows)
    # Reading goes through the shards: what a stretch of batches reads, later ones hardly do.
    places = defaultdict(list)
    for place, batch in enumerate(batches):
        for row in batch:
            for i in row.utterances:
                if corpus.shard_N[i] >= 0:
                    places[corpus.shard_N[i]].append(place)
    stretch = np.median([max(some) - min(some) for some in places.values()])
    assert stretch < 0.1 * len(batches)
    assert len(set(rows.window_R)) >= 10
    for window in set(rows.window_R):
        inside = drawn(rows.take(rows.window_R == window))
        assert len(set(corpus.shard_N[inside]) - {-1}) >= 0.7 * WINDOW_SHARDS
    # Another epoch takes the shards in another order.
    other = mixed_epoch(corpus, 0.5, None, np.random.default_rng(9))
    assert not np.array_equal(other.window_R, rows.window_R)


def test_shards_are_spread_evenly_beside_much_that_is_in_none():
    """All that is in files of its own is no place in the order of the shards."""
    shard_N = np.append(np.full(14_400, -1), np.repeat(np.arange(400), 36)).astype(np.int32)
    corpus = synthetic(np.full(28_800, 100.0), (shard_N >= 0).astype(int), shard_N=shard_N)
    for epoch in range(5):
        rows = mixed_epoch(corpus, 1.0, None, np.random.default_rng(epoch))
        assert rows.window_R.max() == 5
        sharded_R = corpus.shard_N[drawn(rows)] >= 0
        for inside_R in (sharded_R, ~sharded_R):
            assert np.bincount(rows.window_R[inside_R]) == pytest.approx([2400] * 6, rel=0.1)


def test_audio_outside_of_shards_takes_no_place_of_a_shard():
    """A language that is half in files of its own is used three times."""
    shard_N = np.append(np.full(2000, -1), np.repeat(np.arange(900), 20)).astype(np.int32)
    language_N = np.repeat([0, 1], [4000, 16_000])
    corpus = synthetic(np.full(20_000, 100.0), language_N, shard_N=shard_N)
    rows = mixed_epoch(corpus, 0.1, None, np.random.default_rng(0))
    assert np.bincount(drawn(rows))[0] == 2
    inside_W = np.bincount(rows.window_R[corpus.shard_N[drawn(rows)] >= 0])
    assert len(inside_W) > 10
    assert inside_W == pytest.approx(np.full(len(inside_W), inside_W.mean()), rel=0.1)


@pytest.mark.parametrize("shards", [1, 5])
def test_a_step_of_packed_languages_mixes_them_about_as_single_files(shards):
    """Forty languages, each in shards of its own; a step is of 66 batches."""
    languages, each = 40, 50 * shards
    language_N = np.repeat(np.arange(languages), each)
    corpus = synthetic(
        np.full(languages * each, 20.0), language_N, shard_N=(np.arange(languages * each) // 50)
    )
    rows = mixed_epoch(corpus, 0.5, None, np.random.default_rng(0))
    batches = cropped_batches(rows, 87.5, 20.0, np.random.default_rng(1))
    for step in range(len(batches) // 66):
        rows_of_step = [row for b in range(step * 66, step * 66 + 66) for row in batches[b]]
        assert len({language_N[row.utterances[0]] for row in rows_of_step}) >= 36
