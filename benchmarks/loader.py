"""How fast sound comes off the disk: ours, the bare library, Lhotse and Hugging Face datasets.

    python benchmarks/loader.py [FOLDER] [--clips 200] [--repetitions 9]

Takes the mp3, flac and sph files below FOLDER (or makes noise like them), and what of these is not
there is made from what is: FLAC copies of the mp3 at 16 kHz, SPHERE with 16-bit samples, shards.
Every loader makes the same padded batches of up to 87.5 s at 16 kHz, in one process of one thread,
in turns; medians of the seconds of audio per second of processor time are printed, with
the files in the page cache. The limits are `soundfile.read` of the same files as float32, one by
one, without batches ("read"), and the same brought to 16 kHz by soxr ("read at 16 kHz"), which is
no step less than what a loader must do.

Lhotse reads cuts, resampled, with `collate_audio`; shards in its own format, Shar, with FLAC.
SPHERE goes through its backend for libsndfile, for its own choice, sph2pipe, starts a program for
each file. Hugging Face datasets decodes with torchcodec where that is installed; else with
`Audio(decode=False)` and soundfile, as its documentation offers; shards are its Parquet files.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

from speechx.audio.files import SAMPLE_RATE, audio_info, write_flac
from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance, read_manifest, write_manifest
from speechx.data.sampling import Plan, Position, Row
from speechx.data.shards import pack

BATCH_SECONDS = 87.5  # after padding, as in the recipes
SEGMENT_SECONDS = 5.0


def noise(folder: Path, clips: int) -> list[Path]:
    """Noise in syllables, 2 to 8 seconds, as mp3 at 48 kHz and mu-law SPHERE at 8 kHz."""
    random = np.random.default_rng(0)
    files = []
    for i in range(clips):
        for rate, suffix, kind in ((48_000, "mp3", {}), (8_000, "sph", {"subtype": "ULAW"})):
            time_S = np.arange(int(random.uniform(2, 8) * rate)) / rate
            wave_S = 0.1 * random.standard_normal(len(time_S)) * np.sin(7 * time_S) ** 2
            files.append(folder / f"noise{i}.{suffix}")
            named = {"format": "NIST"} if suffix == "sph" else {}
            soundfile.write(files[-1], wave_S, rate, **kind, **named)
    return files


def gather(given: Path | None, made: Path, clips: int) -> dict[str, list[Utterance]]:
    """Kind of file to utterances."""
    found = sorted(given.rglob("*")) if given else noise(made, clips)
    random = np.random.default_rng(0)

    def some(suffix: str, codings: tuple[str, ...] = ()) -> list[Path]:
        files = [f for f in found if f.suffix == suffix]
        files = [files[i] for i in random.permutation(len(files))]
        return [f for f in files if not codings or soundfile.info(f).subtype in codings][:clips]

    mp3, flac = some(".mp3"), some(".flac")
    if not flac:
        for file in mp3:
            samples_S, rate = soundfile.read(file, dtype="float32")
            flac.append(made / f"{file.stem}.flac")
            write_flac(flac[-1], soxr.resample(samples_S, rate, SAMPLE_RATE))
    law, pcm = some(".sph", ("ULAW",)), some(".sph", ("PCM_16",))
    if not pcm:
        for file in law:
            samples_S, rate = soundfile.read(file, dtype="int16")
            pcm.append(made / f"{file.stem}.pcm.sph")
            soundfile.write(pcm[-1], samples_S, rate, format="NIST", subtype="PCM_16")
    kinds = {
        "mp3": whole(mp3),
        "flac": whole(flac),
        "sphere mu-law": whole(law),
        "sphere pcm": whole(pcm),
    }
    kinds["sphere cut"] = segments(kinds["sphere mu-law"])[:clips]
    if kinds["flac"]:
        write_manifest(made / "flac.jsonl", kinds["flac"])
        for format in ("flac", "int16"):
            pack(made / "flac.jsonl", made / format, format)
            kinds[f"shards {format}"] = read_manifest(made / format / "flac.jsonl")
    return {kind: utterances for kind, utterances in kinds.items() if utterances}


def whole(files: Sequence[Path]) -> list[Utterance]:
    return [
        Utterance(id=f"{i}", audio=file, duration=audio_info(file).duration, language="xx")
        for i, file in enumerate(files)
    ]


def segments(recordings: Sequence[Utterance]) -> list[Utterance]:
    """All of their whole stretches of `SEGMENT_SECONDS`."""
    long = SEGMENT_SECONDS
    return [
        Utterance(id=f"{u.id}@{start}", audio=u.audio, start=start, duration=long, language="xx")
        for u in recordings
        for start in np.arange(0, u.duration - long, long).tolist()
    ]


def bare(utterances: Sequence[Utterance], resampled: bool) -> Callable[[], None]:
    """The limit: members of shards as the files that they are."""
    places: list[tuple[Any, int, int]] = []
    for u in utterances:
        file: Any = u.audio
        if u.bytes is not None:
            with open(u.audio, "rb") as shard:
                shard.seek(u.bytes[0])
                data = shard.read(u.bytes[1])
            file = Path(tempfile.mkstemp(suffix=".wav" if data[:4] == b"RIFF" else ".flac")[1])
            file.write_bytes(data)
        rate = soundfile.info(file).samplerate
        places.append((file, round(u.start * rate), round(u.duration * rate)))

    def run() -> None:
        for file, start, frames in places:
            wave_S, rate = soundfile.read(file, frames, start, dtype="float32")
            if resampled and rate != SAMPLE_RATE:
                soxr.resample(wave_S, rate, SAMPLE_RATE)

    return run


def ours(utterances: Sequence[Utterance]) -> Callable[[], None]:
    corpus = Corpus.of(utterances)
    reader = Batches(corpus, False, 1)
    plans = [
        Plan(Position(), tuple(Row((i,), corpus[i].duration) for i in group))
        for group in groups(utterances)
    ]

    def run() -> None:
        for plan in plans:
            reader[plan]

    return run


def lhotse(utterances: Sequence[Utterance], folder: Path) -> Callable[[], None]:
    from lhotse import CutSet, Recording
    from lhotse.audio import set_current_audio_backend
    from lhotse.dataset.collation import collate_audio

    set_current_audio_backend("LibsndfileBackend")
    if utterances[0].bytes is not None:
        shar = folder / "shar"
        if not shar.exists():
            shar.mkdir()
            flac = read_manifest(folder / "flac.jsonl")
            cuts = CutSet.from_cuts(Recording.from_file(u.audio).to_cut() for u in flac)
            cuts.to_shar(shar, fields={"recording": "flac"}, shard_size=1000)

        def run_shar() -> None:
            cuts = iter(CutSet.from_shar(in_dir=shar))
            for group in groups(utterances):
                collate_audio(CutSet.from_cuts(next(cuts) for _ in group))

        return run_shar
    cuts = []
    for u in utterances:
        cut = Recording.from_file(u.audio, recording_id=u.id).to_cut()
        if u.start:
            cut = cut.truncate(offset=u.start, duration=u.duration)
        cuts.append(cut.resample(SAMPLE_RATE))
    batches = [CutSet.from_cuts([cuts[i] for i in group]) for group in groups(utterances)]

    def run() -> None:
        for batch in batches:
            collate_audio(batch)

    return run


def hugging_face(utterances: Sequence[Utterance], folder: Path) -> Callable[[], None] | None:
    """None where it has no such thing: segments of files."""
    from datasets import Audio, Dataset, disable_progress_bars

    disable_progress_bars()

    if any(u.start for u in utterances):
        return None
    if utterances[0].bytes is not None:
        rows = []
        for u in utterances:
            assert u.bytes is not None
            with open(u.audio, "rb") as file:
                file.seek(u.bytes[0])
                rows.append({"bytes": file.read(u.bytes[1]), "path": None})
        table = folder / f"{Path(utterances[0].audio).parent.name}.parquet"
        Dataset.from_dict({"audio": rows}).to_parquet(str(table))
        data = Dataset.from_parquet(str(table), cache_dir=str(folder / "cache"))
    else:
        data = Dataset.from_dict({"audio": [str(u.audio) for u in utterances]})
    decodes = importlib.util.find_spec("torchcodec") is not None
    data = data.cast_column("audio", Audio(sampling_rate=SAMPLE_RATE, decode=decodes))

    batches = groups(utterances)

    def wave(audio: Any) -> torch.Tensor:
        if decodes:
            return audio.get_all_samples().data[0]
        samples_S, rate = soundfile.read(
            audio["path"] if audio["bytes"] is None else io.BytesIO(audio["bytes"]),
            dtype="float32",
        )
        if rate != SAMPLE_RATE:
            samples_S = soxr.resample(samples_S, rate, SAMPLE_RATE)
        return torch.from_numpy(samples_S)

    def run() -> None:
        for group in batches:
            waves = [wave(audio) for audio in data[group]["audio"]]
            torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)

    return run


def groups(utterances: Sequence[Utterance]) -> list[list[int]]:
    """Neighbours that fit in a batch; a longer one is a batch alone."""
    batches: list[list[int]] = []
    longest = np.inf
    for i, u in enumerate(utterances):
        longest = max(longest, u.duration)
        if not batches or longest * (len(batches[-1]) + 1) > BATCH_SECONDS:
            batches.append([])
            longest = u.duration
        batches[-1].append(i)
    return batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if importlib.util.find_spec("torchcodec") is None:
        print("torchcodec is not installed: datasets with Audio(decode=False) and soundfile")
    columns = ("read", "read at 16 kHz", "speechx", "lhotse", "datasets")
    print(f"{'x real time, one core':<22}" + "".join(f"{c:>16}" for c in columns), end="")
    print(f"{'of read':>10}{'at 16 kHz':>11}{'/ lhotse':>10}{'/ datasets':>12}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tempfile.tempdir = made
        for kind, utterances in gather(options.folder, folder, options.clips).items():
            loaders = {
                "read": bare(utterances, False),
                "read at 16 kHz": bare(utterances, True),
                "speechx": ours(utterances),
                "lhotse": lhotse(utterances, folder),
                "datasets": hugging_face(utterances, folder),
            }
            spent: dict[str, list[float]] = {c: [] for c in columns}
            for repetition in range(options.repetitions + 1):
                for column, run in loaders.items():
                    if run is None:
                        continue
                    before = time.process_time()
                    run()
                    if repetition:  # the first one fills caches
                        spent[column].append(time.process_time() - before)
            seconds = sum(u.duration for u in utterances)
            rate = {c: seconds / statistics.median(t) if t else 0.0 for c, t in spent.items()}
            print(f"{kind:<22}", end="")
            print("".join(f"{f'{rate[c]:,.0f}' if rate[c] else '-':>16}" for c in columns), end="")
            for against, width in zip(columns[:2] + columns[3:], (10, 11, 10, 12), strict=True):
                ratio = rate["speechx"] / rate[against] if rate[against] else 0.0
                print(f"{f'{ratio:.2f}' if ratio else '-':>{width}}", end="")
            print(f"   ({len(utterances)} utterances, {seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
