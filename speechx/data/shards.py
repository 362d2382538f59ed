"""Shards: the utterances of a manifest as 16 kHz mono audio, many in one file.

With single files, every utterance of every epoch must be opened and decoded (mp3) or resampled
(8 kHz SPHERE), and network disks are slow with a million small files. Packing does this work once.
`pack(Path("data/es"), Path("shards/es"))` writes

    shards/es/train.jsonl           the same lines in the same order; `audio` is a shard, `bytes`
                                    the [offset, size] of the utterance in it, `duration` the
                                    decoded length; there is no `start`
    shards/es/train-00000-1f0c….tar for each utterance N.flac (or N.wav) and N.json, its line
    shards/es/train.shards.json     sha256 and contents of each shard
    shards/es/train.unreadable.tsv  utterances that could not be packed, if any

Utterances are shuffled over the shards of a manifest (always in the same way), so that the few
shards that batches are read from at a time are a fair sample.

Shards are tar files and not Parquet files with an audio column. Both were measured on 3,000
CommonVoice clips (2.9 hours in 3 shards, one core, file cache warm; `benchmarks/loader.py` has the
tar part). In order there is no difference: 2,900x and 3,400x real time with FLAC. At random,
Parquet reads a whole row group for one utterance, while in a tar an utterance is one range of
bytes, which is one request to any store: tar has 5,200x (from the disk 4,400x), Parquet 4,400x
(2,500x) in row groups of 10 and 1,400x (530x) in row groups of 100. Tar needs no package, and `tar`
and webdataset can read it. FLAC is the default: it has half the bytes of int16, and 5,000x real
time on one core is rarely too slow for a GPU; if it is, `format="int16"` decodes five times faster.
FLAC has as many bits as the error needs to be 90 dB below the signal; 16 bits are often too few
after resampling, which is counted and logged. If FLAC is not enough, a WAV of floats is written.

Each shard is written atomically. A hash of its sources (paths, sizes, times, segments) is stored
beside it, so that packing again, also after an interruption, only packs missing or changed shards.
The bytes of a shard depend only on the audio and the lines. `check_shards` reports damaged shards,
and `pack` replaces them. The name of a shard contains its sha256, so packing a corrected corpus
never overwrites a shard of the old manifest, which stays valid, here and in copies, until the new
one is complete. Shards that no manifest names are removed then.
"""

import csv
import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from speechx.audio.sources import is_url
from speechx.audio.storing import LEAST_DB
from speechx.data.exclusion import Exclusions
from speechx.data.manifest import SOURCE, claim, is_manifest, read_manifest, write_manifest
from speechx.data.shard_files import (
    LISTED,
    Format,
    Shard,
    read_list,
    shard_damage,
    shard_line,
    shard_members,
    write_list,
    write_shard,
)
from speechx.data.utterance import Utterance, hours
from speechx.data.worker_processes import end_at_interrupt
from speechx.errors import UserError
from speechx.log import logger

BYTES_PER_SECOND = {"flac": 18_000, "int16": 32_000}  # of speech, an estimate
SEED = 0
WRITTEN = 2  # increase it when the samples in shards change
MAX_UNREADABLE = 0.01
ABANDONED_SECONDS = 600  # since the last write: a partial file of a killed run


def pack(
    source: Path,
    out: Path,
    format: Format = "flac",
    shard_mb: float = 256.0,
    exclude: Sequence[Path] = (),
    url: str | None = None,
    processes: int | None = None,
) -> dict[str, int]:
    """Packs a manifest, or every manifest below a folder; returns utterances per manifest.

    `exclude` are exclusion lists of the doctor. With `url` the lines name the shards below that URL
    (copy them there, `s3://bucket/es`) and not in `out`. `processes` is one per core by default.
    Unreadable utterances are listed and left out; more than one in a hundred is an error.
    """
    if format not in get_args(Format):
        raise UserError(f"the format of shards must be flac or int16, not {format!r}")
    if not 0 < shard_mb < np.inf:
        raise UserError(f"the size of a shard must be above 0 MB, not {shard_mb:g}")
    processes = (os.cpu_count() or 1) if processes is None else processes
    if processes < 1:
        raise UserError(f"packing needs at least 1 process, not {processes}")
    source, out = Path(source), Path(out)
    found = _manifests(source, out)
    if any(path.resolve().parent == (out / under).resolve() for path, under in found):
        raise UserError(
            f"{out}: this folder holds the manifests; write shards to a folder of their own"
        )
    exclusions = Exclusions(exclude)
    counts = {}
    for path, under in found:
        where = url and "/".join([url.rstrip("/"), *under.parts])
        packing = _Packing(path, out / under, format, shard_mb, where)
        counts[str(under / path.name)] = packing.run(exclusions, processes)
    for line in exclusions.report():
        logger.info(line)
    return counts


