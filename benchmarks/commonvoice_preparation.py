"""Time that `speechx data prepare commonvoice` takes for a language of 100,000 clips.

    python benchmarks/commonvoice_preparation.py [--clips 100000] [--mp3 FOLDER] [--keep FOLDER]

Builds a release whose clips are hard links to a hundred mp3 files (those of FOLDER, or 5 s of noise
at 48 kHz), and prepares it: with clip_durations.tsv, without (lengths from headers), and a second
time with nothing changed. Everything is in the page cache, so a slow disk adds its own time: one
read of a few kB per clip.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from speechx.corpora.commonvoice import prepare
from speechx.corpora.engine.write import Output

COLUMNS = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents "
    "variant locale segment"
)
SOURCES = 100


def sources(folder: Path, given: Path | None) -> list[tuple[Path, float]]:
    """Hundred mp3 files and their seconds."""
    if given is not None:
        found = sorted(given.rglob("*.mp3"))[:SOURCES]
        copies = [Path(shutil.copy(file, folder / f"{i}.mp3")) for i, file in enumerate(found)]
        return [(file, soundfile.info(file).duration) for file in copies]
    random = np.random.default_rng(0)
    for i in range(SOURCES):
        soundfile.write(folder / f"{i}.mp3", 0.1 * random.standard_normal(5 * 48_000), 48_000)
    return [(folder / f"{i}.mp3", 5.0) for i in range(SOURCES)]


def build(root: Path, count: int, mp3: list[tuple[Path, float]], durations: bool) -> None:
    """One language: 2 % test, 2 % dev, 20 % train, 90 % validated, the rest other."""
    clips = root / "clips"
    clips.mkdir(parents=True)
    rows, lengths = [], ["clip\tduration[ms]\n"]
    for i in range(count):
        name = f"common_voice_xx_{i:08d}.mp3"
        source, seconds = mp3[i % len(mp3)]
        os.link(source, clips / name)
        speaker = f"{i % (count // 50 or 1):0128x}"
        rows.append(
            f"{speaker}\t{name}\t{i:064x}\tFrase número {i}, dicha.\t\t2\t0\t\t\t\t\txx\t\n"
        )
        lengths.append(f"{name}\t{seconds * 1000:.0f}\n")
    tables = {"test": rows[::50], "dev": rows[1::50], "train": rows[2::5]}
    tables |= {"validated": rows[: count * 9 // 10], "other": rows[count * 9 // 10 :]}
    for name, some in tables.items():
        header = "\t".join(COLUMNS.split()) + "\n"
        (root / f"{name}.tsv").write_text(header + "".join(some), encoding="utf-8")
    if durations:
        (root / "clip_durations.tsv").write_text("".join(lengths), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--mp3", type=Path, help="folder of mp3 files to use, not noise")
    parser.add_argument("--keep", type=Path, help="where to build, and what to leave there")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "mp3").mkdir(parents=True)
        mp3 = sources(folder / "mp3", options.mp3)
        for durations in (True, False):
            release = folder / ("with" if durations else "without") / "cv-corpus-17.0-2024-03-15"
            build(release / "xx", options.clips, mp3, durations)
            for run in ("first run", "second run, nothing changed"):
                began = time.perf_counter()
                out = Output(release.with_name("out"))
                prepare(release, out, splits="speaker+sentence")
                seconds = time.perf_counter() - began
                lengths = "clip_durations.tsv" if durations else "lengths from headers"
                print(
                    f"{options.clips} clips, {lengths}, {run}: {seconds:.1f} s "
                    f"({options.clips / seconds:.0f} clips a second, {os.cpu_count()} cores)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
