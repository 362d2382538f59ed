"""What the doctor checks: each check has a rule and advice, which the report prints.

The numbers in the rules are those that the checks compare with. A hard check finds utterances that
training cannot use, or must not see twice: they go to the exclusion list. A soft check finds what
a person should review.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from speechx.audio.files import END_TOLERANCE_SECONDS
from speechx.data.manifest import Utterance
from speechx.errors import UserError

SILENT_DB = -60.0  # dBFS of the loudest tenth of a second
FAINT_DB = -40.0
CLIPPED_SHARE = 0.001  # of the samples
OFFSET = 0.02  # of full scale
HIGH_BAND_DB = -60.0  # power density of 4.4-7.2 kHz relative to 0.3-3.4 kHz
PACE_DEVIATIONS = 6.0  # robust standard deviations
PACE_FACTOR = 3.0
PACE_UTTERANCES = 50  # per language; its median is not used below that
RARE_UTTERANCES = 3
ALPHABET = 200  # scripts with more letters (syllabaries, Chinese) have many rare ones
REPEATS = 10.0  # per epoch


@dataclass(frozen=True, slots=True)
class Check:
    """`rule` says when a case is reported, `advice` what to do about it."""

    name: str
    title: str
    rule: str
    advice: str
    hard: bool = False
    excludable: bool = True
    """False if the check is about a corpus, not about single utterances."""


@dataclass(frozen=True, slots=True)
class Case:
    """One finding: about an utterance, or about a language, a letter, a speaker or a line."""

    check: str
    subject: str
    """The id of the utterance, or what else the case is about."""
    detail: str
    language: str = ""
    split: str = ""
    utterance: Utterance | None = None
    count: int = 1
    """How many utterances are affected."""


_TOLERANCE = f"{END_TOLERANCE_SECONDS:g} s"
_REPLACEMENTS = "review the proposed replacements in respell.tsv"
_ALL = (
    Check("line", "Unreadable lines", "the manifest has a line that cannot be read",
          "correct or remove the line; commands stop at it", hard=True, excludable=False),
    Check("absent", "Missing audio", "the audio path does not exist, or is a folder",
          "check whether the corpus was moved: a relative path in a manifest starts at the "
          "manifest's folder, an absolute path is valid on one machine only (prepare again)",
          hard=True),
    Check("unreadable", "Unreadable audio",
          "the file is empty, is not audio, or breaks off while it is decoded",
          "download the file again", hard=True),
    Check("past_end", "Utterances longer than their audio",
          f"the utterance ends more than {_TOLERANCE} after its file, or with a file that is cut "
          "off",
          "the file was cut off, or the times belong to another recording", hard=True),
    Check("too_short", "Too short for the model", "the utterance is shorter than one model frame",
          "nothing; a model cannot use it", hard=True),
    Check("silent", "Silent",
          f"the loudest tenth of a second is below {SILENT_DB:g} dB of full scale",
          "the microphone was probably off", hard=True),
    Check("recording_leak", "Recordings of dev or test in train",
          "an utterance in dev or test has the same samples (or the same bytes of its file, or the "
          "same file and times), whatever the ids",
          "remove these lines from train, or scores are too good; an exclusion list cannot do it "
          "if the id is the same, since it would exclude both", hard=True),
    Check("ambiguous_id", "Bad utterance with an ambiguous id",
          "an utterance to exclude has the corpus, language and id of another recording in "
          "another manifest, which an exclusion list would exclude too",
          "rename the ids in one manifest, or prepare with corpus names", hard=True,
          excludable=False),
    Check("duplicate", "Duplicate recordings",
          "an utterance that is kept has the same samples (or the same bytes of its file): the "
          "first without another problem, in the order test, dev, train",
          "if the texts differ, one of them is wrong", hard=True),
    Check("empty_text", "Empty text",
          "the utterance has a text or a list of phones, but normalisation leaves nothing",
          "transcribe it, or remove the key to use it as unlabelled speech", hard=True),
    Check("infeasible", "More labels than frames",
          "CTC needs a frame for each token and one more between equal neighbours",
          "the text belongs to another recording, or the recording was cut", hard=True),
    Check("duration", "Different durations",
          f"the file is more than {_TOLERANCE} longer than its only utterance, which starts at 0",
          "prepare the corpus again, or check whether the rest should be left out"),
    Check("too_long", "Too long to train on",
          "the utterance is labelled and longer than --most-seconds",
          "cut it at pauses; memory grows with the longest utterance of a batch"),
    Check("short", "Shorter than --least-seconds", "the utterance is shorter than --least-seconds",
          "pretraining joins short utterances of one speaker to data.min_seconds"),
    Check("low_rate", "Recorded below 16 kHz",
          "the sample rate in the header; reported once per corpus and language",
          "no repair is possible: expect a higher error, and train on both rates if you can",
          excludable=False),
    Check("band_limited", "No sound above 4 kHz at a higher sample rate",
          f"4.4-7.2 kHz is more than {-HIGH_BAND_DB:g} dB below 0.3-3.4 kHz: a telephone, or an "
          "8 kHz recording that was up-sampled", "treat it as telephone speech"),
    Check("opposite_phase", "Channels in opposite phase",
          "the mean of the channels is over 20 dB below them: one is wired the wrong way round",
          "the first channel is used instead of the mean; correct the wiring"),
    Check("clipped", "Clipped",
          f"more than {CLIPPED_SHARE:.1%} of the samples are at full scale or in flat tops",
          "record with less gain; a model learns from it, but less"),
    Check("faint", "Very faint",
          f"the loudest tenth of a second is below {FAINT_DB:g} dB of full scale",
          "listen: it may be distant speech, or none"),
    Check("offset", "DC offset",
          f"the mean of the samples is more than {OFFSET:g} of full scale from zero",
          "a recorder fault; harmless if the model normalises its input"),
    Check("fast", "Text too long for its audio",
          f"labels per second are over {PACE_FACTOR:g} times the language's median, and over "
          f"{PACE_DEVIATIONS:g} robust standard deviations (1.4826 times the median deviation of "
          f"the logarithm) from it; languages with at least {PACE_UTTERANCES} labelled "
          "utterances of half a second or more",
          "listen: the recording was cut, or the text belongs to another recording"),
    Check("slow", "Audio too long for its text", "the same rule in the other direction",
          "listen: long pauses, a second speaker, or a text that was cut"),
    Check("unknown_token", "Letters and phones outside the vocabulary",
          "the letter or phone is not in the given vocabulary (--model, --vocabulary); without "
          "one, it is in dev or test but not in the language's train",
          "they always count as errors: replace them, or train on them"),
    Check("look_alike", "Letters that look the same",
          "two letters of one language, after normalisation, that a reader cannot distinguish",
          _REPLACEMENTS, excludable=False),
    Check("mixed_word", "Two scripts in one word",
          "the word has letters of several of Latin, Cyrillic, Greek and Armenian", _REPLACEMENTS),
    Check("other_script", "Words in another script",
          "whole words outside the script of nine in ten of the language's letters",
          "a foreign name, or a text of another language", excludable=False),
    Check("invisible", "Invisible and lost characters",
          "control, format and private characters, and the replacement character (U+FFFD)",
          _REPLACEMENTS),
    Check("garbled", "Garbled text",
          "sequences such as Ã© that result when UTF-8 is decoded as Latin-1",
          "decode the source as UTF-8"),
    Check("markup", "Tags and brackets",
          "<tags>, [remarks] or (()), whose words would be learned as speech",
          "choose a policy and prepare the corpus with it"),
    Check("digits", "Digits", "digits do not show how a number is spoken",
          "write numbers in words"),
    Check("rare", "Rare letters",
          f"the letter is in at most {RARE_UTTERANCES} utterances of a language with at least "
          f"{PACE_UTTERANCES} utterances and at most {ALPHABET} letters",
          "too few to learn from: a typing error, or a foreign name", excludable=False),
    Check("speaker_leak", "Speakers in train and in dev or test",
          "a speaker (of one corpus and language) is in train and in dev or test",
          "scores are too good; if you cannot avoid it, report it with them", excludable=False),
    Check("sentence_leak", "Sentences in train and in dev or test",
          "a normalised text is in train and in dev or test of a language, in any corpus",
          "scores are too good, especially with a language model", excludable=False),
    Check("repeated_id", "Ids used twice",
          "two utterances of one corpus and language have the same id in different manifests",
          "correct if one manifest was made from the other; otherwise an exclusion list cannot "
          "distinguish them", excludable=False),
    Check("repeated_language", "Languages repeated often",
          f"at this alpha an epoch repeats the language more than {REPEATS:g} times",
          "a larger alpha repeats it less", excludable=False),
)  # fmt: skip
CHECKS = {check.name: check for check in _ALL}


def to_exclude(also: Iterable[str]) -> frozenset[str]:
    """The checks whose utterances are excluded: the hard ones and `also`."""
    allowed = {name for name, check in CHECKS.items() if check.excludable}
    if wrong := sorted(set(also) - allowed):
        raise UserError(f"--exclude {wrong[0]}: expected one of {', '.join(sorted(allowed))}")
    return frozenset(name for name in allowed if CHECKS[name].hard) | set(also)
