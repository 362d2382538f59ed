"""Shorten, the lossless compression of older corpora: decodes a stream that begins with `ajkg`.

Tony Robinson, SHORTEN: Simple lossless and near-lossless waveform compression, CUED/F-INFENG/TR.156
(1994). The highest bit of a byte comes first. Unsigned numbers are Rice codes u(k): the part above
the k lowest bits in unary (zeros, then a one), then the k bits. `long` is u(u(2)). Signed numbers
s(k) are u(k+1) with the sign in the lowest bit. After `ajkg` and a version byte come the sample
type, the channels, the block length B, the highest order of prediction, the number M of block means
to remember, and a number of bytes to skip (all `long`); then commands u(2):

    0-3  a block of one channel, in turn: u(3) = k, then B residuals s(k) of the polynomial
         predictor of that order; order 0 predicts the mean of the last M block means
    7    the same for a linear predictor of u(2) coefficients s(5), in 1/32, after that mean is
         subtracted
    8    a block of zeros
    5    a new B, `long`         6  the lowest u(2) bits of all samples are zero and not coded
    9    u(5) bytes u(8), the header of the original file          4  the end

Codes are followed one by one (a table gives the next one-bit of every position); numpy does
everything else except linear prediction: ten minutes of telephone speech in about a second.

    for block_BC in Shorten(data).blocks(): ...      # int16 values, or bytes of mu-law

A damaged or unsupported stream is a `ValueError`.

    S samples · B samples of a block · C channels · P bit positions
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cache
from operator import mul

import numpy as np

MAGIC = b"ajkg"
VERSIONS = (1, 2, 3)
PCM = frozenset((3, 5))  # 16 bits; the types differ in the byte order of the original file
ULAW_1, ULAW_2 = 0, 8
TYPES = {
    0: "ulaw", 1: "8-bit", 2: "unsigned 8-bit", 3: "16-bit", 4: "unsigned 16-bit", 5: "16-bit",
    6: "unsigned 16-bit", 7: "lossy ulaw", 8: "ulaw", 9: "alaw", 10: "lossy alaw",
}  # fmt: skip

# Limits that no encoder exceeds, so that a damaged stream does not cost memory or time.
MOST_CHANNELS = 8
LONGEST_BLOCK = 65_535
HIGHEST_ORDER = 128
MOST_MEANS = 4096
MOST_BITS = 32
MOST_ULAW_SHIFT = 12

_QUIT, _BLOCK_LENGTH, _SHIFT, _LINEAR, _ZEROS, _VERBATIM = 4, 5, 6, 7, 8, 9
_WINDOW_BYTES = 1 << 15
_SLACK_BYTES = 16


class CutStream(ValueError):
    """The stream is sound so far, and then it ends."""


class Shorten:
    """Reads the header of a stream; `blocks` decodes the rest, once."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(MAGIC):
            raise ValueError("does not begin with ajkg")
        if len(data) < 5 or data[4] not in VERSIONS:
            version = data[4] if len(data) > 4 else "none"
            raise ValueError(f"has version {version}; versions 1 to 3 are supported")
        self.version = data[4]
        self._bits = _Bits(data[5:])
        self.type = self._bits.long()
        if self.type not in PCM and self.type not in (ULAW_1, ULAW_2):
            raise ValueError(f"holds {TYPES.get(self.type, f'type {self.type}')} samples")
        self.channels = self._limited("channels", 1, MOST_CHANNELS)
        self._length = self._limited("samples in a block", 1, LONGEST_BLOCK)
        self._order = self._limited("coefficients", 0, HIGHEST_ORDER)
        self._means = self._limited("block means", 0, MOST_MEANS)
        for _ in range(self._limited("bytes to skip", 0, 1 << 16)):
            self._bits.number(7)

    def _limited(self, name: str, least: int, most: int) -> int:
        value = self._bits.long()
        if not least <= value <= most:
            raise ValueError(f"is damaged: it claims {value} {name}")
        return value

    def blocks(self) -> Iterator[np.ndarray]:
        """Blocks (B, C), int16: values of 16-bit samples, or mu-law bytes."""
        keep = max(3, self._order)
        channels = [_Channel(self._means, keep) for _ in range(self.channels)]
        bits, shift = self._bits, 0
        done: list[np.ndarray] = []
        while (command := bits.number(2)) != _QUIT:
            if command == _BLOCK_LENGTH:
                self._length = self._limited("samples in a block", 1, LONGEST_BLOCK)
            elif command == _SHIFT:
                shift = bits.number(2)
                if shift > MOST_BITS:
                    raise ValueError(f"is damaged: it claims samples shifted by {shift} bits")
            elif command == _VERBATIM:
                for _ in range(bits.number(5)):
                    bits.number(8)
            elif command <= _ZEROS:
                block_B = self._block(command, channels[len(done)], shift)
                done.append(self._samples(block_B, shift))
                if len(done) == self.channels:
                    if len({len(block_B) for block_B in done}) > 1:
                        raise ValueError("is damaged: channels have blocks of different lengths")
                    yield np.stack(done, axis=1)
                    done = []
            else:
                raise ValueError(f"is damaged: it has an unknown command {command}")
        if done:
            raise ValueError("is damaged: the last block lacks channels")

    def _block(self, command: int, channel: _Channel, shift: int) -> np.ndarray:
        """The next block of one channel, before the shift."""
        count = self._length
        if command == _ZEROS:
            block_B = np.zeros(count, np.int64)
        else:
            k = self._bits.number(3)
            if k > MOST_BITS:
                raise ValueError(f"is damaged: it claims residuals of {k} bits")
            mean = channel.mean(self.version, shift)
            if command == _LINEAR:
                order = self._bits.number(2)
                if order > self._order:
                    raise ValueError(f"is damaged: it claims {order} coefficients")
                coefficients = [self._bits.signed(5) for _ in range(order)]
                residual_B = self._bits.residuals(count, k)
                rounding = 32 if self.version > 1 else 0
                block_B = _linear(residual_B, coefficients, channel.last(order), mean, rounding)
            else:
                residual_B = self._bits.residuals(count, k)
                block_B = _polynomial(residual_B, command, channel.last(3), mean)
        if block_B.max() >= 1 << 31 or block_B.min() < -(1 << 31):
            raise ValueError("is damaged: samples are beyond 32 bits")
        channel.remember(block_B, self.version, shift)
        return block_B

    def _samples(self, block_B: np.ndarray, shift: int) -> np.ndarray:
        if self.type in PCM:
            block_B = block_B << shift if block_B.any() else block_B
            if np.abs(block_B).max() > 1 << 16:  # lossy streams may exceed 16 bits slightly
                raise ValueError("is damaged: samples are beyond 16 bits")
            return block_B.clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)
        if block_B.min() < -128 or block_B.max() > 127 or shift > MOST_ULAW_SHIFT:
            raise ValueError("is damaged: it has impossible mu-law samples")
        return _ulaw_tables(self.type)[shift, block_B + 128]


