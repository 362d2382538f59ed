"""Planning an epoch of ten million utterances: seconds, memory, padding, shares.

    python benchmarks/planning.py --utterances 10000000

writes a Parquet manifest of that many made-up utterances (no sound), reads it as training does,
and plans epochs for pretraining (cropped) and fine-tuning (padded). The goal: planned in under 10
seconds, all under 4 GB, padding under 6 %, shares of languages as hours^alpha.

Seconds are those of one core (`time.process_time` of what runs in one thread).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from speechx.data.corpus import Corpus
from speechx.data.parquet import write_records
from speechx.data.sampling import (
    Epoch,
    Pass,
    Rows,
    cropped_batches,
    every_row,
    join_short,
    mix,
    mixed_epoch,
    one_pass,
    padded_batches,
)
from speechx.data.utterance import KNOWN

LANGUAGES = 128
CORPORA = 4
DISTRIBUTIONS = {  # seconds: median, sigma of the logarithm; all between 1 and 20
    "read sentences": (5.0, 0.35),
    "mixed corpora": (5.0, 0.6),
    "conversation": (3.0, 0.9),
}


def lengths(count: int, kind: str, random: np.random.Generator) -> np.ndarray:
    median, sigma = DISTRIBUTIONS[kind]
    return np.round(np.clip(median * np.exp(sigma * random.standard_normal(count)), 1, 20), 3)


def make(path: Path, count: int, shards: bool) -> None:
    """Languages from thousands of hours down to minutes, a hundred thousand speakers."""
    random = np.random.default_rng(0)
    weights = 1 / np.arange(1, LANGUAGES + 1) ** 1.5
    language_N = random.choice(LANGUAGES, count, p=weights / weights.sum())
    seconds_N = lengths(count, "mixed corpora", random)
    speaker_N = random.integers(0, 100_000, count)

    def records():
        for i, (language, seconds, speaker) in enumerate(
            zip(language_N.tolist(), seconds_N.tolist(), speaker_N.tolist(), strict=True)
        ):
            name = f"common_voice_{language:03d}_{i:08d}"
            place: dict[str, Any] = {"audio": f"clips/{i % 1000:03d}/{name}.mp3"}
            if shards:
                place = {
                    "audio": f"train-{i // 5000:05d}.tar",
                    "bytes": [512 * i, 60_000],
                }
            yield {
                "id": name, "duration": seconds, "language": f"l{language:03d}",
                "speaker": f"speaker_{speaker}", "corpus": f"c{language % CORPORA}", **place,
            }  # fmt: skip

    write_records(path, records(), KNOWN)


def padding(epoch: Epoch) -> float:
    """Share of all samples of the batches that is padding."""
    sorted_R = np.append(epoch.rows.seconds_R[epoch.order_R].astype(np.float64), 0)
    order_B = np.argsort(epoch.first_B)
    first_B, count_B = epoch.first_B[order_B], epoch.count_B[order_B]
    held = (np.maximum.reduceat(sorted_R, first_B) * count_B).sum()
    return 1 - sorted_R.sum() / held


def timed(name: str, work):
    begun = time.process_time(), time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{name:<46}{time.process_time() - begun[0]:>8.2f} s CPU"
        f"{time.perf_counter() - begun[1]:>8.2f} s  peak {peak:.2f} GB"
    )
    return result


def given(corpus: Corpus, join: float) -> Pass:
    """What is worked out once, before the first epoch."""
    rows = join_short(corpus, every_row(corpus), join, np.random.default_rng(0))
    return one_pass(corpus, rows.take(rows.seconds_R >= 2), 20.0)


def plan(
    corpus: Corpus, kind: str, join: float, once: Pass | None, random: np.random.Generator
) -> Epoch:
    rows: Rows = mixed_epoch(corpus, 0.5, 0.5, random, once)
    rows = join_short(corpus, rows, join, random)
    if kind == "padded":
        return padded_batches(rows, 87.5, random)
    return cropped_batches(rows.take(rows.seconds_R >= 2), 87.5, 20.0, random)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=10_000_000)
    parser.add_argument("--shards", action="store_true", help="as if packed, 5,000 in a shard")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.parquet"
        # In a child, so that its memory is not counted here.
        child = multiprocessing.get_context("spawn").Process(
            target=make, args=(path, options.utterances, options.shards)
        )
        child.start()
        child.join()
        print(f"{options.utterances:,} utterances, {path.stat().st_size / 1e6:.0f} MB of Parquet")
        corpus = timed("read", lambda: Corpus.read([path]))
    hours = corpus.seconds_CL.sum() / 3600
    print(f"{hours:,.0f} hours, {len(corpus.languages)} languages, {len(corpus.corpora)} corpora")
    for kind, join in (("cropped", 0.0), ("padded", 0.0), ("cropped", 4.0)):
        name = f"plan, {kind}{', joined to 4 s' if join else ''}"
        random = np.random.default_rng([1, 0])
        once = given(corpus, join) if kind == "cropped" else None
        epoch = timed(name, lambda k=kind, j=join, o=once, r=random: plan(corpus, k, j, o, r))
        print(f"{'':<6}{len(epoch):,} batches of {len(epoch.rows):,} rows")
        del epoch
    begun = time.perf_counter()
    for i in np.random.default_rng(0).integers(0, len(corpus), 1000):
        corpus[i]
    print(f"one utterance: {(time.perf_counter() - begun) * 1e3:.0f} microseconds")

    print("\nshares of languages, heard against hours^alpha (largest difference, percent points)")
    for alpha, corpus_alpha in ((0.0, None), (0.5, None), (1.0, None), (0.5, 0.5), (0.5, 0.0)):
        rows = mixed_epoch(corpus, alpha, corpus_alpha, np.random.default_rng([1, 0]))
        expected_G = mix(corpus.seconds_CL, alpha, corpus_alpha).ravel()
        group_R = corpus.group_N[rows.utterance_U]
        heard_G = np.bincount(group_R, rows.seconds_R, len(expected_G))
        off = 100 * np.abs(heard_G / heard_G.sum() - expected_G).max()
        print(f"  alpha {alpha:g}, corpus_alpha {corpus_alpha}: {off:.5f}")
        del rows, group_R

    print("\npadding, percent")
    print(f"  {'':<18}{'rows':>12}{'87.5 s':>9}{'300 s':>9}{'1000 s':>9}")
    for kind in DISTRIBUTIONS:
        for count in (n for n in (5_000, 100_000, 1_000_000) if n <= len(corpus)):
            random = np.random.default_rng(1)
            rows = every_row(corpus.take(np.arange(count)))
            rows.seconds_R[:] = lengths(count, kind, random)
            shares = [padding(padded_batches(rows, room, random)) for room in (87.5, 300.0, 1000.0)]
            print(f"  {kind:<18}{count:>12,}" + "".join(f"{100 * share:>9.2f}" for share in shares))


if __name__ == "__main__":
    main()
