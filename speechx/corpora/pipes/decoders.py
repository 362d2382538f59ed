"""Programs that decode one sound file, or copy it, in a wav.scp."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from speechx.corpora.pipes.sound import (
    PipedSound,
    Source,
    Words,
    check_output,
    check_value,
    input_of,
    options_of,
    seconds_of,
)


@dataclass(frozen=True, slots=True)
class DecodingProgram:
    """A program that writes what it decodes: its options, and what they mean."""

    kept: Mapping[str, str] = field(default_factory=dict)
    """Options whose value does not matter to us, and the pattern of values that keep the sound."""
    alone: str = ""
    needed: str = ""
    """Of these, one must be there."""
    stdout: str = ""
    """With one of these it writes to the pipe."""
    output: str = ""
    """Options whose value is where it writes."""
    rate: str = ""
    channels: str = ""
    """Options that pick the first channel, the second one, the first one and so on."""

    def __call__(self, words: Words, source: Source) -> PipedSound:
        outputs, rates, picks = self.output.split(), self.rate.split(), self.channels.split()
        valued = [*self.kept, *outputs, *rates]
        alone = [*picks, *f"{self.alone} {self.needed} {self.stdout}".split()]
        found = list(options_of(list(_apart(words, alone)), valued, alone))
        given = {option for option, _ in found}
        for option, value in found:
            if option in self.kept:
                check_value(option, value, self.kept[option])
        if self.needed and not given & set(self.needed.split()):
            raise ValueError(f"it lacks {self.needed.split()[0]}")
        files = [word for option, word in found if not option]
        written = [value for option, value in found if option in outputs]
        if given & set(self.stdout.split()) or (self.stdout and source is not None):
            written = ["-"]
        check_output(written or [files.pop()] if written or len(files) > 1 else [])
        sound = input_of(files, source)
        for option, value in found:
            if option in rates:
                sound = sound.resampled(value)
            elif option in picks:
                sound = sound.with_channel(picks.index(option) % 2)
        return sound


def _apart(words: Words, alone: Collection[str]) -> Iterator[str]:
    """-dcs as -d -c -s."""
    for word in words:
        letters = [f"-{letter}" for letter in word[1:]] if re.fullmatch("-[a-zA-Z]+", word) else []
        yield from letters if len(letters) > 1 and set(letters) <= set(alone) else [word]


def cat(words: Words, source: Source) -> PipedSound:
    files = [word for option, word in options_of(words, (), ("-u",)) if not option]
    return input_of(files if files or source is None else ["-"], source)


def sph2pipe(words: Words, source: Source) -> PipedSound:
    files, channel, times = [], "", ""
    for option, value in options_of(words, ("-f", "-c", "-t"), ("-p",)):
        if option == "-f" and value not in ("wav", "rif", "riff", "sph", "aif", "au"):
            raise ValueError(f"it writes {value[:40]!r}, which has no header")
        if option == "-c":
            channel = value
        elif option == "-t":
            times = value
        elif not option:
            files.append(value)
    if len(files) == 2:
        check_output(files[1:])
    sound = input_of(files[:1], source) if len(files) < 3 else input_of(files, source)
    if channel:
        if channel not in ("1", "2"):
            raise ValueError(f"{channel[:40]!r} is no channel")
        sound = sound.with_channel(int(channel) - 1)
    if times:
        first, colon, last = times.partition(":")
        if not colon:
            raise ValueError(f"{times[:40]!r} is no stretch of time")
        start = seconds_of(first or "0")
        sound = sound.cut(start, seconds_of(last) - start if last else None)
    return sound


FLAC = DecodingProgram(
    kept={"--channel-map": "none"},
    alone="-s --silent --totally-silent -f --force -F --decode-through-errors -w",
    needed="-d --decode",
    stdout="-c --stdout",
    output="-o --output-name",
)
MPG123 = DecodingProgram(
    kept=dict.fromkeys(("-e", "--encoding"), "s16|s24|s32|f32|f64"),
    alone="-q --quiet -m --mono --mix --stereo -v --no-control",
    output="-w --wav",
    rate="-r --rate",
    channels="-0 -1 --left --right --single0 --single1",
)
OPUSDEC = DecodingProgram(
    kept={"--packet-loss": "0"},
    alone="--quiet --force-wav --no-dither --float",
    rate="--rate",
)
OGGDEC = DecodingProgram(
    kept=dict.fromkeys(("-b", "--bits"), "16")
    | dict.fromkeys(("-e", "--endian"), "0")
    | dict.fromkeys(("-s", "--sign"), "1"),
    alone="-Q --quiet",
    output="-o --output",
)
LAME = DecodingProgram(
    alone="--quiet --silent -S --mp3input --mp2input --nohist", needed="--decode"
)
FAAD = DecodingProgram(
    kept={"-f": "1", "-b": "[1-4]"}, alone="-q", stdout="-w --stdio", output="-o"
)
W_DECODE = DecodingProgram(kept={"-o": r"(pcm|short)(_\d+)?"}, alone="-f -v")
