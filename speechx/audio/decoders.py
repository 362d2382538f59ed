"""Open sounds: what libsndfile decodes, a FLAC that mends its length, and sounds one after another.

A sound has `format`, `subtype`, `samplerate`, `channels`, `frames`, and `promised`: the length in
its header divided by the length that is present; infinity if the missing length is unknown.

    S samples · C channels
"""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
import soxr

from speechx.audio.channels import OPPOSITE_PHASE, mean
from speechx.audio.spliced import Piece, Spliced

UNKNOWN_FRAMES = 1 << 62
MOST_SECONDS = 360_000.0  # a header that promises more than 100 hours is nonsense
BLOCK_FRAMES = 1 << 20


class OpenSound(Protocol):
    """An open sound; `read` gives the next frames (S, C), fewer at the end."""

    format: str
    subtype: str
    samplerate: int
    channels: int
    frames: int
    promised: float

    def seek(self, frame: int) -> object: ...

    def read(self, frames: int, dtype: str = ..., always_2d: bool = ...) -> np.ndarray: ...


class Decoded:
    """What libsndfile decodes of a file: a descriptor, or an open file."""

    def __init__(self, file: int | Any, promised: float = 1.0) -> None:
        self.promised, self.frames = promised, 0
        self._open(file)
        if self.frames > MOST_SECONDS * self.samplerate and self.format != "FLAC":
            self._count()

    def _open(self, file: int | Any) -> None:
        self._source = file
        self._sound = sound = soundfile.SoundFile(file, closefd=False)
        self.format, self.subtype = sound.format, sound.subtype
        self.samplerate, self.channels, self.frames = sound.samplerate, sound.channels, sound.frames
        if self.format == "MP3":
            # After each read soundfile seeks to the current position; the mp3 decoder may then lose
            # a frame. (In other formats this seek detects headers that claim too many frames.)
            sound.seekable = lambda: False

    def _reopen(self) -> None:
        self._sound.close()
        file = self._source
        rewind = file.seek if not isinstance(file, int) else partial(os.lseek, file)
        rewind(0, os.SEEK_SET)
        self._open(file)

    def _count(self) -> None:
        """Decodes and counts the frames if the length in the header is impossible."""
        self._sound.seekable = lambda: False
        frames, more = 0, 1
        with self._sound, suppress(soundfile.LibsndfileError):
            while more:
                more = len(self._sound.read(BLOCK_FRAMES, "float32"))
                frames += more
        self._reopen()
        self.frames = frames
        if frames == 0:
            self.promised = math.inf

    def seek(self, frame: int) -> object:
        return self._sound.seek(frame)

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next frames (S, C), fewer at the end."""
        return self._sound.read(frames, dtype, always_2d)

    def close(self) -> None:
        self._sound.close()


class Flac(Decoded):
    """A FLAC; `mend` finds its length where its header is wrong."""

    def __init__(
        self,
        file: int | Any,
        binary: BinaryIO,
        size: int,
        counted: Callable[[], int | None],
        mend: Callable[[], tuple[list[Piece], bool] | None],
    ) -> None:
        """`counted` returns the number of samples up to the last frame, `mend` the pieces of the
        corrected file and whether it ends in a broken frame."""
        super().__init__(file)
        self._binary, self._size = binary, size
        self._counted, self._mend, self._mended = counted, mend, False
        if self.frames >= UNKNOWN_FRAMES:
            self._repair()
        if self.frames >= UNKNOWN_FRAMES:
            self._count()

    def check_end(self) -> None:
        """Finds out whether the last sample is there, and no more."""
        if not self._mended:
            self.seek(max(0, self.frames - 1))
            self.read(1)
        if not self._mended and self._counted() != self.frames:
            self._repair()
        self.seek(0)

    def seek(self, frame: int) -> object:
        try:
            return self._sound.seek(frame)
        except soundfile.LibsndfileError:
            if self._repair():
                return self._sound.seek(min(frame, self.frames))
            return self._decode_up_to(frame)

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        at = self._sound.tell()
        try:
            return self._sound.read(frames, dtype, always_2d)
        except soundfile.LibsndfileError:
            if self._repair():
                self._sound.seek(min(at, self.frames))
            else:
                self._decode_up_to(at)
            return self._sound.read(max(0, min(frames, self.frames - at)), dtype, always_2d)
        finally:
            if not self._mended and self._sound.tell() >= self.frames:
                self._check_past_end()

    def _decode_up_to(self, frame: int) -> int:
        """Moves to a frame without a seek: the decoder refuses it in some whole files."""
        self._reopen()
        self._sound.seekable = lambda: False
        for at in range(0, frame, BLOCK_FRAMES):
            self._sound.read(min(BLOCK_FRAMES, frame - at), "float32")
        return frame

    def _check_past_end(self) -> None:
        """The decoder is at the end that the header claims: is it the end of the file?"""
        at = self.frames
        if self._binary.tell() < self._size and self._counted() != at:
            self._repair()
            self._sound.seek(min(at, self.frames))

    def _repair(self) -> bool:
        """Corrects the length; returns whether it differed from the length in the header."""
        before = self.frames
        if self._mended:
            return False
        self._mended = True
        if (found := self._mend()) is None:
            return False
        pieces, broken = found
        self._sound.close()
        self._open(Spliced(self._binary, pieces))
        if broken and not self.frames < before < UNKNOWN_FRAMES:
            self.promised = math.inf
        elif before < UNKNOWN_FRAMES:
            self.promised = before / self.frames if self.frames else math.inf
        return self.frames != before


class Converted:
    """A sound at the rate and with the channels of another; decoded whole when it is first read."""

    def __init__(self, sound: OpenSound, like: OpenSound, log: Callable[[str], None]) -> None:
        self.format, self.subtype = sound.format, sound.subtype
        self.samplerate, self.channels = like.samplerate, like.channels
        self.frames = int(sound.frames * like.samplerate / sound.samplerate + 0.5)
        self.promised = sound.promised
        self._sound, self._at, self._log = sound, 0, log

    @cached_property
    def _whole_SC(self) -> np.ndarray:
        blocks = []
        while len(block_SC := self._sound.read(BLOCK_FRAMES, "float32", True)):
            blocks.append(block_SC)
        wave_SC = np.concatenate([np.zeros((0, self._sound.channels), np.float32), *blocks])
        if wave_SC.shape[1] != self.channels:
            wave_S, opposite = mean(wave_SC)
            if opposite:
                self._log(OPPOSITE_PHASE)
            wave_SC = np.repeat(wave_S[:, None], self.channels, axis=1)
        return soxr.resample(wave_SC, self._sound.samplerate, self.samplerate)

    def seek(self, frame: int) -> None:
        self._at = frame

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next frames (S, C), fewer at the end."""
        found_SC = self._whole_SC[self._at : min(self._at + frames, self.frames)]
        self._at += len(found_SC)
        return found_SC


