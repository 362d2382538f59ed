"""What the loader could not use as the manifest says, counted and listed, never passed over.

One broken file in a million must not end a run after three days, and a disk that is gone must not
let it learn from what is left. So what cannot be read is replaced by a like utterance
(speechx/data/batches.py) and listed in `OUT/unreadable.tsv`, until more than `data.max_unreadable`
of the utterances tried could not be: then the run stops and names the first of them. The share is
taken of at least 1,000, so that with the default of 0.01 ten broken files end no run before there
is a share to speak of, and a disk that is gone ends it with the eleventh.

What is shorter than its manifest says, by more than rounding, is used at its true length and listed
in `OUT/shorter.tsv`. Each utterance is listed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from speechx.data.batches import Batch, Fault
from speechx.errors import UserError
from speechx.training.distributed import Machine

LEAST_TRIED = 1000
HEADER = "id\taudio\twhy\treplaced by\n"


class Faults:
    """The count and the two lists of a run."""

    def __init__(self, out: Path, most: float, resume: bool, machine: Machine) -> None:
        """`most` is the share that may be unreadable."""
        self.most, self.machine = most, machine
        self.tried = self.failed = 0.0
        self.first = ""
        self.files = {True: out / "unreadable.tsv", False: out / "shorter.tsv"}
        self.listed: dict[bool, set[str]] = {True: set(), False: set()}
        for failed, file in self.files.items():
            if not machine.first or not file.is_file():
                continue
            if resume:
                lines = file.read_text(encoding="utf-8").splitlines()[1:]
                self.listed[failed] = {line.split("\t")[0] for line in lines}
            else:
                file.unlink()

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
        new = {f.id: f for f in found if f.id not in self.listed[failed]}
        if not new:
            return
        file = self.files[failed]
        if not file.is_file():
            file.write_text(HEADER, encoding="utf-8")
        with file.open("a", encoding="utf-8") as lines:
            lines.writelines(_line(f).rpartition("\t")[0] + "\n" for f in new.values())
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
    fields = (fault.id, fault.audio, fault.why, fault.instead, "failed" if fault.failed else "")
    return "\t".join(" ".join(field.split()) for field in fields)


def _fault(line: str) -> Fault:
    id, audio, why, instead, failed = line.split("\t")
    return Fault(id, audio, why, bool(failed), instead)
