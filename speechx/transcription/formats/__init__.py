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
KNOWN = {name.lower(): name for name in FORMATS}


def parse_formats(given: str) -> list[str]:
    """The formats of `srt,json` or `all`, in any spelling of their letters."""
    names = [name.strip().lower().removeprefix(".") for name in given.split(",")]
    if "all" in names:
        return list(FORMATS)
    for name in names:
        if name not in KNOWN:
            raise UserError(f"the format {name!r} is not known: expected {', '.join(FORMATS)}, all")
    return [KNOWN[name] for name in dict.fromkeys(names)]


def render(transcript: Transcript, format: str, folder: Path = Path()) -> str:
    """The content of a file. `folder` is where it will lie: an .eaf names its recording from
    there."""
    if format == "eaf":
        return eaf.render(transcript, folder)
    return FORMATS[format](transcript)


def save(transcript: Transcript, path: Path) -> None:
    """Writes a transcript in the format of the suffix."""
    suffix = path.suffix.removeprefix(".")
    if suffix.lower() not in KNOWN:
        raise UserError(
            f"{path}: its suffix chooses the format and must be one of {', '.join(FORMATS)}, not "
            f"{suffix!r}"
        )
    write_whole(path, render(transcript, KNOWN[suffix.lower()], path.parent))