class Joined:
    """Sounds of one rate and number of channels, one after another."""

    def __init__(self, sounds: Sequence[OpenSound]) -> None:
        self._sounds, first = sounds, sounds[0]
        self.format, self.subtype = first.format, first.subtype
        self.samplerate, self.channels = first.samplerate, first.channels
        self.frames = sum(sound.frames for sound in sounds)
        if any(math.isinf(sound.promised) for sound in sounds):
            self.promised = math.inf
        else:
            promised = sum(sound.frames * sound.promised for sound in sounds)
            self.promised = promised / self.frames if self.frames else 1.0
        self._number, self._at = 0, 0

    def seek(self, frame: int) -> None:
        self._number = 0
        while frame >= self._sounds[self._number].frames and self._number + 1 < len(self._sounds):
            frame -= self._sounds[self._number].frames
            self._number += 1
        for sound in self._sounds[self._number + 1 :]:
            sound.seek(0)
        self._sounds[self._number].seek(frame)

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next frames (S, C), of as many sounds as that takes."""
        kept = [np.zeros((0, self.channels), np.float32)]
        while frames > 0 and self._number < len(self._sounds):
            block_SC = self._sounds[self._number].read(frames, dtype, always_2d)
            if len(block_SC) == 0:
                self._number += 1
            kept.append(block_SC)
            frames -= len(block_SC)
        return np.concatenate(kept)
