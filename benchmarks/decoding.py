"""Beam search against pyctcdecode: the same outputs and language model, one run.

    python benchmarks/decoding.py [--model FOLDER --manifest test.jsonl --lm words.arpa]

Without a model, outputs are made up: letters of random words, as sharp as a trained model's. Both
decode with a beam of `--beam-size` and the same settings, without and with a language model of
words; pyctcdecode uses its own interface to KenLM if the package kenlm is there. It prints
speeds in times real time, and the share of utterances for which pyctcdecode writes the same text
with the n-gram model of speechx. pyctcdecode has one thread, speechx `--threads`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import speechx
from speechx.data.manifest import read_manifest
from speechx.decoding.beam import BeamDecoder, BeamSettings
from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import SPECIAL, NGram
from speechx.decoding.ngram_file import read_ngram, write_ngram
from speechx.decoding.pyctcdecode_search import PyctcdecodeDecoder

FRAMES = 50  # a second
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz ")


def made_up(seconds: float, random: np.random.Generator) -> tuple[list[np.ndarray], NGram]:
    """Outputs (T, V) of utterances of 5 s, and a model of their words."""
    words = ["".join(random.choice(list(LETTERS[:-1]), random.integers(2, 9))) for _ in range(2000)]
    sentences = [[words[int(2000 * random.random() ** 2)] for _ in range(10)] for _ in range(2000)]
    outputs = []
    for n in range(int(seconds / 5)):
        spelled = [LETTERS.index(letter) + 1 for letter in " ".join(sentences[n])][:60]
        logits_TV = random.normal(0, 1.5, (5 * FRAMES, len(LETTERS) + 1))
        logits_TV[:, 0] += 7
        for position, token in enumerate(spelled):
            logits_TV[4 * position + 1, token] += 7
            logits_TV[4 * position + 1, 0] -= 6
        log_TV = logits_TV - np.logaddexp.reduce(logits_TV, 1, keepdims=True)
        outputs.append(log_TV.astype(np.float32))
    return outputs, train(sentences, 3)


def of_model(options: argparse.Namespace) -> tuple[list[np.ndarray], NGram, tuple[str, ...]]:
    model = speechx.load(options.model, "cpu")
    utterances = read_manifest(options.manifest)
    found: dict[int, np.ndarray] = {}

    class Kept:
        def decode(self, outputs: Sequence[np.ndarray]) -> list[list[Any]]:
            kept.extend(outputs_TV.copy() for outputs_TV in outputs)
            return [[] for _ in outputs]

    kept: list[np.ndarray] = []
    for index, _ in model.decode(utterances, [Kept()]):
        found[index] = kept[len(found)]
    return list(found.values()), read_ngram(options.lm), model.vocabulary.tokens


def pyctcdecode_with_kenlm(
    tokens: Sequence[str], lm: NGram, settings: BeamSettings, folder: Path
) -> Callable[[np.ndarray], str] | None:
    """pyctcdecode as its users have it."""
    try:
        import kenlm  # noqa: F401
        from pyctcdecode import build_ctcdecoder
    except ImportError:
        return None
    write_ngram(folder / "lm.arpa", lm)
    words = [token for token in lm.tokens if token not in SPECIAL]
    decoder = build_ctcdecoder(["", *tokens], str(folder / "lm.arpa"), unigrams=words)
    return lambda log_TV: decoder.decode(
        log_TV, beam_width=settings.beam_size, beam_prune_logp=settings.beam_prune_logp,
        token_min_logp=settings.token_min_logp,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--lm", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of made-up outputs")
    parser.add_argument("--beam-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokens: tuple[str, ...] = LETTERS
    if options.model is None:
        outputs, lm = made_up(options.seconds, np.random.default_rng(0))
    else:
        outputs, lm, tokens = of_model(options)
    seconds = sum(map(len, outputs)) / FRAMES
    settings = BeamSettings(beam_size=options.beam_size)
    print(f"{seconds:.0f} s in {len(outputs)} utterances, beam {options.beam_size}, "
          f"{options.threads} threads")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, model in (("without a language model", None), ("with one", lm)):
            ours = BeamDecoder(tokens, model, settings=settings)
            ours.decode(outputs[:1])  # compiled before
            theirs = PyctcdecodeDecoder(tokens, model, settings=settings)
            native = model and pyctcdecode_with_kenlm(tokens, model, settings, Path(folder))
            begun = time.perf_counter()
            texts = [_text(spans) for spans in ours.decode(outputs)]
            spent = time.perf_counter() - begun
            begun = time.perf_counter()
            other = [_text(spans) for spans in theirs.decode(outputs)]
            their = time.perf_counter() - begun
            if native:
                begun = time.perf_counter()
                for log_TV in outputs:
                    native(log_TV)
                their = time.perf_counter() - begun
            same = np.mean([a.split() == b.split() for a, b in zip(texts, other, strict=True)])
            print(f"  {name:<26}speechx {seconds / spent:7.0f} x real time, pyctcdecode"
                  f"{' with KenLM' if native else ''} {seconds / their:6.0f}: {their / spent:.1f} "
                  f"times as fast; {same:.0%} the same text", flush=True)  # fmt: skip


def _text(spans: Sequence[Any]) -> str:
    return "".join(span.token for span in spans).strip()


if __name__ == "__main__":
    main()
