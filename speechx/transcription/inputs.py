"""The recordings that a command works on: files, folders, patterns, manifests, a list on the
standard input."""

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from speechx.audio.files import AUDIO_SUFFIXES, audio_info, require_channel
from speechx.data.manifest import first_few, is_manifest, stream_manifest
from speechx.data.utterance import Utterance
from speechx.errors import UserError
from speechx.log import logger
from speechx.transcription.recording import Recording
from speechx.wording import number_of

PATTERN = re.compile(r"[*?\[]")
UNSAFE = re.compile(r"[^\w.\-/]+")
STANDARD_INPUT = "-"
Channels = int | str
"""`mix` for the mean of all channels, `split` for each by itself, or the number of one, from 0."""


@dataclass(frozen=True, slots=True)
class Input:
    """A recording that a command works on."""

    recording: Recording
    shown: str
    """Its name in messages."""
    output: PurePosixPath
    """Path of its results in the output folder, without suffix."""
    seconds: float
    cut: str = ""
    """The message if the file is cut off."""
    utterance: Utterance | None = None
    """The line of a manifest, if it was one."""
    text: Path | str | None = None
    """For an alignment: a file with the words, or the words themselves."""


def find_inputs(given: Sequence[str], channels: Channels = "mix") -> tuple[list[Input], list[str]]:
    """The recordings, and why some of them cannot be read.

    Sub-folders of a folder are searched, and are kept in the paths of the results. A file that is
    given twice is taken once. A UserError if nothing is found.
    """
    inputs, failed = list[Input](), list[str]()
    known, again = set[str](), list[str]()
    for one in given:
        found = 0
        for path, output in _files(one):
            found += 1
            if (place := os.path.abspath(path)) in known:
                again.append(str(path))
                continue
            known.add(place)
            try:
                if is_manifest(path):
                    inputs += inputs_of_manifest(path, channels)
                else:
                    inputs += _channels(path, output, channels)
            except UserError as error:
                failed.append(str(error))
        if not found:
            raise UserError(_nothing(one))
    if again:
        files = number_of(len(again), "file is", "files are")
        logger.info(f"{files} given more than once, and taken once: {first_few(again)}")
    return inputs, failed


def is_input(word: str) -> bool:
    """Whether a word of the command line is a recording, a folder or a manifest, and not a text."""
    path = Path(word[:200])
    is_there = is_manifest(path) or path.is_dir()
    named = word == STANDARD_INPUT or path.suffix.lower() in AUDIO_SUFFIXES
    return word != "" and (is_there or named)


def _files(given: str) -> Iterator[tuple[Path, PurePosixPath]]:
    """The files that a word of the command line means, and the paths of their results."""
    path = Path(given)
    if given == STANDARD_INPUT:
        for line in sys.stdin:
            for name in line.strip("\r\n").split("\0"):  # as find -print0 writes them
                if name.strip():
                    yield from _files(name)
    elif path.is_dir():
        for file in files_below(path, AUDIO_SUFFIXES):
            yield file, PurePosixPath(file.relative_to(path).with_suffix("").as_posix())
    elif PATTERN.search(given) and not path.exists():
        root = Path(path.anchor)
        for file in sorted(root.glob(str(path.relative_to(path.anchor)))):
            if file.is_file():
                yield file, PurePosixPath(file.stem)
    else:
        yield path, PurePosixPath(path.stem)


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of a folder and its sub-folders with one of these suffixes; hidden ones are left
    out."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    ]


def inputs_of_manifest(manifest: Path, channels: Channels = "mix") -> Iterator[Input]:
    """The utterances of a manifest, one by one."""
    if channels != "mix":
        raise UserError(f"{manifest}: --channels is for recordings; a manifest has one channel")
    for u in stream_manifest(manifest):
        shown = f"{u.id} of {manifest}"
        yield Input(Recording.of_utterance(u), shown, _below(u.id), u.duration, utterance=u)


def _below(name: str) -> PurePosixPath:
    """An id as a path that stays in the output folder."""
    parts = [part for part in UNSAFE.sub("_", name).split("/") if part.strip(".")]
    return PurePosixPath("/".join(parts).lstrip(".") or "_")


def _channels(path: Path, output: PurePosixPath, channels: Channels) -> list[Input]:
    info = audio_info(path, exact=False)
    if isinstance(channels, int):
        require_channel(path, channels, info.channels)
    numbers: Iterable[int | None] = range(info.channels) if channels == "split" else [None]
    if isinstance(channels, int):
        numbers = [channels]
    inputs = []
    for number in numbers:
        of = f".channel{number}" if channels == "split" and info.channels > 1 else ""
        inputs.append(
            Input(
                Recording.of(path, channel=number),
                f"{path}{of}",
                output.with_name(output.name + of),
                info.duration,
                info.cut,
            )
        )
    return inputs


def _nothing(given: str) -> str:
    if given == STANDARD_INPUT:
        return "the standard input is empty: expected the paths of recordings, one on a line"
    if Path(given).is_dir():
        return f"{given} has no recordings: no file in it has a suffix of audio (.wav, .mp3, ...)"
    return f"{given}: no file matches this pattern"


def refuse_equal_outputs(inputs: Sequence[Input]) -> None:
    """a/1.wav and b/1.wav would be one result, and the second would be lost."""
    of: dict[str, Input] = {}
    for one in inputs:
        other = of.setdefault(str(one.output).casefold(), one)
        if other is not one:
            where = Path(one.recording.path or "").parent, Path(other.recording.path or "").parent
            advice = "give their common folder, or give them in two calls with two output folders"
            if where[0] == where[1]:
                advice = "rename one, or give only one of them"
            raise UserError(
                f"{other.shown} and {one.shown} would have the same result, {one.output}; {advice}"
            )


def exit_code(failed: Sequence[str], given: int, done: int) -> int:
    """Lists the failures and returns 2 if there are any. If one thing was given and it was not
    done, its failure is a UserError."""
    if failed and given == 1 and not done:
        raise UserError(failed[0])
    list_failures(failed)
    return 2 if failed else 0


@contextmanager
def listed_at_the_end(failed: Sequence[str]) -> Iterator[None]:
    """Lists the failures also where the work ends early: on a full disk, or by Ctrl-C."""
    try:
        yield
    except (UserError, OSError, KeyboardInterrupt):
        list_failures(failed)
        raise


def list_failures(failed: Iterable[str]) -> None:
    for message in failed:
        logger.info(f"speechx: {message}")