class _Channel:
    """The state of one channel for the prediction of its next block."""

    def __init__(self, means: int, keep: int) -> None:
        self._means = deque([0] * means, maxlen=means)
        self._last = deque([0] * keep, maxlen=keep)

    def mean(self, version: int, shift: int) -> int:
        if not self._means:
            return 0
        mean = _mean(sum(self._means), len(self._means), version)
        return mean >> shift if version > 1 else mean

    def last(self, count: int) -> list[int]:
        """The last samples, the oldest first."""
        return list(self._last)[len(self._last) - count :]

    def remember(self, block_B: np.ndarray, version: int, shift: int) -> None:
        self._last.extend(block_B[-len(self._last) :].tolist())
        mean = _mean(int(block_B.sum()), len(block_B), version)
        self._means.append(mean << shift if version > 1 else mean)


def _polynomial(residual_B: np.ndarray, order: int, last: list[int], mean: int) -> np.ndarray:
    """Samples whose differences of this order are the residuals."""
    if order == 0:
        return residual_B + mean
    summed_B = residual_B
    for below in reversed(range(order)):  # the last difference of this order before the block
        summed_B = np.cumsum(summed_B) + np.diff(last, below)[-1]
    return summed_B


def _linear(
    residual_B: np.ndarray, coefficients: list[int], last: list[int], mean: int, rounding: int
) -> np.ndarray:
    """Samples of a linear predictor; a loop, because each sample needs the one before."""
    order = len(coefficients)
    backwards = coefficients[::-1]
    samples = [value - mean for value in last]
    for residual in residual_B.tolist():
        predicted = rounding + sum(map(mul, backwards, samples[len(samples) - order :]))
        value = residual + (predicted >> 5)
        if not -(1 << 40) < value < 1 << 40:
            raise ValueError("is damaged: samples are beyond 32 bits")
        samples.append(value)
    return np.array(samples[order:], np.int64) + mean


def _mean(total: int, count: int, version: int) -> int:
    """An integer mean; the division rounds towards zero, as in C."""
    total += count // 2 if version > 1 else 0
    return total // count if total >= 0 else -(-total // count)


