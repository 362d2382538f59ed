"""Decoders: repeats collapsed, blanks dropped, times and probabilities kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from speechx.decoding.decoder import GreedyDecoder, MappedDecoder, TokenSpan
from speechx.decoding.mapping import Mapping, MappingRow

ABC = GreedyDecoder(("a", "b", "c"))


def log_probabilities(path, best=0.7, outputs=4):
    """Frames whose best outputs are `path`, each with probability `best`."""
    probabilities_TV = np.full((len(path), outputs), (1 - best) / (outputs - 1))
    for frame, token in enumerate(path):
        probabilities_TV[frame, token] = best
    return np.log(probabilities_TV)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([1, 2, 3], "abc"),
        ([0, 1, 1, 0, 0, 2], "ab"),
        ([1, 1, 1], "a"),
        ([1, 0, 1], "aa"),
        ([0, 0, 0], ""),
        ([3], "c"),
        ([0], ""),
        ([], ""),
    ],
)
def test_repeats_and_blanks(path, text):
    assert "".join(span.token for span in ABC.decode([log_probabilities(path)])[0]) == text


def test_equals_the_definition_on_all_paths_of_four_frames():
    for path in itertools.product(range(3), repeat=4):
        collapsed = ["-ab"[token] for token, _ in itertools.groupby(path) if token != 0]
        decoded = GreedyDecoder(("a", "b")).decode([log_probabilities(path, outputs=3)])[0]
        assert [span.token for span in decoded] == collapsed


def test_first_and_last_frame_and_mean_probability():
    table_TV = log_probabilities([0, 2, 2, 0, 1])
    table_TV[2] = np.log([0.05, 0.025, 0.9, 0.025])
    ((two, one),) = ABC.decode([table_TV])
    assert two == TokenSpan("b", 1, 2, pytest.approx(0.8))
    assert one == TokenSpan("a", 4, 4, pytest.approx(0.7))


def test_a_mapped_decoder_adds_the_probabilities_of_phones_with_one_target():
    """b and c are each less likely than a, but both are the target y."""
    rows = [("a", "x"), ("b", "y"), ("c", "y")]
    mapping = Mapping(
        ("a", "b", "c"), ("x", "y"), tuple(MappingRow(s, t, 0.0, "nearest") for s, t in rows)
    )
    frame_1V = np.log([[0.1, 0.4, 0.25, 0.25]])
    ((span,),) = MappedDecoder(mapping).decode([frame_1V])
    assert (span.token, span.probability) == ("y", pytest.approx(0.5))
    assert [span.token for span in ABC.decode([frame_1V])[0]] == ["a"]
