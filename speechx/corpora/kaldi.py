"""Data directories of Kaldi (also of ESPnet, icefall, WeNet) to manifests.

    data/train_clean/wav.scp       recording   path, or a command that ends in |
    data/train_clean/segments      utterance recording start end [channel]
                                   without it, every recording is one utterance
    data/train_clean/text          utterance words
    data/train_clean/utt2spk, utt2lang, spk2gender, reco2file_and_channel
    data/doreco/text.good          utterance phones, as in the benchmark PRiSM: text is not read
    data/doreco/text.lang          utterance <language>...

Nothing is executed. Of commands that decode, resample or copy a file, pick its channel or cut out
a stretch, as recipes write them, the file is read in their place (`sox a.mp3 -t wav - remix 2 |`,
`ffmpeg -i a.m4a -ar 16000 -f wav - |`); any other is refused by name. `pipes/commands.py` has them
all. A recording may be a part of an archive of sound (`wav.ark:17`). Lengths come from the files,
not from utt2dur.

reco2file_and_channel serves scoring, and names the side of a call even if each side has a file of
its own. It is used only if nothing else names a channel and the file has several.

Kaldi writes absolute paths, often on another machine. Without `root` those are taken as they are,
and relative ones are below the working directory, as in Kaldi, or below the data directory or the
folder that holds it, and must stay there. With `root` all must lie in it. What is no audio is named
and never shown. Tables are shown, and recipes link them: such a link may lead anywhere below the
folder that holds the data directory (`data`) or below the working directory, and no further.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from speechx.audio.files import audio_info
from speechx.audio.sources import Part
from speechx.corpora.engine.archives import part_at
from speechx.corpora.engine.languages import name_links
from speechx.corpora.engine.paths import check_folder, inside, is_file
from speechx.corpora.engine.preparation import ChannelChoice, Preparation
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.rows import Listing, OwnData, base_of, split_named
from speechx.corpora.engine.tables import text_lines
from speechx.corpora.engine.write import Counts, Output
from speechx.corpora.kaldi_text import language_in, phones_in
from speechx.corpora.pipes.commands import sound_of
from speechx.corpora.pipes.sound import PipedSound
from speechx.data.manifest import read_manifest
from speechx.data.utterance import Utterance
from speechx.errors import UserError

PHONES = "text.good"  # where the phones of utterances stand
CHANNELS = {"A": 0, "B": 1, "1": 0, "2": 1}
GENDERS = {"m": "male", "f": "female"}
SLACK = 0.01  # seconds that a segment may reach out of a stretch, by rounding


@dataclass(frozen=True, slots=True)
class ScpLine:
    """A line of wav.scp."""

    place: str
    sound: PipedSound | None
    """None if it is refused."""
    base: Path = Path()
    """The folder that the file lies in."""
    part: Part | None = None
    """Of an archive."""


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


def utterances_of(root: Path) -> list[Utterance]:
    """All utterances of a data directory, without a manifest; `und` is the language of those that
    name none. Of a folder with several, the ids begin with their names."""
    with TemporaryDirectory() as folder:
        counts = prepare(root, Output(Path(folder)), OwnData("und"))
        several = len({split for splits in counts.values() for split in splits}) > 1
        return [
            replace(u, id=f"{split}/{u.id}") if several else u
            for language, splits in counts.items()
            for split in splits
            for u in read_manifest(Path(folder) / language / f"{split}.jsonl")
        ]


def is_kaldi(root: Path) -> bool:
    """Whether a folder is a data directory, or holds some."""
    return any(next(root.glob(name), None) for name in ("wav.scp", "*/wav.scp"))


def _read(folder: Path, listing: Listing) -> None:
    recordings = {
        id: _recording(folder, place, entry, listing)
        for place, id, entry in _pairs(folder / "wav.scp", listing)
    }
    sides = _map(folder / "reco2file_and_channel", listing)
    texts = _map(folder / "text", listing) if not (folder / PHONES).is_file() else {}
    phones = {id: phones_in(rest) for id, rest in _map(folder / PHONES, listing).items()}
    speakers = _map(folder / "utt2spk", listing)
    tags = _map(folder / "text.lang", listing)
    languages = {id: language_in(rest) for id, rest in tags.items()}
    languages |= _map(folder / "utt2lang", listing)
    genders = _map(folder / "spk2gender", listing)
    split = split_named(folder.resolve().name)
    listed, without_file = set(), 0
    for place, id, recording, times, of_segment in _utterances(folder, recordings, listing):
        listed.add(id)
        if recording not in recordings:
            listing.refuse(place, f"recording {recording[:200]!r} is not in wav.scp")
            continue
        found = recordings[recording]
        if found.sound is None:
            without_file += 1
            continue
        sound, channel = found.sound, found.sound.channel
        if channel is None:
            channel = of_segment
        elif of_segment:
            why = f"channel {of_segment} of {recording[:200]!r}, but wav.scp already picks one"
            listing.refuse(place, why)
            continue
        try:
            times = _within(sound, times)
        except ValueError as error:
            listing.refuse(place, str(error))
            continue
        side = CHANNELS.get(sides[recording].split()[-1]) if recording in sides else None
        choice = None if side is None else ChannelChoice(side, if_several=True)
        speaker = speakers.get(id, "")
        row: dict[str, Any] = {
            **times,
            "path": sound.path,
            "bytes": found.part,
            "id": id,
            "text": texts.get(id, ""),
            "phones": phones.get(id),
            "speaker": speaker,
            "language": languages.get(id, ""),
            "split": split,
            "channel": choice if channel is None else ChannelChoice(channel),
        }
        gender = genders.get(speaker)
        extra = {"gender": GENDERS.get(gender, gender)} if gender else {}
        find = partial(_file, found)
        listing.add(row, place, extra, found.place, find)
    listing.left_out["utterances of recordings whose command is refused"] += without_file
    transcripts = texts.keys() | phones.keys()
    listing.left_out["transcripts without an utterance"] += len(transcripts - listed)


def _recording(folder: Path, place: str, entry: str, listing: Listing) -> ScpLine:
    """What a line of wav.scp is; what is wrong with it is listed."""
    try:
        sound = sound_of(entry)
        named = re.search(rf"{re.escape(sound.path)}:\d+", entry)
        if sound.offset is not None and named and _is_there(folder, named[0], listing):
            # The name of the file ends in a colon and digits.
            sound = sound._replace(path=named[0], offset=None)
        base = base_of(sound.path, listing.base)
        if listing.base is not None:
            sound = sound._replace(path=listing.names.find(base, sound.path))
        elif not is_file(base, sound.path):
            near = (folder, folder.resolve().parent)
            base = next((place for place in near if is_file(place, sound.path)), base)
        part = None
        if sound.offset is not None or sound.needs:
            file = inside(base, sound.path, place, listing.or_else)
            if is_file(base, sound.path):  # otherwise it is listed as missing
                part = None if sound.offset is None else part_at(file, sound.offset)
                _check_needs(sound, file, part)
        return ScpLine(place, sound, base, part)
    except UserError as error:
        listing.broken.append(Problem.of(error, place))
    except ValueError as error:
        listing.refuse(place, str(error))
    return ScpLine(place, None)


def _is_there(folder: Path, name: str, listing: Listing) -> bool:
    """Whether a name in wav.scp, as it stands, is a file's."""
    return is_file(base_of(name, listing.base), name) or (
        listing.base is None
        and any(is_file(place, name) for place in (folder, folder.resolve().parent))
    )


