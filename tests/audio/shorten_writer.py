"""A simple shorten encoder for tests, with every command and sample type.

It follows the same description as speechx/audio/shorten.py, but shares no code with it. ffmpeg 5.1
decoded its output to the original samples: 168 streams of 16-bit samples, one and two channels, all
commands, shifts of 0, 1 and 3 bits, with and without means. For mu-law, desphere 0.1.1 did the
same, except with shifts and means, which it handles unlike ffmpeg for 16-bit samples too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

ULAW_1, S16HL, S16LH, ULAW_2 = 0, 3, 5, 8


@dataclass
class Bits:
    """Bits from the highest down."""

    bits: list[str] = field(default_factory=list)

    def number(self, value: int, k: int) -> None:
        self.bits.append("0" * (value >> k) + "1")
        if k:
            self.bits.append(format(value & ((1 << k) - 1), f"0{k}b"))

    def signed(self, value: int, k: int) -> None:
        self.number(~value << 1 | 1 if value < 0 else value << 1, k + 1)

    def long(self, value: int) -> None:
        k = max(0, value.bit_length() - 1)
        self.number(k, 2)
        self.number(value, k)

    def bytes(self) -> bytes:
        text = "".join(self.bits)
        text += "0" * (-len(text) % 32)
        return int(text, 2).to_bytes(len(text) // 8, "big") if text else b""


def c_divided(a: int, b: int) -> int:
    return abs(a) // b * (1 if a >= 0 else -1)


def encode(
    values_SC: np.ndarray,
    kind: int = S16LH,
    version: int = 2,
    block: int = 256,
    means: int = 4,
    order: int = 0,
    commands: Sequence[int] | None = None,
    shift: int = 0,
    coefficients: Sequence[int] = (),
    verbatim: bytes = b"",
) -> bytes:
    """A stream of (S, C) values. `commands` are those of the blocks in turn (0 to 3, 7; 8 is chosen
    where all is zero); None tries all polynomials. `shift` low bits of the values must be zero."""
    out = Bits()
    out.long(kind)
    out.long(values_SC.shape[1])
    out.long(block)
    out.long(order)
    out.long(means)
    out.long(0)
    if verbatim:
        out.number(9, 2)
        out.number(len(verbatim), 5)
        for byte in verbatim:
            out.number(byte, 8)
    if shift:
        out.number(6, 2)
        out.number(shift, 2)
    history = [[0] * max(3, order) for _ in range(values_SC.shape[1])]
    remembered = [[0] * means for _ in range(values_SC.shape[1])]
    length, done = block, 0
    for first in range(0, len(values_SC), block):
        piece_BC = values_SC[first : first + block].astype(int) >> shift
        if len(piece_BC) != length:
            length = len(piece_BC)
            out.number(5, 2)
            out.long(length)
        for channel in range(values_SC.shape[1]):
            samples = piece_BC[:, channel].tolist()
            mean = _mean(remembered[channel], version, shift)
            wanted = None if commands is None else commands[done % len(commands)]
            done += 1
            _block(out, samples, history[channel], mean, wanted, version, coefficients)
            history[channel] = (history[channel] + samples)[-max(3, order) :]
            if means:
                total = sum(samples) + (0 if version < 2 else len(samples) // 2)
                new = c_divided(total, len(samples)) << (0 if version < 2 else shift)
                remembered[channel] = [*remembered[channel][1:], new]
    out.number(4, 2)
    return b"ajkg" + bytes([version]) + out.bytes()


def _mean(remembered: list[int], version: int, shift: int) -> int:
    if not remembered:
        return 0
    if version < 2:
        return c_divided(sum(remembered), len(remembered))
    mean = c_divided(sum(remembered) + len(remembered) // 2, len(remembered))
    return mean if shift == 0 else (mean >> (shift - 1)) >> 1


def _block(
    out: Bits,
    samples: list[int],
    before: list[int],
    mean: int,
    command: int | None,
    version: int,
    coefficients: Sequence[int],
) -> None:
    if not any(samples) and command in (None, 8):
        out.number(8, 2)
        return
    all_ = [*before, *samples]
    at = len(before)

    def residual(which: int) -> list[int]:
        if which == 7:
            less = [value - mean for value in all_]
            rounding = 32 if version > 1 else 0
            found = []
            for n in range(at, len(all_)):
                pairs = zip(coefficients, reversed(less[n - len(coefficients) : n]), strict=True)
                found.append(less[n] - ((rounding + sum(c * x for c, x in pairs)) >> 5))
            return found
        if which == 0:
            return [value - mean for value in samples]
        differences = np.array(all_)
        for _ in range(which):
            differences = np.diff(differences)
        return differences[-len(samples) :].tolist()

    choices = range(4) if command is None else [command]
    best = min(choices, key=lambda which: sum(map(abs, residual(which))))
    found = residual(best)
    k = max(0, int(np.mean(np.abs(found)) + 1).bit_length() - 1)
    out.number(best, 2)
    out.number(k, 3)
    if best == 7:
        out.number(len(coefficients), 2)
        for coefficient in coefficients:
            out.signed(coefficient, 5)
    for value in found:
        out.signed(value, k)
