"""Is this run still learning? Watches the log for failures that show exactly in its numbers.

Every objective states its own signatures, such as chance level or a collapse; the loop adds one:

    E105  overflow   gradients that are not finite, several steps in a row

`Monitor` gets what goes to log.jsonl and answers a `Finding` or None: no files, no tensors. The
numbers are sums over all ranks, so that all ranks decide alike; its memory is part of every saved
state. A finding needs `window` steps in which every line shows a signature: one bad line is noise.
A signature that is checked once, such as a blank plateau, only warns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from speechx.config import config, require_not_negative, require_positive
from speechx.objectives.objective import LogLine, Signature

OVERFLOW = "E105"


@config
class Health:
    """What to do about a finding, and when a signature becomes one."""

    action: Literal["stop", "rollback", "warn"] = "stop"
    """rollback: return to the last healthy checkpoint and go on from there at half the learning
    rate."""
    rollbacks: int = 3
    """Number of rollbacks after which the run stops."""
    window: int | None = None
    """Steps for which a signature must hold. By default a third of the run, from 100 to 500."""
    settled: float = 0.05
    """Share of the run from which on signatures count."""
    refusals: int = 8
    """E105: number of steps in a row whose gradient is not finite."""

    def __post_init__(self) -> None:
        require_positive(self, "refusals", "window")
        require_not_negative(self, "rollbacks", "settled")


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    name: str
    advice: str
    step: int
    text: str
    warning: bool = False
    """Reported, but no reason to stop."""

    def __str__(self) -> str:
        return f"{self.code} {self.name} at step {self.step}: {self.text}"


@dataclass(slots=True)
class HealthMemory:
    """What a monitor knows of the steps before; saved with every state."""

    line: int = 0
    """Step of the last line."""
    unhealthy: dict[str, int] = field(default_factory=dict)
    """For how many steps up to that line some signature of an objective has held, by prefix."""
    shown: bool = False
    """Whether that line shows one, at any point of the run."""
    reported: list[str] = field(default_factory=list)
    """Findings of that time: the prefix of the objective, and the code."""
    highest: dict[str, float] = field(default_factory=dict)
    """Highest value of each metric so far."""
    before: dict[str, float] = field(default_factory=dict)
    """Values of the last line."""
    refused: int = 0
    """Steps in a row whose update was refused."""
    pending: int | None = None
    """Step of the newest state, which no line has confirmed yet."""
    healthy: int | None = None
    """Step of the newest state after which a line showed no signature."""
    rollbacks: int = 0
    lr_scale: float = 1.0
    """The learning rate as a share of the configured one: halved by every rollback."""


class Monitor:
    """Watches the lines of one run of `steps`; `warmup_ratio` is the share of the warm-up."""

    def __init__(
        self,
        health: Health,
        steps: int,
        warmup_ratio: float = 0.0,
        signatures: Mapping[str, Sequence[Signature]] | None = None,
        memory: HealthMemory | None = None,
    ) -> None:
        """`signatures`: of each objective, by the prefix of its metrics in the log."""
        self.health, self.steps = health, steps
        self.signatures = dict(signatures or {})
        self.window = health.window or min(500, max(100, steps // 3))
        self.warm = math.ceil(warmup_ratio * steps)
        self.settled = math.ceil(health.settled * steps)
        self.memory = memory or HealthMemory()

    def see(self, step: int, values: Mapping[str, Any]) -> Finding | None:
        """Judges the line of `step`, which covers the steps since the last; None if all is well."""
        memory, begin = self.memory, self.memory.line
        memory.line = step
        shown = self._shown(step, values)
        watched = [each for each in shown if each[1].at is None]
        counting = [each for each in watched if begin >= self._counts_from(each[1])]
        once = [s for s in shown if s[1].at is not None and begin < self._once_at(s[1]) <= step]
        memory.shown = bool(watched)
        memory.before = {k: float(v) for k, v in values.items() if isinstance(v, (int, float))}
        for key, number in memory.before.items():
            memory.highest[key] = max(memory.highest.get(key, number), number)
        if not watched and memory.pending is not None and step > memory.pending:
            memory.healthy, memory.pending = memory.pending, None
        held = {prefix for prefix, _, _ in counting}
        memory.unhealthy = {p: memory.unhealthy.get(p, 0) + step - begin for p in sorted(held)}
        memory.reported = [k for k in memory.reported if k[: k.rfind("/") + 1] in held]
        first: dict[str, tuple[Signature, str]] = {}  # of each objective; others follow from it
        for prefix, signature, text in counting:
            first.setdefault(prefix, (signature, text))
        for prefix, (signature, text) in first.items():
            key = f"{prefix}{signature.code}"
            if memory.unhealthy[prefix] < self.window or key in memory.reported:
                continue
            memory.reported.append(key)
            text = f"{text}; unhealthy since step {step - memory.unhealthy[prefix]}"
            return Finding(signature.code, signature.name, signature.advice, step, text)
        if once:
            _, signature, text = once[0]
            return Finding(signature.code, signature.name, signature.advice, step, text, True)
        return None

    def refuse(self, step: int) -> Finding | None:
        """Step number `step` had a gradient that is not finite."""
        self.memory.refused += 1
        if self.memory.refused < self.health.refusals:
            return None
        count, self.memory.refused = self.memory.refused, 0
        text = f"{count} steps in a row had a non-finite gradient, the last one {step}"
        advice = "lower optim.lr or use run.precision=float32"
        return Finding(OVERFLOW, "overflow", advice, step, text)

    def action(self, finding: Finding) -> Literal["stop", "rollback", "warn"]:
        """What the settings ask for; nothing goes on over an overflow."""
        if finding.warning or (self.health.action == "warn" and finding.code != OVERFLOW):
            return "warn"
        possible = self.memory.healthy is not None
        possible = possible and self.memory.rollbacks < self.health.rollbacks
        return "rollback" if self.health.action == "rollback" and possible else "stop"

    @property
    def judges_from(self) -> int:
        """The step by which each signature could have become a finding."""
        return max(
            [
                self._once_at(s) if s.at is not None else self._counts_from(s) + self.window
                for signatures in self.signatures.values()
                for s in signatures
            ],
            default=0,
        )

    @property
    def may_save(self) -> bool:
        """Whether this model may overwrite the saved one: not while the last line shows a
        signature, unless action is `warn`."""
        return self.health.action == "warn" or not self.memory.shown

    def step_taken(self) -> None:
        """An update was made."""
        self.memory.refused = 0

    def saved(self, step: int) -> None:
        """A state of `step` is about to be written; the next line decides whether it is healthy."""
        self.memory.pending = step

    def roll_back(self, before: HealthMemory) -> None:
        """Goes on from a healthy state; `before` is the memory at the finding."""
        self.memory.healthy, self.memory.pending = before.healthy, None
        self.memory.rollbacks, self.memory.lr_scale = before.rollbacks + 1, before.lr_scale / 2
        self.memory.refused = 0

    def codes(self, step: int, values: Mapping[str, Any]) -> set[str]:
        """Codes of all signatures that a line shows, even if they do not count yet or are checked
        only once."""
        return {signature.code for _, signature, _ in self._shown(step, values)}

    def _shown(self, step: int, values: Mapping[str, Any]) -> list[tuple[str, Signature, str]]:
        """The signatures that a line shows, with the prefix of their objective and words for them;
        the more exact ones first."""
        shown = []
        for prefix, signatures in self.signatures.items():
            own, highest, before = (
                {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}
                for numbers in (values, self.memory.highest, self.memory.before)
            )
            line = LogLine(own, highest, before, step / self.steps)
            task = prefix.replace("/", ": ")
            shown += [(prefix, s, f"{task}{text}") for s in signatures if (text := s.shows(line))]
        return shown

    def _counts_from(self, signature: Signature) -> int:
        """The step from which on a signature may become a finding."""
        return max(self.warm, self.settled) if signature.after_warmup else self.settled

    def _once_at(self, signature: Signature) -> int:
        assert signature.at is not None
        return max(math.ceil(signature.at * self.steps), self.window)
