"""Speech from espeak-ng, spoken into memory: the voices of the tiny recipe and of the tests.

The library is the one that the wheel `espeakng-loader` ships, so no system package is needed. It speaks about
1000 times faster than real time on one core, at 22.05 kHz. espeak-ng keeps state between sentences (noise,
vocal flutter), so what a sentence sounds like depends on what was said before: `Speaker` seeds it once, and
the same sequence of calls in a fresh process gives the same bytes.

Legend: S samples at 22.05 kHz, int16.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from speechx.errors import UserError

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: call back from inside espeak_Synth
DONT_EXIT = 0x8000  # report a missing data folder instead of ending the process
UTF8 = 1
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER

_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p
)


def espeak_files() -> tuple[str, str]:
    """The library and the data folder of the installed wheel."""
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            "espeak-ng is needed here and the package espeakng-loader is not installed: "
            'pip install "speechx[g2p]"'
        ) from None
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


def voice_variants() -> list[str]:
    """The voices ("m1", "f2", "Alicia", ...) that any language can be spoken with."""
    return sorted(file.name for file in Path(espeak_files()[1], "voices", "!v").iterdir())


class Speaker:
    """One espeak-ng engine. The library is a process-wide singleton: keep one Speaker per process."""

    def __init__(self, seed: int = 0) -> None:
        library, data = espeak_files()
        self._engine = ctypes.CDLL(library)
        self._engine.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._engine.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self.rate: int = self._engine.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DONT_EXIT)
        if self.rate <= 0:
            raise UserError(
                f"espeak-ng could not start with its data folder {data}: reinstall espeakng-loader."
            )
        self._engine.espeak_ng_SetRandSeed(seed)
        self._chunks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library holds only the pointer
        self._engine.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave, samples: int, events) -> int:
        if wave and samples > 0:
            self._chunks.append(np.ctypeslib.as_array(wave, (samples,)).copy())
        return 0

    def say(
        self, text: str, voice: str, rate: int = 175, pitch: int = 50, pitch_range: int = 50
    ) -> np.ndarray:
        """`text` as (S,) int16 at `self.rate`.

        voice: a language with or without a variant, "es" or "es+f2". rate: words per minute, 80 to 450;
        pitch and pitch_range: 0 to 100. Raises UserError for an unknown voice or a text without sound.
        """
        if self._engine.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(
                f"espeak-ng has no voice {voice!r}: expected a language code, optionally with one of "
                f"{', '.join(voice_variants()[:6])}, ... after a plus sign."
            )
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, pitch_range)):
            self._engine.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        data = text.encode() + b"\0"
        self._engine.espeak_Synth(data, len(data), 0, 1, 0, UTF8, None, None)
        if not self._chunks:
            raise UserError(f"espeak-ng made no sound for the text {text!r}.")
        return np.concatenate(self._chunks)
