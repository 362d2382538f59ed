"""Many annotation files: which, and where each filled one goes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from speechx.errors import UserError
from speechx.log import logger
from speechx.training.progress import Bar
from speechx.transcription.annotation import READERS, work
from speechx.transcription.inputs import exit_code, files_below, listed_at_the_end
from speechx.transcription.result import Transcript

FILLED = ".filled"  # between the stem and the suffix of a file beside the original


def fill_files(
    paths: Sequence[Path],
    open_model: Callable[[], Callable[..., Transcript]],
    write: Callable[[str], object],
    tier: str | None = None,
    audio: Path | None = None,
    output: Path | None = None,
    in_place: bool = False,
    overwrite: bool = False,
    channel: int | None = None,
) -> int:
    """Fills files, and all of folders, and writes the name of each new one; 2 if some failed.

    By default session.eaf becomes session.filled.eaf beside it. `output` is a folder, or the new
    file of one. A new file that is there already is skipped, unless `overwrite` is set; only
    `in_place` replaces an original. A bad file is reported and does not stop the others.
    `open_model` gives what transcribes; it is called when the first file has been found right.
    """
    pairs = _pairs(paths, output, in_place)
    if audio is not None and len(pairs) > 1:
        raise UserError(f"{audio} can be the recording of one file, but {len(pairs)} were given")
    failed, written = list[str](), 0
    transcribe: Callable[..., Transcript] | None = None
    with listed_at_the_end(failed):
        for path, target in pairs:
            if target.exists() and not in_place and not overwrite:
                logger.info(f"{path}: {target} is there already, skipped (--overwrite fills again)")
                continue
            try:
                to_do = work(path, target, tier, audio, channel)
            except UserError as error:
                failed.append(str(error))
                continue
            transcribe = transcribe or open_model()
            try:
                with closing(_Bar(path.name)) as bar:
                    done = to_do.fill(transcribe, bar.reach)
            except UserError as error:
                failed.append(str(error))
                continue
            failed += [f"{path}: {message}" for message in done.failed]
            logger.info(f"{path}: {done}")
            write(str(target))
            written += 1
    return exit_code(failed, len(pairs), written)


def _pairs(paths: Sequence[Path], output: Path | None, in_place: bool) -> list[tuple[Path, Path]]:
    """Each file and what it becomes."""
    if in_place and output is not None:
        raise UserError("--in-place replaces the files themselves; leave it or --output out")
    found = [(path, way) for path in paths for path, way in _files(path)]
    pairs: dict[Path, Path] = {}
    for path, way in found:
        target = path if in_place else path.with_name(f"{path.stem}{FILLED}{path.suffix}")
        if output is not None and len(found) == 1 and output.suffix.lower() == path.suffix.lower():
            target = output
        elif output is not None and output.suffix.lower() in READERS and not output.is_dir():
            raise UserError(
                f"{output} is no folder, and cannot be the new file of {path.name}; give a folder, "
                f"or for one file a name with the suffix {path.suffix}"
            )
        elif output is not None:
            target = output / way
        if not in_place and target.exists() and path.exists() and target.samefile(path):
            raise UserError(f"{target} is the original; give another --output, or --in-place")
        if target in pairs and pairs[target] != path:
            raise UserError(f"{pairs[target]} and {path} would both become {target}")
        pairs[target] = path
    made = set() if in_place or output is not None else set(pairs)
    return [(path, target) for target, path in pairs.items() if path not in made]


def _files(path: Path) -> Iterator[tuple[Path, Path]]:
    """A file, or the annotation files of a folder; each with its way from the folder."""
    if not path.is_dir():
        yield path, Path(path.name)
        return
    inside = files_below(path, READERS)
    if not inside:
        raise UserError(f"{path}: the folder has no .eaf and no .TextGrid file")
    yield from ((file, file.relative_to(path)) for file in inside)


class _Bar:
    """A bar that knows its length when work begins."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar: Bar | None = None

    def reach(self, seconds: float, all_seconds: float) -> None:
        self.bar = self.bar or Bar(self.name, all_seconds)
        self.bar.reach(seconds)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
