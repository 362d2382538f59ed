"""Lhotse's manifests to ours and back, without lhotse.

    cuts_train.jsonl.gz                                     cuts with their recordings inside, or
    recordings_train.jsonl.gz, supervisions_train.jsonl.gz  both apart, as its recipes write them

Every supervision is an utterance; a cut without any is an utterance without text. Cuts that are not
a stretch of one channel of a file are refused by name: mixed and padded cuts, features without
audio, recordings from URLs or archives, changed speed or volume. Resampling is ignored, since
models read 16 kHz. Commands are not run; of one that only decodes, the file is read, as in
`speechx.corpora.kaldi`. Paths are read as in `speechx.corpora.kaldi`: absolute ones as they are,
relative ones below the working directory, and with `audio_root` all below it.

`export` writes all three from a manifest; lhotse opens them and `prepare` reads them back.
"""

import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechx.audio.files import END_TOLERANCE_SECONDS, AudioInfo, audio_info
from speechx.corpora.engine.preparation import ChannelChoice
from speechx.corpora.engine.processes import spread, watched
from speechx.corpora.engine.rows import Listing, OwnData, split_named
from speechx.corpora.engine.tables import json_lines
from speechx.corpora.engine.write import Counts, Output
from speechx.corpora.pipes.commands import sound_of
from speechx.corpora.pipes.sound import PipedSound
from speechx.data.manifest import KNOWN, Utterance, json_line, read_manifest
from speechx.errors import UserError
from speechx.text.languages import language_code
from speechx.whole_file import whole_file

KINDS = ("cuts", "recordings", "supervisions")
ENDINGS = (".jsonl", ".jsonl.gz")
SLACK = 0.01  # seconds that a supervision may reach out of its cut, by rounding


def prepare(root: Path, out: Output, own: OwnData) -> Counts:
    """`root` is one manifest of Lhotse or a folder of them. The split is in the file's name, beside
    its kind (`cuts_dev.jsonl.gz`), or train."""
    files = _files(root)
    folder = root if root.is_dir() else root.absolute().parent
    name = own.corpus or folder.resolve().name
    listing = Listing(name, own)
    for file in files:
        kind, split = _kind_and_split(file)
        cuts = json_lines(file, listing.broken) if kind == "cuts" else _pairs(file, kind, listing)
        for place, cut in cuts:
            for row, extra in _rows(cut, split, place, listing):
                listing.add(row, place, extra)
    return listing.finish(out, f"the Lhotse manifests {name}")


@contextmanager
def _refusing(listing: Listing, place: str) -> Iterator[None]:
    """Lists an error as a problem at `place`, and continues."""
    try:
        yield
    except UserError as error:
        listing.refuse(place, str(error))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        listing.refuse(place, f"not as Lhotse writes it: {error}")


def _files(source: Path) -> list[Path]:
    """Manifests to start from: cuts, and recordings where there are no cuts of the same split."""
    if not source.is_dir():
        return [source]
    of: dict[tuple[str, str], Path] = {}
    for file in sorted(source.iterdir()):
        if file.name.endswith(ENDINGS) and any(kind in file.name for kind in KINDS):
            kind, split = _kind_and_split(file)
            if of.setdefault((kind, split), file) != file:
                both = f"{file.name} and {of[kind, split].name}"
                raise UserError(f"{source}: {both} are {kind} of {split}")
    files = [
        file
        for (kind, split), file in of.items()
        if kind == "cuts" or (kind == "recordings" and ("cuts", split) not in of)
    ]
    if not files:
        raise UserError(f"{source}: no cuts*.jsonl(.gz) or recordings*.jsonl(.gz) is in it.")
    return files


def _kind_and_split(file: Path) -> tuple[str, str]:
    """The kind and split of a manifest, by its name: {corpus}_{kind}_{split}.jsonl.gz."""
    stem = file.name.removesuffix(".gz").removesuffix(".jsonl")
    kind = next((kind for kind in KINDS if kind in stem), "cuts")
    before, _, after = stem.partition(kind)
    return kind, split_named(after.strip("_-.") or before.strip("_-.") or "train")


