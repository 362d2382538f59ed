"""The times of a transcript as annotation tiers need them: in whole milliseconds, in order, without
overlap, every interval at least one millisecond long, and every part inside its whole.

Of two that overlap, the first ends where the second begins. One that is too short grows into the
gap behind it, or moves its neighbours by a millisecond. Nothing is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from speechx.transcription.result import Phone, Segment, Transcript, Word


@dataclass(slots=True)
class Interval:
    text: str
    start: int
    """Milliseconds."""
    end: int
    probability: float | None = None
    parts: list["Interval"] = field(default_factory=list)
    room: int = 1
    """Milliseconds that it needs at least."""

    def __post_init__(self) -> None:
        """It reaches around its parts."""
        self.parts.sort(key=lambda part: part.start)
        self.start = min([self.start, *(part.start for part in self.parts)])
        self.end = max([self.end, *(part.end for part in self.parts)])
        self.room = max(1, sum(part.room for part in self.parts))


@dataclass(frozen=True, slots=True)
class Tiers:
    """Words lie in utterances; phones lie in words, or in utterances if there are no words."""

    utterances: list[Interval]
    words: list[Interval]
    phones: list[Interval]
    phones_in_words: bool
    duration: int
    """Milliseconds, at least 1."""


def tiers(transcript: Transcript) -> Tiers:
    in_words = any(word.phones for word in transcript.words)
    pairs = [(_utterance(segment, in_words), segment) for segment in transcript.segments]
    pairs.sort(key=lambda pair: pair[0].start)
    utterances = [utterance for utterance, _ in pairs]
    length = max(1, _milliseconds(transcript.audio_duration), sum(u.room for u in utterances))
    _separate(utterances, 0, length)
    words: list[Interval] = []
    phones: list[Interval] = []
    for utterance, segment in pairs:
        if segment.words:
            words += utterance.parts
            phones += [part for word in utterance.parts for part in word.parts]
        if segment.phones and not in_words:
            flat = sorted(map(_interval, segment.phones), key=lambda phone: phone.start)
            _separate(flat, utterance.start, utterance.end)
            phones += flat
    return Tiers(utterances, words, phones, in_words, length)


def _utterance(segment: Segment, phones_in_words: bool) -> Interval:
    """With its words as parts, and room for its phones if these are not in words."""
    words = [_interval(word, phones_in_words) for word in segment.words]
    flat = [] if phones_in_words else segment.phones
    times: list[Word | Phone] = [*segment.words, *flat]
    start = min([segment.start, *(token.start for token in times)])
    end = max([segment.end, *(token.end for token in times)])
    whole = Interval(segment.text, _milliseconds(start), _milliseconds(end), parts=words)
    whole.room = max(whole.room, len(flat))
    return whole


def _interval(token: Word | Phone, with_phones: bool = False) -> Interval:
    phones = token.phones if with_phones and isinstance(token, Word) else ()
    start, end = _milliseconds(token.start), _milliseconds(token.end)
    return Interval(token.text, start, end, token.probability, [_interval(p) for p in phones])


def _separate(intervals: Sequence[Interval], low: int, high: int) -> None:
    """Moves ordered intervals, and their parts, so that each has its room between `low` and
    `high`."""
    at = low
    for interval in intervals:
        interval.start = max(interval.start, at)
        at = interval.start + interval.room
    for interval in reversed(intervals):
        end = min(max(interval.end, interval.start + interval.room), high)
        interval.start = min(interval.start, high - interval.room)
        interval.end = max(end, interval.start + interval.room)
        high = interval.start
        _separate(interval.parts, interval.start, interval.end)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