def check_shards(folder: Path) -> list[str]:
    """One line for each missing or damaged shard below a folder."""
    listings = sorted(Path(folder).rglob(f"*{LISTED}"))
    if not listings:
        raise UserError(f"{folder}: no shards in this folder; pack writes NAME{LISTED}")
    shards = {
        listing.parent / name: shard
        for listing in listings
        for name, shard in read_list(listing).items()
    }
    return list(filter(None, map(shard_damage, shards, shards.values())))


def _manifests(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Manifests and their folders relative to the source, except those of shards in `out`."""
    if not source.is_dir():
        return [(source, Path())]
    found = sorted(filter(is_manifest, source.rglob("*")))
    if source.resolve() != out.resolve():
        found = [path for path in found if not path.resolve().is_relative_to(out.resolve())]
    if not found:
        raise UserError(f"{source}: no manifests (.jsonl or .parquet) in this folder")
    if len({path.with_suffix("") for path in found}) < len(found):
        raise UserError(
            f"{source}: a manifest exists as .jsonl and as .parquet; remove one of them"
        )
    return [(path, path.parent.relative_to(source)) for path in found]


@dataclass(frozen=True, slots=True)
class _Job:
    """A shard to write: utterances by their numbers in the manifest."""

    path: Path
    """Its path without the sha256."""
    utterances: dict[int, Utterance]
    sources: str


def _sources(format: Format, utterances: Mapping[int, Utterance]) -> str:
    """A hash that changes with the audio or the lines."""
    lines: list[str] = [f"{format} {WRITTEN}"]
    for number, u in utterances.items():
        stamp = ""
        if not is_url(u.audio):
            try:
                about = os.stat(u.audio)
                stamp = f"{about.st_size} {about.st_mtime_ns}"
            except OSError:
                stamp = "absent"
        audio = f"{u.audio} {u.bytes} {u.start} {u.duration} {stamp}"
        lines.append(f"{number} {audio} {shard_line(u).decode()}")
    # A path in a manifest may contain half a character.
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class _Packing:
    manifest: Path
    folder: Path
    format: Format
    shard_mb: float
    url: str | None

    def run(self, exclusions: Exclusions, processes: int) -> int:
        utterances = read_manifest(self.manifest)
        claim(self.folder, self._origin())
        for part in self.folder.glob(f".{self.manifest.stem}-*.part"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                    part.unlink()
        jobs = self._jobs(utterances, exclusions)
        listing = self.folder / f"{self.manifest.stem}{LISTED}"
        shards = read_list(listing)  # those that an earlier manifest still names stay on the list
        done = self._kept(jobs, shards)
        if done:
            logger.info(f"{self.manifest}: {len(done)} of {len(jobs)} shards exist already")
        todo = {n: job for n, job in enumerate(jobs) if n not in done}
        number = min(processes, max(1, len(todo)))
        pool = ProcessPoolExecutor(number, initializer=end_at_interrupt)
        try:
            running = {
                pool.submit(write_shard, job.path, self.format, job.utterances, job.sources): n
                for n, job in todo.items()
            }
            for future in as_completed(running):
                path, shard = future.result()
                done[running[future]], shards[path.name] = path.name, shard
                write_list(listing, shards)
                amount = hours(sum(shards[name].seconds for name in done.values()))
                logger.info(f"{self.manifest}: {len(done)} of {len(jobs)} shards, {amount} h")
        finally:
            pool.shutdown(cancel_futures=True)
        named = {done[n]: shards[done[n]] for n in range(len(jobs))}
        packed = self._finish(jobs, named)
        write_list(listing, named)
        ours = re.compile(re.escape(self.manifest.stem) + r"-\d{5}(-[0-9a-f]{12})?\.tar")
        for path in list(self.folder.iterdir()):
            if ours.fullmatch(path.name) and path.name not in named:
                path.unlink()
        return packed

    def _origin(self) -> str:
        folder = self.manifest.parent.resolve()
        note = folder / SOURCE
        origin = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
        return f"{self.format} shards of " + (f"{folder.name}, {origin}" if origin else str(folder))

    def _jobs(self, utterances: Sequence[Utterance], exclusions: Exclusions) -> list[_Job]:
        """Shuffles the utterances and divides them into shards. The division ignores exclusions, so
        that excluding an utterance changes only its own shard."""
        most = self.shard_mb * 2**20 / BYTES_PER_SECOND[self.format]
        shards: list[dict[int, Utterance]] = []
        seconds = np.inf
        for number in np.random.default_rng(SEED).permutation(len(utterances)).tolist():
            u = utterances[number]
            if seconds + u.duration > most:
                shards.append({})
                seconds = 0.0
            seconds += u.duration
            if not exclusions.leave_out(u):
                shards[-1][number] = u
        paths = (self.folder / f"{self.manifest.stem}-{n:05d}.tar" for n in range(len(shards)))
        return [
            _Job(path, shard, _sources(self.format, shard))
            for path, shard in zip(paths, shards, strict=True)
            if shard
        ]

    def _kept(self, jobs: Sequence[_Job], before: Mapping[str, Shard]) -> dict[int, str]:
        """Undamaged shards of an earlier run with the same sources, by job."""
        name_of = {shard.sources: name for name, shard in before.items()}
        kept = {n: name_of[job.sources] for n, job in enumerate(jobs) if job.sources in name_of}
        for n, name in list(kept.items()):
            if problem := shard_damage(self.folder / name, before[name]):
                logger.info(f"{problem}; packing it again")
                del kept[n]
        return kept

    def _finish(self, jobs: Sequence[_Job], shards: Mapping[str, Shard]) -> int:
        """Writes the manifest of the shards, one for each job; a UserError if too many utterances
        are unreadable."""
        stem, tried = self.manifest.stem, sum(len(job.utterances) for job in jobs)
        if not tried:
            raise UserError(f"{self.manifest}: every utterance is excluded")
        unreadable = [row for shard in shards.values() for row in shard.unreadable]
        listing = self.folder / f"{stem}.unreadable.tsv"
        if unreadable:
            with listing.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerows([("id", "audio", "why"), *unreadable])
            message = (
                f"{self.manifest}: {len(unreadable)} of {tried} utterances cannot be "
                f"read, listed in {listing}"
            )
            if len(unreadable) > max(1, MAX_UNREADABLE * tried):
                raise UserError(f"{message}. At most {MAX_UNREADABLE:.0%} may be unreadable.")
            logger.info(f"{message}; they are left out")
        else:
            listing.unlink(missing_ok=True)
        if shorter := sum(shard.shorter for shard in shards.values()):
            logger.info(
                f"{self.manifest}: {shorter} of {tried} utterances are shorter than in this "
                "manifest; the new manifest has their true durations"
            )
        if coarse := sum(shard.coarse for shard in shards.values()):
            least = min(shard.least_db for shard in shards.values())
            logger.info(
                f"{self.manifest}: 16 bits give a signal-to-noise ratio below {LEAST_DB:g} dB in "
                f"{coarse} of {tried} utterances, {least:g} dB in the worst; the format flac keeps "
                f"{LEAST_DB:g} dB in all"
            )
        packed: dict[int, Utterance] = {}
        for job, name in zip(jobs, shards, strict=True):
            audio: Path | str = f"{self.url}/{name}" if self.url else self.folder / name
            for number, offset, size, seconds in shard_members(self.folder / name):
                packed[number] = replace(
                    job.utterances[number], audio=audio, start=0.0, duration=seconds,
                    bytes=(offset, size),
                )  # fmt: skip
        new = self.folder / self.manifest.name
        return write_manifest(new, [packed[number] for number in sorted(packed)])
