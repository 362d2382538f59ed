"""The automaton: scores by back-off, states, perplexity, files of tensors."""

from __future__ import annotations

import numpy as np
import pytest

from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import BEGIN, END, UNKNOWN, Level, NGram
from speechx.errors import UserError
from tests.decoding.test_kneser_ney import random_sentences


def by_hand():
    """a and b with the bigrams <s> a, a b; natural logarithms that are easy to add."""
    tokens = (UNKNOWN, BEGIN, END, "a", "b")
    unigrams = Level(
        np.zeros(5, int),
        np.arange(5),
        np.array([-9.0, -99, -1, -2, -3]),
        np.array([0, -0.5, 0, -0.25, 0]),
    )
    bigrams = Level(np.array([1, 3]), np.array([3, 4]), np.array([-0.1, -0.2]), np.zeros(2))
    return NGram.of(tokens, [unigrams, bigrams])


def walk(model, sentence):
    state, scores = np.array([model.start]), []
    for token in model.ids(sentence):
        score, state = model.score(state, np.array([token]))
        scores.append(float(score[0]))
    return scores


def test_scores_are_those_of_the_longest_ngrams_and_back_off():
    model = by_hand()
    assert walk(model, ["a", "b", END]) == pytest.approx([-0.1, -0.2, -1])
    assert walk(model, ["b", "a", "a", END]) == pytest.approx([-0.5 - 3, -2, -0.25 - 2, -0.25 - 1])
    assert walk(model, ["x"]) == pytest.approx([-0.5 - 9])


def test_many_queries_at_once_equal_single_ones():
    model = train(random_sentences(1, 200), 4)
    random = np.random.default_rng(0)
    state_N = random.integers(len(model.backoff_S), size=500)
    token_N = random.integers(len(model.tokens), size=500)
    score_N, next_N = model.score(state_N, token_N)
    for state, token, score, following in zip(state_N, token_N, score_N, next_N, strict=True):
        one, behind = model.score(np.array([state]), np.array([token]))
        assert (one[0], behind[0]) == (score, following)
    assert next_N.max() < len(model.backoff_S)


def test_a_state_is_the_longest_context_of_the_model():
    """So equal states may be merged: what was read before them never matters."""
    sentences = random_sentences(2, 100)
    model = train(sentences, 3)
    listed = {tuple(s[i : i + 2]) for s in sentences for i in range(len(s) - 1)}
    states = {}
    for first, second in listed:
        ids = model.ids([first, second])
        one = model.score(np.array([0]), ids[:1])[1]
        states[first, second] = int(model.score(one, ids[1:])[1][0])
    assert len(set(states.values())) == len(listed)


def test_levels_are_the_inverse():
    model = train(random_sentences(3, 100), 4, (0, 0, 1))
    again = NGram.of(model.tokens, model.levels())
    for name in ("first_S", "token_A", "score_A", "target_A", "backoff_S", "fallback_S"):
        assert np.array_equal(getattr(model, name), getattr(again, name)), name


def test_perplexity_with_and_without_unknown_tokens():
    model = by_hand()
    found = model.perplexity([["a", "b"], ["x"]])
    assert (found.tokens, found.unknown) == (5, 1)
    assert found.overall == pytest.approx(np.exp((0.1 + 0.2 + 1 + 9.5 + 1) / 5))
    assert found.known == pytest.approx(np.exp((0.1 + 0.2 + 1 + 1) / 4))
    with pytest.raises(ValueError, match="sentence"):
        model.perplexity([])


def test_a_file_of_tensors_gives_the_same_model(tmp_path):
    model = train([list("a b"), list("b é ")], 3)
    model.save(tmp_path / "lm.safetensors")
    again = NGram.load(tmp_path / "lm.safetensors")
    assert again.tokens == model.tokens
    assert (again.order, again.start) == (model.order, model.start)
    assert np.array_equal(again.score_A, model.score_A)


def test_other_files_of_tensors_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3)}, tmp_path / "model.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("model.safetensors", "text.safetensors", "absent.safetensors"):
        with pytest.raises(UserError, match=name):
            NGram.load(tmp_path / name)
