"""What the doctor looks for: every check, the rule it goes by, and what to do about what it finds.

The rules are written for people, since the report prints them; the numbers in them are the ones the
checks compare with. A hard check finds what training cannot use or must not hear twice: its
utterances go to the exclusion list. A soft one finds what somebody should look at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from speechx.audio.files import END_TOLERANCE_SECONDS
from speechx.data.manifest import Utterance
from speechx.errors import UserError

SILENT_DB = -60.0  # dBFS of the loudest tenth of a second
FAINT_DB = -40.0
CLIPPED_SHARE = 0.001  # of the samples
OFFSET = 0.02  # of full scale
HIGH_BAND_DB = -60.0  # power density of 4.4-7.2 kHz against 0.3-3.4 kHz
PACE_DEVIATIONS = 6.0  # of a robust standard deviation
PACE_FACTOR = 3.0
PACE_UTTERANCES = 50  # of a language, before its median means anything
RARE_UTTERANCES = 3
ALPHABET = 200  # more letters than this are a syllabary or Chinese: rare ones are normal there
REPEATS = 10.0  # times an epoch


@dataclass(frozen=True, slots=True)
class Check:
    """`rule` says when it is raised, `advice` what to do."""

    name: str
    title: str
    rule: str
    advice: str
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One thing found: about an utterance, or about a language, a letter, a speaker, a line."""

    check: str
    subject: str
    """The utterance's id, or what else it is about."""
    detail: str
    language: str = ""
    split: str = ""
    utterance: Utterance | None = None
    count: int = 1
    """Utterances it is about."""


_TOLERANCE = f"{END_TOLERANCE_SECONDS:g} s"