def _check_needs(sound: PipedSound, file: Path, part: Part | None) -> None:
    """Compares a file with what the command that reads it assumes; a ValueError if it differs."""
    if not sound.needs:
        return
    try:
        info = audio_info(file, exact=False, part=part)
    except UserError:  # it is named when it is measured
        return
    for what, number in sound.needs:
        if what == "resampled" and info.rate > number:
            raise ValueError(
                f"{file} has a rate of {info.rate} Hz, and its command makes {number} Hz of it, "
                "which removes sound that models use; write its output to a file first"
            )
        if what == "rate" and info.rate != number:
            raise ValueError(
                f"{file} has a rate of {info.rate} Hz, but its command takes it for {number} Hz, "
                "which changes speed and pitch; make a file of it first"
            )
        if what == "averaged" and info.channels > number:
            raise ValueError(
                f"{file} has {info.channels} channels, of which its command does not take the "
                "mean; write its output to a file first"
            )
        if what == "channels" and info.channels != number:
            raise ValueError(
                f"{file} has {info.channels} channels, but its command has {number}; make a file "
                "of it first"
            )


def _within(sound: PipedSound, times: dict[str, str]) -> dict[str, Any]:
    """Times of an utterance in its file; a ValueError if it reaches out of the stretch that the
    command of its recording cuts out."""
    if not sound.start and sound.duration is None:
        return times
    start, lasts = float(times.get("start", 0)), times.get("duration")
    left = None if sound.duration is None else sound.duration - start
    if start < 0 or (left is not None and (left <= 0 or float(lasts or 0) > left + SLACK)):
        raise ValueError("its times are outside the stretch that its command in wav.scp cuts out")
    duration = left if lasts is None else float(lasts)
    if left is not None and duration is not None:
        duration = min(left, duration)
    return {"start": sound.start + start, **({"duration": duration} if duration else {})}


def _file(recording: ScpLine, found: Preparation) -> Path | None:
    assert recording.sound is not None
    return found.file(recording.base, recording.sound.path, recording.place)


def _utterances(
    folder: Path, recordings: dict[str, ScpLine], listing: Listing
) -> Iterator[tuple[str, str, str, dict[str, str], int | None]]:
    """Place, id, recording, start and duration if it is a part of that, and its channel."""
    table = folder / "segments"
    if not table.is_file():
        for id, found in recordings.items():
            if found.sound is not None:
                yield found.place, id, id, {}, None
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
