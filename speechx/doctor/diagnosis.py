"""The doctor's findings, as plain lines for a terminal and as data for programs."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from speechx.data.exclusion import Exclusion, Key
from speechx.data.manifest import Utterance
from speechx.data.text_replacements import Replacement
from speechx.data.utterance import hours
from speechx.doctor.balance import ALPHAS, Balance
from speechx.doctor.checks import CHECKS, Case, Check
from speechx.text_table import text_table

FEW = 3  # cases of each check on the terminal
WIDTH = 150


@dataclass(frozen=True)
class Diagnosis:
    manifests: tuple[str, ...]
    utterances: int
    seconds: float
    cases: tuple[Case, ...]
    excluding: frozenset[str]  # checks whose utterances are excluded
    balance: Balance
    replacements: tuple[Replacement, ...]
    alpha: float
    notes: tuple[str, ...]  # what was examined, and how
    not_listed: frozenset[Key] = frozenset()
    """Utterances that an exclusion list cannot name without excluding a good one."""
    moved: str = ""  # why files were not opened, if many were missing
    lost: tuple[int, float] = (0, 0.0)
    """Utterances and seconds that the exclusion list removes from all manifests."""

    @property
    def serious(self) -> bool:
        """Whether any utterance or line fails a hard check."""
        return any(CHECKS[case.check].hard for case in self.cases)

    @property
    def alphas(self) -> list[float]:
        """The usual values and the given one."""
        return sorted({*ALPHAS, self.alpha})

    @cached_property
    def by_check(self) -> dict[Check, list[Case]]:
        """The cases of each check that has some, hard checks first."""
        found: dict[str, list[Case]] = {name: [] for name in CHECKS}
        for case in self.cases:
            found[case.check].append(case)
        return {CHECKS[name]: cases for name, cases in found.items() if cases}

    def groups(self) -> Iterator[tuple[str, dict[Check, list[Case]]]]:
        """The hard and the soft checks, each with a title."""
        for hard, title in ((True, "To leave out"), (False, "To review")):
            if found := {c: cases for c, cases in self.by_check.items() if c.hard == hard}:
                yield title, found

    @cached_property
    def excluded(self) -> dict[Key, Case]:
        """The first case of each excluded utterance."""
        first: dict[Key, Case] = {}
        for case in (c for cases in self.by_check.values() for c in cases):
            if case.utterance is not None and self.lists(case):
                first.setdefault(key_of(case.utterance), case)
        return first

    def lists(self, case: Case) -> bool:
        """Whether the exclusion list names the utterance of this case."""
        u = case.utterance
        return u is not None and case.check in self.excluding and key_of(u) not in self.not_listed

    def exclusions(self) -> list[Exclusion]:
        found = self.excluded.items()
        return [Exclusion(*key, case.check, writable(case.detail)) for key, case in found]

    def action(self, check: Check) -> str:
        """What happens to the utterances of a check."""
        out, cases = sum(map(self.lists, self.by_check[check])), len(self.by_check[check])
        if not out:
            return "to be corrected" if check.hard else "kept"
        return "left out" if out == cases else f"{out:,} left out"

    def costs(self) -> list[list[str]]:
        """How much audio each check excludes, or would exclude: a heading, a row per check, and
        the sum; empty if no case is about an utterance. An utterance can be in several rows."""
        rows = []
        for check, cases in self.by_check.items():
            seconds = {id(c.utterance): c.utterance.duration for c in cases if c.utterance}
            if seconds:
                amount = self._amount(check.title, len(seconds), sum(seconds.values()))
                rows.append([*amount, self.action(check)])
        if not rows:
            return []
        lost, seconds_lost = self.lost
        rest = self._amount("the rest", self.utterances - lost, self.seconds - seconds_lost)
        return [
            ["check", "utterances", "hours", "share", "action"],
            *rows,
            [*self._amount("all that is left out", lost, seconds_lost), "left out"],
            [*rest, "kept"],
        ]

    def _amount(self, title: str, utterances: int, seconds: float) -> list[str]:
        share = seconds / self.seconds if self.seconds else 0.0
        return [title, f"{utterances:,}", hours(seconds), f"{share:.2%}"]

    def headline(self) -> str:
        """How much was examined."""
        languages = len({language for _, language in self.balance.amounts})
        amounts = f"{self.utterances:,} utterances, {hours(self.seconds)} h"
        return f"{amounts}, languages: {languages}, manifests: {len(self.manifests)}"

    def verdict(self) -> str:
        if not self.by_check:
            return "No problems were found."
        if not self.serious:
            return "No utterance must be left out; some should be reviewed."
        counts = {check.name: len(cases) for check, cases in self.by_check.items()}
        parts = [self.moved] if self.moved else []
        if self.lost[0]:
            parts.append(f"{self.lost[0]:,} of {self.utterances:,} utterances should be left out")
        for name in ("recording_leak", "ambiguous_id", "line"):
            if name in counts:
                parts.append(f"{CHECKS[name].title.lower()}: {counts[name]:,}")
        return "; ".join(parts) + "."

    def problems(self) -> list[str]:
        """A line for each case of a hard check, for `speechx data validate`."""
        return [
            writable(f"{case.subject}: {check.title.lower()}: {case.detail}")
            for check, cases in self.by_check.items()
            for case in cases
            if check.hard
        ]

    def text(self) -> str:
        """The report for a terminal."""
        lines = [f"{self.headline()}. {self.verdict()}", *self.notes]
        for title, found in self.groups():
            lines += ["", title.upper()]
            for check, cases in found.items():
                lines += self._lines(check, cases)
        lines += ["", text_table(self.balance.table(self.alphas))]
        if costs := self.costs():
            lines += ["", text_table(costs)]
        return writable("\n".join(lines))

    def _lines(self, check: Check, cases: Sequence[Case]) -> Iterator[str]:
        also = not check.hard and check.name in self.excluding
        action = " (left out too: --exclude)" if also else ""
        yield f"  {len(cases):>6,}  {check.title}{action}{_languages(cases)}"
        for case in cases[:FEW]:
            where = "/".join(filter(None, (case.language, case.split)))
            several = case.utterance is None and case.count > 1
            subject = f" {short(case.subject, 40)}" if case.subject else ""
            count = f" ({case.count:,} utterances)" if several else ""
            yield f"          {short(f'{where}{subject}{count}: {case.detail}', WIDTH)}"
        if len(cases) > FEW:
            yield f"          ... and {len(cases) - FEW:,} more"
        yield f"          {check.advice}"

    def to_dict(self) -> dict[str, Any]:
        """The whole diagnosis as plain data."""
        return {
            "verdict": self.verdict(),
            "serious": self.serious,
            "manifests": list(self.manifests),
            "utterances": self.utterances,
            "hours": self.seconds / 3600,
            "notes": list(self.notes),
            "checks": [
                {
                    "check": check.name,
                    "rule": check.rule,
                    "hard": check.hard,
                    "excluded": check.name in self.excluding,
                    "utterances": sum(case.count for case in cases),
                    "hours": sum(c.utterance.duration for c in cases if c.utterance) / 3600,
                    "cases": [_case(case) for case in cases],
                }
                for check, cases in self.by_check.items()
            ],
            "balance": [
                {
                    "corpus": corpus,
                    "language": language,
                    "utterances": a.utterances,
                    "hours": {split: s / 3600 for split, s in a.seconds.items()},
                    "labelled_hours": a.labelled / 3600,
                    "excluded_hours": a.excluded / 3600,
                    "speakers": len(a.speakers),
                    "rates": {str(rate): n for rate, n in sorted(a.rates.items())},
                }
                for (corpus, language), a in sorted(self.balance.amounts.items())
            ],
            "shares": {
                f"{alpha:g}": {n: asdict(s) for n, s in self.balance.shares(alpha).items()}
                for alpha in self.alphas
            },
            "excluded": len(self.excluded),
            "left_out": {"utterances": self.lost[0], "hours": self.lost[1] / 3600},
        }

    def to_json(self) -> str:
        return writable(json.dumps(self.to_dict(), ensure_ascii=False, indent=1), "\\\\") + "\n"


def key_of(utterance: Utterance) -> Key:
    """The key of an utterance in an exclusion list."""
    return utterance.corpus or "", utterance.language, utterance.id


def _case(case: Case) -> dict[str, Any]:
    record: dict[str, Any] = {"subject": case.subject, "detail": case.detail}
    record |= {"language": case.language, "split": case.split, "utterances": case.count}
    if (u := case.utterance) is not None:
        record |= {"audio": str(u.audio), "start": u.start, "duration": u.duration, "text": u.text}
    return record


def _languages(cases: Sequence[Case]) -> str:
    """The languages with the most cases, if there are several."""
    counts = Counter(case.language for case in cases if case.utterance is not None)
    if len(counts) < 2:
        return ""
    most = ", ".join(f"{language} {count:,}" for language, count in counts.most_common(5))
    return f": {most}{', ...' if len(counts) > 5 else ''}"


def writable(text: str, backslash: str = "\\") -> str:
    """With escapes such as \\xff for the bytes of file names that are not UTF-8."""
    return re.sub("[\udc80-\udcff]", lambda m: f"{backslash}x{ord(m[0]) - 0xDC00:02x}", text)


def short(text: str, most: int) -> str:
    """The text on one line, of at most `most` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
