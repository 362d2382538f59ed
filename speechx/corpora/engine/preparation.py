"""A language of a corpus as its reader lists it, before any of it is written.

A reader turns its own tables into utterances of one `Preparation` per language; `output.finish`
makes manifests of them.

    some = Preparation("es")
    some.add("train", Utterance(id="c1", audio=inside(root, "clips/c1.mp3"), duration=0.0, ...))
    finish([some], Output(Path("data/cv")), source="CommonVoice cv-corpus-17.0-2024-03-15")

A duration of 0 is one that is not known yet. An utterance whose `extra` has a `channel` (from 0) is
that channel of its file alone; with `channel_if_several` a file of one channel is all of it. Both
keys are gone when it is written. A language is held in memory until then: 1.3 kB for a clip of
CommonVoice.
"""

import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechx.corpora.engine.measure import LONGEST, SHORTEST
from speechx.corpora.engine.paths import inside
from speechx.data.manifest import Utterance
from speechx.errors import UserError

SPLITS = ("train", "dev", "test")
UNLABELLED = "unlabelled"
MOST_SHARED = 1 << 16  # strings


@dataclass(slots=True)
class Preparation:
    """One language of a corpus as it is listed, and what of it cannot be used."""

    language: str
    corpus: str | None = None
    """Of all its utterances that do not say so themselves."""
    release: str = ""
    named: str = ""
    """What the corpus calls the language; kept where that is not `language`."""
    whole_files: bool = False
    """Every utterance is a whole file, and a length in the corpus's tables is a claim about it, not
    a segment to cut out."""
    or_else: str = ""
    """What a message adds about a file outside of its folder, where a reader has an option."""
    splits: dict[str, dict[str, Utterance]] = field(default_factory=dict)
    """Split to id to utterance."""
    missing: list[tuple[Path, str]] = field(default_factory=list)
    """Files that are listed and not there, and where they are listed."""
    corrupt: list[tuple[Path, str]] = field(default_factory=list)
    """Files, or lines of tables, that cannot be read, and why."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What else was left out: why, and how many."""
    notes: dict[str, str | Callable[[], str]] = field(default_factory=dict)
    """What the report adds about a split; a function is called when all durations are known."""

    places: dict[str, dict[str, str]] = field(default_factory=dict)
    """Where a segment is listed, by split and id, as in train.tsv:3."""
    shared: dict[str, str] = field(default_factory=dict)
    """Strings that many utterances have, each once."""

    def add(self, split: str, utterance: Utterance, place: str = "") -> None:
        """Lists it; the first of an id stays, others are counted.

        `place` is what to name if the segment is found not to be in its file."""
        start, duration = utterance.start, utterance.duration
        if not (0 <= start < LONGEST and (duration == 0 or SHORTEST <= duration < LONGEST)):
            why = (
                f"{duration:g} s from {start:g} s on, but it is to begin at 0 s or later and last "
            )
            self.refuse(place or str(utterance.audio), f"{why}{SHORTEST:g} to {LONGEST:g} s")
            return
        listed = self.splits.setdefault(split, {})
        if utterance.id in listed:
            self.left_out["listed twice"] += 1
            return
        extra = {
            key: self._once(value) if isinstance(value, str) else value
            for key, value in utterance.extra.items()
        }
        listed[utterance.id] = replace(
            utterance,
            audio=str(utterance.audio),  # a third of the size of a Path
            speaker=utterance.speaker and self._once(utterance.speaker),
            extra=extra,
        )
        if place:
            self.places.setdefault(split, {})[utterance.id] = place

    def _once(self, text: str) -> str:
        if len(self.shared) == MOST_SHARED:
            self.shared.clear()
        return self.shared.setdefault(text, text)

    def of(self, split: str) -> Iterator[Utterance]:
        """The utterances of a split as they are written."""
        extra = {"release": self.release} if self.release else {}
        if self.named and self.named != self.language:
            extra["locale"] = self.named
        for u in self.splits.get(split, {}).values():
            if extra or self.corpus:
                u = replace(u, corpus=u.corpus or self.corpus, extra=extra | u.extra)
            yield u

    def refuse(self, place: str, why: str) -> None:
        """Lists a line of a table as one that cannot be used."""
        self.corrupt.append((Path(place), why))

    def file(self, root: Path, name: str, place: str) -> Path | None:
        """The file `name` below `root`, or None once it is listed as missing or corrupt."""
        try:
            path = inside(root, name, place, self.or_else)
        except UserError as error:
            self.refuse(place, str(error).removeprefix(f"{place}: "))
            return None
        return path if self.there(path, place) else None

    def there(self, path: Path, place: str) -> bool:
        """Whether it is a file with something in it; if not, it is listed."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            why = f"listed in {place}"
            if "\\" in path.name:  # which no name has on Windows, where they divide a path
                why += "; in its name are backslashes, where / was expected"
            self.missing.append((path, why))
            return False
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait without end
            self.corrupt.append((path, f"not a file, but it is listed in {place}"))
        elif status.st_size == 0:
            self.corrupt.append((path, "the file is empty (0 bytes)"))
        else:
            return True
        return False
