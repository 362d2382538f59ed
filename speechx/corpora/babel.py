"""IARPA BABEL as LDC packs it, to manifests: telephone calls in 25 languages.

Recordings are found by babel_pack.py. A transcript has a line `[seconds]`, then a line of text that
lasts until the next `[seconds]`; the last time only closes. Text goes through the policy of
babel_text.py. Ids are those of Kaldi with the language code before them, as in Lhotse:
`101_37210_A_20111102_170037_000123`, speaker A inLine, B outLine, start in 1/100 s.

    prepare(Path("IARPA_BABEL_BP_101"), Path("data/babel"))

writes `data/babel/yue/train.jsonl` and so on (a language is named as in CommonVoice; one that is
none of BABEL's by its code):

    train, dev    of training; a tenth of its callers are dev
    test          the official dev (dev10h), since packs have no transcripts of eval
    eval          eval as far as it is transcribed
    unlabelled    what nobody transcribed, or without words that the policy keeps; scripted prompts
    no-speech     stretches of `<no-speech>` or line noise, which pretraining is better without

The last two come from training and from eval without transcripts, never from the callers of dev and
test. In a release of very few callers dev is a tenth of the calls.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from speechx.audio.files import END_TOLERANCE_SECONDS
from speechx.corpora.babel_lexicon import Lexicon, Spelling, read_lexicon
from speechx.corpora.babel_pack import Pack, Recording, find_packs, measure, recordings
from speechx.corpora.babel_text import TextPolicy, read_segments, read_text
from speechx.corpora.preparation import UNLABELLED, Preparation, finish
from speechx.data.manifest import Utterance
from speechx.errors import UserError

DEV_SHARE = 0.1
MOST_DEV_SHARE = 0.3  # one caller can be much of a small language
NO_SPEECH = "no-speech"

_SPLITS = {"training": "train", "dev": "test", "scripted": "train"}


@dataclass(frozen=True, slots=True)
class Options:
    """How packs are read."""

    transcript: Spelling = "plain"
    """`transcription`, or `transcript_roman`."""
    policy: TextPolicy = field(default_factory=TextPolicy)
    sub_train: bool = False
    """Labels of the ten-hour condition only; the rest of training is unlabelled."""
    scripted: Literal["unlabelled", "train", "leave"] = "unlabelled"
    phones: bool = False
    """The lexicon's first pronunciations, where it has all words."""
    shortest: float = 1.0
    """Seconds of an untranscribed stretch."""
    longest: float = 20.0
    """Longer stretches are cut into equal pieces."""


