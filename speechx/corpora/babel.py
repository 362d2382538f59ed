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

The last two come from training and eval, never from dev or a transcribed eval.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from speechx.audio.files import END_TOLERANCE_SECONDS, AudioInfo, audio_info
from speechx.corpora.babel_lexicon import Lexicon, Spelling, read_lexicon
from speechx.corpora.babel_pack import Pack, Recording, find_packs, recordings
from speechx.corpora.babel_text import TextPolicy, read_text
from speechx.corpora.preparation import UNLABELLED, Preparation, finish, watched
from speechx.data.manifest import Utterance
from speechx.errors import UserError

DEV_SHARE = 0.1
MOST_DEV_SHARE = 0.3  # one caller can be much of a small language
NO_SPEECH = "no-speech"
PROCESSES = min(8, os.cpu_count() or 1)
TELEPHONE_RATE = 8000

_TIME = re.compile(r"\s*\[(\d+(?:\.\d*)?)\]\s*")
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


def read_segments(transcript: Path) -> list[tuple[float, float, str]]:
    """Start, end and text of each segment; a UserError names the file and the line.

    Two times with nothing between them are a segment without text, which is kept.
    """
    try:
        lines = transcript.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{transcript}: not UTF-8 text") from None
    times: list[float] = []
    texts: list[list[str]] = []
    for number, line in enumerate(lines, start=1):
        if time := _TIME.fullmatch(line):
            times.append(float(time[1]))
            texts.append([])
            if len(times) > 1 and times[-1] < times[-2]:
                raise UserError(
                    f"{transcript}:{number}: the segment ends at {times[-1]:g} s, before its start "
                    f"at {times[-2]:g} s"
                )
        elif line.strip() and not times:
            raise UserError(f"{transcript}:{number}: a line [seconds] was expected before text")
        elif line.strip():
            texts[-1].append(line.strip())
    if texts and texts[-1]:
        raise UserError(f"{transcript}: ends with text, not with the line [seconds] that closes it")
    return [
        (start, end, " ".join(text))
        for (start, end), text in zip(pairwise(times), texts, strict=False)
    ]


def _read(pack: Pack, how: Options, log: Callable[[str], object]) -> Preparation:
    """All utterances and stretches of one release."""
    some = Preparation(pack.language)
    found = recordings(pack, how.transcript, how.sub_train, how.scripted != "leave", some)
    lengths = _measure(found, some, log)
    lexicon = _lexicon(pack, how) if how.phones else None
    training: dict[str, list[Utterance]] = {}
    strange: Counter[str] = Counter()
    unknown_words: Counter[str] = Counter()
    for recording in found:
        if (length := lengths.get(recording.audio)) is None:
            continue
        split = _SPLITS.get(recording.part, recording.part)
        labelled = recording.transcript is not None
        labelled &= recording.part != "scripted" or how.scripted == "train"
        try:
            segments = _segments(recording, length, some) if labelled else []
        except UserError as error:
            some.corrupt.append((recording.audio, str(error)))
            continue
        silent: list[tuple[float, float]] = []
        spoken: list[tuple[float, float]] = []
        free = 0.0
        for start, end, text in segments:
            reading = read_text(text, how.policy)
            strange.update(reading.strange)
            spoken.append((free, start))
            free = max(free, end)
            if not reading.text:
                (spoken if reading.speech or not text else silent).append((start, end))
                continue
            utterance = _utterance(recording, pack, start, end - start, reading.text, how, lexicon)
            if lexicon is not None:
                unknown_words.update(lexicon.missing(reading.text))
            if split == "train":
                training.setdefault(recording.call, []).append(utterance)
            else:
                some.add(split, utterance)
        spoken.append((free, length))
        if split == "test" or (split != "train" and labelled):
            without = sum(start < end for start, end in spoken + silent)
            some.left_out[f"stretches of {split} without words"] += without
            continue
        for kind, stretches in ((UNLABELLED, spoken), (NO_SPEECH, silent)):
            for start, seconds in _pieces(stretches, how, some):
                some.add(kind, _utterance(recording, pack, start, seconds))
    _carve(training, some)
    _say(some, strange, unknown_words, log)
    return some


def _utterance(
    recording: Recording,
    pack: Pack,
    start: float,
    seconds: float,
    text: str | None = None,
    how: Options | None = None,
    lexicon: Lexicon | None = None,
) -> Utterance:
    extra = {"release": pack.release}
    if how is not None:
        extra["text_policy"] = f"{how.policy}" + (" roman" if how.transcript == "roman" else "")
    return Utterance(
        id=recording.id(start),
        audio=recording.audio,
        start=start,
        duration=seconds,
        language=pack.language,
        text=text,
        phones=lexicon.phones(text) if lexicon is not None and text else None,
        speaker=recording.speaker,
        extra=extra,
    )


