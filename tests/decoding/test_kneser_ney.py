"""Language models from text: the formulas, published numbers, another implementation's numbers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import BEGIN, END, UNKNOWN
from speechx.errors import UserError
from speechx.text.normalize import normalize
from speechx.text.shipped import shipped_sentences
from tests.decoding.plain_kneser_ney import PlainKneserNey

WENT = "I went to,I go to,You went to,You go to,Joe went to,Joe go to,Anna went ski,Anna went ski"
NUMBERS = json.loads(Path(__file__).with_name("kenlm_numbers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shipped():
    """Training text and test of the fixture."""
    languages = [
        [normalize(text, language) for text in shipped_sentences(language)]
        for language in ("ca", "de", "el", "es", "fi", "hu", "it", "pt", "ru", "tr")
    ]
    return [t for each in languages for t in each[:-20]], [t for e in languages for t in e[-20:]]


def probability(model, context, token):
    """p(token | context), where a context may begin with <s>."""
    state, (*rest, last) = 0, [*model.ids([*context, token])]
    for each in rest:
        state = int(model.score([state], [each])[1][0])
    return float(np.exp(model.score([state], [last])[0][0]))


def random_sentences(seed, count=60, words="abcdefgh", longest=9):
    random = np.random.default_rng(seed)
    share = 1 / np.arange(1, len(words) + 1)
    return [
        [
            words[i]
            for i in random.choice(len(words), random.integers(1, longest), p=share / share.sum())
        ]
        for _ in range(count)
    ]


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("prune", [(0,), (0, 0, 1), (0, 1, 2)], ids=str)
def test_equals_the_formulas_for_every_context_and_word(order, prune):
    sentences = random_sentences(order)
    model = train(sentences, order, prune[:order])
    plain = PlainKneserNey(sentences, order, prune)
    random = np.random.default_rng(0)
    contexts = [(), (BEGIN,), (BEGIN, "a"), (UNKNOWN,)]
    contexts += [tuple(random.choice([*"abcdefgh"], order)) for _ in range(20)]
    contexts += [(BEGIN, *s[: i + 1]) for i, s in enumerate(sentences[:5])]
    for context in contexts:
        found = [probability(model, context, word) for word in plain.words]
        assert sum(found) == pytest.approx(1, abs=1e-5)
        wanted = [plain.probability(context, word) for word in plain.words]
        assert found == pytest.approx(wanted, rel=1e-5)


def test_equals_a_published_model_of_kenlm():
    """The bigrams and weights of kpu/kenlm issue 405 (comment of 2026-09-19), log 10. There lmplz
    counts the last unigram with its raw count, a mistake that changes the discounts of unigrams, so
    their part is taken off before the comparison."""
    model = train([line.split() for line in WENT.split(",")], 2)
    backoff = {
        BEGIN: -0.059768215, "I": -0.5228788, "went": -0.022929981, "to": -0.30103,
        "Anna": -0.059768215, "ski": -0.059768215,
    }  # fmt: skip
    unigram = {END: -1.1249387, "I": -1.0579919, "went": -0.6726411}
    bigrams = {
        ("to", END): -0.26962152, ("ski", END): -0.7123581, (BEGIN, "I"): -0.9649993,
        ("I", "went"): -0.383262, ("Joe", "went"): -0.383262, ("Anna", "went"): -0.50341624,
    }  # fmt: skip
    unknown = UNKNOWN
    for (first, last), theirs in bigrams.items():
        weight = 10 ** backoff.get(first, backoff["I"])
        own = 10**theirs - weight * 10 ** unigram[last]
        ours = probability(model, [first], last) - weight * probability(model, [], last)
        assert ours == pytest.approx(own, abs=1e-6)
        ratio = probability(model, [first], unknown) / probability(model, [], unknown)
        assert ratio == pytest.approx(weight, rel=1e-5)
    # The unigrams by hand: adjusted counts 2 4 2 3 and five of 1, D = 5/9, 7/6, 7/9.
    went = (4 - 7 / 9) / 16 + (5 * 5 / 9 + 2 * 7 / 6 + 2 * 7 / 9) / 16 / 10
    assert probability(model, [], "went") == pytest.approx(went, rel=1e-5)


@pytest.mark.parametrize("theirs", NUMBERS["models"], ids=lambda m: f"{m['tokens']}-{m['order']}")
def test_perplexity_of_real_text_equals_that_of_kenlm(theirs, shipped):
    divide = str.split if theirs["tokens"] == "words" else list
    training, test = ([divide(sentence) for sentence in part] for part in shipped)
    ours = train(training, theirs["order"], theirs["prune"]).perplexity(test)
    assert ours.overall == pytest.approx(theirs["overall"], rel=1e-5)
    assert ours.known == pytest.approx(theirs["known"], rel=1e-5)
    assert (ours.tokens, ours.unknown) == (theirs["count"], theirs["unknown"])


def test_discounts_out_of_range_fall_back_and_are_logged(caplog):
    """The text of kpu/kenlm issue 95, where lmplz stops: a discount of bigrams is negative."""
    lines = (
        "i am a boy\ni am a small children\ni am a small children\na small children like me\n"
        "a small children\nwho are you\na small world\na small world\nit is a small world\n"
        + "this is it\n" * 3 + "i have a love\n" * 3 + "make a fire\n" * 3 + "i am hero\n" * 3
        + "who are\n" * 3 + "language model\n" * 5 + "girl model\n" * 2 + "boy model\n" * 2
        + "men eater us\n" + "lady love dress bat\n" * 2
    )  # fmt: skip
    sentences = [line.split() for line in lines.splitlines()]
    with caplog.at_level("INFO", "speechx"):
        model = train(sentences, 2)
    (message,) = [record.message for record in caplog.records]
    assert "2-grams" in message
    assert "D = 0.438, -0.771" in message
    assert "0.5, 1, 1.5" in message
    plain = PlainKneserNey(sentences, 2)
    for first, last in itertools.product(("a", "small", BEGIN), ("small", "love", END, UNKNOWN)):
        found = probability(model, [first], last)
        assert found == pytest.approx(plain.probability([first], last), rel=1e-5)


def test_equals_jurafskys_interpolated_kneser_ney_with_one_discount():
    """With D = 0.75 for every count it is the formula of Jurafsky and Martin (section 3.5):
    `Kong` is frequent, but only after `Hong`, so it is less probable elsewhere than `glasses`."""
    sentences = [["Hong", "Kong"]] * 5 + [[w, "glasses"] for w in ("my", "her", "his")]
    model = train(sentences, 2, fallback=(0.75, 0.75, 0.75))
    # Different words before: Kong 1, glasses 3, </s> 2, Hong my her his 1 each; 7 types and <unk>.
    uniform = 0.75 * 7 / 10 / 8
    kong, glasses = (1 - 0.75) / 10 + uniform, (3 - 0.75) / 10 + uniform
    assert probability(model, [], "Kong") == pytest.approx(kong, rel=1e-5)
    assert probability(model, [], "glasses") == pytest.approx(glasses, rel=1e-5)
    after_hong = (5 - 0.75) / 5 + 0.75 / 5 * kong
    assert probability(model, ["Hong"], "Kong") == pytest.approx(after_hong, rel=1e-5)
    assert probability(model, ["my"], "Kong") == pytest.approx(0.75 * kong, rel=1e-5)


def test_an_order_that_no_sentence_has_becomes_lower(caplog):
    with caplog.at_level("INFO", "speechx"):
        model = train([["a"], ["b"], ["a"]], 6)
    assert model.order == 3
    assert any("order is 3" in record.message for record in caplog.records)


def test_pruned_models_are_smaller_and_sum_to_one():
    sentences = random_sentences(7, 200)
    full, pruned = train(sentences, 3), train(sentences, 3, (0, 1))
    assert len(pruned.token_A) < len(full.token_A)
    words = [w for w in pruned.tokens if w != BEGIN]
    assert sum(probability(pruned, ["a", "b"], w) for w in words) == pytest.approx(1, abs=1e-5)
    assert train(sentences, 3, (0, 10_000)).order == 1


@pytest.mark.parametrize(
    ("sentences", "order", "prune", "said"),
    [
        ([], 2, (), "empty"),
        ([[], []], 2, (), "empty"),
        ([["a"]], 0, (), "order from 1 to 6"),
        ([["a"]], 7, (), "order from 1 to 6"),
        ([["a", "<s>"]], 2, (), "<s>"),
        ([["a", "<unk>"]], 2, (), "<unk>"),
        ([["a"]], 2, (1,), "the first of them 0"),
        ([["a"]], 2, (0, -1), "prune"),
        ([["a"]], 3, (0, 2, 1), "do not fall"),
        ([["a"]], 1, (0, 0), "order 1"),
    ],
)
def test_what_cannot_be_trained_is_refused(sentences, order, prune, said):
    with pytest.raises(UserError, match=said):
        train(sentences, order, prune)
