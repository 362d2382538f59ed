"""The fast reader of 16-bit WAV gives the samples of libsndfile, or None for other files."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from speechx.audio.plain_wav import plain_wav


def wav(samples, rate=16_000, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", **options)
    return file.getvalue()


def test_the_same_samples_as_libsndfile():
    samples_S = np.random.default_rng(0).integers(-32768, 32767, 1000).astype(np.int16)
    sound = plain_wav(wav(samples_S, 8_000))
    assert (sound.samplerate, sound.channels, sound.frames) == (8_000, 1, 1000)
    expected_S = soundfile.read(io.BytesIO(wav(samples_S)), dtype="float32")[0]
    first_S = sound.read(300)
    assert first_S.dtype == np.float32
    np.testing.assert_array_equal(first_S[:, 0], expected_S[:300])
    np.testing.assert_array_equal(sound.read(9000)[:, 0], expected_S[300:])
    assert len(sound.read(1)) == 0
    sound.seek(990)
    np.testing.assert_array_equal(sound.read(5)[:, 0], expected_S[990:995])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(44),
        wav(np.zeros((10, 2))),
        wav(np.zeros(10), subtype="FLOAT"),
        wav(np.zeros(10), subtype="PCM_24"),
        wav(np.zeros(10))[:-2],
        wav(np.zeros(10)) + b"LIST",
        wav(np.zeros(10)).replace(b"data", b"fact"),
    ],
)
def test_anything_else_is_left_to_libsndfile(data):
    assert plain_wav(data) is None
