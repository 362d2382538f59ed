"""NIST's CTM: recording, channel, start, duration, token, confidence; a word or a phone a line.

    talk 1 0.120 0.340 hello 0.9731

Channels count from 1. Fields are divided by spaces, so a space in a name or a token is written `_`.
"""

from pathlib import Path

from speechx.transcription.formats.intervals import tiers
from speechx.transcription.result import Transcript


def render(transcript: Transcript) -> str:
    found = tiers(transcript)
    tokens = found.phones if transcript.token_type == "phonemes" else found.words
    name = _field(Path(transcript.audio).stem if transcript.audio else "audio")
    channel = 1 + (transcript.channel or 0)
    origin = transcript.audio_start
    return "".join(
        f"{name} {channel} {origin + token.start / 1000:.3f} "
        f"{(token.end - token.start) / 1000:.3f} "
        f"{_field(token.text)} {token.probability:.4f}\n"
        for token in tokens
    )


def _field(text: str) -> str:
    return "_".join(text.split()) or "_"
