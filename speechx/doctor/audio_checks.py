"""What is wrong with the sound of one utterance: by its file's header, and by what was heard."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from speechx.audio.files import END_TOLERANCE_SECONDS, SAMPLE_RATE
from speechx.audio.sources import is_url
from speechx.data.manifest import Utterance
from speechx.doctor.checks import (
    CLIPPED_SHARE,
    FAINT_DB,
    HIGH_BAND_DB,
    OFFSET,
    SILENT_DB,
)
from speechx.doctor.sound import Header, Sound

Found = Iterator[tuple[str, str]]
"""Names of checks, and what each has to say."""


def by_length(
    utterance: Utterance, frames: Callable[[int], int], least_seconds: float, most_seconds: float
) -> Found:
    """What the manifest alone says. `frames` counts the model's frames of a number of samples."""
    if frames(round(utterance.duration * SAMPLE_RATE)) < 1:
        yield "too_short", f"{utterance.duration:.3f} s"
    elif utterance.duration < least_seconds:
        yield "short", f"{utterance.duration:.3f} s"
    if utterance.labelled and utterance.duration > most_seconds:
        yield "too_long", f"{utterance.duration:.1f} s"


def by_header(utterance: Utterance, header: Header | str) -> Found:
    """What the header adds. Durations that differ are also those of many segments of one file: the
    caller knows which."""
    if isinstance(header, str):
        why = header.removeprefix(f"{utterance.audio}: ").removeprefix("cannot be read as audio: ")
        absent = not is_url(utterance.audio) and not os.path.isfile(utterance.audio)
        yield "absent" if absent else "unreadable", f"{utterance.audio}: {why}"
        return
    end = utterance.start + utterance.duration
    if end > header.seconds + END_TOLERANCE_SECONDS:
        yield (
            "past_end",
            f"ends at {end:.3f} s, but {utterance.audio} is {header.seconds:.3f} s long",
        )
    elif utterance.start == 0 and header.seconds > end + END_TOLERANCE_SECONDS:
        yield "duration", f"{utterance.duration:.3f} s, but the file is {header.seconds:.3f} s long"


def by_sound(utterance: Utterance, sound: Sound | str) -> Found:
    """What decoding adds to the header."""
    if isinstance(sound, str):
        yield "unreadable", f"{utterance.audio}: {sound.removeprefix(f'{utterance.audio}: ')}"
        return
    if sound.seconds < utterance.duration - END_TOLERANCE_SECONDS:
        if utterance.start + utterance.duration <= sound.promised + END_TOLERANCE_SECONDS:
            yield (
                "past_end",
                f"the header promises {sound.promised:.3f} s, but the sound breaks off at "
                f"{utterance.start + sound.seconds:.3f} s",
            )
    elif sound.seconds > max(utterance.duration, sound.promised) + END_TOLERANCE_SECONDS:
        yield "duration", f"{utterance.duration:.3f} s, but {sound.seconds:.3f} s can be decoded"
    if sound.loudest < SILENT_DB:
        level = "every sample is the same" if sound.loudest <= -199 else f"{sound.loudest:.0f} dB"
        yield "silent", level
        return
    if sound.loudest < FAINT_DB:
        yield "faint", f"{sound.loudest:.0f} dB"
    elif sound.high_band is not None and sound.high_band < HIGH_BAND_DB:
        yield "band_limited", f"{sound.high_band:.0f} dB at {sound.rate / 1000:g} kHz"
    if sound.clipped > CLIPPED_SHARE:
        yield "clipped", f"{sound.clipped:.2%} of the samples"
    if abs(sound.offset) > OFFSET:
        yield "offset", f"the mean is {sound.offset:+.3f}"
