"""A few minutes or hours of a language, to see how far pretraining carries.

Riviere et al. (2020) cut one hour of training, 20 minutes of validation and one hour of test out of
CommonVoice for each of ten languages, uniformly over speakers; XLSR, wav2vec2phoneme and UniSpeech
report scores on them. The lists fit one old release and follow no published rule (`split_lists`
reads them), so this is another draw of the same kind, from any manifest:

    made = few_shot(read_manifest("cv/es/train.jsonl"), minutes=(10, 60, 600), seed=1)
    made.splits["train_10min"]       # the beginning of train_1h, which is that of train_10h

Splits have different speakers if there are enough of them, and never share a sentence. Dev and test
have ten speakers or more if that leaves enough for train; if not, a note says so. The speakers with
the most speech are in train. The draw depends on the seed, the ids and the speakers, not on the
order of rows.
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
from speechx.log import logger
from speechx.text.normalize import normalize

MINUTES = (10.0, 60.0, 600.0)
DEV_MINUTES, TEST_MINUTES = 20.0, 60.0
ENOUGH = 0.5  # share of its minutes that each split must get, or speakers are not kept apart
SPEAKERS = 10  # wanted in each split
NEARLY = 0.75  # share of their minutes that dev and test must get with more than one speaker
SPARE = 1.5  # times the minutes of dev and test are reserved for them, if there are enough


@dataclass(slots=True)
class FewShot:
    """The splits of one language, and notes for the log."""

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
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl` and the list `<split>.txt` for each language of the
    manifests; returns the number of utterances of each split."""
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
            for suffix in (".jsonl", ".txt"):  # of an earlier, larger manifest
                (folder / f"{split}{suffix}").unlink(missing_ok=True)
        counts[language] = {split: len(chosen) for split, chosen in made.splits.items()}
        logger.info(made.report())
    return counts


def few_shot(
    utterances: Iterable[Utterance],
    minutes: Sequence[float] = MINUTES,
    dev_minutes: float = DEV_MINUTES,
    test_minutes: float = TEST_MINUTES,
    seed: int = 1,
) -> FewShot:
    """Splits `test`, `dev` and one `train_...` for each of `minutes`, all of one language.

    If there is less audio than asked for, the splits are smaller and `notes` say so; a train split
    that would equal the one before it is not made.
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
        raise UserError(f"few-shot splits need one language, but there are {languages or 'none'}")
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
    taken: set[str] = set()  # sentences
    for split, wanted in (("test", test_minutes), ("dev", dev_minutes)):
        fresh = [u for u in groups[split] if _sentence(u) not in taken]
        made.splits[split] = _uniform(fresh, wanted * 60, order)
        taken |= {_sentence(u) for u in made.splits[split]}
        _note_short(made, split, wanted)
    fresh = [u for u in groups["train"] if _sentence(u) not in taken]
    if repeated := len(groups["train"]) - len(fresh):
        made.notes.append(f"{repeated} with a sentence of dev or test are not in train")
    for wanted in minutes:
        split = f"train_{_amount(wanted)}"
        if len(fresh) == len(made.splits.get("train", ())) > 0:
            made.notes.append(f"no {split}: no more audio is left for train")
            continue
        made.splits[split] = made.splits["train"] = _uniform(fresh, wanted * 60, order)
        _note_short(made, split, wanted)
    del made.splits["train"]
    if empty := [split for split, chosen in made.splits.items() if not chosen]:
        raise UserError(
            f"{made.language}: nothing is left for {', '.join(empty)}: {_minutes(some):.1f} "
            f"labelled minutes of {_speakers(some)} speakers are too few, or repeat sentences"
        )
    if few := {s: n for s, x in made.splits.items() if (n := _speakers(x)) < SPEAKERS and n}:
        made.notes.append(f"few speakers in {', '.join(f'{s} ({n})' for s, n in few.items())}")
    what = f"few-shot, seed {seed}, not the Riviere split"
    made.splits = {
        split: [replace(u, extra={**u.extra, "split": what}) for u in chosen]
        for split, chosen in made.splits.items()
    }
    return made


def _targets(there: float, minutes: Sequence[float], dev: float, test: float) -> dict[str, float]:
    """Minutes for train, dev and test. Train gets what dev and test leave of the largest train
    split, but at least the smallest."""
    train = min(max(there - dev - test, minutes[0]), minutes[-1])
    return {"train": train, "dev": dev, "test": test}


def _apart(
    some: Sequence[Utterance],
    targets: Mapping[str, float],
    order: Callable[[str], str],
    notes: list[str],
) -> dict[str, list[Utterance]]:
    """Utterances by split. No speaker is in two splits, or no sentence if there are too few
    speakers."""
    named = all(u.speaker for u in some)
    there = _minutes(some) / sum(targets.values())
    goals = {split: target * min(SPARE, there) for split, target in targets.items()}
    wanted = {split: target * min(1.0, there) for split, target in targets.items()}
    for key in (lambda u: u.speaker or "", _sentence) if named else (_sentence,):
        group: dict[str, list[Utterance]] = defaultdict(list)
        for u in some:
            group[key(u)].append(u)
        lengths = {v: _minutes(group[v]) for v in sorted(group, key=lambda v: (order(v), v))}
        for least in range(SPEAKERS, 0, -1):
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
        groups[split_of[name]] += group[name]
    return groups


def _shared_out(
    lengths: Mapping[str, float], goals: Mapping[str, float], train: float, least: int
) -> tuple[dict[str, str], dict[str, float]]:
    """The split of each speaker (or sentence), and the minutes that dev and test get.

    A speaker counts for at most a `least`-th of the goal, so that dev and test have at least that
    many. The `least` longest go to train, as does any that would leave it less than `train`
    minutes.
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
    """Utterances of at most these seconds, each by the speaker with the least speech so far."""
    spoken_by: dict[str, list[Utterance]] = defaultdict(list)
    for u in some:
        spoken_by[u.speaker or ""].append(u)
    turn = [(0.0, order(speaker), speaker) for speaker in spoken_by]
    heapq.heapify(turn)
    taken: dict[str, int] = defaultdict(int)
    chosen: list[Utterance] = []
    total = 0.0
    while turn:
        spoken, rank, speaker = heapq.heappop(turn)
        u = spoken_by[speaker][taken[speaker]]
        if total + u.duration > seconds:
            break
        chosen.append(u)
        total += u.duration
        taken[speaker] += 1
        if taken[speaker] < len(spoken_by[speaker]):
            heapq.heappush(turn, (spoken + u.duration, rank, speaker))
    return chosen


def _note_short(made: FewShot, split: str, wanted: float) -> None:
    """Notes that a split is smaller than asked for, by more than an utterance that did not fit."""
    chosen = made.splits[split]
    longest = max((u.duration for u in chosen), default=0.0) / 60
    if _minutes(chosen) + 2 * longest < wanted:
        made.notes.append(
            f"{split} is {_minutes(chosen):.1f} of {wanted:g} min: no more audio is left for it"
        )


def _sentence(u: Utterance) -> str:
    return normalize(u.text or "", u.language) or " ".join(u.phones or ())


def _minutes(some: Iterable[Utterance]) -> float:
    return sum(u.duration for u in some) / 60


def _speakers(some: Iterable[Utterance]) -> int:
    return len({u.speaker for u in some if u.speaker})


def _amount(minutes: float) -> str:
    return f"{minutes / 60:g}h" if minutes % 60 == 0 else f"{minutes:g}min"
