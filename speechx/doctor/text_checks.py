"""What is wrong with the labels: nothing said, too much for the frames, a pace unlike the others'.

The pace of an utterance is its units (characters of the normalised text, phones where there is no
text) per second. It is judged within its language, on a log scale, by the median and the median
absolute deviation, which a few bad utterances do not move.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.data.labels import frames_needed
from speechx.data.manifest import Utterance, read_manifest
from speechx.doctor.characters import Letters, shown
from speechx.doctor.checks import PACE_DEVIATIONS, PACE_FACTOR, PACE_UTTERANCES, Case
from speechx.doctor.shelves import for_evaluation
from speechx.errors import UserError
from speechx.text.ipa import normalize_ipa
from speechx.text.normalize import normalize
from speechx.text.vocabulary import Kind, Vocabulary

FIELD, STRIDE = 400, 320  # samples: wav2vec 2.0 and all its like, a frame every 20 ms
PACE_SECONDS = 0.5  # shorter ones are mostly pause
Pace = tuple[str, str]
"""Language and unit."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the labels are for: a model, or the usual frames and no vocabulary."""

    frames: Callable[[int], int]
    kind: Kind | None = None
    vocabulary: frozenset[str] | None = None
    name: str = "the usual 20 ms frames (no --model given)"

    @classmethod
    def of(cls, model: Path | None, vocabulary: Path | None) -> Target:
        """The frame arithmetic of a model folder, and the units of it or of `vocabulary`: another
        model folder, a vocabulary.json, or a manifest."""
        target = cls(usual_frames)
        if model is not None:
            from speechx.interchange.conversion import open_any

            saved = open_any(model)
            known = saved.vocabulary
            target = cls(
                saved.config.encoder.frames,
                known.kind if known else None,
                frozenset(known.units) if known else None,
                f"the frames of {model}",
            )
        if vocabulary is None:
            return target
        kind, units = _units_of(vocabulary)
        return cls(target.frames, kind, units, target.name)


