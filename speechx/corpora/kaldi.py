"""Data directories of Kaldi (also of ESPnet, icefall, WeNet) to manifests.

    data/train_clean/wav.scp       recording   path, or a command that ends in |
    data/train_clean/segments      utterance recording start end [channel]
                                   without it, every recording is one utterance
    data/train_clean/text          utterance words
    data/train_clean/utt2spk, utt2lang, spk2gender, reco2file_and_channel

Nothing is executed. Commands that only unpack a file or pick its channel, as recipes write them,
are understood and the file is read in their place (`sph2pipe -f wav -p -c 2 a.sph |`,
`sox a.wav -t wav - |`, `ffmpeg -i a.m4a -f wav - |`, `flac -dc a.flac |`); any other is refused by
name, and so are archives (`feats.ark:17`). Lengths come from the files, not from utt2dur.
reco2file_and_channel serves scoring, and names the side of a call even if each side has a file of
its own. It is used only if nothing else names a channel and the file has several.

Kaldi writes absolute paths, often on another machine. Without `root` those are taken as they are,
and relative ones are below the working directory, as in Kaldi, and must stay there. With `root` all
must lie in it. What is no audio is named and never shown. Tables are shown, and recipes link them:
such a link may lead anywhere below the folder that holds the data directory (`data`) or below the
working directory, and no further.
"""

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from speechx.corpora.engine.languages import name_links
from speechx.corpora.engine.paths import check_folder
from speechx.corpora.engine.preparation import ChannelChoice
from speechx.corpora.engine.rows import Listing, OwnData, split_named
from speechx.corpora.engine.tables import text_lines
from speechx.corpora.engine.write import Counts, Output
from speechx.errors import UserError

CHANNELS = {"A": 0, "B": 1, "1": 0, "2": 1}
GENDERS = {"m": "male", "f": "female"}
ChannelOfFile = tuple[str, int | None]
"""A path, and the channel that is meant, from 0."""


def prepare(root: Path, out: Output, own: OwnData) -> Counts:
    """`root` is a data directory, or holds several; each becomes a split of its name. One channel
    of several is read only with `convert`."""
    check_folder(root, "a Kaldi data directory")
    folders = [root] if (root / "wav.scp").is_file() else sorted(root.glob("*/"))
    folders = [folder for folder in folders if (folder / "wav.scp").is_file()]
    if not folders:
        raise UserError(f"{root}: no wav.scp is in it, nor in a folder right below it.")
    name_links(root, folders)
    name = own.corpus or root.resolve().name
    listing = Listing(name, own)
    for folder in folders:
        _read(folder, listing)
    return listing.finish(out, f"the Kaldi data {name}")


def _read(folder: Path, listing: Listing) -> None:
    sources: dict[str, tuple[str, ChannelOfFile | None]] = {}  # by recording: its place and file
    for place, recording, rest in _pairs(folder / "wav.scp", listing):
        try:
            sources[recording] = (place, source_of(rest))
        except ValueError as error:
            listing.refuse(place, str(error))
            sources[recording] = (place, None)
    sides = _map(folder / "reco2file_and_channel", listing)
    texts = _map(folder / "text", listing)
    speakers = _map(folder / "utt2spk", listing)
    languages = _map(folder / "utt2lang", listing)
    genders = _map(folder / "spk2gender", listing)
    split = split_named(folder.resolve().name)
    listed, without_file = set(), 0
    for place, id, recording, times, of_segment in _utterances(folder, sources, listing):
        listed.add(id)
        if recording not in sources:
            listing.refuse(place, f"recording {recording[:200]!r} is not in wav.scp")
            continue
        source = sources[recording][1]
        if source is None:
            without_file += 1
            continue
        path, channel = source
        if channel is None:
            channel = of_segment
        elif of_segment:
            why = f"channel {of_segment} of {recording[:200]!r}, but wav.scp already picks one"
            listing.refuse(place, why)
            continue
        side = CHANNELS.get(sides[recording].split()[-1]) if recording in sides else None
        choice = None if side is None else ChannelChoice(side, if_several=True)
        speaker = speakers.get(id, "")
        row: dict[str, Any] = {
            **times,
            "path": path,
            "id": id,
            "text": texts.get(id, ""),
            "speaker": speaker,
            "language": languages.get(id, ""),
            "split": split,
            "channel": choice if channel is None else ChannelChoice(channel),
        }
        gender = genders.get(speaker)
        extra = {"gender": GENDERS.get(gender, gender)} if gender else {}
        listing.add(row, place, extra, sources[recording][0])
    listing.left_out["utterances of recordings whose command is refused"] += without_file
    listing.left_out["transcripts without an utterance"] += len(texts.keys() - listed)


def _utterances(
    folder: Path, sources: dict[str, tuple[str, ChannelOfFile | None]], listing: Listing
) -> Iterator[tuple[str, str, str, dict[str, str], int | None]]:
    """Place, id, recording, start and duration if it is a part of that, and its channel."""
    table = folder / "segments"
    if not table.is_file():
        for recording, (place, source) in sources.items():
            if source is not None:
                yield place, recording, recording, {}, None
        return
    for place, id, rest in _pairs(table, listing):
        words = rest.split()
        try:
            recording, start, end = words[0], float(words[1]), float(words[2])
        except (IndexError, ValueError):
            listing.refuse(place, "not utterance, recording, start and end in seconds")
            continue
        number = " ".join(words[3:]) or "-1"
        times = {"start": words[1]}
        if end != -1:  # which is as far as it goes
            times["duration"] = repr(end - start)
        if number != "-1" and not re.fullmatch("[0-9]{1,3}", number):
            why = f"its channel is {number[:40]!r}, not a number from 0, or -1 for none"
            listing.refuse(place, why)
        elif end > start or end == -1:
            yield place, id, recording, times, None if number == "-1" else int(number)
        else:
            listing.refuse(place, f"ends at {words[2][:40]}, but starts at {words[1][:40]}")


