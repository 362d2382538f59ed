"""Hours of speech that `speechx data doctor` examines in an hour.

    python benchmarks/doctor.py [--utterances 100000] [--decode none|sample|all] [--audio FOLDER]

Examines a manifest whose files are hard links to a hundred recordings (in FOLDER, or 5 s of noise
as 16 kHz mp3), each line with a sentence, a speaker and a split. This is the slowest case, since
every file has duplicates and is read whole. All files are in the page cache: a slow disk adds its
own time.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from speechx.data.manifest import Utterance, write_manifest
from speechx.doctor.examination import DoctorOptions, examine

SOURCES = 100
WORDS = ("la", "casa", "verde", "del", "camino", "largo", "y", "una", "noche", "sin", "luna")


def sources(folder: Path, given: Path | None) -> list[Path]:
    if given is not None:
        kinds = (".mp3", ".flac", ".wav", ".ogg", ".sph")
        return [p for p in sorted(given.rglob("*")) if p.suffix in kinds][:SOURCES]
    random = np.random.default_rng(0)
    for i in range(SOURCES):
        soundfile.write(folder / f"{i}.mp3", 0.1 * random.standard_normal(80_000), 16_000)
    return [folder / f"{i}.mp3" for i in range(SOURCES)]


def build(folder: Path, count: int, recordings: list[Path]) -> float:
    """Writes manifests of `count` lines, 2 % in dev and 2 % in test; returns their seconds."""
    random = np.random.default_rng(1)
    lengths = [soundfile.info(path).duration for path in recordings]
    (folder / "clips").mkdir()
    splits: dict[str, list[Utterance]] = {"test": [], "dev": [], "train": []}
    for i in range(count):
        source = recordings[i % SOURCES]
        audio = folder / "clips" / f"{i}{source.suffix}"
        os.link(source, audio)
        name = "test" if i % 50 == 0 else "dev" if i % 50 == 1 else "train"
        splits[name].append(
            Utterance(
                id=f"u{i}", audio=audio, duration=lengths[i % SOURCES], language=f"x{i % 5}",
                text=" ".join(random.choice(WORDS, 9)), speaker=f"s{i % 997}",
            )
        )  # fmt: skip
    for name, some in splits.items():
        write_manifest(folder / f"{name}.jsonl", some)
    return sum(u.duration for some in splits.values() for u in some)


def processor_seconds() -> float:
    of = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, of))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--decode", choices=("none", "sample", "all"), default="none")
    parser.add_argument("--audio", type=Path, help="folder of recordings to use instead of noise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sources").mkdir()
        seconds = build(folder, options.utterances, sources(folder / "sources", options.audio))
        began, used = time.perf_counter(), processor_seconds()
        examine([folder], options=DoctorOptions(decode=options.decode))
        took, used = time.perf_counter() - began, processor_seconds() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{options.utterances} utterances, {seconds / 3600:.0f} h, decode {options.decode}: "
            f"{took:.1f} s, {used:.1f} s of CPU time ({os.cpu_count()} cores); "
            f"{seconds / took:.0f} hours an hour; {peak:.0f} MB in the main process"
        )


if __name__ == "__main__":
    main()
