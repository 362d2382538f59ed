"""IARPA BABEL as LDC packs it, to manifests: telephone calls in 25 languages.

Recordings are found by pack.py. A transcript has a line `[seconds]`, then a line of text that lasts
until the next `[seconds]`; the last time only closes. Text goes through the policy of text.py. Ids
are as in Kaldi with the language code before them, as in Lhotse:
`101_37210_A_20111102_170037_000123`, speaker A inLine, B outLine, start in 1/100 s.

    prepare(Path("IARPA_BABEL_BP_101"), Output(Path("data/babel")))

writes `data/babel/yue/train.jsonl` and so on (a language is named as in CommonVoice; one that is
none of BABEL's by its code):

    train, dev    of training; a tenth of its callers are dev
    test          the official dev (dev10h), since packs have no transcripts of eval
    eval          eval as far as it is transcribed
    unlabelled    speech that is not transcribed or has no word that the policy keeps; prompts
    no-speech     stretches of `<no-speech>` or line noise, which pretraining is better without

The last two come from training and from eval without transcripts. Like train they have no caller
of dev or test, from any part of the pack. In a release of very few callers dev is a tenth of the
calls, and test may have callers of train; the report says so.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from speechx.audio.files import END_TOLERANCE_SECONDS
from speechx.corpora.babel.callers import callers_of_test, dev_recordings, split_of
from speechx.corpora.babel.lexicon import Lexicon, Spelling, read_lexicon
from speechx.corpora.babel.pack import (
    TRANSCRIPTS,
    BabelRecording,
    Pack,
    RecordingList,
    find_packs,
    measure,
)
from speechx.corpora.babel.text import (
    HESITATION,
    HESITATION_WORD,
    Segment,
    TextPolicy,
    read_segments,
    read_text,
)
from speechx.corpora.engine.measure import check_longest, equal_parts
from speechx.corpora.engine.preparation import UNLABELLED, Preparation
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.tables import table_in
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.data.manifest import Utterance
from speechx.errors import UserError
from speechx.log import logger

NO_SPEECH = "no-speech"
OF_HELD_OUT = "recordings of callers of dev and test"
SHORTEST = 1.0  # seconds of an untranscribed stretch

Stretch = tuple[float, float]
"""Start and end in seconds."""


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
    longest: float = 20.0
    """Seconds; longer untranscribed stretches are cut into equal pieces."""

    def __post_init__(self) -> None:
        check_longest(self.longest)

    def labels(self) -> dict[str, Any]:
        """The choices that make other labels."""
        own = {name: getattr(self, name) for name in ("transcript", "sub_train", "scripted")}
        return asdict(self.policy) | own


def prepare(
    root: Path,
    out: Output,
    languages: Sequence[str] | None = None,
    *,
    options: Options | None = None,
) -> Counts:
    """`root` is one pack or a folder of packs. `languages` are codes (101) or names (yue,
    Cantonese); None means all that are there.
    """
    how = options or Options()
    packs = find_packs(root, languages)
    release = {pack.language: pack.release for pack in packs}
    usual = Options().labels()
    choices = [  # other labels than usual belong into another folder
        name.replace("_", "-") + ("" if chosen is True else f"={chosen}")
        for name, chosen in how.labels().items()
        if chosen != usual[name]
    ]
    return finish(
        (_read(pack, how, out.folder) for pack in packs),
        out,
        lambda language: ", ".join((f"BABEL {release[language]}", *choices)),
    )


@dataclass(slots=True)
class TranscribedRecording:
    """A recording with its transcript, in stretches."""

    recording: BabelRecording
    texts: list[Segment] = field(default_factory=list)
    spoken: list[Stretch] = field(default_factory=list)
    """Without a word, or without a transcript."""
    silent: list[Stretch] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    """Tags and marks that are not BABEL's."""
    labelled: bool = False


def _read(pack: Pack, how: Options, out: Path) -> Preparation:
    found = Preparation(pack.language, "babel", pack.release, named=pack.code)
    found.measured.read(out / pack.language)
    listed = RecordingList(pack, how.transcript, how.sub_train, found).read(how.scripted != "leave")
    lengths = measure(listed, found)
    lexicon = _lexicon(pack, how, found) if how.phones else None
    read = (_transcribed(r, lengths[r.audio], how, found) for r in listed if r.audio in lengths)
    transcribed = [one for one in read if one is not None]
    tested = callers_of_test(listed, found)
    seconds = {t.recording: sum(end - start for start, end, _ in t.texts) for t in transcribed}
    dev = dev_recordings(seconds, tested, found)
    for one in transcribed:
        split = split_of(one.recording.part)
        if split == "train" and one.recording in dev:
            split = "dev"
        held_out = one.recording.call in tested or one.recording in dev
        _add(one, split, held_out, how, lexicon, found)
    _check_words(pack, transcribed, how, found)
    _log_unknown(found, transcribed, lexicon)
    return found