def _pairs(file: Path, kind: str, listing: Listing) -> Iterator[tuple[str, dict[str, Any]]]:
    """Recordings and supervisions of two files as cuts: one for each recording."""
    recordings_file = file.with_name(file.name.replace(kind, "recordings"))
    supervisions_file = file.with_name(file.name.replace(kind, "supervisions"))
    of: dict[str, dict[int, list[Any]]] = {}  # by recording and channel
    if supervisions_file.is_file():
        for place, supervision in json_lines(supervisions_file, listing.broken):
            recording_id = supervision.get("recording_id")
            if not isinstance(recording_id, str):
                listing.refuse(place, "has no recording_id")
                continue
            some = of.setdefault(recording_id, {})  # also if this is all there is, and refused
            with _refusing(listing, place):
                some.setdefault(_channel(supervision), []).append(supervision)
    ids: set[str] = set()
    for place, recording in json_lines(recordings_file, listing.broken):
        id = recording.get("id")
        sides = of.pop(id, None) if isinstance(id, str) else None
        if isinstance(id, str):
            if id in ids:
                listing.refuse(place, f"recording {id[:200]!r} is there twice")
                continue
            ids.add(id)
        if bare := sides is None:
            sides = {channel: [] for channel in _channels(recording.get("channel_ids", 0))}
        # A side of a call is a cut of its own, as every cut is of one channel.
        for channel in sorted(sides):
            cut = {
                "id": f"{id}-{channel}" if bare and len(sides) > 1 else id,
                "start": 0.0,
                "duration": recording.get("duration"),
                "channel": channel,
                "supervisions": sides[channel],
                "recording": recording,
            }
            yield place, cut
    alone = sum(len(some) for sides in of.values() for some in sides.values())
    listing.left_out["supervisions without a recording"] += alone


def _channels(value: Any) -> list[int]:
    channels = value if isinstance(value, list) else [value]
    return [channel for channel in channels if isinstance(channel, int)]


def _channel(supervision: Mapping[str, Any]) -> int:
    channels = _channels(supervision.get("channel", 0))
    if len(channels) != 1:
        raise UserError(f"supervision {supervision.get('id')!r:.60} is not of one channel")
    return channels[0]


