"""A few minutes or hours of a language, to see how far pretraining carries.

Riviere et al. (2020) cut one hour of training, 20 minutes of validation and one hour of test out of
CommonVoice for each of ten languages, uniformly over speakers; XLSR, wav2vec2phoneme and UniSpeech
reported on those. Their lists fit one old release and follow no published rule (whoever has them:
`split_lists`), so this is another draw of the same kind, from any manifest:

    made = few_shot(read_manifest("cv/es/train.jsonl"), minutes=(10, 60, 600), seed=1)
    made.splits["train_10min"]       # is the beginning of train_1h, and that of train_10h

Splits are of different speakers where there are enough of them, and never share a sentence. Dev
and test are of ten speakers or more where that leaves enough to train on, of fewer where it does
not, which is said; who has spoken the most is in train. Which utterances are taken depends on the
seed and on the ids and speakers, not on the order of rows.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechx.data.manifest import Utterance, claim, read_manifest, write_manifest
from speechx.data.split_lists import write_list
from speechx.errors import UserError
from speechx.text.normalize import normalize

MINUTES = (10.0, 60.0, 600.0)
DEV_MINUTES, TEST_MINUTES = 20.0, 60.0
ENOUGH = 0.5  # share of its time that each split must find for the speakers to be kept apart
VOICES = 10  # speakers that a split should be of
NEARLY = 0.75  # share of their time that dev and test must find to be of more voices than one
SPARE = 1.5  # times what is asked of dev and test is set aside for them, where there is plenty


@dataclass(slots=True)
class FewShot:
    """The splits of one language, and what is to be said about them."""

    language: str
    splits: dict[str, list[Utterance]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def report(self) -> str:
        """One line."""
        amounts = ", ".join(
            f"{name} {_minutes(some):.1f} min ({len(some)} utterances, {_speakers(some)} speakers)"
            for name, some in self.splits.items()
        )
        return "; ".join((f"{self.language}: {amounts}", *self.notes, "not the Riviere split"))


def split_few_shot(
    manifests: Sequence[Path],
    out: Path,
    minutes: Sequence[float] = MINUTES,
    dev_minutes: float = DEV_MINUTES,
    test_minutes: float = TEST_MINUTES,
    seed: int = 1,
    log: Callable[[str], object] = print,
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl` and the list `<split>.txt` for each language of some
    manifests; returns how many utterances each split has."""
    asked = ", ".join(f"{x:g}" for x in sorted(set(minutes)))
    asked = f"seed {seed}, {asked} min, dev {dev_minutes:g}, test {test_minutes:g}"
    languages: dict[str, list[Utterance]] = defaultdict(list)
    for path in manifests:
        for u in read_manifest(path):
            languages[u.language].append(u)
    counts = {}
    for language, some in sorted(languages.items()):
        made = few_shot(some, minutes, dev_minutes, test_minutes, seed)
        folder = out / language
        claim(folder, f"few-shot splits, {asked}, of {', '.join(map(str, manifests))}")
        releases = ", ".join(
            sorted({str(u.extra["release"]) for u in some if "release" in u.extra})
        )
        for split, chosen in made.splits.items():
            write_manifest(folder / f"{split}.jsonl", chosen)
            about = f"{language} {split} of {releases or 'an unnamed release'}, seed {seed}"
            write_list(folder / f"{split}.txt", chosen, f"{about}; not the Riviere split")
        for split in {f"train_{_amount(x)}" for x in minutes} - made.splits.keys():
            for suffix in (".jsonl", ".txt"):  # of a manifest that had more in it
                (folder / f"{split}{suffix}").unlink(missing_ok=True)
        counts[language] = {split: len(chosen) for split, chosen in made.splits.items()}
        log(made.report())
    return counts


