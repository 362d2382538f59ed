"""Corpus-level rates, their averages, their interval: by hand, and against jiwer."""

import json
import random
import subprocess
import sys

import jiwer
import numpy as np
import pytest

from speechx.decoding.scoring import Scored, characters, check_references, score, words
from speechx.errors import UserError


def score_words(pairs, languages=None, speakers=None, metric="wer", ids=None, **options):
    """Score (reference, hypothesis) texts with the tokens of the metric."""
    tokens = characters if metric == "cer" else words
    rows = zip(
        ids or [f"u{n}" for n in range(len(pairs))],
        languages or ["es"] * len(pairs),
        speakers or [None] * len(pairs),
        pairs,
        strict=True,
    )
    utterances = [
        Scored(id, language, speaker, tokens(reference), tokens(hypothesis))
        for id, language, speaker, (reference, hypothesis) in rows
    ]
    return score(utterances, metric, **options)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "substitutions", "insertions", "deletions"),
    [
        ("a b c", "a b c", 0, 0, 0),
        ("a b c", "a x c", 1, 0, 0),
        ("a b c", "a b c d", 0, 1, 0),
        ("a b c", "a c", 0, 0, 1),
        ("a b c", "", 0, 0, 3),
        ("a b c", "x y z v", 3, 1, 0),
        ("the cat sat down", "cat sat up down", 0, 1, 1),
        ("tʃ a", "t ʃ a", 1, 1, 0),
    ],
)
def test_edits_counted_by_hand(reference, hypothesis, substitutions, insertions, deletions):
    rate = score_words([(reference, hypothesis)]).overall
    counts = (rate.substitutions, rate.insertions, rate.deletions)
    assert counts == (substitutions, insertions, deletions)
    assert rate.edits == sum(counts)
    assert rate.tokens == len(reference.split())
    assert rate.rate == rate.edits / rate.tokens


def test_corpus_language_mean_and_utterance_mean_are_three_numbers():
    pairs = [
        ("1 2 3 4 5 6 7 8 9 10", "1 2 3 4 5 6 7 8 9 x"),  # es: 1 edit of 10 tokens
        ("a b", "x y"),  # es: 2 of 2
        ("1 2 3 4 5 6 7 8", "1 2 3 4 5 6 7 8"),  # it: 0 of 8
    ]
    result = score_words(pairs, ["es", "es", "it"])
    assert result.overall.rate == 3 / 20
    assert result.languages["es"].rate == 3 / 12
    assert result.languages["it"].rate == 0
    assert result.macro == (3 / 12 + 0) / 2
    assert result.utterance_mean == pytest.approx((1 / 10 + 2 / 2 + 0) / 3)


def test_an_empty_reference_counts_its_insertions():
    result = score_words([("a b c d", "a b c d"), ("", "uh oh")])
    assert (result.overall.insertions, result.overall.tokens) == (2, 4)
    assert result.overall.rate == 2 / 4
    assert result.overall.utterances == 2
    assert result.utterance_mean == (0 / 4 + 2 / 1) / 2


def random_text(generator):
    vocabulary = ["ca", "sa", "è", "o", "mare", "l'alba", "日本", "ы"]
    return " ".join(generator.choices(vocabulary, k=generator.randint(1, 12)))


def test_equals_jiwer():
    generator = random.Random(1)
    pairs = [(random_text(generator), random_text(generator)) for _ in range(200)]
    pairs.append((" two  spaces ", "two spaces"))
    pairs.append(("something", ""))
    references, hypotheses = (list(side) for side in zip(*pairs, strict=True))
    by_words, by_characters = score_words(pairs), score_words(pairs, metric="cer")
    assert by_words.overall.rate == jiwer.wer(references, hypotheses)
    assert by_characters.overall.rate == jiwer.cer(references, hypotheses)
    theirs = jiwer.process_words(references, hypotheses)
    ours = by_words.overall
    assert (ours.substitutions, ours.insertions, ours.deletions) == (
        theirs.substitutions,
        theirs.insertions,
        theirs.deletions,
    )


def test_a_space_is_a_character():
    assert characters(" a b ") == ["a", " ", "b"]
    assert score_words([("ab cd", "abcd")], metric="cer").overall.rate == 1 / 5


def test_phones_are_scored_as_given():
    phones = score([Scored("u", "it", None, ["tʃ", "a"], ["tʃ", "aː"])], "per")
    assert phones.overall.rate == 1 / 2
    assert phones.policy.startswith("PER: phone tokens, no word boundaries; prepared: as given")


def noisy(generator, tokens, error_rate):
    return " ".join("x" if generator.random() < error_rate else "a" for _ in range(tokens))


def test_the_interval_is_a_function_of_the_seed():
    generator = random.Random(2)
    pairs = [("a " * 9, noisy(generator, 9, 0.3)) for _ in range(30)]
    first, again = score_words(pairs, seed=5), score_words(pairs, seed=5)
    other = score_words(pairs, seed=6)
    assert first == again
    assert (first.overall.low, first.overall.high) != (other.overall.low, other.overall.high)
    assert first.overall.low < first.overall.rate < first.overall.high