def _measure(
    found: Sequence[Recording], some: Preparation, log: Callable[[str], object]
) -> dict[Path, float]:
    """Seconds of each recording, from headers; says once what is not of the telephone's rate."""
    paths = [recording.audio for recording in found]
    rates: Counter[int] = Counter()
    lengths: dict[Path, float] = {}
    with ProcessPoolExecutor(PROCESSES) as pool:
        measured = pool.map(_measure_one, paths, chunksize=16)
        for path, info in zip(
            paths, watched(measured, len(paths), f"{some.language}: measured", log), strict=True
        ):
            if isinstance(info, str):
                some.corrupt.append((path, info))
            else:
                lengths[path] = info.duration
                rates[info.rate] += 1
    if rates[TELEPHONE_RATE]:
        log(
            f"{some.language}: {rates.pop(TELEPHONE_RATE)} recordings are at 8 kHz: they are "
            "brought to 16 kHz when read, with nothing above 4 kHz in them"
        )
    if rates:
        others = ", ".join(f"{number} at {rate} Hz" for rate, number in sorted(rates.items()))
        log(f"{some.language}: {others} (not by telephone) keep their wider band")
    return lengths


def _measure_one(path: Path) -> AudioInfo | str:
    try:
        return audio_info(path, exact=False)
    except UserError as error:
        return str(error).removeprefix(f"{path}: ").rstrip(".")


def _segments(
    recording: Recording, length: float, some: Preparation
) -> list[tuple[float, float, str]]:
    """Those that lie in the recording; ends that are a little late are brought back."""
    assert recording.transcript is not None
    kept = []
    for start, end, text in read_segments(recording.transcript):
        if end > length + END_TOLERANCE_SECONDS:
            raise UserError(
                f"{recording.transcript}: has times up to {end:g} s, "
                f"but the recording ends at {length:.2f} s"
            )
        if start < min(end, length):
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


def _carve(training: dict[str, list[Utterance]], some: Preparation) -> None:
    """A tenth of training, whole callers in an order that only their names decide, becomes dev."""
    groups = training
    note = "by caller"
    chosen = _tenth(groups)
    if not chosen:  # too few callers: then by call, both of its sides together
        groups = {}
        for utterance in (u for listed in training.values() for u in listed):
            groups.setdefault(_call(utterance), []).append(utterance)
        note = "by call, of the callers of train"
        chosen = _tenth(groups)
    for name, listed in groups.items():
        for utterance in listed:
            some.add("dev" if name in chosen else "train", utterance)
    if chosen:
        some.notes["dev"] = note


def _tenth(groups: dict[str, list[Utterance]]) -> set[str]:
    seconds = {name: sum(u.duration for u in listed) for name, listed in groups.items()}
    total = sum(seconds.values())
    chosen: set[str] = set()
    have = 0.0
    for name in sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if have < DEV_SHARE * total and have + seconds[name] <= MOST_DEV_SHARE * total:
            chosen.add(name)
            have += seconds[name]
    return chosen


def _call(utterance: Utterance) -> str:
    """Caller, date and time: what both sides of a call share."""
    code, caller, _, rest = utterance.id.split("_", 3)
    return f"{code}_{caller}_{rest.rsplit('_', 1)[0]}"


def _lexicon(pack: Pack, how: Options) -> Lexicon:
    folder = pack.conversational / "reference_materials"
    names = ("lexicon.txt", "lexicon.sub-train.txt")
    for name in reversed(names) if how.sub_train else names:
        if (folder / name).is_file():
            return read_lexicon(folder / name, how.transcript)
    raise UserError(f"{folder}: no lexicon.txt, so there are no phones: leave out --phones")


def _say(
    some: Preparation, strange: Counter[str], unknown: Counter[str], log: Callable[[str], object]
) -> None:
    """Tags and words that the tables do not have."""
    if strange:
        listed = ", ".join(f"{tag} ({number})" for tag, number in strange.most_common(10))
        log(f"{some.language}: tags that are not BABEL's, left out of the text: {listed}")
    if unknown:
        listed = ", ".join(word for word, _ in unknown.most_common(10))
        log(
            f"{some.language}: {unknown.total()} words ({len(unknown)} different) are not in the "
            f"lexicon, and their utterances have no phones: {listed}"
        )
