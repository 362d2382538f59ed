"""Exclusion lists: tables of utterances to leave out, so that nothing has to be deleted.

    corpus	language	id	reason	detail
            nl	c17	silent	no sample above -60 dB

A line excludes the utterances of that corpus (empty: of none), language and id in all manifests,
whether phones were added or they are in Parquet or shards. Excluded utterances are counted, and so
are lines that match no utterance.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from speechx.data.utterance import Utterance, hours
from speechx.errors import UserError
from speechx.text.user_files import read_table
from speechx.whole_file import write_whole


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
    """Writes a list. White space within a cell becomes one space, also where cells are compared."""
    lines = ("\t".join(_cell(text) for text in astuple(e)) for e in exclusions)
    write_whole(path, "\n".join([HEADER, *lines]) + "\n")


def read_exclusions(path: Path) -> list[Exclusion]:
    """The lines of a list. The first line names the columns; reason and detail may be absent."""
    exclusions, columns = [], HEADER.split("\t")
    for number, row in read_table(path, "the exclusion list", columns[:3]):
        cells = {name: _cell(row.get(name, "")) for name in columns}
        if not cells["id"] or not cells["language"]:
            found = "\t".join(row.values())[:60]
            raise UserError(f"{path}:{number}: needs a language and an id; it has {found!r}")
        exclusions.append(Exclusion(**cells))
    return exclusions


class Exclusions:
    """The lists of a run; counts what each excludes."""

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = [Path(path) for path in paths]
        self.lists_of: dict[Key, list[int]] = {}
        for number, path in enumerate(self.paths):
            for e in read_exclusions(path):
                self.lists_of.setdefault((e.corpus, e.language, e.id), []).append(number)
        self._matched: set[Key] = set()
        self.utterances = [0] * len(self.paths)
        self.seconds = [0.0] * len(self.paths)

    def __bool__(self) -> bool:
        return bool(self.lists_of)

    def leave_out(self, u: Utterance) -> bool:
        """Whether a list names the utterance; it is counted for the first that does."""
        return bool(self) and self.excludes(u.corpus, u.language, u.id, u.duration)

    def excludes(self, corpus: str | None, language: str, id: str, seconds: float) -> bool:
        """Like `leave_out`, but takes the fields instead of an utterance."""
        key = _cell(corpus or ""), _cell(language), _cell(id)
        lists = self.lists_of.get(key)
        if lists is None:
            return False
        self._matched.add(key)
        self.utterances[lists[0]] += 1
        self.seconds[lists[0]] += seconds
        return True

    def kept(self, utterances: Iterable[Utterance]) -> list[Utterance]:
        """The utterances that no list names; a UserError if there are none."""
        kept = [u for u in utterances if not self.leave_out(u)]
        if not kept:
            raise self.all_left_out()
        return kept

    def all_left_out(self) -> UserError:
        """The error if no utterance is left."""
        lists = ", ".join(map(str, self.paths))
        return UserError(f"{lists}: every utterance of the manifests is on the list")

    def report(self) -> Iterator[str]:
        """A line for each list, after all manifests are read."""
        for number, path in enumerate(self.paths):
            lines = [key for key, lists in self.lists_of.items() if number in lists]
            unused = sum(key not in self._matched for key in lines)
            amount = f"{self.utterances[number]} utterances ({hours(self.seconds[number])} h)"
            note = f"; {unused} of its {len(lines)} lines are unused" if unused else ""
            yield f"{path.name} leaves out {amount}{note}"


def _cell(text: str) -> str:
    return " ".join(text.split())
