"""WebVTT subtitles, with `&`, `<` and `>` of the text escaped, so that `-->` may stand in it."""

from html import escape

from speechx.transcription.formats.subtitles import subtitles
from speechx.transcription.result import Transcript


def render(transcript: Transcript) -> str:
    return subtitles(transcript, "vtt", lambda text: escape(text, quote=False))
