"""What a transcription returns: plain data, times in seconds from the beginning of the recording.

transcript = model.transcribe("talk.mp3")
for word in transcript.words:
    print(word.start, word.end, word.text, word.probability)
transcript.save("talk.srt")
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from speechx.decoding.mapping import Mapping
from speechx.text.vocabulary import TokenType


@dataclass(frozen=True, slots=True)
class Phone:
    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start: float
    end: float
    probability: float
    """That the word is right, calibrated on dev; after `align` the mean of its tokens."""
    phones: tuple[Phone, ...] = ()
    """Known after the alignment of a pronunciation."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech of readable length."""

    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()
    """Empty if the model writes phones."""
    phones: tuple[Phone, ...] = ()


@dataclass(frozen=True, slots=True)
class Transcript:
    text: str
    segments: tuple[Segment, ...]
    token_type: TokenType
    """What the model writes: characters (also where a lexicon makes words of phones), phonemes or
    languages (then the one word is a code)."""
    audio_duration: float
    covered_duration: float
    """Seconds that the model used; less than `audio_duration` if too short for one frame."""
    model: str
    audio: str | None = None
    """The file, if it was one."""
    audio_start: float = 0.0
    """Second of the file where the recording begins: a line of a manifest may be a part of it."""
    channel: int | None = None
    """Counted from 0; None is the mean of all."""
    language: str | None = None
    adapter: str | None = None
    """The file of the weights for this language, if the model has such files."""
    inventory: str | None = None
    """The source of the phones that the outputs were mapped to."""
    mapping: Mapping | None = None
    """How they were mapped."""
    unaligned: tuple[str, ...] = ()
    """Words of a given text that were not found in the sound."""

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def phones(self) -> tuple[Phone, ...]:
        return tuple(phone for segment in self.segments for phone in segment.phones)

    @property
    def tokens(self) -> tuple[Word | Phone, ...]:
        """Words, or the phones of a model that writes phones."""
        return self.phones if self.token_type == "phonemes" else self.words

    def save(self, path: str | Path) -> None:
        """Writes the file whole or not at all, in the format of its suffix: txt, srt, vtt, tsv,
        json, ctm, TextGrid or eaf."""
        formats = import_module("speechx.transcription.formats")  # which import this module
        formats.save(self, Path(path))