def _pairs(table: Path, listing: Listing) -> Iterator[tuple[str, str, str]]:
    """Place, key and the rest of every line; a key of nothing, or met before, is listed."""
    folder = Path(os.path.abspath(table.parent))
    allowed = (folder, folder.parent, Path.cwd())
    if not any(table.resolve().is_relative_to(base.resolve()) for base in allowed):
        raise UserError(
            f"{table}: leads out of {folder.parent} and of the working directory, so it is not "
            "read; put the file itself there"
        )
    keys: set[str] = set()
    for line, text in text_lines(table):
        place = f"{table}:{line}"
        key, *rest = text.split(None, 1)[:2] or [""]
        if key in keys:
            listing.refuse(place, f"{key[:200]!r} is there twice")
        elif not key or (not rest and table.name != "text"):
            listing.refuse(place, "not a key and a value")
        else:
            keys.add(key)
            yield place, key, rest[0].strip() if rest else ""


def _map(table: Path, listing: Listing) -> dict[str, str]:
    return {key: rest for _, key, rest in _pairs(table, listing)} if table.is_file() else {}


def source_of(entry: str) -> ChannelOfFile:
    """The file behind an entry of wav.scp, and its channel; a ValueError if it is refused."""
    if not entry.endswith("|"):
        if entry.startswith("|") or entry == "-":
            raise ValueError(f"{entry[:200]!r} is no file")
        head, colon, offset = entry.rpartition(":")
        if colon and offset.isdigit() and head:
            raise ValueError(f"{entry[:200]!r} is in an archive; only files of their own are read")
        return entry, None
    command = entry[:-1].strip()
    try:
        program, *words = shlex.split(command)
        if set("|;&<>$`\n") & set(command):
            raise ValueError(command)
        return READERS[program.rpartition("/")[2]](words)
    except (KeyError, ValueError):
        raise ValueError(
            f"the command {command[:200]!r} is not run; sph2pipe, sox, ffmpeg and flac are "
            "understood where they only unpack a file, so make files of it first"
        ) from None


def _read_options(
    words: list[str], valued: Mapping[str, Callable[[str], bool]], alone: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Options with their values, and the other words; a ValueError for an unknown option."""
    options: dict[str, str] = {}
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in valued:
            options[word] = next(rest, "")
            if not valued[word](options[word]):
                raise ValueError(word)
        elif word == "-" or not word.startswith("-"):
            others.append(word)
        elif word not in alone:
            raise ValueError(word)
    return options, others


def _keeps(rate: str) -> bool:
    """Whether a file at this rate still has all that models use, at 16 kHz."""
    rate = rate.removesuffix("k") + "000" * rate.endswith("k")
    return rate.isdecimal() and int(rate[:9]) >= 16_000


def _sph2pipe(words: list[str]) -> ChannelOfFile:
    formats = ("wav", "rif", "riff", "sph")
    valued = {"-f": formats.__contains__, "-c": ("1", "2").__contains__}
    options, files = _read_options(words, valued, ("-p",))
    return _one_file(files), int(options["-c"]) - 1 if "-c" in options else None


def _flac(words: list[str]) -> ChannelOfFile:
    options = [_SHORT.get(word, word) for word in words if word.startswith("-")]
    if not {"c", "d"} <= {letter for word in options for letter in word} <= set("-cdfs"):
        raise ValueError("not -dc")
    return _one_file([word for word in words if not word.startswith("-")]), None


_SHORT = {"--decode": "-d", "--stdout": "-c", "--silent": "-s", "--totally-silent": "-s"}


def _sox(words: list[str]) -> ChannelOfFile:
    """`sox FILE -t wav [-r RATE] [-c 1] ... - [remix N]`"""
    valued = {"-t": bool, "-b": bool, "-e": bool, "-c": "1".__eq__, "-r": _keeps}
    alone = ("-V0", "-V1", "-V", "-G", "-q", "-S", "-D", "-R")
    _, (file, *rest) = _read_options(words, valued, alone)
    if rest not in (["-"], ["-", "remix", "1"], ["-", "remix", "2"]):
        raise ValueError(rest)
    return _one_file([file]), int(rest[-1]) - 1 if rest[1:] else None


def _ffmpeg(words: list[str]) -> ChannelOfFile:
    """`ffmpeg [-v LEVEL] -i FILE -f wav [-ar RATE] [-ac 1] -`"""
    free = ("-i", "-v", "-loglevel", "-threads", "-f", "-acodec", "-c:a", "-sample_fmt")
    valued = {**dict.fromkeys(free, bool), "-ac": "1".__eq__, "-ar": _keeps}
    alone = ("-nostdin", "-hide_banner", "-y", "-vn")
    options, others = _read_options(words, valued, alone)
    if others not in (["-"], ["pipe:1"], ["pipe:"]) or words.count("-i") != 1:
        raise ValueError(others)
    return _one_file([options["-i"]]), None


def _one_file(words: list[str]) -> str:
    if len(words) != 1 or not words[0] or words[0][0] == "-" or "://" in words[0]:
        raise ValueError(words)
    return words[0]


READERS: dict[str, Callable[[list[str]], ChannelOfFile]] = {
    "sph2pipe": _sph2pipe, "flac": _flac, "sox": _sox, "ffmpeg": _ffmpeg,
}  # fmt: skip
