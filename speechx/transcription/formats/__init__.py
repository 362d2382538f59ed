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


def render(transcript: Transcript, format: str, folder: Path = Path()) -> str:
    """The content of a file. `folder` is where it will lie: an .eaf names its recording from
    there."""
    if format == "eaf":
        return eaf.render(transcript, folder)
    return FORMATS[format](transcript)


def save(transcript: Transcript, path: Path) -> None:
    """Writes a transcript in the format of the suffix."""
    suffix = path.suffix.removeprefix(".")
    known = {name.lower(): name for name in FORMATS}
    if suffix.lower() not in known:
        raise UserError(
            f"{path}: its suffix chooses the format and must be one of {', '.join(FORMATS)}, not "
            f"{suffix!r}"
        )
    write_whole(path, render(transcript, known[suffix.lower()], path.parent))