def usual_frames(samples: int) -> int:
    """Frames of the convolutions of wav2vec 2.0: the receptive field first, then one a stride."""
    return max(0, (samples - FIELD) // STRIDE + 1)


def _units_of(path: Path) -> tuple[Kind | None, frozenset[str]]:
    file = path / "vocabulary.json" if path.is_dir() else path
    if file.suffix == ".json":
        known = Vocabulary.load(file)
        return known.kind, frozenset(known.units)
    utterances = read_manifest(file)
    units = {c for u in utterances if u.text for c in normalize(u.text, u.language)}
    units |= {p for u in utterances for p in u.phones or ()}
    if not units:
        raise UserError(f"--vocabulary {path}: none of its utterances has a text or phones")
    return None, frozenset(units)


class TextChecks:
    """Reads utterances one by one; what needs all of them comes at the end."""

    def __init__(self, target: Target, listed: Collection[str] = ()) -> None:
        """Of the checks about what a language is written with, those `listed` also name each
        utterance."""
        if "unknown_unit" in listed and target.vocabulary is None:
            raise UserError("--exclude unknown_unit needs units: give --vocabulary or --model")
        self.target, self.listed = target, listed
        self.letters = Letters()
        self.phones: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.paces: dict[Pace, tuple[array[float], array[int]]] = defaultdict(
            lambda: (array("f"), array("q"))
        )
        self.unknown: Counter[tuple[str, str]] = Counter()
        self.first_unknown: dict[tuple[str, str], str] = {}

    def read(self, index: int, split: str, u: Utterance, normal: str) -> Iterator[tuple[str, str]]:
        """Names of checks, and what each has to say. `normal` is its normalised text; `index`
        comes back later."""
        if u.text is not None and not normal:
            yield "empty_text", f"the text is {u.text!r}"[:80]
        if u.phones is not None and not u.phones:
            yield "empty_text", "the list of phones is empty"
        if u.text:
            for check, what in self.letters.read(u.language, split, u.id, u.text, normal):
                if check in self.listed:
                    yield check, shown(what)
        if u.phones:
            self.phones[u.language][split].update(set(u.phones))
        labels = {
            kind: units
            for kind, units in (("characters", normal), ("phonemes", u.phones or ()))
            if units and self.target.kind in (None, kind)
        }
        there = self.target.frames(int(u.duration * SAMPLE_RATE))
        for kind, units in labels.items():
            if there < len(units) * 2 and there < (needed := frames_needed(units)):
                yield "infeasible", f"{needed} frames for its {kind}, and it has {there}"
                break
        if self.target.vocabulary is not None:
            for units in labels.values():
                for unit in sorted(set(units) - self.target.vocabulary):
                    self.unknown[u.language, unit] += 1
                    self.first_unknown.setdefault((u.language, unit), u.id)
                    if "unknown_unit" in self.listed:
                        yield "unknown_unit", shown(unit)
        if u.duration >= PACE_SECONDS and (said := len(normal) or len(u.phones or ())):
            rates, indices = self.paces[u.language, "characters" if normal else "phones"]
            rates.append(math.log(said / u.duration))
            indices.append(index)

    def cases(self) -> Iterator[Case]:
        """What is found once all is read, about languages; `odd_paces` has what is about
        utterances."""
        yield from self.letters.cases()
        yield from self._unknown()
        for language, splits in sorted(self.phones.items()):
            spellings: dict[str, Counter[str]] = defaultdict(Counter)
            for symbol, count in sum(splits.values(), Counter[str]()).items():
                spellings[normalize_ipa(symbol)][symbol] += count
            for _, forms in sorted(spellings.items()):
                for symbol, count in forms.most_common()[1:]:
                    usual = forms.most_common(1)[0][0]
                    detail = f"a phone that is mostly written {usual} here"
                    yield Case("look_alike", symbol, detail, language, count=count)

    def odd_paces(self) -> list[tuple[int, str, str]]:
        """Index, check and what it has to say; those farthest from the others of their language
        first."""
        found: list[tuple[float, int, str, str]] = []
        for (_, unit), (rates, indices) in sorted(self.paces.items()):
            log_rates = np.frombuffer(rates, np.float32)
            odd, median = outliers(log_rates)
            for i in odd:
                far = float(log_rates[i]) - median
                pace = f"{math.exp(median + far):.1f} {unit} a second"
                detail = f"{pace}; the language's median is {math.exp(median):.1f}"
                found.append((-abs(far), indices[i], "fast" if far > 0 else "slow", detail))
        return [(index, check, detail) for _, index, check, detail in sorted(found)]

    def unjudged(self) -> list[str]:
        """Languages with too few labelled utterances to know their pace."""
        few = [pace for pace, (rates, _) in self.paces.items() if len(rates) < PACE_UTTERANCES]
        return sorted({language for language, _ in few})

    def _unknown(self) -> Iterator[Case]:
        for (language, unit), count in sorted(self.unknown.items()):
            detail = f"not in the vocabulary; first in {self.first_unknown[language, unit]}"
            yield Case("unknown_unit", shown(unit), detail, language, count=count)
        if self.target.vocabulary is not None:
            return
        units = {language: w.units for language, w in self.letters.languages.items()}
        for some, first in ((units, True), (self.phones, False)):
            for language, splits in sorted(some.items()):
                known = set().union(*(splits[s] for s in splits if not for_evaluation(s)))
                if not known:
                    continue
                for split in sorted(filter(for_evaluation, splits)):
                    for unit in sorted(set(splits[split]) - known):
                        detail = f"in {split}, never in train"
                        if first:
                            written = self.letters.languages[language]
                            detail += f"; first in {written.first['', unit]}"
                        yield Case(
                            "unknown_unit", shown(unit), detail, language, split,
                            count=splits[split][unit],
                        )  # fmt: skip


def outliers(log_rates: Sequence[float] | np.ndarray) -> tuple[list[int], float]:
    """Places whose pace is unlike the others', and the median; none among too few."""
    values = np.asarray(log_rates, np.float64)
    if len(values) < PACE_UTTERANCES:
        return [], math.nan
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    limit = max(PACE_DEVIATIONS * spread, math.log(PACE_FACTOR))
    return np.flatnonzero(np.abs(values - median) > limit).tolist(), median
