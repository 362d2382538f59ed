"""What the doctor found, in plain lines for a terminal and as data for machines."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from speechx.data.exclusion import Exclusion, Key
from speechx.data.manifest import Utterance
from speechx.data.utterance import hours
from speechx.doctor.balance import ALPHAS, Balance
from speechx.doctor.checks import CHECKS, Case, Check
from speechx.doctor.respelling import Respelling

FEW = 3  # cases that the terminal shows of each check
WIDTH = 150


@dataclass(frozen=True)
class Diagnosis:
    manifests: tuple[str, ...]
    utterances: int
    seconds: float
    cases: tuple[Case, ...]
    excluding: frozenset[str]
    """Checks whose utterances are excluded."""
    balance: Balance
    respellings: tuple[Respelling, ...]
    alpha: float
    notes: tuple[str, ...]
    """What was looked at, and by which rules."""
    not_listed: frozenset[Key] = frozenset()
    """Utterances that no list can leave out without another that is good."""
    moved: str = ""
    """Why no sound was opened after the first, if so."""
    lost: tuple[int, float] = (0, 0.0)
    """Utterances and seconds that the list takes from all manifests together."""

    @property
    def serious(self) -> bool:
        """Whether any utterance, or line, is bad."""
        return any(CHECKS[case.check].hard for case in self.cases)

    @property
    def alphas(self) -> list[float]:
        """The usual ones and the one asked about."""
        return sorted({*ALPHAS, self.alpha})

    @cached_property
    def by_check(self) -> dict[Check, list[Case]]:
        """What was found of each check that found something, the hard ones first."""
        found: dict[str, list[Case]] = {name: [] for name in CHECKS}
        for case in self.cases:
            found[case.check].append(case)
        return {CHECKS[name]: some for name, some in found.items() if some}

    @cached_property
    def excluded(self) -> list[Case]:
        """One case for each utterance to leave out: its first and gravest."""
        seen: set[Key] = set()
        some = []
        for cases in self.by_check.values():
            for case in filter(self.listed, cases):
                assert case.utterance is not None
                key = key_of(case.utterance)
                if key not in seen:
                    seen.add(key)
                    some.append(case)
        return some

    def listed(self, case: Case) -> bool:
        """Whether the exclusion list names its utterance for it."""
        u = case.utterance
        return u is not None and case.check in self.excluding and key_of(u) not in self.not_listed

    def exclusions(self) -> list[Exclusion]:
        return [
            Exclusion(*key_of(c.utterance), c.check, writable(c.detail))
            for c in self.excluded
            if c.utterance is not None
        ]

    def filters(self) -> list[list[str]]:
        """What each check about utterances costs, or would: a heading, a row a check, and what is
        left out by all together. An utterance with several faults is in several rows."""
        rows = [["check", "utterances", "hours", "of all", "fate"]]
        for check, cases in self.by_check.items():
            some = {id(c.utterance): c.utterance.duration for c in cases if c.utterance is not None}
            if some:
                out = sum(map(self.listed, cases))
                fate = "kept" if not out else "left out" if out == len(cases) else f"{out:,} out"
                rows.append([*self._amount(check.title, len(some), sum(some.values())), fate])
        lost, seconds = self.lost
        rest = self._amount("the rest", self.utterances - lost, self.seconds - seconds)
        rows.append([*self._amount("all that is left out", lost, seconds), "left out"])
        rows.append([*rest, "kept"])
        return rows

    def _amount(self, title: str, utterances: int, seconds: float) -> list[str]:
        share = seconds / self.seconds if self.seconds else 0.0
        return [title, f"{utterances:,}", hours(seconds), f"{share:.2%}"]

    def headline(self) -> str:
        """How much was examined, in one sentence."""
        languages = len({language for _, language in self.balance.amounts})
        return (
            f"{self.utterances:,} utterances, {hours(self.seconds)} h, {languages} "
            f"{'language' if languages == 1 else 'languages'}, {len(self.manifests)} "
            f"{'manifest' if len(self.manifests) == 1 else 'manifests'}"
        )

    def verdict(self) -> str:
        bad, _ = self.lost
        if not self.by_check:
            return "Nothing is wrong."
        if not self.serious:
            return "No utterance is bad; some things are worth a look."
        lines, leaks, ambiguous = (
            len(self.by_check.get(CHECKS[name], []))
            for name in ("line", "recording_leak", "ambiguous_id")
        )
        parts = [self.moved] if self.moved else []
        parts += [f"{bad:,} of {self.utterances:,} utterances should be left out"] if bad else []
        parts += [f"recordings of dev or test in train: {leaks:,}"] if leaks else []
        parts += [f"bad, but of an id that another has: {ambiguous:,}"] if ambiguous else []
        parts += [f"{lines:,} lines of manifests cannot be read"] if lines else []
        return "; ".join(parts) + "."

    def text(self) -> str:
        """The report for a terminal."""
        lines = [f"{self.headline()}: {self.verdict()}", *self.notes]
        for hard, title in ((True, "TO LEAVE OUT"), (False, "TO LOOK AT")):
            some = {c: cases for c, cases in self.by_check.items() if c.hard == hard}
            if some:
                lines += ["", title]
            for check, cases in some.items():
                lines += _told(check, cases, not hard and check.name in self.excluding)
        lines += ["", *table(self.balance.table(self.alphas))]
        if len(filters := self.filters()) > 3:
            lines += ["", *table(filters)]
        return writable("\n".join(lines))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
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
                f"{alpha:g}": {
                    language: {"share": s.share, "repeats": s.repeats}
                    for language, s in self.balance.shares(alpha).items()
                }
                for alpha in self.alphas
            },
            "excluded": len(self.excluded),
            "left_out": {"utterances": self.lost[0], "hours": self.lost[1] / 3600},
        }

    def to_json(self) -> str:
        return writable(json.dumps(self.to_dict(), ensure_ascii=False, indent=1), "\\\\") + "\n"


def key_of(utterance: Utterance) -> Key:
    """What an exclusion list knows it by."""
    return utterance.corpus or "", utterance.language, utterance.id


def _case(case: Case) -> dict[str, Any]:
    record: dict[str, Any] = {"subject": case.subject, "detail": case.detail}
    record |= {"language": case.language, "split": case.split, "utterances": case.count}
    if case.utterance is not None:
        record |= {"audio": str(case.utterance.audio), "start": case.utterance.start,
                   "duration": case.utterance.duration, "text": case.utterance.text}  # fmt: skip
    return record


def _told(check: Check, cases: Sequence[Case], excluded: bool) -> Iterator[str]:
    number = f"{len(cases):,}"
    fate = " (left out too: --exclude)" if excluded else ""
    yield f"  {number:>6}  {check.title}{fate}{_where(cases)}"
    for case in cases[:FEW]:
        where = "/".join(filter(None, (case.language, case.split)))
        count = f" ({case.count:,} utterances)" if case.utterance is None and case.count > 1 else ""
        subject = f" {short(case.subject, 40)}" if case.subject else ""
        yield f"          {short(f'{where}{subject}{count}: {case.detail}', WIDTH)}"
    if len(cases) > FEW:
        yield f"          ... and {len(cases) - FEW:,} more"
    yield f"          {check.advice}"


def _where(cases: Sequence[Case]) -> str:
    """The languages with most of it, if there are several."""
    counts = Counter(case.language for case in cases if case.utterance is not None)
    if len(counts) < 2:
        return ""
    most = ", ".join(f"{language} {count:,}" for language, count in counts.most_common(5))
    return f": {most}{', ...' if len(counts) > 5 else ''}"


def writable(text: str, backslash: str = "\\") -> str:
    """With escapes such as \\xff for the bytes of file names that are not UTF-8."""
    return re.sub("[\udc80-\udcff]", lambda m: f"{backslash}x{ord(m[0]) - 0xDC00:02x}", text)


def short(text: str, most: int) -> str:
    """On one line, of `most` characters at most."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned lines: the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
