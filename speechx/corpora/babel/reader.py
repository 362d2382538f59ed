"""IARPA BABEL as LDC packs it, to manifests: telephone calls in 25 languages.

Recordings are found by babel_pack.py. A transcript has a line `[seconds]`, then a line of text that
lasts until the next `[seconds]`; the last time only closes. Text goes through the policy of
babel_text.py. Ids are those of Kaldi with the language code before them, as in Lhotse:
`101_37210_A_20111102_170037_000123`, speaker A inLine, B outLine, start in 1/100 s.

    prepare(Path("IARPA_BABEL_BP_101"), Output(Path("data/babel")))

writes `data/babel/yue/train.jsonl` and so on (a language is named as in CommonVoice; one that is
none of BABEL's by its code):

    train, dev    of training; a tenth of its callers are dev
    test          the official dev (dev10h), since packs have no transcripts of eval
    eval          eval as far as it is transcribed
    unlabelled    what nobody transcribed, or without words that the policy keeps; training prompts
    no-speech     stretches of `<no-speech>` or line noise, which pretraining is better without

The last two come from training and from eval without transcripts, and like train never from the
callers of dev and test, in whatever part of the pack these are heard. In a release of very few
callers dev is a tenth of the calls, and test may be of callers of train; the report says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from speechx.audio.files import END_TOLERANCE_SECONDS
from speechx.corpora.babel.callers import callers_of_test, dev_recordings, split_of
from speechx.corpora.babel.lexicon import Lexicon, Spelling, read_lexicon
from speechx.corpora.babel.pack import (
    TRANSCRIPTS,
    Pack,
    Recording,
    find_packs,
    measure,
    recordings,
)
from speechx.corpora.babel.text import (
    HESITATION,
    HESITATION_WORD,
    TextPolicy,
    read_segments,
    read_text,
)
from speechx.corpora.engine.measure import check_longest, equal_parts
from speechx.corpora.engine.paths import table_in
from speechx.corpora.engine.preparation import UNLABELLED, Preparation
from speechx.corpora.engine.write import Output, finish
from speechx.data.manifest import Utterance
from speechx.errors import UserError
from speechx.log import logger

NO_SPEECH = "no-speech"
OF_HELD_OUT = "recordings of callers of dev and test"


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

    def __post_init__(self) -> None:
        check_longest(self.longest)


def prepare(
    root: Path,
    out: Output,
    languages: Sequence[str] | None = None,
    *,
    options: Options | None = None,
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl`; returns how many utterances each split has.

    `root` is one pack or a folder of packs. `languages` are codes (101) or names (yue, Cantonese);
    None means all that are there.
    """
    how = options or Options()
    packs = find_packs(Path(root), languages)
    release = {pack.language: pack.release for pack in packs}
    return finish(
        (_read(pack, how, out.folder) for pack in packs),
        out,
        lambda language: ", ".join((f"BABEL {release[language]}", *_choices(how))),
    )


def _choices(how: Options) -> list[str]:
    """What else than usual the labels were made with: other labels belong into another folder."""
    usual = Options()
    choices = [
        (f.name, getattr(how.policy, f.name), getattr(usual.policy, f.name))
        for f in fields(how.policy)
    ]
    for name in ("transcript", "sub_train", "scripted"):
        choices.append((name.replace("_", "-"), getattr(how, name), getattr(usual, name)))
    return [
        name if chosen is True else f"{name}={chosen}"
        for name, chosen, default in choices
        if chosen != default
    ]