def few_shot(
    utterances: Iterable[Utterance],
    minutes: Sequence[float] = MINUTES,
    dev_minutes: float = DEV_MINUTES,
    test_minutes: float = TEST_MINUTES,
    seed: int = 1,
) -> FewShot:
    """Splits `test`, `dev` and one `train_...` for each of `minutes`, all of one language.

    Where there is less than was asked for, `notes` say so and the splits are what is possible; a
    train split that would only repeat the one before it is not made.
    """
    minutes = sorted(set(minutes))
    wrong = [x for x in (*minutes, dev_minutes, test_minutes) if not 0 < x < math.inf]
    if wrong or not minutes:
        raise UserError(
            f"few-shot splits need minutes above 0, not {', '.join(map(str, wrong)) or 'none'}"
        )
    given = list(utterances)
    pool = {u.id: u for u in given if u.labelled}
    languages = sorted({u.language for u in given})
    if len(languages) != 1:
        raise UserError(f"few-shot splits are of one language, but here are {languages or 'none'}")
    made = FewShot(languages[0])
    if unlabelled := sum(not u.labelled for u in given):
        made.notes.append(f"{unlabelled} without text or phones are not used")
    if twice := len(given) - unlabelled - len(pool):
        made.notes.append(f"{twice} listed twice")

    def order(name: str) -> str:
        return hashlib.blake2b(f"{seed}\t{name}".encode(), digest_size=8).hexdigest()

    some = sorted(pool.values(), key=lambda u: (order(u.id), u.id))
    targets = _targets(_minutes(some), minutes, dev_minutes, test_minutes)
    groups = _apart(some, targets, order, made.notes)
    said: set[str] = set()  # sentences that are taken
    for split, wanted in (("test", test_minutes), ("dev", dev_minutes)):
        fresh = [u for u in groups[split] if _sentence(u) not in said]
        made.splits[split] = _uniform(fresh, wanted * 60, order)
        said |= {_sentence(u) for u in made.splits[split]}
        _note_short(made, split, wanted)
    fresh = [u for u in groups["train"] if _sentence(u) not in said]
    if repeated := len(groups["train"]) - len(fresh):
        made.notes.append(f"{repeated} say a sentence of dev or test and are not in train")
    for wanted in minutes:
        split = f"train_{_amount(wanted)}"
        if len(fresh) == len(made.splits.get("train", ())) > 0:
            made.notes.append(f"no {split}: there is no more to train on")
            continue
        made.splits[split] = made.splits["train"] = _uniform(fresh, wanted * 60, order)
        _note_short(made, split, wanted)
    del made.splits["train"]
    if empty := [split for split, chosen in made.splits.items() if not chosen]:
        raise UserError(
            f"{made.language}: nothing is left for {', '.join(empty)}: {_minutes(some):.1f} "
            f"labelled minutes of {_speakers(some)} speakers are too few, or repeat sentences"
        )
    if few := {s: n for s, x in made.splits.items() if (n := _speakers(x)) < VOICES and n}:
        made.notes.append(f"few speakers in {', '.join(f'{s} ({n})' for s, n in few.items())}")
    what = f"few-shot, seed {seed}, not the Riviere split"
    made.splits = {
        split: [replace(u, extra={**u.extra, "split": what}) for u in chosen]
        for split, chosen in made.splits.items()
    }
    return made


def _targets(there: float, minutes: Sequence[float], dev: float, test: float) -> dict[str, float]:
    """Minutes that train, dev and test should find: train what the others leave of what was asked
    for; all get less if even the smallest train split would not fit."""
    train = min(max(there - dev - test, minutes[0]), minutes[-1])
    return {"train": train, "dev": dev, "test": test}


