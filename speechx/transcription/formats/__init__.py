"""The file formats of transcripts, by suffix."""

from collections.abc import Callable
from pathlib import Path

from speechx.errors import UserError
from speechx.transcription.formats import ctm, eaf, json, srt, textgrid, tsv, txt, vtt
from speechx.transcription.result import Transcript
from speechx.whole_file import write_whole

FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": txt.render,
    "srt": srt.render,
    "vtt": vtt.render,
    "tsv": tsv.render,
    "json": json.render,
    "ctm": ctm.render,
    "TextGrid": textgrid.render,
    "eaf": eaf.render,
}


def save(transcript: Transcript, path: Path) -> None:
    """Writes a transcript in the format of the suffix, in capital or small letters."""
    suffix = path.suffix.removeprefix(".")
    name = next((name for name in FORMATS if name.lower() == suffix.lower()), None)
    if name is None:
        raise UserError(
            f"{path}: a transcript cannot be written as {suffix or 'a file without suffix'!r}; "
            f"expected one of {', '.join(FORMATS)}"
        )
    if name == "eaf":  # the one that names another file by its way from here
        write_whole(path, eaf.render(transcript, path.parent))
    else:
        write_whole(path, FORMATS[name](transcript))
