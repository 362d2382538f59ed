"""Plain text, a segment a line."""

from speechx.transcription.formats.lines import one_line
from speechx.transcription.result import Transcript


def render(transcript: Transcript) -> str:
    return "".join(f"{one_line(segment.text)}\n" for segment in transcript.segments) or "\n"
