"""Is this run still learning? The failures that have an exact signature in the numbers of the log.

    E101  chance level        the contrastive term stays at log2(K+1) bits
    E102  collapse            code perplexity near G: one code per group for everything
    E103  trivial solution    accuracy or loss too good to be true, or features that are constant
    E104  saturated quantizer soft perplexity at its maximum, and no gradient chooses codes
    E105  overflow            gradients that are not finite, several steps in a row
    E201  blank plateau       fine-tuning reads nearly every frame as blank (a warning)

`Monitor` is fed what goes to log.jsonl and answers a `Finding` or None: no files, no tensors. The
numbers are sums over all ranks, so that all ranks decide alike; its memory is part of every saved
state. A finding needs `window` steps in which every line shows a signature: one bad line is noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from speechx.config import config, require_not_negative, require_positive

NAMES = {
    "E101": "chance level",
    "E102": "collapse",
    "E103": "trivial solution",
    "E104": "saturated quantizer",
    "E105": "overflow",
    "E201": "blank plateau",
}
ADVICE = {
    "E101": "lower optim.rate, or hear more audio per step (run.batch_seconds)",
    "E102": "lower optim.rate, raise contrastive.diversity or run.batch_seconds",
    "E103": "lower optim.rate; look at masking and at the audio (silence, copies of one recording)",
    "E104": "lower optim.rate; codes that nothing chooses do not recover",
    "E105": "lower optim.rate or use run.precision=float32",
    "E201": "a higher rate for the head (optim.rate, optim.head_scale); if that is not it, look at "
    "the labels and at model.normalize",
}


class HealthStop(Exception):
    """Training stopped for its health; the command line exits with code 3."""


@config
class Health:
    """What to do about a finding, and from where on a number is one."""

    action: Literal["stop", "rollback", "warn"] = "stop"
    """rollback: return to the last healthy checkpoint and go on from there at half the rate."""
    rollbacks: int = 3
    """So often; then the run stops."""
    window: int | None = None
    """Steps for which a signature must hold. By default a third of the run, from 100 to 500."""
    chance: float = 0.005
    """E101: the contrastive term is within this share of chance, after the warm-up."""
    codes: float = 4.0
    """E102: code perplexity is below so many codes per group (or a quarter of the entries)."""
    settled: float = 0.05
    """E102 to E104 count from this share of the run on."""
    accuracy: float = 0.97
    """E103: accuracy is above this while code perplexity falls or the loss is near 0."""
    variance: float = 1e-4
    """E103: the variance of the features is below this."""
    saturated: float = 0.995
    """E104: soft perplexity is above this share of all codes ..."""
    vanished: float = 1e-3
    """... and the norm of the gradient that chooses codes is below this, in nats per frame."""
    refusals: int = 8
    """E105: so many steps in a row have a gradient that is not finite."""
    blank: float = 0.995
    """E201: more than this share of the frames is read as blank ..."""
    blank_at: float = 0.2
    """... at this share of the run."""

    def __post_init__(self) -> None:
        require_positive(self, "refusals", *(["window"] if self.window is not None else []))
        require_not_negative(
            self, "rollbacks", "chance", "codes", "settled", "accuracy", "variance", "saturated",
            "vanished", "blank", "blank_at",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contrast:
    """What the numbers of a contrastive run are held against: K negatives, G groups of V codes."""

    negatives: int
    groups: int
    entries: int

    @property
    def possible(self) -> int:
        return self.groups * self.entries

    def chance(self, negatives_equal_positive: float = 0.0) -> float:
        """Bits of a guess; negatives that equal the positive are no alternative. Of a mean share
        it is the upper limit."""
        return math.log2(1 + self.negatives * (1 - negatives_equal_positive))


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    step: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {NAMES[self.code]} at step {self.step}: {self.text}"

    @property
    def warning(self) -> bool:
        """Said, but no reason to stop."""
        return self.code.startswith("E2")


@dataclass(slots=True)
class Memory:
    """What a monitor knows of the steps before; saved with every state."""

    line: int = 0
    """Step of the last line."""
    sick: int = 0
    """For how many steps up to that line some signature has held."""
    shown: bool = False
    """Whether that line shows one, at any point of the run."""
    told: list[str] = field(default_factory=list)
    """Those that were findings in that time."""
    most_codes: float = 0.0
    """Highest code perplexity of a line so far."""
    loss: float = 0.0
    """Of the last line; 0 before the first."""
    refused: int = 0
    pending: int | None = None
    """Step of the newest state, which no line has vouched for yet."""
    healthy: int | None = None
    """Step of the newest state after which a line showed no signature."""
    rollbacks: int = 0
    rate: float = 1.0
    """The learning rate as a share of the configured one: halved by every return."""


class Monitor:
    """Watches the lines of one run of `steps`, `warmup` of which is the share of the warm-up."""

    def __init__(
        self, health: Health, steps: int, warmup: float = 0.0, contrast: Contrast | None = None
    ) -> None:
        self.health, self.steps, self.contrast = health, steps, contrast
        self.window = health.window or min(500, max(100, steps // 3))
        self.warm = math.ceil(warmup * steps)
        self.settled = math.ceil(health.settled * steps)
        self.memory = Memory()

    def see(self, step: int, values: Mapping[str, Any]) -> Finding | None:
        """The line of `step`, which covers the steps since the last; None if all is well."""
        memory, begin = self.memory, self.memory.line
        memory.line = step
        found = self._signature(values)
        memory.shown = found is not None
        memory.most_codes = max(memory.most_codes, values.get("code_perplexity", 0.0))
        if found is None and memory.pending is not None and step > memory.pending:
            memory.healthy, memory.pending = memory.pending, None
        if found is None or not self._counts(found[0], begin):
            memory.sick, memory.told = 0, []
            return self._blank(begin, step, values)
        code, text = found
        memory.sick += step - begin
        if memory.sick < self.window or code in memory.told:
            return None
        memory.told.append(code)
        return Finding(code, step, f"{text}; unhealthy since step {step - memory.sick}")

    def refuse(self, step: int) -> Finding | None:
        """Step number `step` had a gradient that is not finite."""
        self.memory.refused += 1
        if self.memory.refused < self.health.refusals:
            return None
        count, self.memory.refused = self.memory.refused, 0
        return Finding(
            "E105", step, f"{count} steps in a row had a non-finite gradient, the last one {step}"
        )

    def action(self, finding: Finding) -> Literal["stop", "rollback", "warn"]:
        """What the settings say is to be done; nothing goes on over an overflow."""
        if finding.warning or (self.health.action == "warn" and finding.code != "E105"):
            return "warn"
        possible = self.memory.healthy is not None
        possible = possible and self.memory.rollbacks < self.health.rollbacks
        return "rollback" if self.health.action == "rollback" and possible else "stop"

    @property
    def judges_from(self) -> int:
        """The step by which each signature could have become a finding."""
        if self.contrast is None:
            return self._blank_at
        return max(self.warm, self.settled) + self.window

    @property
    def may_keep(self) -> bool:
        """Whether the model is worth to replace one that was kept: a stop leaves that of a good
        line. Who asked for warnings only gets every model."""
        return self.health.action == "warn" or not self.memory.shown

    def step_taken(self) -> None:
        self.memory.refused = 0

    def saved(self, step: int) -> None:
        """A state of `step` is about to be written; the next line decides whether it is healthy."""
        self.memory.pending = step

    def to_dict(self) -> dict[str, Any]:
        return asdict(self.memory)

    def resume(self, saved: Mapping[str, Any], back: bool = False) -> None:
        """Continues with the memory of a saved state; `back`: because of what came after it."""
        before, self.memory = self.memory, Memory(**saved)
        if back:
            self.memory.healthy, self.memory.pending = before.healthy, None
            self.memory.rollbacks, self.memory.rate = before.rollbacks + 1, before.rate / 2
            self.memory.refused = 0

    @property
    def _blank_at(self) -> int:
        return max(math.ceil(self.health.blank_at * self.steps), self.window)

    def _counts(self, code: str, begin: int) -> bool:
        """Whether a run is expected to be free of this from step `begin` on."""
        return begin >= (max(self.warm, self.settled) if code == "E101" else self.settled)

    def _signature(self, values: Mapping[str, Any]) -> tuple[str, str] | None:
        """Code and words of what a line shows; the more exact name where several would fit."""
        if self.contrast is None:
            return None
        health, contrast = self.health, self.contrast
        bits, accuracy = values["bits"], values["accuracy"]
        codes, soft = values["code_perplexity"], values["soft_perplexity"]
        equal = values["negatives_equal_positive"]
        # Logs of older versions lack these three.
        chance = values.get("chance_bits", contrast.chance(equal))
        variance = values.get("feature_variance", math.inf)
        gradient = values.get("quantizer_gradient", math.inf)
        shown = f"code perplexity {codes:.1f} and soft perplexity {soft:.1f} of {contrast.possible}"
        if math.isfinite(variance):
            shown += f", feature variance {variance:.2g}"
        floor = min(health.codes, contrast.entries / 4) * contrast.groups
        undecided = soft > health.saturated * contrast.possible
        fallen = codes < 0.8 * self.memory.most_codes
        if variance < health.variance:
            return "E103", f"the features are constant ({shown}; {bits:.3f} bits)"
        if codes < floor and not undecided:
            return "E102", (
                f"code perplexity is {codes:.3f}, below {floor:g}; {contrast.groups} is one code "
                f"per group for everything ({shown}; {equal:.0%} of negatives equal the positive)"
            )
        if undecided and gradient < health.vanished:
            return "E104", (
                f"soft perplexity is at its maximum and the gradient that chooses codes has "
                f"vanished ({gradient:.1g}; {shown})"
            )
        if accuracy > health.accuracy and (fallen or bits < 0.01 * contrast.chance()):
            return "E103", (
                f"accuracy {accuracy:.3f} and {bits:.3f} bits are too good to be true ({shown}; "
                f"code perplexity was {self.memory.most_codes:.1f})"
            )
        if bits >= (1 - health.chance) * chance:
            return "E101", (
                f"the contrastive loss is {bits:.3f} bits, chance is {chance:.3f} bits: "
                f"log2(1+{contrast.negatives}) = {contrast.chance():.3f}, less where negatives "
                f"equal the positive ({shown})"
            )
        return None

    def _blank(self, begin: int, step: int, values: Mapping[str, Any]) -> Finding | None:
        """E201, once, by the line that covers `blank_at` of the run."""
        before, self.memory.loss = self.memory.loss, values.get("loss", math.inf)
        share = values.get("blank_share", 0.0)
        if not begin < self._blank_at <= step or share <= self.health.blank:
            return None
        labels = "labels that do not belong to the audio"
        rate = "a learning rate too low for the head (optim.rate, optim.head_scale)"
        normal = "model.normalize not as in pretraining"
        still = 0 < before < 1.02 * self.memory.loss
        ranked = [labels, normal, rate] if still else [rate, normal, labels]
        if values.get("infeasible"):
            ranked = ["labels longer than their frames (too_long.tsv)", rate, normal]
        return Finding(
            "E201",
            step,
            f"{share:.2%} of the frames are read as blank at {step / self.steps:.0%} of the run "
            f"and the loss {'stands still' if still else 'is'} at {self.memory.loss:.3f} nats per "
            f"unit; in healthy runs of ours fewer are by a tenth of the run. Likely causes, the "
            f"likeliest first: {'; '.join(ranked)}",
        )
