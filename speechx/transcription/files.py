"""Many recordings to one file each, or to standard output."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from speechx.audio.files import audio_info
from speechx.errors import UserError
from speechx.log import logger
from speechx.training.progress import Bar
from speechx.transcription.result import Transcript
from speechx.whole_file import write_whole


def transcribe_files(
    transcribe: Callable[..., Transcript],
    files: Sequence[Path],
    form: str,
    folder: Path | None,
    write: Callable[[str], object],
) -> int:
    """Transcribes files to `folder/<stem>.<form>`, or line by line to `write`; returns 2 if some of
    them failed.

    Finished files of a folder are skipped, each is written whole or not at all, and a bad file is
    reported and does not stop the others. A file that is cut off is transcribed as far as it
    goes, and counts as failed.
    """
    failed, written, named = [], 0, len(files) > 1 and folder is None and form == "txt"
    if folder is not None:
        _refuse_equal_names(files, folder)
    for file in files:
        target = folder / f"{file.stem}.{form}" if folder is not None else None
        if target is not None and target.exists():
            logger.info(f"{file}: {target} is there already, skipped")
            continue
        try:
            info = audio_info(file)
            seconds = info.duration
            bar = Bar(file.name, seconds)
            transcript = transcribe(file, progress=bar.reach)
            bar.close()
        except UserError as error:
            failed.append(str(error))
            continue
        if info.cut:
            failed.append(f"{file}: {info.cut} The transcript covers the part that is left.")
        if transcript.covered_duration == 0:
            logger.info(
                f"{file}: {seconds:.4f} s is too short for one frame; its transcript is empty"
            )
        text = transcript.text
        if form == "json":
            text = json.dumps(transcript.to_dict(), ensure_ascii=False)
        if target is None:
            write(f"{file}: {text}" if named else text)
        else:
            write_whole(target, text + "\n")
        written += 1
    if len(files) == 1 and not written and failed:
        raise UserError(failed[0])
    for message in failed:
        logger.info(f"speechx: {message}")
    return 2 if failed else 0


def _refuse_equal_names(files: Sequence[Path], folder: Path) -> None:
    """a/1.wav and b/1.wav would be one file of the folder, and the second would be lost."""
    of: dict[str, Path] = {}
    for file in files:
        if file.stem in of:
            raise UserError(
                f"{of[file.stem]} and {file} have the same name, so one would replace the other "
                f"in {folder}; give them in two calls with two output folders"
            )
        of[file.stem] = file