def _rows(
    cut: dict[str, Any], split: str, place: str, listing: Listing
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows of a listing with their other keys. A bad cut is refused, and so is a single bad
    supervision."""
    with _refusing(listing, place):
        path, channel = _stretch(cut)
        common = {"path": path, "split": split, "channel": channel}
        start, duration = float(cut.get("start", 0.0)), float(cut["duration"])
        supervisions = cut.get("supervisions") or []
        if not supervisions:
            yield {"id": cut.get("id"), "start": start, "duration": duration, **common}, {}
        for supervision in supervisions:
            with _refusing(listing, place):
                row, extra = _supervised(supervision, cut)
                yield row | common, extra


def _stretch(cut: Mapping[str, Any]) -> tuple[str, ChannelChoice | None]:
    """The file of a cut, and the channel if it has several; raises a UserError if refused."""
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "Cut"):
        raise UserError(f"a {kind!s:.40} is no stretch of one recording; save it as audio first")
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        raise UserError("it has no recording; features alone are not read")
    channel = cut.get("channel", 0)
    changes = [t.get("name", "?") for t in recording.get("transforms") or []]
    if changes := [name for name in changes if name != "Resample"]:
        raise UserError(f"it is changed by {', '.join(map(str, changes))}; save it as audio first")
    for source in recording["sources"]:
        if channel in source["channels"]:
            path, number = _file(source)
            if number is None and len(source["channels"]) > 1:
                number = source["channels"].index(channel)
            return path, None if number is None else ChannelChoice(number)
    raise UserError(f"its recording has no channel {channel!s:.40}")


def _file(source: Mapping[str, Any]) -> tuple[str, int | None]:
    """The file of a source, and the channel that its command picks."""
    kind, name = source["type"], source["source"]
    why = "only files are"
    if kind == "file" and isinstance(name, str):
        return name, None
    if kind == "command" and isinstance(name, str):
        try:
            sound = sound_of(f"{name}|")
            needs = tuple(need for need in sound.needs if need[0] != "averaged")
            sound = sound._replace(needs=needs)
            if sound == PipedSound(sound.path, sound.channel):
                return sound.path, sound.channel
            why = "its command cuts or changes the file; make a file of it first"
        except ValueError as error:
            why = str(error)
    raise UserError(f"a source of type {kind!r:.40} is not read; {why}")


def _supervised(
    supervision: Mapping[str, Any], cut: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of a supervision without its file, and its other keys."""
    named = f"supervision {supervision.get('id')!r:.60}"
    if _channel(supervision) != cut.get("channel", 0):
        raise UserError(f"{named} is of another channel than the cut")
    begins, lasts = float(supervision["start"]), float(supervision["duration"])
    if not lasts > 0:
        raise UserError(f"{named} lasts {lasts:g} s, but must last longer than 0 s")
    if not (begins >= -SLACK and begins + lasts <= float(cut["duration"]) + SLACK):
        raise UserError(f"{named} reaches out of the cut")
    custom = supervision.get("custom") or {}
    spoken, corpus = supervision.get("language"), custom.get("corpus")
    row = {
        "id": supervision.get("id"),
        "start": max(0.0, float(cut.get("start", 0.0)) + begins),
        "duration": lasts,
        "text": supervision.get("text"),
        "speaker": supervision.get("speaker"),
        "language": language_code(spoken) if isinstance(spoken, str) else spoken,
        "phones": custom.get("phones"),
        "corpus": corpus if isinstance(corpus, str) else None,
    }
    extra = {key: value for key, value in custom.items() if key not in (*KNOWN, "channel")}
    if supervision.get("gender"):
        extra["gender"] = supervision["gender"]
    return row, extra


def export(manifest: Path, out: Path) -> dict[str, int]:
    """Writes `out/{recordings,supervisions,cuts}_<manifest>.jsonl.gz`; returns how many each has.

    Audio is not copied. Every utterance is a cut with one supervision; `corpus`, `phones` and
    unknown keys are in its `custom`. Files with several channels are refused: our utterances
    average them, and a cut of Lhotse is one of them.
    """
    utterances = read_manifest(manifest)
    files = list(dict.fromkeys(str(u.audio) for u in utterances))
    if parts := [u.id for u in utterances if u.bytes]:
        raise UserError(f"{manifest}: {parts[0]} is in a shard; export the unpacked manifest.")
    opened = watched(spread(audio_info, ((f,) for f in files)), len(files), "opened")
    stems = [Path(file).stem for file in files]
    ids = stems if len(set(stems)) == len(stems) else files
    infos = dict(zip(files, opened, strict=True))
    recordings = {f: _recording(id, f, infos[f]) for id, f in zip(ids, files, strict=True)}
    supervisions, cuts = [], []
    for u in utterances:
        recording, info = recordings[str(u.audio)], infos[str(u.audio)]
        if u.start + u.duration > info.duration + END_TOLERANCE_SECONDS:
            ends = f"{u.id} ends {u.start + u.duration - info.duration:.2f} s behind its end"
            raise UserError(f"{u.audio}: {ends}. {info.cut}".rstrip())
        supervision = _supervision(u, recording)
        within = {**supervision, "start": 0.0}
        cut = {"id": u.id, "start": u.start, "duration": supervision["duration"], "channel": 0}
        supervisions.append(supervision)
        cuts.append({**cut, "supervisions": [within], "recording": recording, "type": "MonoCut"})
    lists = {"recordings": [*recordings.values()], "supervisions": supervisions, "cuts": cuts}
    for kind, records in lists.items():
        with (
            whole_file(out / f"{kind}_{manifest.stem}.jsonl.gz") as new,  # all of train.clean.100
            new.open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
        ):
            file.writelines(map(json_line, records))
    return {kind: len(records) for kind, records in lists.items()}


def _recording(id: str, file: str, info: AudioInfo) -> dict[str, Any]:
    if info.channels > 1:
        raise UserError(
            f"{file} has {info.channels} channels; a cut of Lhotse is one of them, our utterance "
            "their average. Prepare the corpus with --convert first"
        )
    return {
        "id": id,
        "sources": [{"type": "file", "channels": [0], "source": file}],
        "sampling_rate": info.rate,
        "num_samples": round(info.duration * info.rate),
        "duration": info.duration,
        "channel_ids": [0],
    }


def _supervision(u: Utterance, recording: Mapping[str, Any]) -> dict[str, Any]:
    lasts = min(u.duration, recording["duration"] - u.start)  # tables round, Lhotse does not
    if lasts <= 0:
        raise UserError(f"{u.id}: starts after the end of {u.audio}")
    phones = None if u.phones is None else list(u.phones)
    ours = {"corpus": u.corpus, "phones": phones}
    custom = u.extra | {key: value for key, value in ours.items() if value is not None}
    known = {"text": u.text, "language": u.language, "speaker": u.speaker, "custom": custom or None}
    return {
        "id": u.id,
        "recording_id": recording["id"],
        "start": u.start,
        "duration": lasts,
        "channel": 0,
        **{key: value for key, value in known.items() if value is not None},
    }
