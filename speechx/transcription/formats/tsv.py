"""A table in whisper's shape: start, end and text of segments, in whole milliseconds.

Quotes are text like any other: a reader must not interpret them (`quoting=csv.QUOTE_NONE`).
"""

from speechx.transcription.formats.intervals import tiers
from speechx.transcription.formats.lines import one_line
from speechx.transcription.result import Transcript


def render(transcript: Transcript) -> str:
    rows = (
        f"{segment.start}\t{segment.end}\t{one_line(segment.text.expandtabs(1))}\n"
        for segment in tiers(transcript).utterances
    )
    return "start\tend\ttext\n" + "".join(rows)
