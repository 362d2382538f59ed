"""Shorten streams are decoded exactly; damaged ones are errors that cost little time and memory."""

import itertools
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechx.audio.shorten import Shorten
from tests.audio.shorten_writer import S16HL, S16LH, ULAW_1, ULAW_2, Bits, encode

COEFFICIENTS = (40, -20, 5)


def decode(stream: bytes) -> np.ndarray:
    return np.concatenate(list(Shorten(stream).blocks()))


def signal(channels: int, samples: int = 900, shift: int = 0) -> np.ndarray:
    """Something with a pitch, noise, an offset and a silence; (S, C)."""
    random = np.random.default_rng(channels)
    time_S = np.arange(samples) / 8000
    tones = [8000 * np.sin(2 * np.pi * (200 + 77 * c) * time_S) for c in range(channels)]
    values_SC = np.stack(tones, axis=1) + 300 * random.standard_normal((samples, channels)) + 500
    values_SC[300:700] = 0
    return (values_SC.astype(int) >> shift) << shift


def to_values(byte_SC: np.ndarray, kind: int) -> np.ndarray:
    """Mu-law bytes as an encoder counts them: by loudness, with -0 at -128 or (type 8) at -1."""
    value_SC = np.where(byte_SC > 127, 255 - byte_SC, byte_SC.astype(int) - 127)
    if kind == ULAW_1:
        return np.where(byte_SC == 127, -128, value_SC)
    return np.where(byte_SC == 127, -1, np.where(byte_SC < 127, value_SC - 1, value_SC))


@pytest.mark.parametrize("commands", [None, [0], [1], [2], [3], [7], [0, 3, 7, 1]], ids=str)
@pytest.mark.parametrize("channels", [1, 2])
def test_sixteen_bit_samples_come_back(commands: Sequence[int] | None, channels: int) -> None:
    for version, shift, means, block in itertools.product((1, 2, 3), (0, 2), (0, 4), (256, 100)):
        values_SC = signal(channels, shift=shift)
        kind = S16HL if block == 256 else S16LH
        stream = encode(
            values_SC, kind, version, block, means, len(COEFFICIENTS), commands, shift, COEFFICIENTS
        )
        assert (decode(stream) == values_SC).all(), (version, shift, means, block)


@pytest.mark.parametrize("kind", [ULAW_1, ULAW_2])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_byte_of_mu_law_comes_back(kind: int, channels: int) -> None:
    random = np.random.default_rng(3)
    byte_SC = random.integers(0, 256, (1200, channels))
    byte_SC[300:700] = 255
    for commands in (None, [0, 1, 7]):
        stream = encode(to_values(byte_SC, kind), kind, 2, 256, 4, 3, commands, 0, COEFFICIENTS)
        assert (decode(stream) == byte_SC).all()


def test_mu_law_with_zero_bits_counts_the_bytes_that_have_them() -> None:
    """Digital silence is coded with 12 such bits; quiet sound of a coarse converter with some."""

    def byte_of(sample: int) -> int:  # ITU-T G.711, table 2a: the interval that the sample is in
        magnitude = min(abs(sample), 32635) + 132
        e = max(e for e in range(8) if magnitude >= 128 << e)
        code = e * 16 + (magnitude >> (e + 3)) % 16
        return 255 - code - (128 if sample < 0 else 0)

    for shift in range(1, 8):
        step = 8 << shift
        samples = np.arange(-40, 41)[:, None] * step
        byte_S1 = np.vectorize(byte_of)(samples)
        ranks = {b: n for n, b in enumerate(dict.fromkeys(byte_S1[40:, 0].tolist()))}
        below = {b: -1 - n for n, b in enumerate(dict.fromkeys(byte_S1[39::-1, 0].tolist()))}
        value_S1 = np.array([[ranks.get(b, below.get(b))] for b in byte_S1[:, 0].tolist()])
        value_S1 = np.where(value_S1 < 0, value_S1 - 1, value_S1)  # -1 is the negative zero
        stream = encode(value_S1 << shift, ULAW_2, 2, 256, 4, 0, None, shift)
        assert (decode(stream) == byte_S1).all(), shift


