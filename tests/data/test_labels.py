"""The tokens of utterances; labels that cannot be trained on are counted, listed, and an error if
there are many."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from speechx.data.labels import feasible, labelled, limit, tokens_of
from speechx.errors import UserError
from speechx.objectives.ctc import CTCConfig

frames_needed = CTCConfig(tokens="characters").frames_needed


def frames(samples):
    return samples // 320


def frames_of(utterance):
    return frames(int(utterance.duration * 16_000))


def too_long(utterance):
    """The same recording with more labels than frames."""
    return replace(utterance, id="long", text="ab" * 200, phones=("a",) * 90)


def test_tokens_are_normalised_characters_or_the_phones_as_they_are(tones):
    utterance = replace(tones[0], language="es", text="¡Así, SÍ!", phones=("tʃ", "a"))
    assert "".join(tokens_of(utterance, "characters")) == "así sí"
    assert tuple(tokens_of(utterance, "phonemes")) == ("tʃ", "a")
    assert tokens_of(utterance, "languages") == ["es"]


@pytest.mark.parametrize(
    ("labels", "needed"), [("", 0), ("a", 1), ("ab", 2), ("aa", 3), ("aaa", 5), ("abba", 5)]
)
def test_frames_needed_is_the_length_of_the_shortest_path(labels, needed):
    assert frames_needed(list(labels)) == needed

    def spelled(length):
        paths = itertools.product(" ab", repeat=length)
        texts = (tuple(u for u, _ in itertools.groupby(path) if u != " ") for path in paths)
        return tuple(labels) in texts

    assert spelled(needed)
    assert not any(spelled(length) for length in range(needed))


def possible(utterances, token_type, listing):
    return feasible(utterances, token_type, frames, frames_needed, listing)


def test_labels_longer_than_frames_are_counted_and_listed(tones, tmp_path, capsys):
    many = [replace(tones[n % len(tones)], id=f"{n}") for n in range(150)]
    listing = tmp_path / "too_long.tsv"
    data = [*many, too_long(tones[0])]
    assert possible(data, "characters", listing) == many
    message = capsys.readouterr().err
    assert "1 of 151" in message
    assert str(listing) in message
    head, line = (line.split("\t") for line in listing.read_text().splitlines())
    assert len(head) == 3
    assert line == ["long", str(frames_of(tones[0])), "400"]
    # Equal neighbours need a blank between them: 90 phones of one kind are 179 frames.
    assert possible(data, "phonemes", listing) == many
    assert listing.read_text().splitlines()[1].split("\t")[2] == "179"
    assert possible(many, "phonemes", listing) == many
    assert not listing.exists()  # it was of another run


def test_more_than_one_in_a_hundred_is_an_error(tones, tmp_path):
    listing = tmp_path / "too_long.tsv"
    with pytest.raises(UserError, match=r"1 of 21 .*too_long\.tsv.*1%"):
        possible([*tones, too_long(tones[0])], "characters", listing)
    assert "long" in listing.read_text()


def test_exactly_enough_frames_is_enough(tones, tmp_path):
    listing = tmp_path / "too_long.tsv"
    exact = replace(tones[0], text=("ab" * 99)[: frames_of(tones[0])])
    assert possible([exact], "characters", listing) == [exact]
    assert not listing.exists()
    with pytest.raises(UserError, match="1 of 1 "):
        possible([replace(exact, text=exact.text + "c")], "characters", listing)


def test_utterances_without_labels_are_counted(tones, capsys):
    some = [tones[0], replace(tones[1], text=None), replace(tones[2], text=" ... ")]
    assert labelled(some, "characters") == [tones[0]]
    message = capsys.readouterr().err
    for fact in ("2 of 3", "characters", "xx_1, xx_2"):
        assert fact in message


@pytest.mark.parametrize(
    ("token_type", "changes", "facts"),
    [
        (
            "phonemes",
            {"phones": None},
            ("`phones`", "speechx data phones", "objective.tokens=characters"),
        ),
        ("characters", {"text": None}, ("`text`", "objective.tokens=phonemes")),
        ("characters", {"text": None, "phones": None}, ("`text`", "20", "no labels")),
    ],
)
def test_an_error_about_missing_labels_names_the_labels_that_are_there(
    tones, token_type, changes, facts
):
    with pytest.raises(UserError) as caught:
        labelled([replace(u, **changes) for u in tones], token_type)
    for fact in facts:
        assert fact in str(caught.value)


def test_a_limit_in_minutes_is_per_language_and_the_same_for_a_seed(tones):
    some = limit(tones, 4.0, seed=1)
    for language in ("xx", "yy"):
        seconds = sum(u.duration for u in some if u.language == language)
        assert 2.4 < seconds <= 4.0
    assert limit(tones, 4.0, seed=1) == some
    assert limit(tones, 4.0, seed=2) != some
    assert sorted(u.id for u in limit(tones, 999, seed=1)) == sorted(u.id for u in tones)
    with pytest.raises(UserError, match=r"xx, yy .*data\.limit_minutes"):
        limit(tones, 0.1, seed=1)
