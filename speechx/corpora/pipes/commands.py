"""The commands in a wav.scp: what they read is found, and none is run.

    sph2pipe -f wav -p -c 2 a.sph |                           channel 2 of a.sph
    ffmpeg -i a.m4a -ss 10 -t 5 -ac 1 -ar 16000 -f wav - |    5 s of a.m4a, from 10 s on
    flac -dc a.flac | sox -t wav - -r 16k -t wav - remix 1 |  channel 1 of a.flac
    wav-copy wav.ark:3 - |                                    a part of wav.ark

A command is understood if it decodes, resamples, copies, picks a channel, mixes all channels or
cuts out a stretch of time. Whatever changes the sound in another way (speed, volume, echo), fetches
it, or is not known, is refused by name: a ValueError says why. The same holds for their options and
the values of these: only such as are known to keep the sound are taken.
"""

import re
import shlex
from collections.abc import Callable, Iterator

from speechx.corpora.pipes.decoders import (
    FAAD,
    FLAC,
    LAME,
    MPG123,
    OGGDEC,
    OPUSDEC,
    W_DECODE,
    cat,
    sph2pipe,
)
from speechx.corpora.pipes.ffmpeg import ffmpeg
from speechx.corpora.pipes.sound import (
    STDIN,
    PipedSound,
    Source,
    Words,
    check_output,
    options_of,
    words_of,
)
from speechx.corpora.pipes.sox import sox

QUIET = re.compile(r"(?:^|\s)2>{1,2}\s*/dev/null(?=\s|\||$)|<\s*/dev/null(?=\s|\||$)")
FETCHES = words_of("wget curl aws gsutil gcloud s3cmd hdfs hadoop rclone ssh scp rsync")
UNPACKS = words_of("zcat gzcat gunzip gzip bzcat bunzip2 bzip2 xzcat unxz xz zstdcat unzip")


def sound_of(entry: str) -> PipedSound:
    """What an entry of wav.scp reads; a ValueError if it is refused."""
    if not entry.endswith("|"):
        if entry.startswith("|") or entry == "-":
            raise ValueError(f"{entry[:200]!r} is no file")
        if re.match(r"[A-Za-z][\w+.-]*://", entry):
            raise ValueError(f"{entry[:200]!r} is no file but a URL; fetch it first")
        head, colon, offset = entry.rpartition(":")
        if colon and head and re.fullmatch(r"\d{1,18}", offset, re.ASCII):
            return PipedSound(head.removeprefix("ark:"), offset=int(offset))
        return PipedSound(entry)
    command = entry[:-1].strip()
    try:
        return _read(command)
    except ValueError as error:
        raise ValueError(
            f"the command {command[:200]!r} is not run: {error}; write its output to a file first"
        ) from None


def _read(command: str) -> PipedSound:
    sound: Source = None
    for words in _programs(command):
        name = words[0].rpartition("/")[2]
        if name in FETCHES:
            raise ValueError(f"{name} fetches sound from another place")
        if name in UNPACKS:
            raise ValueError(f"{name} unpacks a file, and only sound files are read")
        if name not in PROGRAMS:
            raise ValueError(f"{name[:60]!r} is not known ({', '.join(PROGRAMS)} are)")
        sound = PROGRAMS[name](words[1:], sound)
    if sound is None:
        raise ValueError("it names no file")
    return sound._replace(passed=())


def _programs(command: str) -> Iterator[list[str]]:
    """The words of each program of a pipeline."""
    plain = QUIET.sub(" ", command)
    if set("$`\n") & set(plain):
        raise ValueError("it has variables or commands for a shell")
    words = shlex.shlex(plain, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    try:
        found = list(words)
    except ValueError:
        raise ValueError("its quotes do not match") from None
    program: list[str] = []
    for word in [*found, "|"]:
        if word != "|":
            if word and set(word) <= set("();<>|&"):
                raise ValueError(f"{word[:40]!r} is for a shell")
            program.append(word)
            continue
        if not program:
            raise ValueError("a program is missing")
        yield program
        program = []


def wav_copy(words: Words, source: Source) -> PipedSound:
    files = [word for option, word in options_of(words, (), ()) if not option]
    if files and files[0].startswith(("scp:", "ark:", "scp,", "ark,")):
        raise ValueError("it reads a whole table")
    if len(files) == 2 and files[0] not in STDIN and source is None:
        check_output(files[1:])
        return sound_of(files[0].strip())
    return W_DECODE(words, source)


def wav_reverberate(words: Words, source: Source) -> PipedSound:
    raise ValueError("wav-reverberate adds an echo or noise")


PROGRAMS: dict[str, Callable[[Words, Source], PipedSound]] = {
    "sph2pipe": sph2pipe, "sox": sox, "ffmpeg": ffmpeg, "avconv": ffmpeg, "flac": FLAC, "cat": cat,
    "wav-copy": wav_copy, "mpg123": MPG123, "mpg321": MPG123, "opusdec": OPUSDEC,
    "oggdec": OGGDEC, "lame": LAME, "faad": FAAD, "w_decode": W_DECODE,
    "wav-reverberate": wav_reverberate,
}  # fmt: skip
