"""The splits of CommonVoice: which clips are for training.

    official            train.tsv
    speaker             all validated clips except speakers of dev and test
    speaker+sentence    all validated clips except speakers and sentences of dev and test

dev and test are always official, and their clips are in no other split but the official train. In
most languages that is a fraction of the validated clips, since it takes no sentence twice (Basque:
10.9 of 89.6 hours). Where dev or test lists no clip, train is always official. Sentences are equal
if they differ in case and punctuation only.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from speechx.corpora.engine.preparation import UNLABELLED, Preparation
from speechx.data.utterance import hours
from speechx.text.normalize import normalize

Splits = Literal["official", "speaker", "speaker+sentence"]


class Splitter:
    """Assigns one row after the other to a split, and reports the result.

    The rows of train, dev and test must come before those of validated.
    """

    def __init__(
        self,
        found: Preparation,
        splits: Splits,
        held_out: Iterable[tuple[str, Mapping[str, str]]],
        absent: Sequence[str],
    ) -> None:
        """`held_out` are the clips and rows of dev and test; `absent` are missing tables."""
        self.found, self.splits, self.absent = found, splits, absent
        self.in_train: set[str] = set()  # of train.tsv
        self.unlabelled_since: dict[str, str] = {}  # clip to reason
        self.clips: set[str] = set()  # of dev.tsv or test.tsv
        self.speakers: set[str] = set()
        self.sentences: set[str] = set()
        for clip, row in held_out:
            self.clips.add(clip)
            self.speakers.add(row["client_id"])
            if splits == "speaker+sentence":
                self.sentences.add(self._plain(row))
        if splits != "official":
            found.splits["train"] = {}
            found.notes["train"] = self._gained

    def split_of(self, table: str, clip: str, row: Mapping[str, str]) -> str | None:
        """The split of a row; None if another table decides, or the row is left out."""
        split = self._listed_in(table, clip, row)
        if split is None or (split != UNLABELLED and row["sentence"].strip()):
            return split
        if clip in self.clips:
            elsewhere = split == UNLABELLED
            why = "in other.tsv or invalidated.tsv" if elsewhere else "without a sentence"
            self.found.left_out[f"of dev or test, {why}"] += 1
            return None
        return UNLABELLED

    def _listed_in(self, table: str, clip: str, row: Mapping[str, str]) -> str | None:
        """The split before rows without a sentence and clips of dev and test are considered."""
        if table == "train":
            self.in_train.add(clip)
        if table in ("dev", "test") or (table == "train" and self.splits == "official"):
            return table
        if table == "validated" and (clip in self.in_train or clip in self.clips):
            return None
        if table == "train" and clip in self.clips:
            self.found.left_out["in train.tsv and in dev.tsv or test.tsv"] += 1
            return None
        if table in ("train", "validated"):
            reason = self._reason(row)
            if reason is None:
                return "train"
            self.unlabelled_since[clip] = reason
        elif table == "invalidated":
            self.unlabelled_since[clip] = "invalidated"
        return UNLABELLED

    def _reason(self, row: Mapping[str, str]) -> str | None:
        if self.splits == "official":
            if self.absent:
                return f"validated, of an unknown split without {', '.join(self.absent)}"
            return "validated but in no split"
        if not row["client_id"].strip() or row["client_id"] in self.speakers:
            return "validated but by speakers of dev or test"
        if self.sentences and self._plain(row) in self.sentences:
            return "validated but with sentences of dev or test"
        return None

    def _plain(self, row: Mapping[str, str]) -> str:
        return normalize(row["sentence"], self.found.language)

    def _gained(self) -> str:
        listed = {u.id: u for split in self.found.splits.values() for u in split.values()}
        seconds = sum(listed[clip].duration for clip in self.in_train & listed.keys())
        gain = sum(u.duration for u in self.found.splits["train"].values()) - seconds
        sign = "-" if gain < 0 else "+"
        return f"official train {hours(seconds)} h: {sign}{hours(abs(gain))} h"

    def note(self) -> None:
        """Adds to the report why clips are unlabelled."""
        listed = self.found.splits.get(UNLABELLED, {})
        reasons = Counter(why for clip, why in self.unlabelled_since.items() if clip in listed)
        if reasons:
            note = ", ".join(f"{number} of them {why}" for why, number in reasons.items())
            self.found.notes[UNLABELLED] = note