def _add(
    one: TranscribedRecording,
    split: str,
    held_out: bool,
    how: Options,
    lexicon: Lexicon | None,
    found: Preparation,
) -> None:
    """Lists the utterances of a recording, and its stretches where they are for pretraining."""
    if split == "train" and held_out:
        found.left_out[OF_HELD_OUT] += 1
        return
    policy = str(how.policy) + (" transcript=roman" if how.transcript == "roman" else "")
    for start, end, text in one.texts:
        utterance = _utterance(one.recording, found.language, start, end - start)
        phones = lexicon.phones(text) if lexicon else None
        found.add(
            split, replace(utterance, text=text, phones=phones, extra={"text_policy": policy})
        )
    if split in ("dev", "test") or (split != "train" and one.labelled):
        without = sum(start < end for start, end in one.spoken + one.silent)
        found.left_out[f"stretches of {split} without words"] += without
    elif held_out:
        found.left_out[OF_HELD_OUT] += 1
    else:
        for kind, stretches in ((UNLABELLED, one.spoken), (NO_SPEECH, one.silent)):
            for start, seconds in _pieces(stretches, how, found):
                found.add(kind, _utterance(one.recording, found.language, start, seconds))


def _utterance(recording: BabelRecording, language: str, start: float, seconds: float) -> Utterance:
    return Utterance(
        id=recording.id(start),
        audio=recording.audio,
        start=start,
        duration=seconds,
        language=language,
        speaker=recording.speaker,
    )


def _check_words(
    pack: Pack, transcribed: Sequence[TranscribedRecording], how: Options, found: Preparation
) -> None:
    """A part with words in the other spelling alone would be lost with all its labels."""
    texts = TRANSCRIPTS[how.transcript]
    other = next(name for name in TRANSCRIPTS.values() if name != texts)
    for part in sorted({one.recording.part for one in transcribed} - {"scripted"}):
        if any(one.texts for one in transcribed if one.recording.part == part):
            continue
        folder, split = pack.root / "conversational" / part, split_of(part)
        if any((folder / other).glob("*.txt")):
            found.refuse(
                str(folder),
                f"no words are in its {texts}, only in {other}, so nothing would be in {split}: "
                "choose with --transcript",
            )
        if split == "test":
            found.notes[split] = f"no words are in {texts} of dev"


def _transcribed(
    recording: BabelRecording, length: float, how: Options, found: Preparation
) -> TranscribedRecording | None:
    """The stretches of a recording; None once its transcript is listed as unreadable."""
    one = TranscribedRecording(recording)
    one.labelled = recording.transcript is not None
    one.labelled &= recording.part != "scripted" or how.scripted == "train"
    segments = read_segments(recording.transcript) if recording.transcript and one.labelled else []
    if isinstance(segments, Problem):
        found.corrupt.append(segments)
        return None
    free = 0.0
    for start, late, text in segments:
        end = min(late, length)  # some transcripts end a little late
        if late > length + END_TOLERANCE_SECONDS:
            found.refuse(
                str(recording.transcript),
                f"the segment from {start:g} to {late:g} s ends after the recording, which is "
                f"{length:.2f} s long",
            )
            continue
        if start >= end:
            found.left_out["segments of no length"] += bool(text)
            continue
        segment = read_text(text, how.policy)
        one.strange += segment.strange
        one.spoken.append((free, start))
        free = end
        if segment.text:
            one.texts.append((start, end, segment.text))
        elif segment.speech or not text:
            one.spoken.append((start, end))
        else:
            one.silent.append((start, end))
    one.spoken.append((free, length))
    return one


def _pieces(stretches: Sequence[Stretch], how: Options, found: Preparation) -> Iterator[Stretch]:
    """Start and seconds of long enough stretches; neighbours are joined, long ones cut evenly."""
    joined: list[list[float]] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        elif end > start:
            joined.append([start, end])
    for start, end in joined:
        if end - start < SHORTEST:
            found.left_out[f"untranscribed stretches below {SHORTEST:g} s"] += 1
            continue
        for at, seconds in equal_parts(end - start, how.longest):
            yield start + at, seconds


def _lexicon(pack: Pack, how: Options, found: Preparation) -> Lexicon:
    """That of the whole pack, or of the ten-hour condition."""
    folder = "conversational/reference_materials"
    names = ("lexicon.txt", "lexicon.sub-train.txt")
    for name in reversed(names) if how.sub_train else names:
        if path := table_in(pack.root, f"{folder}/{name}"):
            lexicon = read_lexicon(path, how.transcript, pack.code)
            found.corrupt += lexicon.problems
            entries = lexicon.pronunciations
            if how.policy.hesitations == "keep" and HESITATION in entries:
                more = entries.get(HESITATION_WORD, ())  # a word that is spelt like the tag
                entries[HESITATION_WORD] = entries[HESITATION] + more
            return lexicon
    raise UserError(f"{pack.root / folder}: no lexicon.txt; leave out --phones")


def _log_unknown(
    found: Preparation, transcribed: Sequence[TranscribedRecording], lexicon: Lexicon | None
) -> None:
    if strange := Counter(tag for one in transcribed for tag in one.strange):
        listed = ", ".join(f"{tag[:40]} ({number})" for tag, number in strange.most_common(10))
        logger.info(f"{found.language}: not BABEL's notation, left out of the text: {listed}")
    texts = (text for one in transcribed for _, _, text in one.texts if lexicon)
    if unknown := Counter(word for text in texts if lexicon for word in lexicon.missing(text)):
        listed = ", ".join(word for word, _ in unknown.most_common(10))
        logger.info(
            f"{found.language}: {unknown.total()} words ({len(unknown)} different) are not in the "
            f"lexicon, and their utterances have no phones: {listed}"
        )