@dataclass(slots=True)
class Heard:
    """A recording by what its transcript says of it: starts and ends in seconds."""

    recording: Recording
    texts: list[tuple[float, float, str]] = field(default_factory=list)
    spoken: list[tuple[float, float]] = field(default_factory=list)
    """Without a word, or without a transcript."""
    silent: list[tuple[float, float]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    """Tags and marks that are not BABEL's."""
    labelled: bool = False


def _read(pack: Pack, how: Options, out: Path) -> Preparation:
    """All utterances and stretches of one release."""
    some = Preparation(pack.language, "babel", pack.release, named=pack.code)
    found = recordings(pack, how.transcript, how.sub_train, how.scripted != "leave", some)
    some.measured.read(out / pack.language)
    lengths = measure(found, some)
    lexicon = _lexicon(pack, how, some) if how.phones else None
    policy = str(how.policy) + (" transcript=roman" if how.transcript == "roman" else "")
    heard: list[Heard] = []
    for recording in found:
        if recording.audio in lengths:
            try:
                heard.append(_listen(recording, lengths[recording.audio], how, some))
            except UserError as error:
                said = str(error).removeprefix(str(recording.transcript))
                line, _, why = said.partition(": ") if said.startswith(":") else ("", "", said[1:])
                some.refuse(f"{recording.transcript}{line}", why)
    tested = callers_of_test(found, some)
    labelled = {one.recording: sum(end - start for start, end, _ in one.texts) for one in heard}
    dev = dev_recordings(labelled, tested, some)
    for one in heard:
        split = split_of(one.recording.part)
        held_out = one.recording.call in tested or one.recording in dev
        if split == "train" and one.recording in dev:
            split = "dev"
        elif split == "train" and held_out:
            some.left_out[OF_HELD_OUT] += 1
            continue
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
        if held_out:
            some.left_out[OF_HELD_OUT] += 1
            continue
        for kind, stretches in ((UNLABELLED, one.spoken), (NO_SPEECH, one.silent)):
            for start, seconds in _pieces(stretches, how, some):
                some.add(kind, Utterance(**_where(one.recording, pack, start, seconds)))
    _check_words(pack, heard, how, some)
    _say(some, heard, lexicon)
    return some


def _check_words(pack: Pack, heard: Sequence[Heard], how: Options, some: Preparation) -> None:
    """A part with words in the other spelling alone would be lost with all its labels."""
    texts = TRANSCRIPTS[how.transcript]
    other = next(name for name in TRANSCRIPTS.values() if name != texts)
    for part in sorted({one.recording.part for one in heard} - {"scripted"}):
        if any(one.texts for one in heard if one.recording.part == part):
            continue
        folder = pack.conversational / part
        split = split_of(part)
        if any((folder / other).glob("*.txt")):
            some.refuse(
                str(folder),
                f"no words are in its {texts}, only in {other}, so nothing would be in {split}: "
                "choose with --transcript",
            )
        if split == "test":
            some.notes[split] = f"no words are in {texts} of dev"


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
        for at, seconds in equal_parts(end - start, how.longest):
            yield start + at, seconds


def _lexicon(pack: Pack, how: Options, some: Preparation) -> Lexicon:
    """Of the whole pack, or of the ten-hour condition; lines that cannot be read go to `some`."""
    folder = pack.conversational / "reference_materials"
    names = ("lexicon.txt", "lexicon.sub-train.txt")
    root = pack.conversational.parent
    for name in reversed(names) if how.sub_train else names:
        if path := table_in(root, str((folder / name).relative_to(root))):
            lexicon = read_lexicon(path, how.transcript, pack.code)
            for place, why in lexicon.odd:
                some.refuse(place, why)
            said = lexicon.pronunciations
            if how.policy.hesitations == "keep" and HESITATION in said:  # before a word of the name
                said[HESITATION_WORD] = said[HESITATION] + said.get(HESITATION_WORD, ())
            return lexicon
    raise UserError(f"{folder}: no lexicon.txt, so there are no phones: leave out --phones")


def _say(some: Preparation, heard: Sequence[Heard], lexicon: Lexicon | None) -> None:
    """Tags and words that the tables do not have."""
    if strange := Counter(tag for one in heard for tag in one.strange):
        listed = ", ".join(f"{tag[:40]} ({number})" for tag, number in strange.most_common(10))
        logger.info(f"{some.language}: not BABEL's notation, left out of the text: {listed}")
    if lexicon is None:
        return
    texts = (text for one in heard for _, _, text in one.texts)
    if unknown := Counter(word for text in texts for word in lexicon.missing(text)):
        listed = ", ".join(word for word, _ in unknown.most_common(10))
        logger.info(
            f"{some.language}: {unknown.total()} words ({len(unknown)} different) are not in the "
            f"lexicon, and their utterances have no phones: {listed}"
        )
