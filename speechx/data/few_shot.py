"""Few-shot splits: a few minutes or hours of a language, to measure the benefit of pretraining.

Riviere et al. (2020) selected one hour for training, 20 minutes for validation and one hour for
test from CommonVoice in each of ten languages, uniformly over speakers; XLSR, wav2vec2phoneme and
UniSpeech report scores on these splits. Their lists fit one old release and follow no published
rule (`split_lists` reads them). This module draws similar splits from any manifest:

    made = few_shot(read_manifest("cv/es/train.jsonl"), minutes=(10, 60, 600), seed=1)
    made.splits["train_10min"]       # the beginning of train_1h, itself the beginning of train_10h

Splits have different speakers if there are enough speakers, and never share a sentence. Dev and
test have at least ten speakers if train can spare them; otherwise a note reports it. The speakers
with the most speech are in train. The draw depends on the seed, the ids and the speakers, not on
the order of rows.
"""

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
ENOUGH = 0.5  # of its minutes that each split must get, or else splits share speakers
SPEAKERS = 10  # in each split, if possible
NEARLY = 0.75  # of their minutes that dev and test must get, or else they get fewer speakers
SPARE = 1.5  # times the minutes of dev and test are reserved for them, if possible


@dataclass(slots=True)
class FewShot:
    """The splits of one language, and notes for the log."""

    language: str
    splits: dict[str, list[Utterance]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def report(self) -> str:
        """The splits and notes in one line."""
        amounts = ", ".join(
            f"{name} {_minutes(us):.1f} min ({len(us)} utterances, {_speakers(us)} speakers)"
            for name, us in self.splits.items()
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
    amounts = ", ".join(f"{x:g}" for x in sorted(set(minutes)))
    settings = f"seed {seed}, {amounts} min, dev {dev_minutes:g}, test {test_minutes:g}"
    languages: dict[str, list[Utterance]] = defaultdict(list)
    for path in manifests:
        for u in read_manifest(path):
            languages[u.language].append(u)
    counts = {}
    for language, utterances in sorted(languages.items()):
        made = few_shot(utterances, minutes, dev_minutes, test_minutes, seed)
        folder = out / language
        claim(folder, f"few-shot splits, {settings}, of {', '.join(map(str, manifests))}")
        releases = sorted({str(u.extra["release"]) for u in utterances if "release" in u.extra})
        for split, chosen in made.splits.items():
            write_manifest(folder / f"{split}.jsonl", chosen)
            origin = ", ".join(releases) or "an unnamed release"
            about = f"{language} {split} of {origin}, seed {seed}; not the Riviere split"
            write_list(folder / f"{split}.txt", chosen, about)
        for split in {f"train_{_amount(x)}" for x in minutes} - made.splits.keys():
            for suffix in (".jsonl", ".txt"):  # made from an earlier, larger manifest
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
    """Draws `test`, `dev` and one `train_...` for each of `minutes`, all of one language.

    If there is not enough audio, the splits are smaller and `notes` report it; a train split that
    would equal the previous one is not made.
    """
    minutes = sorted(set(minutes))
    wrong = [x for x in (*minutes, dev_minutes, test_minutes) if not 0 < x < math.inf]
    if wrong or not minutes:
        raise UserError(
            f"few-shot splits must have minutes above 0, not {', '.join(map(str, wrong)) or 'none'}"
        )
    given = list(utterances)
    pool = {u.id: u for u in given if u.labelled}
    languages = sorted({u.language for u in given})
    if len(languages) != 1:
        raise UserError(
            f"few-shot splits need one language, but the utterances have {languages or 'none'}"
        )
    made = FewShot(languages[0])
    if unlabelled := sum(not u.labelled for u in given):
        made.notes.append(f"{unlabelled} without text or phones are left out")
    if twice := len(given) - unlabelled - len(pool):
        made.notes.append(f"{twice} repeated ids are left out")

    def order(name: str) -> str:
        return hashlib.blake2b(f"{seed}\t{name}".encode(), digest_size=8).hexdigest()

    shuffled = sorted(pool.values(), key=lambda u: (order(u.id), u.id))
    # Train gets the remainder of dev and test, between the smallest and the largest train split.
    rest = max(_minutes(shuffled) - dev_minutes - test_minutes, minutes[0])
    targets = {"train": min(rest, minutes[-1]), "dev": dev_minutes, "test": test_minutes}
    groups = _separate(shuffled, targets, order, made.notes)
    taken: set[str] = set()  # sentences
    for split, wanted in (("test", test_minutes), ("dev", dev_minutes)):
        fresh = [u for u in groups[split] if _sentence(u) not in taken]
        made.splits[split] = _uniform(fresh, wanted * 60, order)
        taken |= {_sentence(u) for u in made.splits[split]}
        _note_short(made, split, wanted)
    fresh = [u for u in groups["train"] if _sentence(u) not in taken]
    if repeated := len(groups["train"]) - len(fresh):
        made.notes.append(f"{repeated} with a sentence of dev or test are left out of train")
    for wanted in minutes:
        split = f"train_{_amount(wanted)}"
        if len(fresh) == len(made.splits.get("train", ())) > 0:
            made.notes.append(f"no {split}: no more audio is left")
            continue
        made.splits[split] = made.splits["train"] = _uniform(fresh, wanted * 60, order)
        _note_short(made, split, wanted)
    del made.splits["train"]
    if empty := [split for split, chosen in made.splits.items() if not chosen]:
        raise UserError(
            f"{made.language}: nothing is left for {', '.join(empty)}: {_minutes(shuffled):.1f} "
            f"labelled minutes of {_speakers(shuffled)} speakers are too few, or repeat sentences"
        )
    if few := {s: n for s, x in made.splits.items() if (n := _speakers(x)) < SPEAKERS and n}:
        made.notes.append(f"few speakers in {', '.join(f'{s} ({n})' for s, n in few.items())}")
    name = f"few-shot, seed {seed}, not the Riviere split"
    made.splits = {
        split: [replace(u, extra={**u.extra, "split": name}) for u in chosen]
        for split, chosen in made.splits.items()
    }
    return made


def _separate(
    utterances: Sequence[Utterance],
    targets: Mapping[str, float],
    order: Callable[[str], str],
    notes: list[str],
) -> dict[str, list[Utterance]]:
    """Utterances by split. Splits share no speaker, or only no sentence if there are too few
    speakers. `goals` are minutes with a reserve, `wanted` minutes without."""
    named = all(u.speaker for u in utterances)
    available = _minutes(utterances) / sum(targets.values())
    goals = {split: target * min(SPARE, available) for split, target in targets.items()}
    wanted = {split: target * min(1.0, available) for split, target in targets.items()}
    for key in (lambda u: u.speaker or "", _sentence) if named else (_sentence,):
        group: dict[str, list[Utterance]] = defaultdict(list)
        for u in utterances:
            group[key(u)].append(u)
        lengths = {v: _minutes(group[v]) for v in sorted(group, key=lambda v: (order(v), v))}
        for least in range(SPEAKERS, 0, -1):
            split_of, have = _assign(lengths, goals, ENOUGH * wanted["train"], least)
            if least > 1 and all(h >= NEARLY * wanted[split] for split, h in have.items()):
                break
        if all(h >= ENOUGH * wanted[split] for split, h in have.items()):
            break
    if key is _sentence:
        why = f"only {_speakers(utterances)}" if named else "not all are named"
        notes.append(f"speakers are in several splits ({why})")
    groups: dict[str, list[Utterance]] = {split: [] for split in targets}
    for name in lengths:
        groups[split_of[name]] += group[name]
    return groups


def _assign(
    lengths: Mapping[str, float], goals: Mapping[str, float], train: float, least: int
) -> tuple[dict[str, str], dict[str, float]]:
    """The split of each speaker (or sentence), and the minutes of dev and test.

    A speaker counts for at most 1/`least` of the goal, so that dev and test get at least `least`
    speakers. The `least` speakers with the most speech go to train, and so does each speaker whom
    train needs to keep `train` minutes.
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
    utterances: Sequence[Utterance], seconds: float, order: Callable[[str], str]
) -> list[Utterance]:
    """At most `seconds` of utterances, each from the speaker with the least speech so far."""
    of_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        of_speaker[u.speaker or ""].append(u)
    turn = [(0.0, order(speaker), speaker) for speaker in of_speaker]
    heapq.heapify(turn)
    taken: dict[str, int] = defaultdict(int)
    chosen: list[Utterance] = []
    total = 0.0
    while turn:
        seconds_so_far, rank, speaker = heapq.heappop(turn)
        u = of_speaker[speaker][taken[speaker]]
        if total + u.duration > seconds:
            break
        chosen.append(u)
        total += u.duration
        taken[speaker] += 1
        if taken[speaker] < len(of_speaker[speaker]):
            heapq.heappush(turn, (seconds_so_far + u.duration, rank, speaker))
    return chosen


def _note_short(made: FewShot, split: str, wanted: float) -> None:
    """Notes that a split is smaller than wanted, by more than one utterance that did not fit."""
    chosen = made.splits[split]
    longest = max((u.duration for u in chosen), default=0.0) / 60
    if _minutes(chosen) + 2 * longest < wanted:
        made.notes.append(
            f"{split} has {_minutes(chosen):.1f} of {wanted:g} min: no more audio is left"
        )


def _sentence(u: Utterance) -> str:
    return normalize(u.text or "", u.language) or " ".join(u.phones or ())


def _minutes(utterances: Iterable[Utterance]) -> float:
    return sum(u.duration for u in utterances) / 60


def _speakers(utterances: Iterable[Utterance]) -> int:
    return len({u.speaker for u in utterances if u.speaker})


def _amount(minutes: float) -> str:
    return f"{minutes / 60:g}h" if minutes % 60 == 0 else f"{minutes:g}min"
