"""The epoch plan: shares of languages, sizes of batches, and going on from the middle."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from speechx.data.manifest import Utterance
from speechx.data.sampling import (
    Row,
    at_some_speed,
    cropped_batches,
    join_short,
    language_shares,
    mixed_epoch,
    padded_batches,
    share,
    stream,
)


def utterances(counts, seconds=(1.0, 9.0), speakers=3, seed=0):
    random = np.random.default_rng(seed)
    return [
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


def rows(some):
    return [Row((u,), u.duration) for u in some]


def seconds_by_language(some):
    total = defaultdict(float)
    for utterance in some:
        total[utterance.language] += utterance.duration
    return total


def test_shares_of_the_facts():
    """With alpha 0.5 a language of 3 h beside one of 353 h has 8.4 % of the pair, not 0.8 %."""
    hours = {"sv": 3.0, "fr": 353.0}
    assert language_shares(hours, 0.5)["sv"] == pytest.approx(0.084, abs=0.001)
    assert language_shares(hours, 1.0)["sv"] == pytest.approx(0.0084, abs=0.0001)
    assert language_shares(hours, 0.0) == {"sv": 0.5, "fr": 0.5}
    assert "xx" not in language_shares({**hours, "xx": 0.0}, 0.0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_languages_have_the_share_of_their_hours_to_the_alpha(alpha):
    corpus = utterances({"aa": 900, "bb": 250, "cc": 40})
    natural = seconds_by_language(corpus)
    heard = defaultdict(float)
    for epoch in range(10):
        for language, seconds in seconds_by_language(
            mixed_epoch(corpus, alpha, np.random.default_rng([1, epoch]))
        ).items():
            heard[language] += seconds
    weights = {language: seconds**alpha for language, seconds in natural.items()}
    for language in natural:
        expected = weights[language] / sum(weights.values())
        assert heard[language] / sum(heard.values()) == pytest.approx(expected, abs=0.01)
    # An epoch is about as long as the corpus.
    assert sum(heard.values()) / 10 == pytest.approx(sum(natural.values()), rel=0.02)


def test_alpha_1_is_the_corpus_as_it_is():
    corpus = utterances({"aa": 30, "bb": 5})
    mixed = mixed_epoch(corpus, 1.0, np.random.default_rng(0))
    assert Counter(u.id for u in mixed) == Counter(u.id for u in corpus)


def test_a_small_language_is_repeated_evenly_and_a_large_one_thinned():
    corpus = utterances({"aa": 200, "bb": 10})
    counts = Counter(u.id for u in mixed_epoch(corpus, 0.0, np.random.default_rng(0)))
    of_small = [counts[u.id] for u in corpus if u.language == "bb"]
    of_large = [counts[u.id] for u in corpus if u.language == "aa"]
    assert max(of_small) - min(of_small) <= 1
    assert min(of_small) >= 8
    assert max(of_large) == 1
    assert min(of_large) == 0


@pytest.mark.parametrize("limit", [20.0, 60.0])
def test_batches_keep_to_their_seconds_and_hold_every_row_once(limit):
    some = rows(utterances({"aa": 200, "bb": 60}))
    padded = padded_batches(some, limit, np.random.default_rng(0))
    for batch in padded:
        assert len(batch) * max(row.seconds for row in batch) <= limit
    crop = 5.0
    cropped = cropped_batches(some, limit, crop, np.random.default_rng(0))
    for batch in cropped:
        assert len(batch) * min(crop, *(row.seconds for row in batch)) <= limit
    for batches in (padded, cropped):
        assert Counter(row for batch in batches for row in batch) == Counter(some)


def test_little_is_lost_to_padding_or_cropping():
    some = rows(utterances({"aa": 400, "bb": 100}))
    total = sum(row.seconds for row in some)
    padded = padded_batches(some, 60.0, np.random.default_rng(0))
    held = sum(len(batch) * max(row.seconds for row in batch) for batch in padded)
    assert held < 1.15 * total
    cropped = cropped_batches(some, 60.0, 20.0, np.random.default_rng(0))
    kept = sum(len(batch) * min(row.seconds for row in batch) for batch in cropped)
    assert kept > 0.85 * total


def test_a_row_longer_than_a_batch_is_a_batch_of_its_own():
    some = [Row((), 100.0), Row((), 1.0), Row((), 1.0)]
    sizes = sorted(len(batch) for batch in padded_batches(some, 10.0, np.random.default_rng(0)))
    assert sizes == [1, 2]


def test_batches_mix_languages():
    some = rows(utterances({"aa": 200, "bb": 200}))
    batches = padded_batches(some, 60.0, np.random.default_rng(0))
    mixed = [len({row.utterances[0].language for row in batch}) == 2 for batch in batches]
    assert sum(mixed) > 0.8 * len(mixed)


def test_short_utterances_of_one_speaker_are_joined():
    corpus = utterances({"aa": 60, "bb": 30}, seconds=(0.3, 1.5))
    joined = join_short(corpus, 4.0, np.random.default_rng(0))
    assert Counter(u.id for row in joined for u in row.utterances) == Counter(u.id for u in corpus)
    for row in joined:
        assert len({(u.language, u.speaker) for u in row.utterances}) == 1
        assert row.seconds == pytest.approx(sum(u.duration for u in row.utterances))
        assert row.seconds - row.utterances[-1].duration < 4.0
    short = [row for row in joined if row.seconds < 4.0]
    assert len(short) <= 6  # at most one rest for each of the six speakers
    assert [len(row.utterances) for row in join_short(corpus, 0.0, np.random.default_rng(0))] == (
        [1] * 90
    )


def plan_of(corpus, alpha=0.5):
    def epoch(random):
        return padded_batches(rows(mixed_epoch(corpus, alpha, random)), 30.0, random)

    return epoch


def test_the_stream_is_a_function_of_the_seed():
    epoch = plan_of(utterances({"aa": 40, "bb": 10}))
    first, again = (list(islice(stream(epoch, 3), 60)) for _ in range(2))
    assert first == again
    assert first != list(islice(stream(epoch, 4), 60))
    assert [plan.number for plan in first] == list(range(60))


def test_epochs_differ():
    epoch = plan_of(utterances({"aa": 40}), alpha=1.0)
    one, two = (epoch(np.random.default_rng([3, number])) for number in (0, 1))
    assert one != two
    assert Counter(r for batch in one for r in batch) == Counter(r for b in two for r in b)


@pytest.mark.parametrize("taken", [0, 1, 7, 25, 52])
def test_going_on_from_the_middle_of_an_epoch_gives_the_same_batches(taken):
    epoch = plan_of(utterances({"aa": 40, "bb": 10}))
    assert len(epoch(np.random.default_rng([3, 0]))) not in (7, 25, 52)
    whole = list(islice(stream(epoch, 3), 70))
    assert list(islice(stream(epoch, 3, taken), 70 - taken)) == whole[taken:]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_the_stream_without_gap_or_overlap(world):
    epoch = plan_of(utterances({"aa": 40, "bb": 10}))
    whole = [plan.number for plan in islice(stream(epoch, 3), 12)]
    parts = [
        [plan.number for plan in islice(share(stream(epoch, 3), rank, world), 12 // world)]
        for rank in range(world)
    ]
    assert sorted(number for part in parts for number in part) == whole
    assert all(part == whole[rank::world] for rank, part in enumerate(parts))
    # After a resume with 6 batches taken, every rank goes on where it was.
    later = [
        [p.number for p in islice(share(stream(epoch, 3, 6), rank, world), 6 // world)]
        for rank in range(world)
    ]
    assert later == [part[6 // world :] for part in parts]


def test_an_empty_epoch_is_not_an_endless_loop():
    with pytest.raises(ValueError, match="without batches"):
        next(stream(lambda random: [], 0))


def test_speeds_fill_their_range_and_leave_room_for_the_labels():
    random = np.random.default_rng(0)
    (utterance,) = utterances({"es": 1})
    rows = [at_some_speed(utterance, (0.8, 1.25), random, lambda u, s: True) for _ in range(500)]
    speeds = np.array([row.speed for row in rows])
    assert speeds.min() < 0.81
    assert speeds.max() > 1.24
    assert abs(speeds.mean() - 1.025) < 0.02
    assert all(row.seconds == pytest.approx(utterance.duration / row.speed) for row in rows)
    tight = [
        at_some_speed(utterance, (0.8, 1.25), random, lambda u, s: s >= u.duration)
        for _ in range(500)
    ]
    assert all(row.speed <= 1 for row in tight)
    assert at_some_speed(utterance, (1.0, 1.0), random, lambda u, s: True) == Row(
        (utterance,), utterance.duration
    )
