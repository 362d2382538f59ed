"""What a transcription returns: plain data."""

from dataclasses import asdict, dataclass
from typing import Any

from speechx.text.vocabulary import TokenType

PAUSE_SECONDS = 1.0  # between two words of one segment


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or a phone of a phoneme model: seconds, and the mean probability of its parts."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    text: str
    tokens: tuple[Token, ...]
    """Words of a character model, phones of a phoneme model, or the language."""
    token_type: TokenType
    duration: float
    """Seconds of audio that were given."""
    covered_duration: float
    """Seconds that the model used; less than `duration` if too short for one frame."""
    model: str
    language: str | None = None
    inventory: str | None = None

    def segments(self) -> list[tuple[Token, ...]]:
        """Tokens with no pause of more than a second between them."""
        segments: list[list[Token]] = []
        for token in self.tokens:
            if not segments or token.start - segments[-1][-1].end > PAUSE_SECONDS:
                segments.append([])
            segments[-1].append(token)
        return [tuple(segment) for segment in segments]

    def to_dict(self) -> dict[str, Any]:
        """Whisper's JSON, with `phones` for phoneme models and durations."""
        name, many = {
            "characters": ("word", "words"),
            "phonemes": ("phone", "phones"),
            "languages": ("language", "languages"),
        }[self.token_type]

        def write(token: Token) -> dict[str, Any]:
            values = asdict(token)
            return {name: values.pop("text"), **values}

        return {
            "text": self.text,
            "segments": [
                {
                    "id": index,
                    "start": segment[0].start,
                    "end": segment[-1].end,
                    "text": " ".join(token.text for token in segment),
                    many: [write(token) for token in segment],
                }
                for index, segment in enumerate(self.segments())
            ],
            "language": self.language,
            "inventory": self.inventory,
            "model": self.model,
            "audio_duration": self.duration,
            "covered_duration": self.covered_duration,
        }
