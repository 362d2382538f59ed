"""What a program in a wav.scp reads, and the words of its call.

    sound = input_of(["a.wav"], None).resampled("16k").with_channel(1)

Everything that cannot be honoured is a ValueError that says why.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

RATE = 16_000  # of the models: at this rate and above nothing that they use is lost
STDIN = ("-", "pipe:", "pipe:0", "/dev/stdin")
STDOUT = ("-", "pipe:", "pipe:1", "/dev/stdout")


class PipedSound(NamedTuple):
    """What an entry of a wav.scp reads."""

    path: str
    channel: int | None = None
    """From 0; None for all of them."""
    start: float = 0.0
    duration: float | None = None
    """Seconds; to the end unless given."""
    offset: int | None = None
    """Where it begins in an archive."""
    needs: tuple[tuple[str, int], ...] = ()
    """What must be true of the file, as the command assumes it: its `rate`, its number of
    `channels`, a rate that is at most `resampled`, or channels that are at most `averaged`."""
    passed: tuple[tuple[str, int], ...] = ()
    """The `rate` and the number of `channels` that one program passes to the next, the last ones
    at the end, as far as they differ from the file's."""

    def resampled(self, text: str) -> "PipedSound":
        rate = rate_of(text)
        sound = self._replace(passed=(*self.passed, ("rate", rate)))
        return sound if rate >= RATE else sound.needing("resampled", rate)

    def with_channels(self, text: str) -> "PipedSound":
        """Mixed to one channel, or with as many as the file has."""
        number = count_of(text)
        sound = self if number == 1 else self.needing("channels", number)
        return sound._replace(passed=(*self.passed, ("channels", number)))

    def averaged(self, most: int) -> "PipedSound":
        """Mixed to one channel by a program that takes the mean only of `most` channels."""
        is_one = self.channel is not None or dict(self.passed).get("channels") == 1
        return (self if is_one else self.needing("averaged", most)).with_channels("1")

    def with_channel(self, number: int) -> "PipedSound":
        is_one = self.channel is not None or dict(self.passed).get("channels") == 1
        if is_one and number:
            raise ValueError(f"channel {number + 1} is picked, but only one channel is left")
        return self._replace(
            channel=number if self.channel is None else self.channel,
            passed=(*self.passed, ("channels", 1)),
        )

    def described(self, what: str, number: int) -> "PipedSound":
        """What a program reads whose options claim a `rate` or a number of `channels`."""
        found = dict(self.passed).get(what)
        if found is None:
            return self.needing(what, number)
        if found != number:
            raise ValueError(f"it reads a {what} of {found} as one of {number}")
        return self

    def needing(self, what: str, number: int) -> "PipedSound":
        return self._replace(needs=(*self.needs, (what, number)))

    def cut(self, start: float, duration: float | None) -> "PipedSound":
        if self.duration is not None:
            left = self.duration - start
            duration = left if duration is None else min(duration, left)
        if duration is not None and duration <= 0:
            raise ValueError("its stretch of time has no length")
        return self._replace(start=self.start + start, duration=duration)


Words = Sequence[str]
Source = PipedSound | None
"""What the program before a `|` passes on; None at the beginning."""


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


def input_of(words: Words, source: Source) -> PipedSound:
    """What a program reads: the one file that it names, or what is passed to it."""
    if source is not None:
        if any(word not in STDIN for word in words) or len(words) > 1:
            raise ValueError(f"it reads {' '.join(words)[:80]!r} beside what is passed to it")
        return source
    if len(words) != 1:
        raise ValueError(f"it reads {len(words)} files; one was expected")
    (word,) = words
    if not word or word.startswith("-") or word in STDIN or "|" in word:
        raise ValueError(f"{word[:80]!r} is no file")
    if "://" in word or word.startswith(("concat:", "data:", "crypto:")):
        raise ValueError(f"{word[:80]!r} is in another place")
    return PipedSound(word)


def check_output(words: Words) -> None:
    if not words:
        raise ValueError("it writes nothing to the pipe")
    if len(words) != 1 or words[0] not in STDOUT:
        raise ValueError(f"it writes {' '.join(words)[:80]!r}, not to the pipe")


def check_value(option: str, value: str, kept: str) -> None:
    """Refuses a value that is not of the pattern `kept`: it may change the sound."""
    if not re.fullmatch(kept, value, re.ASCII):
        raise ValueError(f"'{option} {value[:40]}' may change the sound")


def count_of(text: str) -> int:
    if not re.fullmatch(r"0*[1-9]\d{0,3}", text, re.ASCII):
        raise ValueError(f"{text[:40]!r} is no number of channels")
    return int(text)


def rate_of(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(k?)(?:Hz)?", text, re.ASCII | re.IGNORECASE)
    if not found:
        raise ValueError(f"{text[:40]!r} is no sample rate")
    return round(float(found[1]) * (1000 if found[2] else 1))


def seconds_of(text: str) -> float:
    """Seconds of 90, 1:30 or 0:01:30.0."""
    if not re.fullmatch(r"(?:\d{1,6}:){0,2}\d{1,9}(?:\.\d{1,9})?s?", text, re.ASCII):
        raise ValueError(f"{text[:40]!r} is no time in seconds")
    seconds = 0.0
    for part in text.removesuffix("s").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def options_of(
    words: Words, valued: Collection[str], alone: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Options with their values, and other words as values of no option."""
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in valued:
            if (following := next(rest, None)) is None:
                raise ValueError(f"{word} lacks a value")
            yield word, following
        elif word in STDOUT or not word.startswith("-"):
            yield "", word
        elif equals and name in valued:
            yield name, value
        elif word in alone:
            yield word, ""
        else:
            raise ValueError(f"its option {word[:40]!r} is not known")
