"""Forced alignment: seconds and memory, against torchaudio, and of hours.

    python benchmarks/alignment.py --minutes 5 --hours 3

aligns random tokens to made-up log-probabilities (50 frames a second, 10 tokens a second, 40
outputs), once as a whole, beside `torchaudio.functional.forced_align`, and once block by block as
words of which any may be left out, as `speechx align` does. Seconds are processor time of one
thread; memory is what the second alignment adds to the process.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from speechx.decoding.alignment import align_chain, align_tokens
from speechx.decoding.loose_alignment import FIRST_TOKEN, ScoreColumns, chain_of_words

OUTPUTS = 40
EVERY = 5  # frames of a token


def spoken(tokens: np.ndarray) -> np.ndarray:
    """(T, V) in which each token has a frame."""
    log_TV = np.full((len(tokens) * EVERY, OUTPUTS), -9, np.float32)
    log_TV[:, 0] = -0.01
    at_T = np.arange(len(tokens)) * EVERY + 2
    log_TV[at_T, 0] = -5
    log_TV[at_T, tokens] = -0.1
    return log_TV


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="of the recording for torchaudio")
    parser.add_argument("--hours", type=float, default=3, help="of the long recording")
    options = parser.parse_args()
    torch.set_num_threads(1)
    random = np.random.default_rng(0)

    tokens = random.integers(1, OUTPUTS, int(options.minutes * 600))
    log_TV = spoken(tokens)
    begun = time.process_time()
    ours = align_tokens(log_TV, tokens)
    spent = time.process_time() - begun
    print(f"{options.minutes:g} minutes, {len(tokens)} tokens: speechx {spent:.2f} s")
    try:
        from torchaudio.functional import forced_align
    except ImportError:
        print("torchaudio has no forced_align")
    else:
        warnings.simplefilter("ignore")
        begun = time.process_time()
        theirs, _ = forced_align(
            torch.from_numpy(log_TV)[None], torch.from_numpy(tokens)[None].int()
        )
        spent = time.process_time() - begun
        path_T = np.zeros(len(log_TV), np.int64)
        for (first, last), token in zip(ours.spans_U2, tokens, strict=True):
            path_T[first : last + 1] = token
        same = np.array_equal(path_T, theirs[0].numpy())
        print(f"torchaudio {spent:.2f} s; the same path: {'yes' if same else 'no'}")

    tokens = random.integers(1, OUTPUTS, int(options.hours * 36_000))
    words = np.split(tokens + FIRST_TOKEN - 1, np.arange(5, len(tokens), 5))
    columns = ScoreColumns([], [[i] for i in range(1, OUTPUTS)])

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(tokens), 300):
            yield columns.scores(spoken(tokens[first : first + 300]))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    spans_U2 = align_chain(chain_of_words(list(words)), blocks()).spans_U2
    spent = time.process_time() - begun
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    worst = np.abs(spans_U2[:, 0] - np.arange(len(tokens)) * EVERY - 2).max() * 0.02
    print(
        f"{options.hours:g} hours, {len(tokens) * EVERY} frames, {len(tokens)} tokens: "
        f"{spent:.1f} s, {added:.0f} MB more, greatest error {worst:.3f} s"
    )


if __name__ == "__main__":
    main()
