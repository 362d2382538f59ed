"""Which callers of a BABEL pack are trained on: none of test, nor the tenth of training for dev.

A caller is the same in all parts of a pack. LDC's parts have no caller in common, but that is not
relied on. In releases of very few callers this is impossible; then the report says so.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from speechx.corpora.babel.pack import BabelRecording
from speechx.corpora.engine.preparation import Preparation

DEV_SHARE = 0.1
MAX_DEV_SHARE = 0.3  # one caller can be much of a small language


def split_of(part: str) -> str:
    """The split of a recording's part; dev is taken from train later."""
    return {"training": "train", "dev": "test", "scripted": "train"}.get(part, part)


def callers_of_test(recordings: Iterable[BabelRecording], found: Preparation) -> set[str]:
    """The callers of test; none where training has no others, so that it is kept."""
    callers: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        callers[split_of(recording.part)].add(recording.call)
    if callers["train"] and callers["train"] <= callers["test"]:
        found.notes["test"] = "of callers of train"
        return set()
    return callers["test"]


def dev_recordings(
    seconds: Mapping[BabelRecording, float], tested: set[str], found: Preparation
) -> set[BabelRecording]:
    """Chooses dev: whole callers of training, none of `tested`, with about a tenth of the
    transcribed seconds, in an order fixed by a hash. With too few callers it chooses whole calls.
    Returns all their recordings."""
    ways: dict[str, Callable[[BabelRecording], str]] = {
        "by caller": lambda recording: recording.call,
        "by call, of callers of train": lambda recording: f"{recording.call}_{recording.when}",
    }
    for note, group in ways.items():
        training: dict[str, float] = defaultdict(float)
        for recording, labelled in seconds.items():
            if labelled and split_of(recording.part) == "train" and recording.call not in tested:
                training[group(recording)] += labelled
        if chosen := _tenth(training):
            found.notes["dev"] = note
            return {recording for recording in seconds if group(recording) in chosen}
    if training:
        found.notes["dev"] = f"as each call is more than {MAX_DEV_SHARE:.0%} of training"
    return set()


def _tenth(seconds: Mapping[str, float]) -> set[str]:
    total = sum(seconds.values())
    chosen: set[str] = set()
    have = 0.0
    for name in sorted(seconds, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if have < DEV_SHARE * total and have + seconds[name] <= MAX_DEV_SHARE * total:
            chosen.add(name)
            have += seconds[name]
    return chosen
