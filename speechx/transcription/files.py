"""Transcripts of many recordings: a file for each recording and format, or standard output."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from speechx.errors import UserError
from speechx.log import logger
from speechx.training.progress import Bar
from speechx.transcription.formats import KNOWN, render
from speechx.transcription.inputs import (
    Input,
    exit_code,
    listed_at_the_end,
    refuse_equal_outputs,
)
from speechx.transcription.recording import Recording
from speechx.transcription.result import Transcript
from speechx.whole_file import require_writable, write_whole
from speechx.wording import number_of

Transcribe: TypeAlias = Callable[..., Iterator[tuple[Recording, Transcript | UserError]]]
"""Recordings, and a function that gets the seconds done, to transcripts in their order."""


def check_outputs(inputs: Sequence[Input], formats: Sequence[str], folder: Path | None) -> None:
    """An error where the results have no place, before a model is loaded."""
    if folder is not None:
        refuse_equal_outputs(inputs)
        if not folder.exists() and folder.suffix.lower().removeprefix(".") in KNOWN:
            raise UserError(
                f"{folder} looks like a file, but a folder is needed, whose files get the names of "
                f"the recordings: give -o FOLDER -f {folder.suffix[1:]}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        require_writable(folder / ".speechx")
    elif len(formats) > 1:
        raise UserError("several formats need a folder for their files: give -o FOLDER")


def write_transcripts(
    transcribe: Transcribe,
    inputs: Sequence[Input],
    formats: Sequence[str],
    folder: Path | None,
    write: Callable[[str], object],
    failed: Sequence[str] = (),
    overwrite: bool = False,
    made: float = 0.0,
) -> int:
    """Writes the transcripts to `folder`/<path>.<format>, or one after another to `write`; returns
    2 if some recordings failed (`failed` are messages on recordings that could not be opened).

    Results that are there are kept, unless `overwrite` is set; the log has how many of them are
    older than their recording, its text or the model (`made`). Each is written whole or not at all,
    and a bad file is reported and does not stop the others. A file that is cut off is transcribed
    as far as it goes, and counts as failed.
    """
    failures, done = list(failed), 0
    given = len(inputs) + len(failed)
    waiting = inputs
    if folder is not None and not overwrite:
        waiting = _unfinished(inputs, formats, folder, made)
    bar = Bar("speechx", sum(one.seconds for one in waiting))
    with listed_at_the_end(failures), closing(bar):
        found = transcribe((one.recording for one in waiting), progress=bar.reach)
        for one, (_, transcript) in zip(waiting, found, strict=True):
            if isinstance(transcript, UserError):
                failures.append(str(transcript))
                continue
            done += 1
            if one.cut:
                failures.append(f"{one.shown}: {one.cut} The result covers the part that is left.")
            if transcript.covered_duration == 0:
                logger.info(
                    f"{one.shown}: {transcript.audio_duration:.4f} s is too short for one frame; "
                    "its transcript is empty"
                )
            if folder is None:
                write(_shown(transcript, formats[0], None if given == 1 else one))
            else:
                for format, path in _targets(one, formats, folder):
                    if path.exists() and not overwrite:  # a user may have corrected it
                        logger.info(f"{path} is there already and is kept")
                        continue
                    write_whole(path, render(transcript, format, path.parent))
    return exit_code(failures, given, done)


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
        sources = [Path(one.recording.path or "")]
        sources += [one.text] if isinstance(one.text, Path) else []
        newest = max([made, *(path.stat().st_mtime for path in sources if path.is_file())])
        old += min(path.stat().st_mtime for path in paths) < newest
    if skipped := len(inputs) - len(waiting):
        have = "has its results" if skipped == 1 else "have their results"
        older = "is" if old == 1 else "are"
        logger.info(
            f"{skipped} of {number_of(len(inputs), 'recording')} {have} in {folder} already, and "
            f"no work is done for them; {old} of these results {older} older than the recording or "
            "the model (--overwrite makes all of them again)"
        )
    return waiting


def _shown(transcript: Transcript, format: str, one: Input | None) -> str:
    """The result as it stands on standard output."""
    if format == "txt":
        return transcript.text if one is None else f"{one.shown}: {transcript.text}"
    text = render(transcript, format).rstrip("\n")
    return text if one is None or format in ("json", "ctm") else f"# {one.shown}\n{text}\n"
