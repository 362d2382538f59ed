"""Many recordings to one file each and format, or to standard output."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from speechx.errors import UserError
from speechx.log import logger
from speechx.training.progress import Bar
from speechx.transcription.formats import FORMATS, render
from speechx.transcription.inputs import Input, log_failed
from speechx.transcription.recording import Recording
from speechx.transcription.result import Transcript
from speechx.whole_file import write_whole

Transcribe: TypeAlias = Callable[..., Iterator[tuple[Recording, Transcript | UserError]]]
"""Recordings, and a function that gets the seconds done, to transcripts in their order."""


def parse_formats(given: str) -> list[str]:
    """The formats of `srt,json` or `all`, in any spelling of their letters."""
    known = {name.lower(): name for name in FORMATS}
    names = [name.strip().lower().removeprefix(".") for name in given.split(",")]
    if "all" in names:
        return list(FORMATS)
    for name in names:
        if name not in known:
            raise UserError(f"the format {name!r} is not known: expected {', '.join(FORMATS)}, all")
    return [known[name] for name in dict.fromkeys(names)]


def require_writable(folder: Path) -> None:
    """Makes the folder; an OSError if no file can be written there."""
    if not folder.exists() and folder.suffix.lower() in {f".{name.lower()}" for name in FORMATS}:
        raise UserError(
            f"{folder} looks like a file, but a folder is needed: its files get the names of the "
            f"recordings; give -o FOLDER -f {folder.suffix[1:]}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def transcribe_files(
    transcribe: Transcribe,
    inputs: Sequence[Input],
    formats: Sequence[str],
    folder: Path | None,
    write: Callable[[str], object],
    failed: Sequence[str] = (),
    overwrite: bool = False,
    made: float = 0.0,
) -> int:
    """Transcribes recordings to `folder`/<path>.<format>, or one after another to `write`; returns
    2 if some of them failed (`failed` are messages of such that could not even be opened).

    Results that are there are kept, unless `overwrite` is set; the log has how many of them are
    older than their recording, or than `made`, the time of the model. Each is written whole or not
    at all, and a bad file is reported and does not stop the others. A file that is cut off is
    transcribed as far as it goes, and counts as failed.
    """
    if folder is None and len(formats) > 1:
        raise UserError("several formats need a folder for their files: give -o FOLDER")
    failures = list(failed)
    waiting = inputs
    if folder is not None and not overwrite:
        waiting = _unfinished(inputs, formats, folder, made)
    alone = len(inputs) + len(failed) == 1
    if alone and failures:
        raise UserError(failures[0])
    bar = Bar("transcribe", sum(one.seconds for one in waiting))
    try:
        done = transcribe((one.recording for one in waiting), progress=bar.reach)
        for one, (_, transcript) in zip(waiting, done, strict=True):
            if isinstance(transcript, UserError):
                if alone:
                    raise transcript
                failures.append(str(transcript))
                continue
            if one.cut:
                failures.append(
                    f"{one.shown}: {one.cut} The transcript covers the part that is left."
                )
            if transcript.covered_duration == 0:
                logger.info(
                    f"{one.shown}: {transcript.audio_duration:.4f} s is too short for one frame; "
                    "its transcript is empty"
                )
            if folder is None:
                write(_shown(transcript, formats[0], None if alone else one))
            else:
                for format, path in _targets(one, formats, folder):
                    write_whole(path, render(transcript, format, path.parent))
    finally:
        bar.close()
    return log_failed(failures)


def _targets(one: Input, formats: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    stem = folder / one.output
    return [(format, stem.with_name(f"{stem.name}.{format}")) for format in formats]


def _unfinished(
    inputs: Sequence[Input], formats: Sequence[str], folder: Path, made: float
) -> list[Input]:
    """The recordings that lack a result."""
    waiting, old = [], 0
    for one in inputs:
        paths = [path for _, path in _targets(one, formats, folder)]
        if not all(path.exists() for path in paths):
            waiting.append(one)
            continue
        source = Path(one.recording.path or "")
        newest = max(made, source.stat().st_mtime if source.is_file() else 0.0)
        old += min(path.stat().st_mtime for path in paths) < newest
    if len(waiting) < len(inputs):
        logger.info(
            f"{len(inputs) - len(waiting)} of {len(inputs)} recordings have their results in "
            f"{folder} already and are skipped; {old} of these results are older than the "
            "recording or the model (--overwrite makes all of them again)"
        )
    return waiting


def _shown(transcript: Transcript, format: str, one: Input | None) -> str:
    """The result as it stands on standard output."""
    if format == "txt":
        return transcript.text if one is None else f"{one.shown}: {transcript.text}"
    text = render(transcript, format).rstrip("\n")
    return text if one is None or format in ("json", "ctm") else f"# {one.shown}\n{text}\n"
