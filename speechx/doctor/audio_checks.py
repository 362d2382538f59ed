"""What is wrong with the audio of one utterance, by its length, its header and its samples."""

import os
from collections.abc import Callable, Iterator

from speechx.audio.files import END_TOLERANCE_SECONDS, SAMPLE_RATE
from speechx.audio.sources import is_url
from speechx.corpora.engine.problems import Problem
from speechx.data.manifest import Utterance
from speechx.doctor.checks import CLIPPED_SHARE, FAINT_DB, HIGH_BAND_DB, OFFSET, SILENT_DB
from speechx.doctor.sound import NOTHING_DB, Header, Sound

Findings = Iterator[tuple[str, str]]
"""Names of checks and details."""


def by_length(
    utterance: Utterance, frames: Callable[[int], int], least_seconds: float, most_seconds: float
) -> Findings:
    """What the manifest alone shows. `frames` is the model's number of frames for samples."""
    if frames(round(utterance.duration * SAMPLE_RATE)) < 1:
        yield "too_short", f"{utterance.duration:.3f} s"
    elif utterance.duration < least_seconds:
        yield "short", f"{utterance.duration:.3f} s"
    if utterance.labelled and utterance.duration > most_seconds:
        yield "too_long", f"{utterance.duration:.1f} s"


def by_header(utterance: Utterance, header: Header | Problem) -> Findings:
    """What the header shows. Segments of one file differ from its duration too: the caller must
    remove those cases."""
    if isinstance(header, Problem):
        absent = not is_url(utterance.audio) and not os.path.isfile(utterance.audio)
        yield "absent" if absent else "unreadable", f"{utterance.audio}: {header.why}"
        return
    end = utterance.start + utterance.duration
    if end > header.seconds + END_TOLERANCE_SECONDS:
        length = f"{utterance.audio} is {header.seconds:.3f} s long"
        yield "past_end", f"ends at {end:.3f} s, but {length}"
    elif utterance.start == 0 and header.seconds > end + END_TOLERANCE_SECONDS:
        yield "duration", f"{utterance.duration:.3f} s, but the file is {header.seconds:.3f} s long"


def by_sound(utterance: Utterance, sound: Sound | Problem) -> Findings:
    """What the decoded samples show."""
    if isinstance(sound, Problem):
        yield "unreadable", f"{utterance.audio}: {sound.why}"
        return
    if sound.seconds < utterance.duration - END_TOLERANCE_SECONDS:
        if utterance.start + utterance.duration <= sound.promised + END_TOLERANCE_SECONDS:
            end = utterance.start + sound.seconds
            length = f"the header says {sound.promised:.3f} s"
            yield "past_end", f"{length}, but the audio breaks off at {end:.3f} s"
    elif sound.seconds > max(utterance.duration, sound.promised) + END_TOLERANCE_SECONDS:
        yield "duration", f"{utterance.duration:.3f} s, but {sound.seconds:.3f} s can be decoded"
    if sound.loudest < SILENT_DB:
        constant = sound.loudest <= NOTHING_DB
        yield "silent", "all samples are equal" if constant else f"{sound.loudest:.0f} dB"
        return
    if sound.loudest < FAINT_DB:
        yield "faint", f"{sound.loudest:.0f} dB"
    elif sound.high_band is not None and sound.high_band < HIGH_BAND_DB:
        yield "band_limited", f"{sound.high_band:.0f} dB at {sound.rate / 1000:g} kHz"
    if sound.clipped > CLIPPED_SHARE:
        yield "clipped", f"{sound.clipped:.2%} of the samples"
    if abs(sound.offset) > OFFSET:
        yield "offset", f"the mean is {sound.offset:+.3f}"
