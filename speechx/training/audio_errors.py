"""Counts and lists the audio that contradicts its manifest.

One broken file in a million must not end a run after three days, and a run must not go on with what
is left of a lost disk. An utterance that cannot be read is replaced by an utterance of similar
length (speechx/data/reading.py) and listed in `OUT/unreadable.tsv`. If more than
`data.max_unreadable` of the utterances tried cannot be read, the run stops and names the first. The
share is taken of at least 1,000 utterances: with the default of 0.01, ten broken files never end a
run, and a lost disk ends it with the eleventh.

An utterance that is shorter than in its manifest, by more than rounding, is used at its true
length and listed in `OUT/shorter.tsv`. Each utterance is listed once, by corpus, language and id:
both lists can be given as `data.exclude`. The counts are saved with the run's state, so a resumed
run has the share of the whole run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from speechx.data.batches import Batch
from speechx.data.reading import AudioError
from speechx.errors import UserError
from speechx.log import logger
from speechx.training.distributed import Ranks

LEAST_TRIED = 1000
HEADER = "corpus\tlanguage\tid\treason\tdetail\taudio\treplaced by\n"
REASON = {True: "unreadable", False: "shorter"}
Key = tuple[str, ...]


class AudioErrors:
    """The count and the two lists of a run."""

    def __init__(self, out: Path, most: float, resume: bool, ranks: Ranks) -> None:
        """`most` is the share that may be unreadable."""
        self.most, self.ranks = most, ranks
        self.tried = self.failed = 0.0
        self.first = ""
        self.files = {True: out / "unreadable.tsv", False: out / "shorter.tsv"}
        self.listed: dict[bool, set[Key]] = {True: set(), False: set()}
        for failed, file in self.files.items():
            if not ranks.is_main or not file.is_file():
                continue
            if resume:
                lines = file.read_text(encoding="utf-8").splitlines()[1:]
                self.listed[failed] = {tuple(line.split("\t")[:3]) for line in lines}
            else:
                file.unlink()

    def to_dict(self) -> dict[str, Any]:
        """The counts, for a resumed run."""
        return {"tried": self.tried, "failed": self.failed, "first": self.first}

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Goes on with saved counts."""
        self.tried, self.failed, self.first = saved["tried"], saved["failed"], saved["first"]

    def add(self, batches: Sequence[Batch], tried: float, errors: float) -> None:
        """Adds the batches of this rank's step; `tried` and `errors` are counts of all ranks, so
        that all stop together."""
        self.tried += tried
        if not errors:
            return
        mine = [error for batch in batches for error in batch.errors]
        self.failed += self.ranks.all_reduce_sum([sum(error.failed for error in mine)])[0]
        found = [_tidy(error) for of_rank in self.ranks.gather(mine) for error in of_rank]
        self.first = self.first or next((f"{f.id}: {f.why}" for f in found if f.failed), "")
        if self.ranks.is_main:
            for failed in (True, False):
                self._list(failed, [error for error in found if error.failed == failed])
        if self.failed > self.most * max(self.tried, LEAST_TRIED):
            raise UserError(
                f"{self.failed:.0f} of {self.tried:.0f} utterances cannot be read, more than "
                f"data.max_unreadable = {self.most:g} allows; they are listed in "
                f"{self.files[True]}, the first is {self.first}"
            )

    def _list(self, failed: bool, found: Sequence[AudioError]) -> None:
        new: dict[Key, AudioError] = {}
        for f in found:
            if (key := (f.corpus, f.language, f.id)) not in self.listed[failed]:
                new.setdefault(key, f)
        if not new:
            return
        file = self.files[failed]
        if not file.is_file():
            file.write_text(HEADER, encoding="utf-8")
        with file.open("a", encoding="utf-8") as lines:
            for f in new.values():
                row = (f.corpus, f.language, f.id, REASON[failed], f.why, f.audio, f.replacement)
                lines.write("\t".join(row) + "\n")
        before = len(self.listed[failed])
        self.listed[failed] |= set(new)
        if before == 0 or math.log2(len(self.listed[failed])) // 1 > math.log2(before) // 1:
            many = len(self.listed[failed])
            what = (
                "cannot be read and are replaced by others of similar length"
                if failed
                else "are shorter than in their manifest and are used at their true length"
            )
            logger.info(f"{many} utterance(s) {what}, listed in {file}")


def _tidy(error: AudioError) -> AudioError:
    """White space in a field becomes one space, as in an exclusion list."""
    fields: dict[str, Any] = {
        k: " ".join(v.split()) for k, v in asdict(error).items() if isinstance(v, str)
    }
    return replace(error, **fields)
