"""Which clips of CommonVoice are for training, and which must not be.

    official            train.tsv
    speaker             everything validated, but for the speakers of dev and test
    speaker+sentence    and but for their sentences, whoever says them

dev and test are always the official ones, and their clips are in no other split but the official
train. That holds only a fraction of what is validated in most languages, since it takes no sentence
twice (Basque: 10.9 of 89.6 hours). Where dev or test lists no clip, train is the official one
whatever is asked for. Sentences are the same if they are once case and punctuation are gone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from speechx.corpora.engine.preparation import UNLABELLED, Preparation
from speechx.data.utterance import hours
from speechx.text.normalize import normalize

Splits = Literal["official", "speaker", "speaker+sentence"]


class Splitter:
    """Says of one row after the other where it belongs, and in the end what that came to.

    The rows of train, dev and test are to come before those of validated.
    """

    def __init__(
        self,
        some: Preparation,
        splits: Splits,
        held_out: Iterable[tuple[str, Mapping[str, str]]] = (),
        absent: Sequence[str] = (),
    ) -> None:
        """`held_out` are the clips and rows of dev and test; `absent` are tables of splits that are
        not there."""
        self.some, self.splits, self.absent = some, splits, absent
        self.in_train: set[str] = set()  # of train.tsv
        self.in_splits: set[str] = set()  # of train.tsv, dev.tsv or test.tsv
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
            some.splits["train"] = {}
            some.notes["train"] = self._gained

    def split_of(self, table: str, clip: str, row: Mapping[str, str]) -> str | None:
        """Where a row belongs; None for one that another table is the place of, or none."""
        split = self._listed_in(table, clip, row)
        if split is None or (split != UNLABELLED and row["sentence"].strip()):
            return split
        if clip in self.clips:
            elsewhere = split == UNLABELLED
            why = "in other.tsv or invalidated.tsv" if elsewhere else "without a sentence"
            self.some.left_out[f"of dev or test, {why}"] += 1
            return None
        return UNLABELLED

    def _listed_in(self, table: str, clip: str, row: Mapping[str, str]) -> str | None:
        """The same if every row had a sentence and those of dev and test were nowhere else."""
        if table in ("train", "dev", "test"):
            self.in_splits.add(clip)
        if table == "train":
            self.in_train.add(clip)
        if table in ("dev", "test") or (table == "train" and self.splits == "official"):
            return table
        if table == "validated" and clip in self.in_splits:
            return None
        if table == "train" and clip in self.clips:
            self.some.left_out["in train.tsv and in dev.tsv or test.tsv"] += 1
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
        """Why a validated row is not for training."""
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
        return normalize(row["sentence"], self.some.language)

    def _gained(self) -> str:
        listed = {u.id: u for split in self.some.splits.values() for u in split.values()}
        seconds = sum(listed[clip].duration for clip in self.in_train & listed.keys())
        gain = sum(u.duration for u in self.some.splits["train"].values()) - seconds
        sign = "-" if gain < 0 else "+"
        return f"official train {hours(seconds)} h: {sign}{hours(abs(gain))} h"

    def note(self) -> None:
        """Adds to the report why clips are unlabelled."""
        listed = self.some.splits.get(UNLABELLED, {})
        reasons = Counter(why for clip, why in self.unlabelled_since.items() if clip in listed)
        if reasons:
            said = ", ".join(f"{number} of them {why}" for why, number in reasons.items())
            self.some.notes[UNLABELLED] = said