def _apart(
    some: Sequence[Utterance],
    targets: Mapping[str, float],
    order: Callable[[str], str],
    notes: list[str],
) -> dict[str, list[Utterance]]:
    """Utterances by split, with no speaker in two of them; with no sentence in two of them where
    there are not enough speakers."""
    named = all(u.speaker for u in some)
    there = _minutes(some) / sum(targets.values())
    goals = {split: target * min(SPARE, there) for split, target in targets.items()}
    wanted = {split: target * min(1.0, there) for split, target in targets.items()}
    for key in (lambda u: u.speaker or "", _sentence) if named else (_sentence,):
        voices: dict[str, list[Utterance]] = defaultdict(list)
        for u in some:
            voices[key(u)].append(u)
        lengths = {v: _minutes(voices[v]) for v in sorted(voices, key=lambda v: (order(v), v))}
        for least in range(VOICES, 0, -1):
            split_of, have = _shared_out(lengths, goals, ENOUGH * wanted["train"], least)
            if least > 1 and all(h >= NEARLY * wanted[split] for split, h in have.items()):
                break
        if all(h >= ENOUGH * wanted[split] for split, h in have.items()):
            break
    if key is _sentence:
        why = f"only {_speakers(some)}" if named else "not all are named"
        notes.append(f"speakers are in several splits ({why})")
    groups: dict[str, list[Utterance]] = {split: [] for split in targets}
    for name in lengths:
        groups[split_of[name]] += voices[name]
    return groups


def _shared_out(
    lengths: Mapping[str, float], goals: Mapping[str, float], train: float, least: int
) -> tuple[dict[str, str], dict[str, float]]:
    """Which voice is of which split, and how many minutes dev and test find in theirs.

    A voice counts for a `least`-th of the goal at most, so that dev and test are of that many. The
    longest `least` go to train, as does any that would leave less than `train` minutes to it.
    """
    most = {split: goals[split] / least for split in ("test", "dev")}
    have = dict.fromkeys(most, 0.0)
    left = sum(lengths.values())
    split_of = dict.fromkeys(lengths, "train")
    for name in sorted(lengths, key=lambda v: max(lengths[v], *most.values()))[:-least]:
        split = min(have, key=lambda s: have[s] / goals[s])
        if have[split] < goals[split] and left - lengths[name] >= train:
            have[split] += min(lengths[name], most[split])
            left -= lengths[name]
            split_of[name] = split
    return split_of, have


def _uniform(
    some: Sequence[Utterance], seconds: float, order: Callable[[str], str]
) -> list[Utterance]:
    """Utterances of that many seconds at most, the next one always by whoever has said least."""
    voices: dict[str, list[Utterance]] = defaultdict(list)
    for u in some:
        voices[u.speaker or ""].append(u)
    turn = [(0.0, order(speaker), speaker) for speaker in voices]
    heapq.heapify(turn)
    taken: dict[str, int] = defaultdict(int)
    chosen: list[Utterance] = []
    total = 0.0
    while turn:
        spoken, rank, speaker = heapq.heappop(turn)
        u = voices[speaker][taken[speaker]]
        if total + u.duration > seconds:
            break
        chosen.append(u)
        total += u.duration
        taken[speaker] += 1
        if taken[speaker] < len(voices[speaker]):
            heapq.heappush(turn, (spoken + u.duration, rank, speaker))
    return chosen


def _note_short(made: FewShot, split: str, wanted: float) -> None:
    """Says when a split is less than asked for, by more than the utterance that no longer fits."""
    chosen = made.splits[split]
    longest = max((u.duration for u in chosen), default=0.0) / 60
    if _minutes(chosen) + 2 * longest < wanted:
        made.notes.append(
            f"{split} is {_minutes(chosen):.1f} of {wanted:g} min: no more is left for it"
        )


def _sentence(u: Utterance) -> str:
    return normalize(u.text or "", u.language) or " ".join(u.phones or ())


def _minutes(some: Iterable[Utterance]) -> float:
    return sum(u.duration for u in some) / 60


def _speakers(some: Iterable[Utterance]) -> int:
    return len({u.speaker for u in some if u.speaker})


def _amount(minutes: float) -> str:
    return f"{minutes / 60:g}h" if minutes % 60 == 0 else f"{minutes:g}min"
