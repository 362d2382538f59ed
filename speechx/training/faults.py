"""What the loader could not use as the manifest says, counted and listed, never passed over.

One broken file in a million must not end a run after three days, and a disk that is gone must not
let it learn from what is left. So what cannot be read is replaced by a like utterance
(speechx/data/reading.py) and listed in `OUT/unreadable.tsv`, until more than `data.max_unreadable`
of the utterances tried could not be: then the run stops and names the first of them. The share is
taken of at least 1,000, so that with the default of 0.01 ten broken files end no run before there
is a share to speak of, and a disk that is gone ends it with the eleventh.

What is shorter than its manifest says, by more than rounding, is used at its true length and listed
in `OUT/shorter.tsv`. Each utterance is listed once, by corpus, language and id, so that either list
can be given as `data.exclude`. The counts are saved with the run's state: a resumed run has the
share of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechx.data.batches import Batch, Fault
from speechx.errors import UserError
from speechx.training.distributed import Machine

LEAST_TRIED = 1000
HEADER = "corpus\tlanguage\tid\treason\tdetail\taudio\treplaced by\n"
REASON = {True: "unreadable", False: "shorter"}
Key = tuple[str, ...]


class Faults:
    """The count and the two lists of a run."""

    def __init__(self, out: Path, most: float, resume: bool, machine: Machine) -> None:
        """`most` is the share that may be unreadable."""
        self.most, self.machine = most, machine
        self.tried = self.failed = 0.0
        self.first = ""
        self.files = {True: out / "unreadable.tsv", False: out / "shorter.tsv"}
        self.listed: dict[bool, set[Key]] = {True: set(), False: set()}
        for failed, file in self.files.items():
            if not machine.first or not file.is_file():
                continue
            if resume:
                lines = file.read_text(encoding="utf-8").splitlines()[1:]
                self.listed[failed] = {tuple(line.split("\t")[:3]) for line in lines}
            else:
                file.unlink()

    def to_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"tried": self.tried, "failed": self.failed, "first": self.first}

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Counts as they were; older states have none."""
        self.tried, self.failed = saved.get("tried", 0.0), saved.get("failed", 0.0)
        self.first = saved.get("first", "")

    def see(
        self, group: Sequence[Batch], tried: float, faults: float, say: Callable[[str], object]
    ) -> None:
        """The batches of this rank's step; `tried` and `faults` are counts of all ranks, so that
        all come here together and stop together."""
        self.tried += tried
        if not faults:
            return
        mine = [fault for batch in group for fault in batch.faults]
        self.failed += self.machine.total([sum(fault.failed for fault in mine)])[0]
        found = [_fault(line) for line in self.machine.gather([_line(fault) for fault in mine])]
        self.first = self.first or next((f"{f.id}: {f.why}" for f in found if f.failed), "")
        if self.machine.first:
            for failed in (True, False):
                self._list(failed, [fault for fault in found if fault.failed == failed], say)
        if self.failed > self.most * max(self.tried, LEAST_TRIED):
            raise UserError(
                f"{self.failed:.0f} of {self.tried:.0f} utterances cannot be read, more than "
                f"data.max_unreadable = {self.most:g} allows; they are listed in "
                f"{self.files[True]}, the first is {self.first}"
            )

    def _list(self, failed: bool, found: Sequence[Fault], say: Callable[[str], object]) -> None:
        new: dict[Key, Fault] = {}
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
                row = (f.corpus, f.language, f.id, REASON[failed], f.why, f.audio, f.instead)
                lines.write("\t".join(row) + "\n")
        before = len(self.listed[failed])
        self.listed[failed] |= set(new)
        if before == 0 or math.log2(len(self.listed[failed])) // 1 > math.log2(before) // 1:
            many = len(self.listed[failed])
            what = (
                "cannot be read and others are heard in their place"
                if failed
                else "end before their manifest says and are used at their true length"
            )
            say(f"{many} utterance(s) {what}, listed in {file}")


def _line(fault: Fault) -> str:
    """For the other ranks; white space in a field becomes one space, as in an exclusion list."""
    fields = (
        fault.corpus, fault.language, fault.id, fault.audio, fault.why, fault.instead,
        "failed" if fault.failed else "",
    )  # fmt: skip
    return "\t".join(" ".join(field.split()) for field in fields)


def _fault(line: str) -> Fault:
    corpus, language, id, audio, why, instead, failed = line.split("\t")
    return Fault(corpus, language, id, audio, why, bool(failed), instead)
