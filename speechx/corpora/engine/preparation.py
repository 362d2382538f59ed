"""One language of a corpus, as its reader lists it before anything is written.

A reader turns its tables into utterances, in one `Preparation` per language; `write.finish` makes
manifests of them.

    found = Preparation("es")
    found.add_file("train", root, "clips/c1.mp3", "train.tsv:2", text="buenos días")
    finish([found], Output(Path("data/cv")), source="CommonVoice cv-corpus-17.0-2024-03-15")

A duration of 0 is not known yet. A language is held in memory until it is written: 1.5 kB for a
clip of CommonVoice.
"""

import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from speechx.corpora.engine.cache import MeasuredFiles
from speechx.corpora.engine.paths import inside
from speechx.corpora.engine.problems import Problem
from speechx.data.manifest import Utterance
from speechx.errors import UserError

SPLITS = ("train", "dev", "test")
UNLABELLED = "unlabelled"
MAX_SHARED = 1 << 16  # strings
SHORTEST, LONGEST = 1e-5, 1e8  # seconds that an utterance can have


class ChannelChoice(NamedTuple):
    """The one channel of a file that an utterance is, from 0."""

    number: int
    if_several: bool = False
    """A file of one channel is used whole, whatever `number` is."""


@dataclass(slots=True)
class Preparation:
    """One language of a corpus: its utterances, and the rows and files that cannot be used."""

    language: str
    corpus: str | None = None
    """The corpus of all utterances that do not name their own."""
    release: str = ""
    named: str = ""
    """The corpus's own name of the language; written where it differs from `language`."""
    whole_files: bool = False
    """Every utterance is a whole file; a length in the corpus's tables is a claim about the file,
    not a segment to cut out."""
    or_else: str = ""
    """The end of a message about a file outside of its folder, where a reader has an option."""
    splits: dict[str, dict[str, Utterance]] = field(default_factory=dict)
    """Split to id to utterance."""
    missing: list[Problem] = field(default_factory=list)
    """Files that are listed and absent, and where they are listed."""
    corrupt: list[Problem] = field(default_factory=list)
    """Files and rows of tables that cannot be used."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Other reasons to leave rows out, and how many there were."""
    notes: dict[str, str | Callable[[], str]] = field(default_factory=dict)
    """A remark for the report about a split; a function is called when all durations are known."""

    places: dict[str, dict[str, str]] = field(default_factory=dict)
    """The row that lists a segment, as in train.tsv:3, by split and id."""
    channels: dict[tuple[str, str], ChannelChoice] = field(default_factory=dict)
    """By split and id."""
    measured: MeasuredFiles = field(default_factory=MeasuredFiles)
    shared: dict[str, str] = field(default_factory=dict)
    """Strings that many utterances have, each once."""

    def add(
        self,
        split: str,
        utterance: Utterance,
        place: str = "",
        channel: ChannelChoice | None = None,
    ) -> None:
        """Lists an utterance; the first of an id stays, others are counted.

        `place` is named if the segment turns out to lie outside of its file."""
        start, duration = utterance.start, utterance.duration
        if not (0 <= start < LONGEST and (duration == 0 or SHORTEST <= duration < LONGEST)):
            self.refuse(
                place or str(utterance.audio),
                f"{duration:g} s from {start:g} s on, but an utterance begins at 0 s or later and "
                f"lasts {SHORTEST:g} to {LONGEST:g} s",
            )
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
        if channel is not None:
            self.channels[split, utterance.id] = channel

    def add_file(
        self,
        split: str,
        root: Path,
        name: str,
        place: str,
        text: str | None = None,
        speaker: str | None = None,
        extra: Mapping[str, Any] | None = None,
        duration: float = 0.0,
        id: str = "",
    ) -> Utterance | None:
        """Lists the file `name` below `root`, with its stem as `id`; an empty `text` makes it
        unlabelled. Empty values of `extra` are left out. None for a file that cannot be used."""
        audio = self.file(root, name, place)
        if audio is None:
            return None
        utterance = Utterance(
            id=id or audio.stem,
            audio=audio,
            duration=duration,
            language=self.language,
            text=text or None,
            speaker=speaker or None,
            extra={key: value for key, value in (extra or {}).items() if value},
        )
        self.add(UNLABELLED if text == "" else split, utterance)
        return utterance

    def _once(self, text: str) -> str:
        if len(self.shared) == MAX_SHARED:
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
        """Lists a row of a table as one that cannot be used."""
        self.corrupt.append(Problem(place, why))

    def file(self, root: Path, name: str, place: str) -> Path | None:
        """The file `name` below `root`; None once it is listed as missing or corrupt."""
        try:
            path = inside(root, name, place, self.or_else)
        except UserError as error:
            self.corrupt.append(Problem.of(error, place))
            return None
        try:
            status = path.stat()
        except (OSError, ValueError):
            why = f"listed in {place}"
            if "\\" in path.name:  # which no name has on Windows, where they divide a path
                why += "; its name holds backslashes, where / was expected"
            self.missing.append(Problem(str(path), why))
            return None
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait without end
            self.refuse(str(path), f"not a file, but it is listed in {place}")
        elif status.st_size == 0:
            self.refuse(str(path), "the file is empty (0 bytes)")
        else:
            return path
        return None
