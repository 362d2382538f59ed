"""What is written, and what cannot be: counted, listed, and too much of it an error."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from speechx.data.labels import feasible, frames_needed, labelled, limit, units
from speechx.errors import UserError


def frames(samples):
    return samples // 320


def frames_of(utterance):
    return frames(int(utterance.duration * 16_000))


def too_long(utterance):
    """The same recording with more labels than frames."""
    return replace(utterance, id="long", text="ab" * 200, phones=("a",) * 90)


def test_units_are_normalised_characters_or_the_phones_as_they_are(tones):
    utterance = replace(tones[0], language="es", text="¡Así, SÍ!", phones=("tʃ", "a"))
    assert "".join(units(utterance, "characters")) == "así sí"
    assert tuple(units(utterance, "phonemes")) == ("tʃ", "a")


@pytest.mark.parametrize(
    ("labels", "needed"), [("", 0), ("a", 1), ("ab", 2), ("aa", 3), ("aaa", 5), ("abba", 5)]
)
def test_frames_needed_is_the_length_of_the_shortest_path(labels, needed):
    assert frames_needed(list(labels)) == needed

    def spelled(length):
        paths = itertools.product(" ab", repeat=length)
        said = (tuple(u for u, _ in itertools.groupby(path) if u != " ") for path in paths)
        return tuple(labels) in said

    assert spelled(needed)
    assert not any(spelled(length) for length in range(needed))


def test_labels_longer_than_frames_are_counted_and_listed(tones, tmp_path):
    many = [replace(tones[n % len(tones)], id=f"{n}") for n in range(150)]
    said, listing = [], tmp_path / "too_long.tsv"
    data = [*many, too_long(tones[0])]
    assert feasible(data, "characters", frames, listing, said.append) == many
    assert "1 of 151 utterances have labels longer than their frames" in said[0]
    assert str(listing) in said[0]
    lines = [line.split("\t") for line in listing.read_text().splitlines()]
    assert lines == [
        ["id", "frames", "frames needed (units + repeats)"],
        ["long", str(frames_of(tones[0])), "400"],
    ]
    # Equal neighbours need a blank between them: 90 phones of one kind are 179 frames.
    assert feasible(data, "phonemes", frames, listing, said.append) == many
    assert listing.read_text().splitlines()[1].split("\t")[2] == "179"


def test_more_than_one_in_a_hundred_is_an_error(tones, tmp_path):
    listing = tmp_path / "too_long.tsv"
    with pytest.raises(UserError, match=r"1 of 21 utterances .*too_long\.tsv; more than 1%"):
        feasible([*tones, too_long(tones[0])], "characters", frames, listing, print)
    assert "long" in listing.read_text()


def test_exactly_enough_frames_is_enough(tones, tmp_path):
    listing = tmp_path / "too_long.tsv"
    exact = replace(tones[0], text=("ab" * 99)[: frames_of(tones[0])])
    assert feasible([exact], "characters", frames, listing, print) == [exact]
    assert not listing.exists()
    with pytest.raises(UserError, match="1 of 1 "):
        feasible([replace(exact, text=exact.text + "c")], "characters", frames, listing, print)


def test_utterances_without_labels_are_counted(tones):
    said = []
    some = [tones[0], replace(tones[1], text=None), replace(tones[2], text=" ... ")]
    assert labelled(some, "characters", said.append) == [tones[0]]
    assert said == ["2 of 3 utterances have no characters and are left out (xx_1, xx_2)"]


@pytest.mark.parametrize(
    ("kind", "changes", "advice"),
    [
        (
            "phonemes",
            {"phones": None},
            "needs `phones` in.*data phones` adds phones, .*units=characters",
        ),
        ("characters", {"text": None}, "needs `text` in the manifest.*units=phonemes"),
        ("characters", {"text": None, "phones": None}, "have no labels"),
    ],
)
def test_no_labels_of_the_kind_is_told_what_there_is(tones, kind, changes, advice):
    with pytest.raises(UserError, match=advice):
        labelled([replace(u, **changes) for u in tones], kind, print)


def test_a_limit_in_minutes_is_per_language_and_the_same_for_a_seed(tones):
    some = limit(tones, 4.0, seed=1)
    for language in ("xx", "yy"):
        seconds = sum(u.duration for u in some if u.language == language)
        assert 2.4 < seconds <= 4.0
    assert limit(tones, 4.0, seed=1) == some
    assert limit(tones, 4.0, seed=2) != some
    assert sorted(u.id for u in limit(tones, 999, seed=1)) == sorted(u.id for u in tones)
    with pytest.raises(UserError, match=r"no utterance of xx, yy fits in data\.limit_minutes"):
        limit(tones, 0.1, seed=1)
