"""Forced alignment: the best path, in bounded memory, and texts that are not what was spoken."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from speechx.decoding.alignment import align_chain, align_tokens, boundaries, chain_of
from speechx.decoding.loose_alignment import (
    FIRST_TOKEN,
    PAUSE,
    UNWRITTEN,
    ScoreColumns,
    chain_of_words,
)
from speechx.errors import UserError


def random_outputs(random: np.random.Generator, frames: int, outputs: int) -> np.ndarray:
    log_TV = np.log(random.dirichlet(np.full(outputs, 0.4), frames) + 1e-6)
    return (log_TV - np.logaddexp.reduce(log_TV, axis=1, keepdims=True)).astype(np.float32)


def collapsed(path) -> list[int]:
    kept = [path[0], *(b for a, b in pairwise(path) if a != b)]
    return [i for i in kept if i != 0]


def path_of(alignment, ids, frames) -> np.ndarray:
    path_T = np.zeros(frames, np.int64)
    for (first, last), i in zip(alignment.spans_U2, ids, strict=True):
        path_T[first : last + 1] = i
    return path_T


def possible(ids, frames) -> bool:
    return len(ids) + sum(a == b for a, b in pairwise(ids)) <= frames


@pytest.mark.parametrize("seed", range(30))
def test_the_best_of_all_paths_is_found(seed):
    random = np.random.default_rng(seed)
    frames, outputs = int(random.integers(1, 7)), int(random.integers(2, 4))
    ids = random.integers(1, outputs, random.integers(1, 4)).tolist()
    log_TV = random_outputs(random, frames, outputs)
    scores = {
        path: sum(log_TV[t, i] for t, i in enumerate(path))
        for path in product(range(outputs), repeat=frames)
        if collapsed(path) == ids
    }
    if not scores:
        with pytest.raises(UserError, match="longer than the audio"):
            align_tokens(log_TV, ids)
        return
    found = align_tokens(log_TV, ids)
    best = max(scores, key=scores.__getitem__)
    np.testing.assert_array_equal(path_of(found, ids, frames), best)
    for (first, last), i, mean in zip(found.spans_U2, ids, found.probabilities_U, strict=True):
        assert mean == pytest.approx(np.exp(log_TV[first : last + 1, i]).mean(), abs=1e-5)


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")
def test_it_is_the_path_of_torchaudio():
    import torch
    from torchaudio.functional import forced_align

    random = np.random.default_rng(0)
    for _ in range(40):
        frames, outputs = int(random.integers(20, 200)), int(random.integers(2, 30))
        ids = random.integers(1, outputs, frames // 4)
        if not possible(ids, frames):
            continue
        log_TV = random_outputs(random, frames, outputs)
        theirs, _ = forced_align(
            torch.from_numpy(log_TV)[None], torch.from_numpy(ids)[None].int(), blank=0
        )
        ours = path_of(align_tokens(log_TV, ids), ids, frames)
        np.testing.assert_array_equal(ours, theirs[0].numpy())


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blocks_of_any_size_give_the_same(size):
    random = np.random.default_rng(1)
    log_TV, ids = random_outputs(random, 400, 12), random.integers(1, 12, 90)
    whole = align_tokens(log_TV, ids)
    blocks = align_tokens((log_TV[t : t + size] for t in range(0, 400, size)), ids)
    np.testing.assert_array_equal(blocks.spans_U2, whole.spans_U2)
    np.testing.assert_allclose(blocks.probabilities_U, whole.probabilities_U, atol=1e-6)


def spoken(tokens: np.ndarray, outputs: int, every: int = 5) -> np.ndarray:
    """(T, V) of a model that writes a token every so many frames, and is sure."""
    log_TV = np.full((len(tokens) * every, outputs), -9, np.float32)
    log_TV[:, 0] = -0.01
    at_T = np.arange(len(tokens)) * every + every // 2
    log_TV[at_T, 0] = -5
    log_TV[at_T, tokens] = -0.1
    return log_TV


def test_hours_do_not_drift_and_need_little_memory():
    """A small band and a short memory, many times shorter than the recording."""
    random = np.random.default_rng(2)
    tokens = random.integers(1, 30, 2000)

    def blocks():
        for first in range(0, len(tokens), 500):
            yield spoken(tokens[first : first + 500], 30)

    found = align_chain(chain_of(tokens), blocks(), band=300, history=400)
    np.testing.assert_array_equal(found.spans_U2[:, 0], np.arange(2000) * 5 + 2)
    np.testing.assert_array_equal(found.spans_U2[:, 1], np.arange(2000) * 5 + 2)
    np.testing.assert_allclose(found.probabilities_U, np.exp(-0.1), atol=1e-5)


@pytest.mark.slow
def test_three_hours_take_a_minute_at_most():
    import time

    random = np.random.default_rng(3)
    tokens = random.integers(1, 30, 108_000)
    words = np.split(tokens + FIRST_TOKEN - 1, np.arange(5, len(tokens), 5))
    columns = ScoreColumns([], [[i] for i in range(1, 30)])
    begun = time.process_time()
    found = align_chain(
        chain_of_words([*words]),
        (columns.scores(spoken(part, 30)) for part in np.array_split(tokens, 360)),
    )
    assert time.process_time() - begun < 120
    np.testing.assert_array_equal(found.spans_U2[:, 0], np.arange(len(tokens)) * 5 + 2)


def loose(said, written, untranscribed="anywhere", every_word=False, **more):
    """Aligns words, lists of ids below 30, to a model that heard others; 29 is a space."""
    log_TV = spoken(np.concatenate(said), 30)
    columns = ScoreColumns([29], [[i] for i in range(1, 29)])
    chain = chain_of_words(
        [[i + FIRST_TOKEN - 1 for i in word] for word in written], untranscribed, every_word
    )
    found = align_chain(chain, [columns.scores(log_TV)], **more)
    ends = np.cumsum([len(word) for word in written])
    return [found.spans_U2[end - len(word)] for end, word in zip(ends, written, strict=True)]


def random_words(random, count):
    return [random.integers(1, 29, random.integers(2, 8)).tolist() for _ in range(count)]


def test_words_that_were_not_spoken_get_no_time_and_unwritten_speech_does_no_harm():
    random = np.random.default_rng(4)
    said = random_words(random, 400)
    starts = np.cumsum([0, *(len(word) * 5 for word in said)])[:-1] + 2
    written, expected = [], []
    for word, start in zip(said, starts, strict=True):
        if random.random() < 0.1:
            continue
        if random.random() < 0.1:
            written.append(random_words(random, 1)[0])
            expected.append(-1)
        written.append(word)
        expected.append(start)
    found = np.array([first for first, _ in loose(said, written)])
    expected = np.array(expected)
    assert (found[expected < 0] < 0).mean() > 0.95
    assert (abs(found[expected >= 0] - expected[expected >= 0]) <= 2).mean() > 0.99


@pytest.mark.parametrize(("before", "behind"), [(150, 0), (60, 60)])
def test_minutes_of_other_speech_before_and_behind_the_text(before, behind):
    said = random_words(np.random.default_rng(5), 300)
    written = said[before : 300 - behind]
    start = sum(map(len, said[:before])) * 5 + 2
    for untranscribed in ("anywhere", "ends"):
        found = loose(said, written, untranscribed)
        assert found[0][0] == start
        assert all(first >= 0 for first, _ in found)


def test_ten_minutes_of_the_same_words_before_the_text():
    random = np.random.default_rng(6)
    known = random_words(random, 300)
    often = 1 / np.arange(1, 301)
    said = [known[i] for i in random.choice(300, 1500, p=often / often.sum())]
    found = loose(said, said[1200:])
    starts = np.cumsum([0, *map(len, said)])[1200:-1] * 5 + 2
    assert starts[0] > 20_000
    assert (starts == [first for first, _ in found]).mean() > 0.95


def test_a_page_that_was_not_read_is_left_out():
    random = np.random.default_rng(6)
    said, page = random_words(random, 400), random_words(random, 150)
    found = loose(said, [*said[:200], *page, *said[200:]], band=4000, history=8000)
    there = [first >= 0 for first, _ in found]
    assert sum(there[200:350]) <= 3
    assert sum(there[:200]) >= 198
    assert sum(there[350:]) >= 198
    assert found[-1][0] == sum(map(len, said[:-1])) * 5 + 2


def test_every_word_can_be_given_a_time():
    random = np.random.default_rng(7)
    said, wrong = random_words(random, 20), random_words(random, 1)
    found = loose(said, [*said[:10], *wrong, *said[11:]], "nowhere", every_word=True)
    assert all(first >= 0 for first, _ in found)
    assert all(a[1] <= b[0] for a, b in pairwise(found))


def test_what_cannot_be_written_takes_the_speech_that_is_there():
    random = np.random.default_rng(8)
    said = random_words(random, 9)
    starts = np.cumsum([0, *(len(word) * 5 for word in said)]) + 2
    columns = ScoreColumns([], [[i] for i in range(1, 29)])
    words = [[i + FIRST_TOKEN - 1 for i in word] for word in said]
    words[4] = [*UNWRITTEN]
    scores_TX = columns.scores(spoken(np.concatenate(said), 30))
    spans_U2 = align_chain(chain_of_words(words), [scores_TX]).spans_U2
    place = sum(map(len, said[:4]))
    assert spans_U2[place, 0] == starts[4]
    assert abs(spans_U2[place + 1, 1] - (starts[5] - 5)) <= 2


def test_a_pause_may_lie_inside_a_word_where_it_is_allowed():
    """well known, written as one word, is spoken with the output of a space between."""
    log_TV = spoken(np.array([1, 2, 29, 29, 29, 3, 4]), 30)
    columns = ScoreColumns([29], [[1], [2], [3], [4]])
    first = [FIRST_TOKEN, FIRST_TOKEN + 1]
    second = [FIRST_TOKEN + 2, FIRST_TOKEN + 3]
    chain = chain_of_words([[*first, PAUSE, *second]])
    spans_U2 = align_chain(chain, [columns.scores(log_TV)]).spans_U2
    assert spans_U2[:, 0].tolist() == [2, 7, 27, 32]


def test_boundaries_lie_halfway_but_not_in_pauses():
    spans_U2 = np.array([[5, 6], [11, 11], [-1, -1], [60, 62]])
    plain = boundaries(spans_U2, 100, "peaks")
    assert plain.tolist() == [[5, 7], [11, 12], [-1, -1], [60, 63]]
    middle = boundaries(spans_U2, 64, reach=8)
    assert middle.tolist() == [[0, 9], [9, 20], [-1, -1], [52, 64]]


@pytest.mark.parametrize("bad", [[0, 1], [[1, 2]]])
def test_ids_are_tokens_in_a_row(bad):
    with pytest.raises(ValueError, match="without the blank"):
        align_tokens(np.zeros((5, 3), np.float32), bad)


def test_no_frames_hold_no_text():
    with pytest.raises(UserError, match="longer than the audio"):
        align_tokens(np.zeros((0, 3), np.float32), [1])


def test_outputs_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="not numbers"):
        align_tokens(np.full((5, 3), np.nan, np.float32), [1])
