"""Plain text, a segment a line."""

from speechx.transcription.result import Transcript


def render(transcript: Transcript) -> str:
    return "".join(f"{segment.text}\n" for segment in transcript.segments) or "\n"
