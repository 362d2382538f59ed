"""Beam search against pyctcdecode: the same outputs and language model, one run.

    python benchmarks/decoding.py [--model FOLDER --manifest test.jsonl --lm words.arpa]

Without a model, outputs are made up: letters of random words, as sharp as a trained model's. All
decode with a beam of `--beam-size` and the same settings, without and with a language model of
words. A row is a decoder, its times real time, and the share of utterances to which it gives the
text that speechx gives. pyctcdecode has two rows: with the scores of our n-gram model, and with
KenLM, as its users have it. With KenLM it takes the end of a text behind a space for an unknown
word, as ctc-beam-decoder does, so their texts differ more often. The packages kenlm and
ctc-beam-decoder are left out if they are not installed. One process; speechx has `--threads`, the
others one.

pyctcdecode iterates over sets, so its ties may depend on PYTHONHASHSEED. It decodes the same
outputs in `--seeds` further processes, each with another seed, and the last line has the share of
utterances that do not have one text in all.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
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


Texts = Callable[[Sequence[np.ndarray]], list[str]]


def of_speechx(decoder: BeamDecoder | PyctcdecodeDecoder) -> Texts:
    return lambda outputs: [
        "".join(span.token for span in spans).strip() for spans in decoder.decode(outputs)
    ]


def of_package(
    package: str, tokens: Sequence[str], lm: NGram | None, settings: BeamSettings, folder: Path
) -> Texts:
    """pyctcdecode or ctc_beam_decoder as their users have them: both have one interface."""
    given: dict[str, Any] = {}
    if lm is not None:
        write_ngram(folder / "lm.arpa", lm)
        words = [token for token in lm.tokens if token not in SPECIAL]
        given = {"kenlm_model_path": str(folder / "lm.arpa"), "unigrams": words}
    decoder = importlib.import_module(package).build_ctcdecoder(["", *tokens], **given)
    return lambda outputs: [
        decoder.decode(
            log_TV, beam_width=settings.beam_size, beam_prune_logp=settings.beam_prune_logp,
            token_min_logp=settings.token_min_logp,
        )
        for log_TV in outputs
    ]  # fmt: skip


def compare(
    name: str,
    tokens: Sequence[str],
    outputs: Sequence[np.ndarray],
    lm: NGram | None,
    settings: BeamSettings,
    folder: Path,
) -> None:
    """Prints a row for each decoder."""
    print(f"{name}:", flush=True)
    ours = of_speechx(BeamDecoder(tokens, lm, settings=settings))
    ours(outputs[:1])  # compiled before
    decoders = {
        "speechx": ours,
        "pyctcdecode": of_speechx(PyctcdecodeDecoder(tokens, lm, settings=settings)),
    }
    if lm is not None and importlib.util.find_spec("kenlm"):
        named = "pyctcdecode with KenLM"
        decoders[named] = of_package("pyctcdecode", tokens, lm, settings, folder)
    if importlib.util.find_spec("ctc_beam_decoder"):
        decoders["ctc-beam-decoder"] = of_package("ctc_beam_decoder", tokens, lm, settings, folder)
    else:
        print("  ctc-beam-decoder is left out: it is not installed")
    first: list[list[str]] = []
    base = 0.0
    for which, decode in decoders.items():
        begun = time.perf_counter()
        texts = [text.split() for text in decode(outputs)]
        spent = time.perf_counter() - begun
        first, base = first or texts, base or spent
        same = np.mean([a == b for a, b in zip(first, texts, strict=True)])
        speed = sum(map(len, outputs)) / FRAMES / spent
        print(f"  {which:<24}{speed:8.0f} x real time, speechx {spent / base:6.1f} times as fast; "
              f"{same:.1%} the same text", flush=True)  # fmt: skip


def keep(
    folder: Path, tokens: Sequence[str], outputs: Sequence[np.ndarray], lm: NGram, beam_size: int
) -> None:
    """Files for `texts_of_kept` in another process."""
    np.savez(folder / "outputs.npz", *outputs)
    lm.save(folder / "lm.safetensors")
    (folder / "about.json").write_text(json.dumps({"tokens": tokens, "beam_size": beam_size}))


def texts_of_kept(folder: Path) -> list[list[str]]:
    """What pyctcdecode makes of the kept emissions, without and with the language model."""
    about = json.loads((folder / "about.json").read_text())
    settings = BeamSettings(beam_size=about["beam_size"])
    with np.load(folder / "outputs.npz") as file:
        outputs = [file[name] for name in file.files]
    return [
        of_speechx(PyctcdecodeDecoder(about["tokens"], lm, settings=settings))(outputs)
        for lm in (None, read_ngram(folder / "lm.safetensors"))
    ]


def differs_from_itself(folder: Path, seeds: int) -> None:
    """Prints how many texts of pyctcdecode are not the same with each of the hash seeds."""
    runs = []
    for seed in range(1, seeds + 1):
        done = subprocess.run(
            [sys.executable, __file__, "--kept", folder],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        )
        runs.append(json.loads(done.stdout))
    without, with_lm = (
        np.mean([len(set(texts)) > 1 for texts in zip(*each, strict=True)])
        for each in zip(*runs, strict=True)
    )
    print(f"pyctcdecode differs from itself with {seeds} hash seeds in {without:.1%} of the "
          f"utterances, with a language model in {with_lm:.1%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--lm", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of made-up outputs")
    parser.add_argument("--beam-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="hash seeds of pyctcdecode, or 0")
    parser.add_argument("--kept", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kept is not None:
        print(json.dumps(texts_of_kept(options.kept)))
        return
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare("without a language model", tokens, outputs, None, settings, folder)
        compare("with a language model of words", tokens, outputs, lm, settings, folder)
        if options.seeds > 1:
            keep(folder, tokens, outputs, lm, options.beam_size)
            differs_from_itself(folder, options.seeds)


if __name__ == "__main__":
    main()
