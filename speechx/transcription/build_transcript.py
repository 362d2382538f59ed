"""A transcript from its segments, and from what is known of its recording and its model."""

from pathlib import Path
from typing import Any, Protocol

from speechx.audio.files import SAMPLE_RATE
from speechx.decoding.mapping import Mapping
from speechx.interchange.hub import published_name
from speechx.text.inventory import Inventory
from speechx.text.vocabulary import Vocabulary
from speechx.transcription.recording import Recording
from speechx.transcription.result import Segment, Transcript
from speechx.transcription.windows import covered_seconds


class Model(Protocol):
    """What a transcript states of its model."""

    vocabulary: Vocabulary
    features: Any
    """With `stride` and `receptive_field`, in samples, and `frames(samples)`."""
    folder: Path
    language: str | None
    """Its only language, or that of the adapter."""
    adapter: str | None


def build_transcript(
    model: Model,
    recording: Recording,
    samples: int,
    text: str,
    segments: tuple[Segment, ...],
    language: str | None,
    inventory: Inventory | None = None,
    mapping: Mapping | None = None,
    unaligned: tuple[str, ...] = (),
) -> Transcript:
    """The transcript of a recording of `samples` samples at 16 kHz; times and durations are in
    seconds."""
    return Transcript(
        text=text,
        segments=segments,
        token_type=model.vocabulary.token_type,
        audio_duration=round(samples / SAMPLE_RATE, 3),
        covered_duration=covered_seconds(model.features, samples),
        model=published_name(model.folder),
        audio=recording.path,
        audio_start=recording.start,
        channel=recording.channel,
        language=language,
        adapter=model.adapter,
        inventory=inventory.source if inventory else None,
        mapping=mapping,
        unaligned=unaligned,
    )