def test_the_interval_covers_the_true_rate_about_95_times_in_100():
    generator = random.Random(3)
    covered = 0
    for _ in range(200):
        pairs = [("a " * 20, noisy(generator, 20, 0.2)) for _ in range(40)]
        rate = score_words(pairs, resamples=200).overall
        covered += rate.low <= 0.2 <= rate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_speakers_are_resampled_when_all_are_known():
    pairs = [("a b", "a b"), ("a b", "x y")] * 20
    by_speaker = score_words(pairs, speakers=["good", "bad"] * 20).overall
    assert by_speaker.resampled == "2 speakers"
    assert (by_speaker.low, by_speaker.high) == (0, 1)
    partly = score_words(pairs, speakers=["good", None] * 20).overall
    assert partly.resampled == "40 utterances"
    assert 0.3 < partly.low < 0.5 < partly.high < 0.7
    assert score_words(pairs, speakers=["good", ""] * 20).overall.resampled == "40 utterances"
    assert score_words(pairs, speakers=["one"] * 40).overall.resampled == "40 utterances"


def test_several_decodings_of_one_utterance_are_resampled_together():
    """Five equal decodings add no certainty."""
    generator = random.Random(4)
    pairs = [("a " * 9, noisy(generator, 9, 0.3)) for _ in range(20)]
    ids = [f"u{n}" for n in range(20)] * 5
    once, often = score_words(pairs).overall, score_words(pairs * 5, ids=ids).overall
    assert (often.low, often.high) == (once.low, once.high)
    assert (often.resampled, often.utterances) == ("20 utterances", 20)
    assert (often.edits, often.tokens) == (5 * once.edits, 5 * once.tokens)
    apart = score_words(pairs * 5).overall
    assert apart.high - apart.low < 0.7 * (once.high - once.low)
    by_language = score_words(pairs * 5, ["es", "it"] * 50, ids=ids)
    assert by_language.languages["it"].resampled == "10 utterances"


def test_the_policy_says_how_texts_were_prepared():
    pairs = [("a b", "a b")]
    assert "; prepared: as given; " in score_words(pairs).policy
    assert "; prepared: lower case; " in score_words(pairs, prepared="lower case").policy


def test_worst_utterances_come_first_and_perfect_ones_are_not_listed():
    pairs = [("a b c d", "a b c x"), ("a b", "a b"), ("a b", "x y"), ("a b c", "x y z")]
    worst = score_words(pairs).worst
    assert [each.id for each in worst] == ["u3", "u2", "u0"]
    assert (worst[0].reference, worst[0].hypothesis) == ("a b c", "x y z")
    assert (worst[0].edits, worst[0].tokens, worst[0].language) == (3, 3, "es")


def test_to_dict_is_json():
    result = score_words([("a b", "a x"), ("c", "c")], ["es", "it"])
    read = json.loads(json.dumps(result.to_dict()))
    assert read["metric"] == "wer"
    assert read["overall"]["rate"] == 1 / 3
    assert read["languages"]["es"]["edits"] == 1
    assert read["worst"][0]["hypothesis"] == "a x"
    assert read["policy"] == result.policy


def test_table_is_aligned_and_complete():
    pairs = [("a b", "a x"), ("c d e", "c d e f")]
    lines = score_words(pairs, ["es", "pt-BR"]).table().splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == [
        "WER",
        "es",
        "pt-BR",
        "overall",
        "language mean",
        "utterance mean",
    ]
    assert lines[3].split()[1:3] == ["40.0", "%"]
    right_edge = lines[0].index("tokens") + len("tokens")
    assert lines[3][:right_edge].endswith("    5")
    assert lines[-1].startswith("WER: words")


def test_api_misuse_is_a_value_error():
    right = Scored("u", "es", None, ["a"], ["a"])
    with pytest.raises(ValueError, match="wer, cer, per"):
        score([right], "der")
    with pytest.raises(ValueError, match="lists of tokens"):
        score([Scored("u", "es", None, "ab", ["a"])], "wer")


def test_a_rate_without_reference_tokens_is_refused():
    with pytest.raises(UserError, match="no utterance"):
        score([], "per")
    rows = [("es", ["a"]), ("it", []), ("it", [])]
    with pytest.raises(UserError, match="references of it are empty"):
        check_references([Scored("u", language, None, tokens, []) for language, tokens in rows])


def test_scoring_imports_no_torch():
    code = "import sys, speechx.decoding.scoring; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def edit_distance(a, b):
    """By the definition, with nothing of jiwer's."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(before + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def test_edits_equal_the_definition_on_random_sequences():
    random = np.random.default_rng(0)
    pairs = [
        [[str(t) for t in random.integers(0, 4, random.integers(1, 12))] for _ in range(2)]
        for _ in range(200)
    ]
    result = score([Scored(str(n), "xx", None, a, b) for n, (a, b) in enumerate(pairs)], "per")
    assert result.overall.edits == sum(edit_distance(a, b) for a, b in pairs)
    assert result.overall.tokens == sum(len(a) for a, _ in pairs)
