"""The beam search against exhaustive search, and against pyctcdecode with the same model."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, product

import numpy as np
import pytest
import torch

from speechx.decoding.beam import BeamDecoder, BeamSettings
from speechx.decoding.decoder import GreedyDecoder
from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import END, UNKNOWN
from speechx.decoding.pyctcdecode_search import PyctcdecodeDecoder
from speechx.errors import UserError

OPEN = BeamSettings(
    beam_size=20_000,
    token_min_logp=-np.inf,
    beam_prune_logp=-np.inf,
    unknown_word_score=-2.0,
    lm_weight=0.8,
    word_bonus=0.7,
    hotword_weight=1.5,
)
PHONES = ("a", "b", "tʃ")
LETTERS = ("a", "b", " ")
WORDS = train([["ab", "ba"], ["ba", "ab", "aba"], ["aba", "ba"], ["ab"]], 2)
TOKENS = train([list("abab"), list("bba"), list("ab"), list("a")], 3)


def emissions(frames, outputs, seed, sharpness=1.5):
    logits_TV = sharpness * np.random.default_rng(seed).standard_normal((frames, outputs))
    return (logits_TV - np.logaddexp.reduce(logits_TV, 1, keepdims=True)).astype(np.float32)


def texts(log_TV):
    """log P(text | sound) of every text, by all alignments."""
    found = defaultdict(lambda: -np.inf)
    for path in product(range(log_TV.shape[1]), repeat=len(log_TV)):
        text = tuple(token for token, _ in groupby(path) if token)
        score = sum(log_TV[t, v] for t, v in enumerate(path))
        found[text] = np.logaddexp(found[text], score)
    return found


def log_p(lm, sentence):
    score, state = 0.0, np.array([lm.start])
    for token in lm.ids([*sentence, END]):
        each, state = lm.score(state, np.array([token]))
        score += float(each[0])
    return score


def best_of(scores):
    return max(scores, key=scores.__getitem__)


def written(decoder, log_TV):
    (spans,) = decoder.decode([log_TV])
    return tuple(span.token for span in spans)


@pytest.mark.parametrize("seed", range(8))
def test_without_a_model_it_finds_the_most_probable_text(seed):
    log_TV = emissions(5, 4, seed)
    best = best_of(texts(log_TV))
    decoder = BeamDecoder(PHONES, settings=OPEN)
    assert written(decoder, log_TV) == tuple(PHONES[i - 1] for i in best)
    (found,) = decoder.search([log_TV])
    assert found.acoustic == pytest.approx(texts(log_TV)[best], abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_with_a_model_of_tokens_it_finds_the_best_sum(seed):
    log_TV = emissions(5, 3, seed)
    tokens = ("a", "b")
    scores = {}
    for ids, score in texts(log_TV).items():
        text = tuple(tokens[i - 1] for i in ids)
        bonus = OPEN.word_bonus * len(text)
        scores[text] = score + OPEN.lm_weight * log_p(TOKENS, text) + bonus
    best = best_of(scores)
    decoder = BeamDecoder(tokens, TOKENS, settings=OPEN)
    assert written(decoder, log_TV) == best
    assert decoder.search([log_TV])[0].score == pytest.approx(scores[best], abs=1e-4)


@pytest.mark.parametrize("hotwords", [(), ("bb",)])
@pytest.mark.parametrize("seed", range(8))
def test_with_a_model_of_words_and_hot_words_it_finds_the_best_sum(seed, hotwords):
    log_TV = emissions(5, 4, seed)
    by_text = defaultdict(lambda: -np.inf)
    for ids, score in texts(log_TV).items():
        text = " ".join("".join(LETTERS[i - 1] for i in ids).split())
        by_text[text] = np.logaddexp(by_text[text], score)
    scores = {}
    for text, score in by_text.items():
        words = text.split()
        unknown = sum(word not in WORDS.tokens for word in words)
        hot = sum(word in hotwords for word in words)
        scores[text] = (
            score
            + OPEN.lm_weight * log_p(WORDS, words)
            + OPEN.word_bonus * len(words)
            + OPEN.unknown_word_score * unknown
            + OPEN.hotword_weight * hot
        )
    best = best_of(scores)
    decoder = BeamDecoder(LETTERS, WORDS, hotwords=hotwords, settings=OPEN)
    assert "".join(written(decoder, log_TV)).strip() == best


@pytest.mark.parametrize("seed", range(8))
def test_with_a_lexicon_of_pronunciations_it_writes_its_words_alone(seed):
    lexicon = {"Abba": [("a", "b", "a")], "Bach": [("b", "a"), ("b",)], "a": [("a",)]}
    log_TV = emissions(5, 4, seed)
    lm = train([["Abba"], ["Bach", "a"], ["a", "Bach"]], 2)
    ways = [(word, way) for word, several in lexicon.items() for way in several]
    acoustic = texts(log_TV)
    scores = {}
    for count in range(1, 6):
        for chosen in product(ways, repeat=count):
            phones = tuple(PHONES.index(p) + 1 for _, way in chosen for p in way)
            if phones in acoustic:
                words = tuple(word for word, _ in chosen)
                score = acoustic[phones] + OPEN.lm_weight * log_p(lm, words)
                scores[words, phones] = score + OPEN.word_bonus * len(words)
    (words, phones) = best_of(scores)
    decoder = BeamDecoder(PHONES, lm, lexicon, settings=OPEN)
    (found,) = decoder.search([log_TV])
    if found.score <= scores[words, phones] + 1e-4:  # no text at all may be better
        assert found.score == pytest.approx(scores[words, phones], abs=1e-4)
        assert tuple(each.word for each in found.words) == words
    else:
        assert not found.spans
    (spans,) = decoder.decode([log_TV])
    assert [s.word for s in spans if s.word] == [each.word for each in found.words]


def test_the_text_of_greedy_search_has_its_times_and_probabilities():
    for seed in range(20):
        log_TV = emissions(30, 4, seed, sharpness=6.0)
        (greedy,) = GreedyDecoder(PHONES).decode([log_TV])
        (found,) = BeamDecoder(PHONES).decode([log_TV])
        if [s.token for s in found] == [s.token for s in greedy]:
            assert [(s.first, s.last) for s in found] == [(s.first, s.last) for s in greedy]
            np.testing.assert_allclose(
                [s.probability for s in found], [s.probability for s in greedy], rtol=1e-5
            )


def test_many_utterances_at_once_are_the_same_one_by_one():
    outputs = [emissions(frames, 4, frames) for frames in (3, 0, 17, 40)]
    decoder = BeamDecoder(LETTERS, WORDS)
    assert decoder.decode(outputs) == [decoder.decode([each])[0] for each in outputs]


@pytest.mark.parametrize("lm", [None, WORDS])
def test_pyctcdecode_finds_the_same_text(lm):
    settings = BeamSettings(beam_size=50)
    ours = BeamDecoder(LETTERS, lm, settings=settings)
    theirs = PyctcdecodeDecoder(LETTERS, lm, settings=settings)
    outputs = [emissions(40, 4, seed, sharpness=3.0) for seed in range(15)]
    same = [
        "".join(s.token for s in a).strip() == "".join(s.token for s in b).strip()
        for a, b in zip(ours.decode(outputs), theirs.decode(outputs), strict=True)
    ]
    assert all(same), same


def total(log_TV, tokens, lm, settings):
    """What the search adds up for a text of PHONES."""
    ids = torch.tensor([[PHONES.index(token) + 1 for token in tokens]])
    lengths = torch.tensor([len(log_TV)]), torch.tensor([len(tokens)])
    loss = torch.nn.functional.ctc_loss(
        torch.from_numpy(log_TV)[:, None], ids, *lengths, reduction="sum"
    )
    bonus = settings.word_bonus * len(tokens)
    return -float(loss) + settings.lm_weight * log_p(lm, tokens) + bonus


def test_phones_are_those_of_pyctcdecode_or_better_ones():
    """Where they differ, ours have the greater sum."""
    settings = BeamSettings(beam_size=50)
    lm = train([["a", "tʃ", "b"], ["b", "a"], ["tʃ", "tʃ", "a"]], 2)
    ours = BeamDecoder(PHONES, lm, settings=settings)
    theirs = PyctcdecodeDecoder(PHONES, lm, settings=settings)
    outputs = [emissions(40, 4, seed, sharpness=3.0) for seed in range(15)]
    same = 0
    for log_TV, a, b in zip(outputs, ours.decode(outputs), theirs.decode(outputs), strict=True):
        best, other = [s.token for s in a], [s.token for s in b]
        same += best == other
        if best != other:
            scores = [total(log_TV, each, lm, settings) for each in (best, other)]
            assert scores[0] > scores[1]
    assert same > 5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"beam_size": 0}, "beam_size"),
        ({"lm_weight": -1.0}, "lm_weight"),
        ({"word_bonus": float("nan")}, "word_bonus"),
        ({"token_min_logp": 1.0}, "token_min_logp"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, named):
    with pytest.raises(UserError, match=named):
        BeamSettings(**wrong)


def test_a_model_of_words_needs_spaces_or_a_lexicon():
    with pytest.raises(UserError, match="lexicon"):
        BeamDecoder(PHONES, train([["Haus", "Hof"], ["Hof"]], 2))


def test_hot_words_that_cannot_be_spelled_are_refused():
    with pytest.raises(UserError, match="xyz"):
        BeamDecoder(LETTERS, hotwords=("xyz",))


def test_outputs_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="NaN"):
        BeamDecoder(LETTERS).decode([np.full((3, 4), np.nan, np.float32)])


def test_equal_scores_are_decided_by_a_rule():
    even_TV = np.log(np.full((4, 4), 0.25, np.float32))
    once = BeamDecoder(LETTERS).decode([even_TV])
    assert once == BeamDecoder(LETTERS).decode([even_TV.copy()])


def test_unknown_tokens_of_a_model_have_its_unknown_score():
    assert UNKNOWN in TOKENS.tokens
    decoder = BeamDecoder(("a", "b", "q"), TOKENS, settings=OPEN)
    assert decoder.decode([emissions(6, 4, 1)])


def test_phones_of_lexicons_and_language_models_may_have_another_spelling():
    log_TV = emissions(5, 4, 1)
    lm = train([["b", "t͡ʃ", "a"], ["a", "t͡ʃ"]], 2)
    same = train([["b", "tʃ", "a"], ["a", "tʃ"]], 2)
    assert written(BeamDecoder(PHONES, lm), log_TV) == written(BeamDecoder(PHONES, same), log_TV)
    score = BeamDecoder(PHONES, same).search([log_TV])[0].score
    assert BeamDecoder(PHONES, lm).search([log_TV])[0].score == score
    lexicon = {"ab": [("a", "b")], "tscha": [("tʃ", "a")]}
    one = BeamDecoder(PHONES, None, lexicon).search([log_TV])
    assert BeamDecoder(("a", "b", "t͡ʃ"), None, lexicon).search([log_TV])[0].score == one[0].score


@pytest.mark.parametrize("hotword", ["BB", "Bb", "bb"])
def test_hot_words_may_have_capitals_that_the_model_lacks(hotword):
    log_TV = emissions(5, 4, 1)
    found = BeamDecoder(LETTERS, WORDS, hotwords=[hotword], settings=OPEN).search([log_TV])
    assert found == BeamDecoder(LETTERS, WORDS, hotwords=["bb"], settings=OPEN).search([log_TV])