def prepare(
    root: Path,
    out: Path,
    languages: Sequence[str] | None = None,
    options: Options | None = None,
    allow_missing: bool = False,
    convert: bool = False,
    log: Callable[[str], object] = print,
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl`; returns how many utterances each split has.

    `root` is one pack or a folder of packs. `languages` are codes (101) or names (yue, Cantonese);
    None means all that are there. `allow_missing` and `convert` as in `preparation.finish`.
    """
    how = options or Options()
    packs = find_packs(Path(root), languages, log)
    release = {pack.language: pack.release for pack in packs}
    return finish(
        (_read(pack, how, log) for pack in packs),
        Path(out),
        lambda language: f"BABEL {release[language]}",
        allow_missing,
        convert,
        log,
    )


@dataclass(slots=True)
class Heard:
    """A recording by what its transcript says of it: starts and ends in seconds."""

    recording: Recording
    texts: list[tuple[float, float, str]] = field(default_factory=list)
    spoken: list[tuple[float, float]] = field(default_factory=list)
    """Without a word, or without a transcript."""
    silent: list[tuple[float, float]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    """Tags that are not BABEL's."""
    labelled: bool = False


def _read(pack: Pack, how: Options, log: Callable[[str], object]) -> Preparation:
    """All utterances and stretches of one release."""
    some = Preparation(pack.language, "babel", pack.release, named=pack.code)
    found = recordings(pack, how.transcript, how.sub_train, how.scripted != "leave", some)
    lengths = measure(found, some, log)
    lexicon = _lexicon(pack, how) if how.phones else None
    policy = str(how.policy) + (" transcript=roman" if how.transcript == "roman" else "")
    heard: list[Heard] = []
    for recording in found:
        if recording.audio in lengths:
            try:
                heard.append(_listen(recording, lengths[recording.audio], how, some))
            except UserError as error:
                line, _, why = str(error).removeprefix(str(recording.transcript)).partition(": ")
                some.refuse(f"{recording.transcript}{line}", why)
    dev = _dev(heard, some)
    for one in heard:
        split = _SPLITS.get(one.recording.part, one.recording.part)
        split = "dev" if one.recording in dev else split
        for start, end, text in one.texts:
            utterance = Utterance(
                **_where(one.recording, pack, start, end - start),
                text=text,
                phones=lexicon.phones(text) if lexicon else None,
                extra={"text_policy": policy},
            )
            some.add(split, utterance)
        if split in ("dev", "test") or (split != "train" and one.labelled):
            without = sum(start < end for start, end in one.spoken + one.silent)
            some.left_out[f"stretches of {split} without words"] += without
            continue
        for kind, stretches in ((UNLABELLED, one.spoken), (NO_SPEECH, one.silent)):
            for start, seconds in _pieces(stretches, how, some):
                some.add(kind, Utterance(**_where(one.recording, pack, start, seconds)))
    _say(some, heard, lexicon, log)
    return some


def _listen(recording: Recording, length: float, how: Options, some: Preparation) -> Heard:
    """What is said in it, and when; a UserError if its transcript cannot be read."""
    heard = Heard(recording)
    heard.labelled = recording.transcript is not None
    heard.labelled &= recording.part != "scripted" or how.scripted == "train"
    free = 0.0
    for start, end, text in _segments(recording, length, some) if heard.labelled else ():
        reading = read_text(text, how.policy)
        heard.strange += reading.strange
        heard.spoken.append((free, start))
        free = end
        if reading.text:
            heard.texts.append((start, end, reading.text))
        elif reading.speech or not text:
            heard.spoken.append((start, end))
        else:
            heard.silent.append((start, end))
    heard.spoken.append((free, length))
    return heard


def _where(recording: Recording, pack: Pack, start: float, seconds: float) -> dict[str, Any]:
    return {
        "id": recording.id(start),
        "audio": recording.audio,
        "start": start,
        "duration": seconds,
        "language": pack.language,
        "speaker": recording.speaker,
    }


def _segments(
    recording: Recording, length: float, some: Preparation
) -> list[tuple[float, float, str]]:
    """Those that lie in the recording; ends that are a little late are brought back."""
    assert recording.transcript is not None
    kept = []
    for start, end, text in read_segments(recording.transcript):
        if end > length + END_TOLERANCE_SECONDS:
            some.refuse(
                str(recording.transcript),
                f"the segment from {start:g} to {end:g} s ends after the recording, which is "
                f"{length:.2f} s long",
            )
        elif start < min(end, length):
            kept.append((start, min(end, length), text))
        elif text:
            some.left_out["segments of no length"] += 1
    return kept


def _pieces(
    stretches: Sequence[tuple[float, float]], how: Options, some: Preparation
) -> Iterator[tuple[float, float]]:
    """Start and seconds of what is long enough; neighbours are joined, long ones cut evenly."""
    joined: list[list[float]] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        elif end > start:
            joined.append([start, end])
    for start, end in joined:
        if end - start < how.shortest:
            some.left_out[f"untranscribed stretches below {how.shortest:g} s"] += 1
            continue
        number = math.ceil((end - start) / how.longest)
        seconds = (end - start) / number
        for index in range(number):
            yield start + index * seconds, seconds


def _dev(heard: Sequence[Heard], some: Preparation) -> set[Recording]:
    """A tenth of training: whole callers, in an order that only their numbers decide.

    Where there are too few callers for that, calls, both sides of each together.
    """
    training = [one for one in heard if _SPLITS.get(one.recording.part) == "train"]
    ways: dict[str, Callable[[Recording], str]] = {
        "by caller": lambda recording: recording.call,
        "by call, of callers of train": lambda recording: f"{recording.call}_{recording.when}",
    }
    for note, group in ways.items():
        seconds: dict[str, float] = defaultdict(float)
        for one in training:
            if one.texts:
                seconds[group(one.recording)] += sum(end - start for start, end, _ in one.texts)
        if chosen := _tenth(seconds):
            some.notes["dev"] = note
            return {one.recording for one in training if group(one.recording) in chosen}
    return set()


def _tenth(seconds: Mapping[str, float]) -> set[str]:
    total = sum(seconds.values())
    chosen: set[str] = set()
    have = 0.0
    for name in sorted(seconds, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if have < DEV_SHARE * total and have + seconds[name] <= MOST_DEV_SHARE * total:
            chosen.add(name)
            have += seconds[name]
    return chosen


def _lexicon(pack: Pack, how: Options) -> Lexicon:
    folder = pack.conversational / "reference_materials"
    names = ("lexicon.txt", "lexicon.sub-train.txt")
    for name in reversed(names) if how.sub_train else names:
        if (folder / name).is_file():
            return read_lexicon(folder / name, how.transcript)
    raise UserError(f"{folder}: no lexicon.txt, so there are no phones: leave out --phones")


def _say(
    some: Preparation,
    heard: Sequence[Heard],
    lexicon: Lexicon | None,
    log: Callable[[str], object],
) -> None:
    """Tags and words that the tables do not have."""
    if strange := Counter(tag for one in heard for tag in one.strange):
        listed = ", ".join(f"{tag} ({number})" for tag, number in strange.most_common(10))
        log(f"{some.language}: tags that are not BABEL's, left out of the text: {listed}")
    if lexicon is None:
        return
    texts = (text for one in heard for _, _, text in one.texts)
    if unknown := Counter(word for text in texts for word in lexicon.missing(text)):
        listed = ", ".join(word for word, _ in unknown.most_common(10))
        log(
            f"{some.language}: {unknown.total()} words ({len(unknown)} different) are not in the "
            f"lexicon, and their utterances have no phones: {listed}"
        )