def test_codes_are_followed_across_windows() -> None:
    """A stream of more than one window (32 KB), with the loudest possible noise."""
    random = np.random.default_rng(0)
    values_SC = random.integers(-32768, 32768, (60_000, 1))
    values_SC[20_000:30_000] //= 10_000
    assert (decode(encode(values_SC, block=1000)) == values_SC).all()


def test_an_embedded_file_header_is_skipped() -> None:
    values_SC = signal(1)
    assert (decode(encode(values_SC, verbatim=bytes(range(44)))) == values_SC).all()


@pytest.mark.parametrize("kind", [1, 2, 4, 6, 7, 9, 10, 11])
def test_the_error_for_other_sample_types_names_them(kind: int) -> None:
    with pytest.raises(ValueError, match=r"holds .* samples"):
        Shorten(encode(signal(1), kind))


@pytest.mark.parametrize(
    ("stream", "fact"),
    [
        (b"", "does not begin with ajkg"),
        (b"ajkg", "version none"),
        (b"ajkg\x00" + bytes(20), "version 0"),
        (b"ajkg\x07" + bytes(20), "version 7"),
        (b"ajkg\x02", "ends before its end mark"),
        (b"ajkg\x02" + bytes(1 << 16), "a code is too long"),
    ],
    ids=["empty", "only a name", "version 0", "version 7", "nothing after it", "zeros"],
)
def test_the_error_for_other_data_says_why(stream: bytes, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        decode(stream)


def header(*numbers: int) -> Bits:
    bits = Bits()
    for number in numbers:
        bits.long(number)
    return bits


@pytest.mark.parametrize(
    ("numbers", "fact"),
    [
        ((5, 9, 256, 0, 4, 0), "9 channels"),
        ((5, 0, 256, 0, 4, 0), "0 channels"),
        ((5, 1, 0, 0, 4, 0), "0 samples in a block"),
        ((5, 1, 1 << 30, 0, 4, 0), "1073741824 samples in a block"),
        ((5, 1, 256, 1 << 30, 4, 0), "coefficients"),
        ((5, 1, 256, 0, 1 << 30, 0), "block means"),
        ((5, 1, 256, 0, 4, 1 << 30), "bytes to skip"),
    ],
)
def test_an_impossible_header_is_an_error(numbers: tuple[int, ...], fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        Shorten(b"ajkg\x02" + header(*numbers).bytes())


def test_a_stream_that_is_cut_anywhere_is_an_error() -> None:
    stream = encode(signal(2), order=3, commands=[0, 1, 2, 3, 7], coefficients=COEFFICIENTS)
    for length in range(6, len(stream) - 4, 97):
        with pytest.raises(ValueError, match=r"ends before its end mark|is damaged"):
            decode(stream[:length])


def decode_or_refuse(stream: bytes) -> None:
    """Decodes at most about a million samples; a ValueError is the only error allowed."""
    samples = 0
    with suppress(ValueError):
        for block_BC in Shorten(stream).blocks():
            assert block_BC.dtype == np.int16
            samples += len(block_BC)
            if samples > 1 << 20:
                return


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_flipped_bits_are_at_most_an_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([S16LH, ULAW_2]))
    values_SC = signal(2, 700) // (1 if kind == S16LH else 400)
    stream = bytearray(encode(values_SC, kind, 2, 128, 4, 3, [0, 1, 7, 3, 2], 0, COEFFICIENTS))
    for _ in range(data.draw(st.integers(1, 6))):
        where = data.draw(st.integers(40, 8 * len(stream) - 1))
        stream[where // 8] ^= 128 >> where % 8
    decode_or_refuse(bytes(stream))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_noise_is_an_error(noise: bytes) -> None:
    decode_or_refuse(b"ajkg\x02" + noise)
