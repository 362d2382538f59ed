"""What a call of SoX reads: `sox [OPTION ...] FILE [OPTION ...] - [EFFECT ...]`.

Options before the file describe it and must be true; options before the output resample it or mix
its channels. Of effects, `rate`, `channels`, `remix`, `trim` and `dither` are understood.
"""

import re
from collections.abc import Mapping

from speechx.corpora.pipes.sound import (
    PipedSound,
    Source,
    Words,
    check_output,
    check_value,
    count_of,
    input_of,
    rate_of,
    seconds_of,
    words_of,
)

# Formats whose files say what they hold, as sox and ffmpeg call them.
SOX_TYPES = words_of(
    "wav wavpcm flac mp3 mp2 ogg vorbis opus aif aiff aifc aiffc au snd sph nist sox caf w64 m4a "
    "mp4 amr amr-nb amr-wb wv voc smp avr"
)
SOX_KEEPS = words_of("wav wavpcm flac sox aif aiff aifc au snd sph nist caf w64")


# Values of options that keep the sound. Before the file they must be true of it, so there only what
# nearly all files have is taken.
ENCODINGS = r"s(i(g(n(ed(-integer)?)?)?)?)?|f(l(oat(ing-point)?)?)?"
READ_AS = {"-b": "16", "-e": r"s(i(g(n(ed(-integer)?)?)?)?)?", "-v": r"\+?0*1(\.0*)?"}
WRITTEN_AS = {
    "-b": "16|24|32|64", "-e": ENCODINGS, "-C": r"\d{1,2}", "--comment": ".*",
    "--add-comment": ".*", "--endian": "little|big|swap",
}  # fmt: skip
ANYWHERE = {"--buffer": r"\d+", "--input-buffer": r"\d+"}


def sox(words: Words, source: Source) -> PipedSound:
    """`sox [OPTION ...] FILE [OPTION ...] - [EFFECT ...]`"""
    rest = list(words)
    options, file = _sox_options(rest, SOX_ALONE | words_of("-s -2"))
    sound = input_of([file], source)
    for option, value in options:
        if option == "-t":
            if value.lstrip(".").lower() not in SOX_TYPES:
                raise ValueError(f"it reads {value[:40]!r}, which has no header")
        elif option == "-r":
            sound = sound.described("rate", rate_of(value))
        elif option == "-c":
            sound = sound.described("channels", count_of(value))
        elif option == "-v" and not re.fullmatch(READ_AS["-v"], value, re.ASCII):
            raise ValueError(f"'-v {value[:40]}' changes the volume")
        else:
            _check(option, value, READ_AS)
    options, file = _sox_options(rest, SOX_ALONE | words_of("-s -f -2 -3 -4 -8 -L -B -x"))
    check_output([file])
    while rest:
        sound = _sox_effect(rest, sound)
    for option, value in options:  # of the output, so after the effects
        if option == "-t":
            if value.lstrip(".").lower() not in SOX_KEEPS:
                raise ValueError(f"it writes {value[:40]!r}, which loses sound or has no header")
        elif option == "-r":
            sound = sound.resampled(value)
        elif option == "-c":
            sound = sound.with_channels(value)
        elif option == "-b" and not re.fullmatch(WRITTEN_AS["-b"], value):
            raise ValueError(f"it writes {value[:40]} bits a sample")
        else:
            _check(option, value, WRITTEN_AS)
    return sound


def _check(option: str, value: str, kept: Mapping[str, str]) -> None:
    known = {**kept, **ANYWHERE}
    if option not in known:
        raise ValueError(f"its option {option} stands in the wrong place")
    check_value(option, value, known[option])


SOX_LONG = {
    "--type": "-t", "--rate": "-r", "--channels": "-c", "--bits": "-b", "--encoding": "-e",
    "--volume": "-v", "--endian": "--endian", "--buffer": "--buffer", "--compression": "-C",
    "--comment": "--comment", "--add-comment": "--add-comment", "--input-buffer": "--input-buffer",
}  # fmt: skip
SOX_ALONE = words_of(
    "-V -V0 -V1 -V2 -V3 -V4 -G --guard -q --no-show-progress -S --show-progress -D --no-dither -R "
    "--ignore-length --single-threaded --multi-threaded --no-glob --clobber"
)


def _sox_options(rest: list[str], alone: frozenset[str]) -> tuple[list[tuple[str, str]], str]:
    """The options with values before a file, and the file; both are taken from `rest`."""
    options: list[tuple[str, str]] = []
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "-p":
            return [*options, ("-t", "sox")], "-"
        if word in SOX_LONG or word in SOX_LONG.values():
            if not rest:
                raise ValueError(f"{word} lacks a value")
            options.append((SOX_LONG.get(word, word), rest.pop(0)))
        elif equals and name in SOX_LONG:
            options.append((SOX_LONG[name], value))
        elif word in alone:
            continue
        elif word == "-" or not word.startswith("-"):
            return options, word
        elif word[:2] in SOX_LONG.values():
            options.append((word[:2], word[2:]))
        elif word in ("-m", "-M", "-T") or name == "--combine":
            raise ValueError("it joins several files")
        elif name == "--norm":
            raise ValueError("--norm changes the volume")
        else:
            raise ValueError(f"its option {word[:40]!r} is not known")
    raise ValueError("a file is missing")


def _sox_effect(rest: list[str], sound: PipedSound) -> PipedSound:
    """The sound after the next effect, which is taken from `rest`."""
    name, values = rest.pop(0), []
    while rest and (re.match(r"[-=+\d]", rest[0])):
        values.append(rest.pop(0))
    if name == "rate":
        flags = [v for v in values if v.startswith("-")]
        for flag in flags:
            check_value("rate", flag, "-[mhvsL]+")
        return sound.resampled(" ".join(v for v in values if v not in flags) or "48k")
    if name == "channels" and len(values) == 1:
        return sound.with_channels(values[0])
    if name == "dither":
        for flag in values:
            check_value("dither", flag, "-[sSa]")
        return sound
    if name == "remix":
        return _remixed(sound, values)
    if name == "trim" and 0 < len(values) < 3:
        start = seconds_of(_position(values[0]))
        if len(values) == 1:
            return sound.cut(start, None)
        length = seconds_of(_position(values[1]))
        return sound.cut(start, length - start if values[1].startswith("=") else length)
    raise ValueError(f"{name[:40]!r} changes the sound")


def _position(text: str) -> str:
    if text.startswith("-"):
        raise ValueError(f"its time {text[:40]!r} counts from the end")
    if text.endswith("s"):
        raise ValueError(f"its time {text[:40]!r} counts samples")
    return text.removeprefix("=").removeprefix("+")


def _remixed(sound: PipedSound, values: list[str]) -> PipedSound:
    picks = [value for value in values if value not in ("-a", "-m")]
    if len(picks) == 1:
        if re.fullmatch(r"[1-9]\d{0,2}", picks[0], re.ASCII):
            return sound.with_channel(int(picks[0]) - 1)
        if picks[0] in ("-", "1-") and "-m" not in values:
            return sound.with_channels("1")
        if picks[0] in ("1,2", "1-2") and "-m" not in values:
            return sound.with_channels("2").with_channels("1")
    raise ValueError(f"'remix {' '.join(values)[:60]}' mixes channels in its own way")
