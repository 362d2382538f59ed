"""Lists of utterances to leave out: a table, so that nothing has to be deleted.

    corpus	language	id	reason	detail
            nl	c17	silent	no sample above -60 dB

A line is about the utterance of that corpus (nothing: of none), language and id, in whichever
manifest it is: one with phones added, one in Parquet, one of shards. What is left out is counted,
and so are lines that are about nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from speechx.data.utterance import Utterance, hours
from speechx.errors import UserError


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One line of a list."""

    corpus: str
    language: str
    id: str
    reason: str = ""
    detail: str = ""


HEADER = "\t".join(field.name for field in fields(Exclusion))
Key = tuple[str, str, str]


def write_exclusions(path: Path, exclusions: Iterable[Exclusion]) -> None:
    """Writes a list; white space within a cell becomes one space, and is compared so."""
    lines = ("\t".join(_cell(text) for text in astuple(e)) for e in exclusions)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")


def read_exclusions(path: Path) -> list[Exclusion]:
    """The lines of a list. The first line names the columns; reason and detail may be absent."""
    try:
        header, *lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read the exclusion list: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; an exclusion list is a table.") from error
    names, known = header.rstrip("\r").split("\t"), HEADER.split("\t")
    if not {"corpus", "language", "id"} <= set(names):
        raise UserError(
            f"{path}: the first line of an exclusion list names its columns, with tabs between: "
            f"{', '.join(known)}; found {header[:60]!r}"
        )
    exclusions = []
    for number, line in enumerate(lines, start=2):
        cells = dict(zip(names, map(_cell, line.split("\t")), strict=False))
        if not line.strip():
            continue
        if not cells.get("id") or not cells.get("language"):
            raise UserError(f"{path}:{number}: needs a language and an id; it has {line[:60]!r}")
        exclusions.append(Exclusion(**{name: cells.get(name, "") for name in known}))
    return exclusions


class Exclusions:
    """What some lists leave out of what is read, counted list by list."""

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = [Path(path) for path in paths]
        self.lists_of: dict[Key, list[int]] = {}
        for number, path in enumerate(self.paths):
            for e in read_exclusions(path):
                self.lists_of.setdefault((e.corpus, e.language, e.id), []).append(number)
        self.met: set[Key] = set()
        self.utterances = [0] * len(self.paths)
        self.seconds = [0.0] * len(self.paths)

    def __bool__(self) -> bool:
        return bool(self.lists_of)

    def leave_out(self, utterance: Utterance) -> bool:
        """Whether a list names it; the first one that does counts it."""
        return bool(self.lists_of) and self.names(
            utterance.corpus, utterance.language, utterance.id, utterance.duration
        )

    def names(self, corpus: str | None, language: str, id: str, seconds: float) -> bool:
        """As `leave_out`, of an utterance in pieces."""
        key = _cell(corpus or ""), _cell(language), _cell(id)
        lists = self.lists_of.get(key)
        if lists is None:
            return False
        self.met.add(key)
        self.utterances[lists[0]] += 1
        self.seconds[lists[0]] += seconds
        return True

    def kept(self, utterances: Iterable[Utterance]) -> list[Utterance]:
        """Those that no list names; a UserError if that is nothing."""
        kept = [u for u in utterances if not self.leave_out(u)]
        if not kept:
            raise self.all_left_out()
        return kept

    def all_left_out(self) -> UserError:
        """What to raise where nothing is left."""
        lists = ", ".join(map(str, self.paths))
        return UserError(f"{lists}: every utterance of the manifests is on the list")

    def report(self, speak: Callable[[str], object]) -> None:
        """Says what each list has left out, after all manifests are read."""
        for number, path in enumerate(self.paths):
            lines = [key for key, lists in self.lists_of.items() if number in lists]
            unmet = sum(key not in self.met for key in lines)
            nothing = f"; {unmet} of its {len(lines)} lines are about nothing here" if unmet else ""
            speak(
                f"{path.name} leaves out {self.utterances[number]} utterances "
                f"({hours(self.seconds[number])} h){nothing}"
            )


def _cell(text: str) -> str:
    return " ".join(text.split())
