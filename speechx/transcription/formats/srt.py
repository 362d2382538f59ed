"""SubRip subtitles. The format has no escapes: `<i>` in a text is what players make of it."""

from speechx.transcription.formats.subtitles import subtitles
from speechx.transcription.result import Transcript


def render(transcript: Transcript) -> str:
    return subtitles(transcript, "srt")
