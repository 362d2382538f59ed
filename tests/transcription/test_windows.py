"""Windows of a recording that comes in blocks, and parts of outputs that end in pauses."""

from __future__ import annotations

import numpy as np
import pytest

from speechx.decoding.decoder import GreedyDecoder
from speechx.models.features.convolutional import ConvolutionalConfig
from speechx.transcription.windows import Pauses, pieces, windows

FEATURES = ConvolutionalConfig()


@pytest.mark.parametrize("seconds", [0.0, 0.01, 29.99, 30.0, 32.0, 32.02, 34.5, 95.3])
@pytest.mark.parametrize("block", [1.3, 30.0, 200.0])
def test_every_frame_is_in_one_window(seconds, block):
    samples = round(seconds * 16_000)
    wave_S = np.arange(samples, dtype=np.float32)
    size = round(block * 16_000)
    blocks = [wave_S[at : at + size] for at in range(0, samples, size)]
    frame, last, done = 0, 0, 0.0
    for window in windows(blocks, FEATURES):
        first = window.wave_S[0] / 320
        assert first + window.skip == frame
        assert FEATURES.frames(len(window.wave_S)) >= window.skip + window.frames
        frame += window.frames
        last = int(window.wave_S[-1]) + 1
        done += window.seconds
    assert frame == FEATURES.frames(samples)
    if frame:
        assert last == samples
        assert done == pytest.approx(seconds)


def test_pieces_are_of_equal_length_and_hold_every_sample():
    wave_S = np.arange(16_000 * 65 + 1, dtype=np.float32)
    found = list(pieces(iter(np.array_split(wave_S, 11)), len(wave_S)))
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert max(map(len, found)) <= 30 * 16_000
    np.testing.assert_array_equal(np.concatenate(found), wave_S)


@pytest.mark.parametrize("blanks", [0.0, 0.3, 0.9])
def test_parts_are_decoded_as_the_whole(blanks):
    random = np.random.default_rng(0)
    best_T = random.integers(1, 4, 5000) * (random.random(5000) >= blanks)
    outputs_TV = np.full((5000, 4), -9.0, np.float32)
    outputs_TV[np.arange(5000), best_T] = -0.1
    decoder, pauses, spans = GreedyDecoder(("a", "b", "c")), Pauses(300), []
    parts = []
    for block_TV in np.array_split(outputs_TV, 37):
        parts += pauses.add(block_TV)
    parts += pauses.rest()
    assert len(parts) > 4
    for first, part_TV in parts:
        spans += [(s.token, s.first + first, s.last + first) for s in decoder.decode([part_TV])[0]]
    assert spans == [(s.token, s.first, s.last) for s in decoder.decode([outputs_TV])[0]]