CHECKS = {
    check.name: check
    for check in (
        Check(
            "line", "Lines that are no utterances",
            "a line of the manifest cannot be read; no command reads past one",
            "correct or remove the line", hard=True,
        ),
        Check(
            "absent", "Audio that is not there",
            "the file that the manifest names does not exist, or is a folder",
            "see whether the corpus was moved: a relative path in a manifest starts at the "
            "manifest's own folder, an absolute one is right on one machine only (prepare again)",
            hard=True,
        ),
        Check(
            "unreadable", "Audio that cannot be read",
            "the file is empty, is no sound, or breaks off inside when it is decoded",
            "fetch the file again", hard=True,
        ),
        Check(
            "past_end", "Utterances longer than their audio",
            f"the utterance ends more than {_TOLERANCE} after its file",
            "the file was cut off, or the times are of another recording", hard=True,
        ),
        Check(
            "too_short", "Too short for the model",
            "fewer samples than one frame of the model sees",
            "nothing: a model cannot hear it", hard=True,
        ),
        Check(
            "silent", "Silent",
            f"the loudest tenth of a second is below {SILENT_DB:g} dB of full scale",
            "a microphone that was off, usually", hard=True,
        ),
        Check(
            "recording_leak", "Recordings of dev or test in train",
            "the samples (or all bytes of the file, or its name and times) are those of an "
            "utterance that is evaluated on, under the same id or another",
            "remove these lines from train: what was learnt cannot be tested; under the same id "
            "an exclusion list cannot do it, since it would take both",
            hard=True,
        ),
        Check(
            "ambiguous_id", "Bad, but another recording has the same id",
            "an utterance to leave out whose corpus, language and id are also those of another "
            "recording in another manifest, which an exclusion list would take with it",
            "rename the ids of one manifest, or prepare with corpus names", hard=True,
        ),
        Check(
            "duplicate", "The same sound twice",
            "the samples (or all bytes of the file) are those of an utterance that stays: the "
            "first that nothing else is wrong with, in the order test, dev, train",
            "if the texts differ, one of them is wrong", hard=True,
        ),
        Check(
            "empty_text", "Nothing is said",
            "there is a text or a list of phones, but nothing is left of it once normalised",
            "transcribe it, or take the key away so that it serves as unlabelled speech", hard=True,
        ),
        Check(
            "infeasible", "More labels than frames",
            "CTC needs a frame for each unit and one more between equal neighbours",
            "the text belongs to another recording, or the recording was cut", hard=True,
        ),
        Check(
            "duration", "Durations that differ",
            f"the file is more than {_TOLERANCE} longer than its only utterance, which begins at 0",
            "prepare the corpus again, or see whether the rest of the file is meant to be left out",
        ),
        Check(
            "too_long", "Too long to train on",
            "labelled, and longer than --most-seconds",
            "cut it at pauses: memory grows with the longest utterance of a batch",
        ),
        Check(
            "short", "Shorter than asked for",
            "shorter than --least-seconds",
            "pretraining joins what is shorter than its data.min_seconds, if one speaker says it",
        ),
        Check(
            "low_rate", "Recorded below 16 kHz",
            "the sample rate in the header; said once a corpus and language",
            "nothing to repair: expect a higher error, and train on both kinds if you can",
        ),
        Check(
            "band_limited", "No sound above 4 kHz though the rate has room for it",
            f"4.4-7.2 kHz is more than {-HIGH_BAND_DB:g} dB below 0.3-3.4 kHz: a telephone, or an "
            "8 kHz recording that was up-sampled",
            "count it as telephone speech",
        ),
        Check(
            "clipped", "Clipped",
            f"more than {CLIPPED_SHARE:.1%} of the samples stand at full scale, or in flat tops",
            "record with less gain; a model learns from it, but less",
        ),
        Check(
            "faint", "Very faint",
            f"the loudest tenth of a second is below {FAINT_DB:g} dB of full scale",
            "listen: speech from the next room, or nobody",
        ),
        Check(
            "offset", "Off centre",
            f"the mean of the samples is more than {OFFSET:g} of full scale from zero",
            "a fault of the recorder; harmless where the model normalises its input",
        ),
        Check(
            "fast", "Text too long for its sound",
            f"units per second are over {PACE_FACTOR:g} times the language's median, and over "
            f"{PACE_DEVIATIONS:g} robust standard deviations (1.4826 times the median deviation of "
            f"the logarithm) from it; languages with at least {PACE_UTTERANCES} labelled "
            "utterances of half a second or more",
            "listen: the recording was cut, or the text is another's",
        ),
        Check(
            "slow", "Sound too long for its text",
            "the same rule on the other side",
            "listen: long pauses, a second speaker, or a text that was cut",
        ),
        Check(
            "unknown_unit", "Letters and phones outside the vocabulary",
            "letters or phones outside the vocabulary given (--model, --vocabulary); without one, "
            "those of dev and test that the language's train does not have",
            "they can only be counted as errors: respell them, or train with them",
        ),
        Check(
            "look_alike", "Letters that look the same",
            "two letters of one language, after normalisation, that a reader cannot tell apart: "
            "a model would have to",
            "see the proposed spellings in respell.tsv",
        ),
        Check(
            "mixed_word", "Two scripts in one word",
            "Latin, Cyrillic, Greek or Armenian letters in one word",
            "see the proposed spellings in respell.tsv",
        ),
        Check(
            "other_script", "Words in another script",
            "whole words outside the script of nine in ten of the language's letters",
            "a foreign name, or a text of another language",
        ),
        Check(
            "invisible", "Invisible and lost characters",
            "control, format and private characters, and the mark of a lost letter (U+FFFD)",
            "see the proposed spellings in respell.tsv",
        ),
        Check(
            "garbled", "Garbled text",
            "sequences such as Ã© that UTF-8 gives when it is read as Latin-1",
            "read the source again as UTF-8",
        ),
        Check(
            "markup", "Tags and brackets",
            "<tags>, [remarks] or (()), whose words would be learnt as if they were spoken",
            "choose a policy and prepare the corpus with it",
        ),
        Check(
            "digits", "Digits",
            "figures do not say how they are read",
            "write numbers in words",
        ),
        Check(
            "rare", "Rare letters",
            f"in at most {RARE_UTTERANCES} utterances of a language that has at least "
            f"{PACE_UTTERANCES} and at most {ALPHABET} letters",
            "too few to be learnt: a slip of the pen, or a foreign name",
        ),
        Check(
            "speaker_leak", "Speakers on both sides",
            "a speaker (of one corpus and language) in train and in dev or test",
            "scores will be too good; if it cannot be helped, say so beside them",
        ),
        Check(
            "sentence_leak", "Sentences on both sides",
            "the same normalised text in train and in dev or test of a language, in any corpus",
            "scores will be too good, by far with a language model",
        ),
        Check(
            "repeated_id", "Ids used twice",
            "two utterances of one corpus and language have the same id in different manifests",
            "right where one manifest was made from the other; else an exclusion list cannot tell "
            "them apart",
        ),
        Check(
            "repeated_language", "Languages heard over and over",
            f"at this alpha an epoch repeats the language more than {REPEATS:g} times",
            "a larger alpha repeats it less",
        ),
    )
}  # fmt: skip

NEVER_EXCLUDED = frozenset(
    (
        "line",
        "ambiguous_id",
        "low_rate",
        "look_alike",
        "other_script",
        "rare",
        "speaker_leak",
        "sentence_leak",
        "repeated_id",
        "repeated_language",
    )
)
"""What is about a corpus, and not about single utterances of it."""


def to_exclude(also: Iterable[str]) -> frozenset[str]:
    """The checks whose utterances are excluded: the hard ones and those of `also`."""
    also = set(also)
    allowed = sorted(set(CHECKS) - NEVER_EXCLUDED)
    if wrong := sorted(also - set(allowed)):
        raise UserError(f"--exclude {wrong[0]}: expected one of {', '.join(allowed)}")
    return frozenset(name for name, check in CHECKS.items() if check.hard) - NEVER_EXCLUDED | also
