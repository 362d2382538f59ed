"""BABEL's transcripts: segments, and the treatment of everything that is not a word.

    <no-speech> uh <hes> i_b_m *teh* wor- (()) <foreign> then <laugh> ~

Kaldi's recipe (egs/babel/s5d) is followed where a model without a lexicon can follow it. There
tags become words of their own, `<hes>` as it stands, the unintelligible as `<unk>`, noises as
`<v-noise>` and `<noise>`; a model that spells has no letters for any of them, so here they leave
no text, and the choices that move error rates by points are options:

    in the transcript                      here
    <hes>                                  `hesitations`: drop, keep (the word hes), unknown
    (())  <foreign> <prompt> <overlap>     `unknown`: drop, drop-utterance
    wor-  -ord  wo~  ~rd                   `fragments`: strip, drop, unknown
    *word*                                 `mispronunciations`: strip (keep the word), drop, unknown
    i_b_m  ice_cream                       `underscores`: join (one word, as in Kaldi), split
    <lipsmack> <limspack> <breath> <cough> <laugh>     noise of the speaker: no text
    <click> <ring> <dtmf> <int>                        other noise: no text
    <no-speech>                                        silence of more than a second: no text
    <sta> <male-to-female> <female-to-male> ~          about the recording: no text
    any other <tag>                                    `unknown`, and listed
    ((wor  ())  a<b  wo-.  wo--rd  a*b                 `unknown`, and listed: brackets without
                                                       their pair, marks where none belong

`unknown` is the treatment of speech that the transcript does not spell: the word is left out, or
the whole utterance (it then counts as untranscribed). Utterances without any word are left out as
in Kaldi. Scores against such references differ from its scoring tool, which does not count deleted
fragments and hesitations as errors.

    read_text("<no-speech> uh wor- <hes> (())", TextPolicy()).text       # "uh wor"
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.tables import text_lines
from speechx.errors import UserError

Segment = tuple[float, float, str]
"""Start and end in seconds, and the text."""

HESITATION = "<hes>"
HESITATION_WORD = "hes"
UNKNOWN = frozenset(("<foreign>", "<prompt>", "<overlap>"))
VOCAL_NOISE = frozenset(("<lipsmack>", "<limspack>", "<breath>", "<cough>", "<laugh>"))
NOT_SPEECH = {"<no-speech>", "<click>", "<ring>", "<dtmf>", "<int>"}
NOT_SPEECH |= {"<sta>", "<male-to-female>", "<female-to-male>"}

# (()), a guess in double brackets, a tag, or a word; tags may touch words.
_TAG = r"\(\([^()]*\)\)|<[^<>\s]+>"
_TOKEN = re.compile(rf"{_TAG}|(?:(?!{_TAG})\S)+")
_FRAGMENT_MARKS = "-~"
_NEVER_IN_WORDS = frozenset("()<>*~")
_PUNCTUATION = ".,;:!?\"'"
_LIKE_A_TIME = re.compile(r"\s*\[[^\]]*\d[^\]]*\]\s*")
_TIME = re.compile(r"\s*\[(\d+(?:\.\d*)?)\]\s*")


@dataclass(frozen=True, slots=True)
class TextPolicy:
    """The choices. Two error rates may be compared when they were measured under equal ones."""

    hesitations: Literal["drop", "keep", "unknown"] = "drop"
    unknown: Literal["drop", "drop-utterance"] = "drop"
    fragments: Literal["strip", "drop", "unknown"] = "strip"
    mispronunciations: Literal["strip", "drop", "unknown"] = "strip"
    underscores: Literal["join", "split"] = "join"

    def __str__(self) -> str:
        """The text in every line of the manifests, and from there in the scores."""
        choices = " ".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self))
        return f"babel: {choices}"


@dataclass(frozen=True, slots=True)
class SegmentText:
    """One segment of a transcript under a policy."""

    text: str
    """The words; empty if there are none, or if the utterance is to be left out."""
    speech: bool
    """Whether someone speaks, with or without words."""
    strange: tuple[str, ...]
    """Tags that this table does not have, and words with marks that cannot be read."""


def read_text(transcript: str, policy: TextPolicy) -> SegmentText:
    """The words of one segment under a policy."""
    words: list[str] = []
    strange: list[str] = []
    speech = unknown = False
    for token in _TOKEN.findall(transcript):
        tag = token.lower()
        if tag in NOT_SPEECH or not token.strip("*_" + _FRAGMENT_MARKS):
            continue
        speech = True
        if tag in VOCAL_NOISE:
            continue
        if tag == HESITATION:
            word = _chosen(policy.hesitations, HESITATION_WORD)
        elif tag in UNKNOWN or (token.startswith("((") and token.endswith("))")):
            word = None
        elif _is_strange(token):
            strange.append(token)
            word = None
        else:
            word = _word(token, policy)
        unknown |= word is None
        words += (word or "").split()
    left_out = unknown and policy.unknown == "drop-utterance"
    return SegmentText("" if left_out else " ".join(words), speech, tuple(strange))


def _word(token: str, policy: TextPolicy) -> str | None:
    bare = token.strip("*" + _FRAGMENT_MARKS)
    word = bare.replace("_", "" if policy.underscores == "join" else " ")
    marks = set("".join(token.split(bare, 1)))
    if not marks:
        return word
    fragment = marks.intersection(_FRAGMENT_MARKS)
    return _chosen(policy.fragments if fragment else policy.mispronunciations, word)


def _is_strange(token: str) -> bool:
    """Whether a bracket or mark would be left in the word."""
    for part in token.strip("*" + _FRAGMENT_MARKS).split("_"):
        bare = part.strip(_PUNCTUATION)
        if "--" in part or bare != bare.strip("-") or _NEVER_IN_WORDS & set(part):
            return True
    return False


def _chosen(choice: str, word: str) -> str | None:
    """`word` where it is kept, nothing where it is dropped, None where it counts as unknown."""
    return None if choice == "unknown" else "" if choice == "drop" else word


def read_segments(transcript: Path) -> list[Segment] | Problem:
    """All segments of a file; two times with nothing between them are one without text."""
    segments: list[Segment] = []
    start: float | None = None
    words: list[str] = []
    try:
        lines = list(text_lines(transcript))
    except UserError as error:
        return Problem.of(error, transcript)
    for number, line in lines:
        place, text = f"{transcript}:{number}", line.strip()
        if time := _TIME.fullmatch(line):
            end = float(time[1])
            if start is not None:
                if end < start:
                    why = f"the segment ends at {end:g} s, before its start at {start:g} s"
                    return Problem(place, why)
                segments.append((start, end, " ".join(words)))
            start, words = end, []
        elif _LIKE_A_TIME.fullmatch(line):
            return Problem(place, f"{text} is no time in seconds")
        elif text and start is None:
            return Problem(place, "a line [seconds] was expected before text")
        elif text:
            words.append(text)
    if words:
        why = "ends with text, not with the line [seconds] that closes it"
        return Problem(str(transcript), why)
    return segments
