"""Speech synthesis with espeak-ng, for the tiny recipe and for tests.

The wheel `espeakng-loader` contains the library, so no system package is needed. It synthesises
about 1000 times faster than real time on one core, at 22.05 kHz.

espeak-ng keeps state between sentences (noise, vocal flutter), even if it is initialised again.
Each `Speaker` therefore loads its own copy of the library: the same calls on a new Speaker give the
same bytes, whatever the process has synthesised before.

    S samples at 22.05 kHz, int16
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np

from speechx.errors import UserError

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: call back from inside espeak_Synth
DONT_EXIT = 0x8000  # report a missing data folder instead of exiting
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
            "espeak-ng needs the package espeakng-loader, which is not installed: "
            'pip install "speechx[g2p]"'
        ) from None
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


@functools.cache
def voice_variants() -> tuple[str, ...]:
    """Voice variants ("m1", "f2", "Alicia", ...), available in every language."""
    folder = Path(espeak_files()[1], "voices", "!v")
    return tuple(sorted(file.name for file in folder.iterdir()))


class Speaker:
    """One espeak-ng engine, in its initial state."""

    def __init__(self, seed: int = 0) -> None:
        library, data = espeak_files()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            self._engine = ctypes.CDLL(shutil.copy(library, folder))
        self.rate: int = self._engine.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DONT_EXIT)
        if self.rate <= 0:
            raise UserError(
                f"espeak-ng could not start with its data folder {data}: "
                "reinstall the package espeakng-loader."
            )
        self._engine.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        _seed_c_library(seed)
        self._chunks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._receive)  # the library keeps only a pointer
        self._engine.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave: ctypes._Pointer[ctypes.c_int16], samples: int, events: int) -> int:
        if wave and samples > 0:
            self._chunks.append(np.ctypeslib.as_array(wave, (samples,)).copy())
        return 0

    def say(
        self, text: str, voice: str, rate: int = 175, pitch: int = 50, pitch_range: int = 50
    ) -> np.ndarray:
        """`text` as (S,) int16 at `self.rate`.

        `voice` is a language, with or without a variant: "es" or "es+f2". `rate` is in words per
        minute, 80 to 450; `pitch` and `pitch_range` are 0 to 100. Raises UserError for an unknown
        voice or a text without sound.
        """
        variant = voice.partition("+")[2]
        if variant and variant not in voice_variants():  # espeak-ng would use its default voice
            raise UserError(
                f"espeak-ng has no voice variant {variant!r}: "
                f"expected one of {', '.join(voice_variants())}."
            )
        if self._engine.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(
                f"espeak-ng has no voice {voice!r}: expected a language code like 'es'."
            )
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, pitch_range)):
            self._engine.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        data = text.encode() + b"\0"
        size = ctypes.c_size_t(len(data))
        self._engine.espeak_Synth(data, size, 0, 1, 0, UTF8, None, None)
        wave_S = np.concatenate([np.zeros(0, np.int16), *self._chunks])
        if not wave_S.any():
            raise UserError(f"espeak-ng made no sound for the text {text!r}; expected words.")
        return wave_S


def _seed_c_library(seed: int) -> None:
    """Some voices draw noise from rand() of C, which the whole process shares."""
    try:
        ctypes.CDLL(None).srand(ctypes.c_uint(seed))
    except (OSError, TypeError, AttributeError):
        ctypes.cdll.msvcrt.srand(ctypes.c_uint(seed))  # Windows
