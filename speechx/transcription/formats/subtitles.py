"""What SubRip and WebVTT share: segments as pysubs2 events, lines of a segment as lines."""

from collections.abc import Callable

from speechx.transcription.formats.intervals import tiers
from speechx.transcription.result import Transcript

BACKSLASH = "\ufdd0"  # stands for it meanwhile, because pysubs2 takes \N for the end of a line


def subtitles(transcript: Transcript, form: str, escape: Callable[[str], str] = str) -> str:
    """`escape` makes plain text of the format. A segment without text shows nothing, so it has no
    subtitle; an empty line would end one."""
    import pysubs2

    file = pysubs2.SSAFile()
    for segment in tiers(transcript).utterances:
        lines = [line.strip() for line in segment.text.splitlines() if line.strip()]
        text = escape("\n".join(lines)).replace("\\", BACKSLASH).replace("\n", r"\N")
        if text:
            file.append(pysubs2.SSAEvent(start=segment.start, end=segment.end, text=text))
    return file.to_string(form, keep_ssa_tags=True).replace(BACKSLASH, "\\")