class _Bits:
    """Reads codes. Positions are in bits from the beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._size = 8 * len(data)
        self._at = 0
        self._first = 0  # of the window in which the positions of one-bits are known
        self._load()

    def number(self, k: int) -> int:
        """The next u(k)."""
        if k > MOST_BITS:
            raise ValueError(f"is damaged: it claims numbers of {k} bits")
        start = self._at - self._first
        one = self._following[start] if start < len(self._following) else _NONE
        if one == _NONE:
            return int(self._codes(1, k)[0])
        self._at = self._first + one + 1 + k
        if self._at > self._size:
            raise CutStream("ends before its end mark")
        low = (int(self._words[(one + 1) >> 3]) >> (64 - ((one + 1) & 7) - k)) & ((1 << k) - 1)
        return (one - start) << k | low

    def signed(self, k: int) -> int:
        """The next s(k)."""
        value = self.number(k + 1)
        return ~(value >> 1) if value & 1 else value >> 1

    def long(self) -> int:
        return self.number(self.number(2))

    def residuals(self, count: int, k: int) -> np.ndarray:
        """The next `count` s(k)."""
        codes_B = self._codes(count, k + 1)
        return (codes_B >> 1) ^ -(codes_B & 1)

    def _codes(self, count: int, k: int) -> np.ndarray:
        """The next `count` u(k), int64."""
        codes_B = self._codes_in_window(count, k)
        while len(codes_B) < count:
            self._load()
            more_B = self._codes_in_window(count - len(codes_B), k)
            if not len(more_B):
                at_end = self._first + len(self._following) >= self._size
                raise ValueError(
                    "ends before its end mark" if at_end else "is damaged: a code is too long"
                )
            codes_B = np.concatenate((codes_B, more_B))
        return codes_B

    def _codes_in_window(self, count: int, k: int) -> np.ndarray:
        """The next `count` u(k), or fewer if the window ends before their ones."""
        following, width = self._following, k + 1
        position = start = self._at - self._first
        ones: list[int] = []
        add = ones.append
        try:
            for _ in range(count):
                position = following[position]
                add(position)
                position += width
        except IndexError:  # the window ends within a code
            pass
        if ones and ones[-1] == _NONE:
            ones.pop()
        if not ones:
            return np.zeros(0, np.int64)
        one_B = np.array(ones, np.int64)
        self._at = self._first + ones[-1] + width
        if self._at > self._size:
            raise CutStream("ends before its end mark")
        zeros_B = np.diff(one_B, prepend=start - width) - width
        if not k:
            return zeros_B
        after_B = one_B + 1
        shift_B = (after_B & 7).astype(np.uint64)
        low_B = (self._words[after_B >> 3] << shift_B) >> np.uint64(64 - k)
        return (zeros_B << k) | low_B.astype(np.int64)

    def _load(self) -> None:
        """Moves the window to the current position."""
        if self._at >= self._size:
            raise CutStream("ends before its end mark")
        byte = self._at >> 3
        data = self._data[byte : byte + _WINDOW_BYTES + _SLACK_BYTES]
        self._first = 8 * byte
        padded = np.pad(data, (0, _WINDOW_BYTES + 2 * _SLACK_BYTES - len(data)))
        eight = np.lib.stride_tricks.sliding_window_view(padded, 8)
        self._words = eight.copy().view(">u8")[:, 0].astype(np.uint64)  # from every byte on
        bits_P = np.unpackbits(data[:_WINDOW_BYTES])
        ones_P = np.where(bits_P, np.arange(len(bits_P), dtype=np.int64), _NONE)
        self._following = np.minimum.accumulate(ones_P[::-1])[::-1].copy().data


_NONE = 1 << 40


@cache
def _ulaw_tables(kind: int) -> np.ndarray:
    """The mu-law byte of each value -128..127, for every number of zero bits (shift).

    Values number the bytes by loudness: from zero up for positive bytes, from -1 down for negative
    ones. The bytes of samples that are multiples of 8 << shift come first, then all others, so that
    the values of coarse samples stay small. The negative zero, 127, comes between the two in type 0
    and before both in type 8.
    """
    tables = np.zeros((MOST_ULAW_SHIFT + 1, 256), np.int16)
    for shift in range(MOST_ULAW_SHIFT + 1):
        coarse = {_ulaw(sample) for sample in range(-(1 << 15), 1 << 15, 8 << shift)}
        up = sorted(range(255, 127, -1), key=lambda byte: byte not in coarse)
        down = sorted(range(126, -1, -1), key=lambda byte: byte not in coarse)
        down.insert(0 if kind == ULAW_2 else len(coarse.intersection(down)), 127)
        tables[shift] = [*reversed(down), *up]
    return tables


def _ulaw(sample: int) -> int:
    """G.711: the mu-law byte of a 16-bit sample."""
    magnitude = min(abs(sample), 32_635) + 132
    exponent = magnitude.bit_length() - 8
    byte = ~(exponent << 4 | (magnitude >> (exponent + 3)) & 15) & 127
    return byte | (0 if sample < 0 else 128)
