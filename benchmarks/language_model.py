"""How long a language model takes: text to n-grams, files, reading them again, scores.

    python benchmarks/language_model.py                        # 10 million tokens, a 4-gram
    python benchmarks/language_model.py --text TEXT --language LANGUAGE

The text is made up: words by Zipf's law, of which every second one follows from the word before it.
The goal: 10 million tokens to a 4-gram in under 2 minutes and 4 GB on 2 cores.

    N queries
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from speechx.decoding.ngram import NGram
from speechx.decoding.ngram_file import read_ngram, write_ngram
from speechx.language_model import train_lm

WORDS = 200_000
FOLLOWERS = 20  # of a word, among which the next one often is
Result = TypeVar("Result")


def write_text(path: Path, tokens: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    letters = random.integers(97, 123, (WORDS, 9), dtype=np.uint8)
    words = [bytes(row[: 2 + i % 8]).decode() + str(i % 7) for i, row in enumerate(letters)]
    with path.open("w", encoding="utf-8") as file:
        while tokens > 0:
            count = min(tokens, 1_000_000)
            token_N = np.minimum(random.zipf(1.2, count) - 1, WORDS - 1)
            follows = random.random(count) < 0.5
            step = random.zipf(1.5, count) % FOLLOWERS
            token_N[1:] = np.where(follows[1:], (token_N[:-1] * 31 + step[1:]) % WORDS, token_N[1:])
            ends = np.append(np.cumsum(1 + random.poisson(10, count // 8)), count)
            begin = 0
            for end in ends[ends <= count].tolist():
                file.write(" ".join([words[i] for i in token_N[begin:end].tolist()]) + "\n")
                begin = end
            tokens -= count


def timed(name: str, work: Callable[[], Result]) -> Result:
    begun = time.process_time(), time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{name:<24}{time.process_time() - begun[0]:>8.1f} s CPU"
        f"{time.perf_counter() - begun[1]:>8.1f} s  peak {peak:.2f} GB",
        flush=True,
    )
    return result


def scored(model: NGram, queries: int) -> None:
    random = np.random.default_rng(0)
    state_N = random.integers(len(model.backoff_S), size=queries)
    model.score(state_N, random.integers(len(model.tokens), size=queries))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--order", type=int, default=4)
    parser.add_argument("--text", type=Path, help="a text of your own")
    parser.add_argument("--language", help="of the text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = options.text or Path(folder) / "text.txt"
        if options.text is None:
            timed("text made up", lambda: write_text(text, options.tokens, seed=0))
        order, language = options.order, options.language
        model = timed("train", lambda: train_lm([text], order=order, language=language))
        print(f"{len(model.token_A):,} n-grams of {len(model.tokens):,} words")
        for suffix in (".safetensors", ".arpa", ".arpa.gz"):
            path = Path(folder) / f"lm{suffix}"
            timed(f"write {suffix}", partial(write_ngram, path, model))
            timed(f"read {suffix}", partial(read_ngram, path))
            print(f"{'':<24}{path.stat().st_size / 1e6:>8.1f} MB")
        timed("a million queries", lambda: scored(model, 1_000_000))


if __name__ == "__main__":
    main()
