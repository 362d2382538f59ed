"""Lists and tables that people write: UTF-8 or UTF-16, with tabs between the cells of a table."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechx.errors import UserError
from speechx.text_encoding import decoded


def read_lines(path: Path, what: str, holds: str) -> list[str]:
    """The lines of a file. `what` it is called in messages, and what it `holds`."""
    try:
        return decoded(path.read_bytes()).removesuffix("\n").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read {what}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path}: cannot read {what}: {error}; it holds {holds}.") from error


def read_table(
    path: Path, what: str, needed: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers, and cells by the names in the first line, which has those that are `needed`.
    Blank lines are left out, and so are cells that a short line lacks."""
    header, *lines = read_lines(path, what, "a table")
    names = header.split("\t")
    if not set(needed) <= set(names):
        raise UserError(
            f"{path}: the first line of {what} names its columns, with tabs between: "
            f"{', '.join(needed)}; found {header[:60]!r}"
        )
    for number, line in enumerate(lines, start=2):
        if line.strip():
            yield number, dict(zip(names, line.split("\t"), strict=False))
