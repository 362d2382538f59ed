"""Reads and writes one shard (a tar of audio files and manifest lines) and the list of shards.

A member of a shard is a complete audio file, so it can be read by [offset, size]. With its lines
the tar is a complete data set, for webdataset or other tools.

    S samples
"""

import hashlib
import io
import json
import math
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from speechx.audio.files import END_TOLERANCE_SECONDS, SAMPLE_RATE, read_audio
from speechx.audio.storing import LEAST_DB, coded, coded_16_bit
from speechx.data.manifest import json_line
from speechx.data.utterance import Utterance, optional_keys
from speechx.errors import UserError
from speechx.whole_file import name_file, write_whole

Format = Literal["flac", "int16"]
LISTED = ".shards.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """The entry of a shard in `NAME.shards.json`."""

    sha256: str
    size: int
    utterances: int
    seconds: float
    sources: str
    """Hash of the sources."""
    shorter: int = 0
    """Utterances shorter than in their manifest."""
    unreadable: tuple[tuple[str, str, str], ...] = ()
    """Id, audio and reason of unreadable utterances."""
    coarse: int = 0
    """Utterances of which 16 bits keep less than `LEAST_DB` between signal and error."""
    least_db: float = LEAST_DB
    """The least that they keep of one."""


def write_shard(
    path: Path, format: Format, utterances: Mapping[int, Utterance], sources: str
) -> tuple[Path, Shard]:
    """Decodes and packs utterances, named by their numbers in the manifest. The file is written
    atomically, with its sha256 in its name: `train-00000.tar` becomes `train-00000-1f0c….tar`."""
    unreadable, seconds, shorter, distances = [], 0.0, 0, []
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, u in utterances.items():
                try:
                    wave_S = read_audio(
                        u.audio, u.start, u.duration, part=u.bytes, tolerance=math.inf
                    )
                except UserError as error:
                    unreadable.append((u.id, str(u.audio), str(error)))
                    continue
                line = replace(u, duration=len(wave_S) / SAMPLE_RATE)
                suffix = "wav"
                if format == "flac":
                    suffix, data = coded(wave_S, SAMPLE_RATE)
                else:
                    data, distance = coded_16_bit(wave_S, SAMPLE_RATE)
                    distances += [distance] if distance < LEAST_DB else []
                _add(tar, f"{number:08d}.{suffix}", data)
                _add(tar, f"{number:08d}.json", shard_line(line))
                shorter += line.duration < u.duration - END_TOLERANCE_SECONDS
                seconds += line.duration
        sha256 = _sha256(part)
        whole = path.with_name(f"{path.stem}-{sha256[:12]}.tar")
        os.replace(part, whole)
    except OSError as error:
        name_file(error, path)
        raise
    finally:
        part.unlink(missing_ok=True)
    return whole, Shard(
        sha256=sha256,
        size=whole.stat().st_size,
        utterances=len(utterances) - len(unreadable),
        seconds=round(seconds, 3),
        sources=sources,
        shorter=shorter,
        unreadable=tuple(unreadable),
        coarse=len(distances),
        least_db=round(min(distances, default=LEAST_DB), 1),
    )


def shard_members(path: Path) -> Iterator[tuple[int, int, int, float]]:
    """Number, offset, size and seconds of each utterance in a shard."""
    with tarfile.open(path, "r:") as tar:
        members = iter(tar)
        for audio, about in zip(members, members, strict=True):
            file = tar.extractfile(about)
            assert file is not None
            seconds = json.loads(file.read())["duration"]
            yield int(Path(about.name).stem), audio.offset_data, audio.size, seconds


def shard_line(u: Utterance) -> bytes:
    """The manifest line of an utterance without the keys of its audio."""
    known = {"id": u.id, "duration": u.duration, "language": u.language}
    return json_line({**known, **optional_keys(u), **u.extra}).rstrip()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a member without time or owner, so that the same audio gives the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def read_list(listing: Path) -> dict[str, Shard]:
    """The shards by name; empty if there is no list."""
    try:
        text = listing.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        return {
            name: Shard(**{**shard, "unreadable": tuple(map(tuple, shard["unreadable"]))})
            for name, shard in json.loads(text).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{listing}: not a list of shards ({error}). Remove it to pack everything again."
        ) from error


def write_list(listing: Path, shards: Mapping[str, Shard]) -> None:
    """Replaces the list atomically."""
    text = json.dumps({name: asdict(shards[name]) for name in sorted(shards)}, indent=1)
    write_whole(listing, text + "\n")


def shard_damage(path: Path, shard: Shard) -> str | None:
    """Why a shard cannot be used, or None."""
    if not path.is_file():
        return f"{path}: the shard is missing"
    if path.stat().st_size != shard.size:
        return f"{path}: the shard is damaged ({path.stat().st_size} bytes of {shard.size})"
    if _sha256(path) != shard.sha256:
        return f"{path}: the shard is damaged (its sha256 differs from the packed one)"
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
