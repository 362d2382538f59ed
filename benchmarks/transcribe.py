"""How fast a model of base size computes on a CPU: ours, Hugging Face, torchaudio, and the bound.

    python benchmarks/transcribe.py [--threads 2] [--seconds 20 600] [--repeats 3]
    python benchmarks/transcribe.py --memory-hours 3

One untrained CTC model is written as a folder of ours, and by our converter for transformers and
for torchaudio; the largest difference of log-probabilities is printed, relative to the largest of
them. Each gets a batch of clips of 1 to 3 seconds and noise of every `--seconds`; longer than 30
seconds comes in windows of 30. All take turns in one process, and the fastest of `--repeats`
counts. "pipeline" rows are everything
from samples to text: the Hugging Face pipeline cuts into windows of 30 s with 2 s on both sides, as
our recognizer does. int8 of the others is `quantize_dynamic`, as their users do it.

The bound is the work of convolutions and linear maps (13.9 GFLOP a second of audio for Base), done
at the speed of `torch.mm` (`torch._int_mm` for int8) in the shapes of the model. Attention comes on
top of that work: 1.8 GFLOP in pieces of 20 s.

On a machine that does other work too, `--processor-time --threads 1` counts the time of the
processor instead of the clock. `--memory-hours` transcribes that much noise with preset tiny in a
process of its own, and prints its peak memory. Needs the extra `hf`.

    B clips · S samples · T frames · V = blank and tokens
"""

from __future__ import annotations

import argparse
import json
import resource
import string
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers
import yaml
from torch import Tensor

import speechx
from speechx.interchange import hugging_face, torchaudio
from speechx.models.compute import COMPUTE_TYPES, prepare_for_inference
from speechx.models.context.transformer import TransformerConfig
from speechx.models.encoder import EncoderConfig
from speechx.models.folder import open_folder
from speechx.models.packed import multiplies_bfloat16
from speechx.models.presets import PRESETS
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import Vocabulary

RATE, WINDOW = 16_000, 30
Run = Callable[[], Any]


def write_models(folder: Path, encoder: EncoderConfig) -> None:
    """The same untrained model in three formats."""
    torch.manual_seed(0)
    vocabulary = Vocabulary("characters", (*string.ascii_lowercase, " "))
    model = SpeechModel(encoder, {"ctc": CTCConfig(tokens="characters")}, {"ctc": vocabulary})
    torch.nn.init.normal_(model.heads["ctc"].head.weight)  # so that it writes something
    model.save(folder / "ours", ["xx"])
    saved = open_folder(folder / "ours")
    for name, format in (("hugging_face", hugging_face), ("torchaudio", torchaudio)):
        (folder / name).mkdir()
        format.write(saved, folder / name)


def clips(seconds: float | None, count: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of noise (B, S) with lengths (B,): windows of a recording, or short clips."""
    random = torch.Generator().manual_seed(0)
    if seconds is None:
        lengths_B = (RATE * (1 + 2 * torch.rand(count, generator=random))).long()
        wave_BS = 0.1 * torch.randn(count, int(lengths_B.max()), generator=random)
        for wave_S, length in zip(wave_BS, lengths_B, strict=True):
            wave_S[length:] = 0
        return [(wave_BS, lengths_B)]
    wave_S = 0.1 * torch.randn(int(seconds * RATE), generator=random)
    pieces = [piece_S for piece_S in wave_S.split(WINDOW * RATE) if len(piece_S) >= RATE // 10]
    return [(piece_S[None], torch.tensor([len(piece_S)])) for piece_S in pieces]


def model_rows(folder: Path, compute_type: str) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """From a batch to logits, by package."""
    saved = open_folder(folder / "ours")
    ours, _ = SpeechModel.from_saved(saved)
    prepare_for_inference(ours, compute_type)
    about = yaml.safe_load((folder / "torchaudio/model.yaml").read_text(encoding="utf-8"))
    from torchaudio.models import wav2vec2_model

    audio = wav2vec2_model(**about["model"]).eval()
    audio.load_state_dict(torch.load(folder / "torchaudio/model.pt", weights_only=True))
    audio = reduced(audio, compute_type)
    face: Any = transformers.Wav2Vec2ForCTC.from_pretrained(folder / "hugging_face")
    face = reduced(face.eval(), compute_type)
    dtype = torch.bfloat16 if compute_type == "bfloat16" else torch.float32
    return {
        "speechx": lambda wave_BS, lengths_B: ours.heads["ctc"].log_probabilities(
            ours.encoder, wave_BS, lengths_B
        )[0],
        # Base models of both packages were trained without a mask and are used without.
        "transformers": lambda wave_BS, _: face(wave_BS.to(dtype)).logits,
        "torchaudio": lambda wave_BS, _: audio(wave_BS.to(dtype))[0],
    }


def pipeline_rows(folder: Path, compute_type: str) -> dict[str, Callable[[np.ndarray], str]]:
    """From samples to text, by package."""
    ours = speechx.load(folder / "ours", device="cpu", compute_type=compute_type)
    theirs: Any = transformers.pipeline(
        "automatic-speech-recognition", model=str(folder / "hugging_face"), device="cpu",
        torch_dtype=torch.bfloat16 if compute_type == "bfloat16" else torch.float32,
    )  # fmt: skip
    if compute_type == "int8":
        theirs.model = reduced(theirs.model, compute_type)
    return {
        "speechx pipeline": lambda wave_S: ours.transcribe(wave_S).text,
        "transformers pipeline": lambda wave_S: theirs(
            wave_S, chunk_length_s=WINDOW + 4, stride_length_s=2
        )["text"],
    }


def each(run: Callable[..., Any], given: Sequence[tuple[Any, ...]]) -> None:
    for arguments in given:
        run(*arguments)


def common_rows(folder: Path) -> list[int]:
    """The rows of transformers for the blank and the tokens, in our order."""
    rows = json.loads((folder / "hugging_face/vocab.json").read_text(encoding="utf-8"))
    return [rows["<pad>"], *(rows[letter] for letter in string.ascii_lowercase), rows["|"]]


def reduced(model: torch.nn.Module, compute_type: str) -> torch.nn.Module:
    """Another package's model in this compute type, as its users would have it."""
    if compute_type == "bfloat16":
        return model.bfloat16()
    if compute_type == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
    return model


def work(encoder: EncoderConfig) -> list[tuple[float, int, int]]:
    """Matrix products: rows a second of audio, inputs and outputs of each."""
    rows, inputs, products = float(RATE), 1, []
    for layer in encoder.features.layers:
        rows /= layer.stride
        products.append((rows, layer.kernel * inputs, layer.channels))
        inputs = layer.channels
    context = encoder.context
    assert isinstance(context, TransformerConfig)
    width, wide = context.embed_dim, context.ffn_dim
    per_group = width // context.position_groups
    products += [(rows, inputs, width)]
    products += [(rows, context.position_kernel * per_group, width)]
    for _ in range(context.num_layers):
        products += [(rows, width, width)] * 4 + [(rows, width, wide), (rows, wide, width)]
    return products


def bound(encoder: EncoderConfig, compute_type: str, clock: Run, repeats: int) -> float:
    """Times real time if there were nothing but the matrix products of 10 s of audio."""
    spent: dict[tuple[float, int, int], float] = {}
    products = work(encoder)
    for rows, inputs, outputs in set(products):
        count = int(10 * rows)
        if inputs < 64:  # the first convolution: less than the libraries are made for
            continue
        if compute_type == "int8":
            x = torch.randint(-128, 128, (count, inputs), dtype=torch.int8)
            w = torch.randint(-128, 128, (outputs, inputs), dtype=torch.int8)
        else:
            dtype = getattr(torch, compute_type)
            x, w = torch.randn(count, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        multiply = torch._int_mm if compute_type == "int8" else torch.mm
        run = partial(multiply, x, w.T)
        spent[rows, inputs, outputs] = fastest({"": run}, clock, repeats)[""]
    return 10 / sum(spent.get(product, 0.0) for product in products)


def fastest(runs: dict[str, Run], clock: Run, repeats: int) -> dict[str, float]:
    """Seconds of the fastest run of each; they take turns, and the first turn is for warming up."""
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for name, run in runs.items():
                begun = clock()
                run()
                if repeat:
                    best[name] = min(best[name], clock() - begun)
    return best


def compare(folder: Path, encoder: EncoderConfig, options: argparse.Namespace) -> None:
    clock = time.process_time if options.processor_time else time.perf_counter
    flops = sum(2 * rows * inputs * outputs for rows, inputs, outputs in work(encoder))
    print(f"{flops / 1e9:.1f} GFLOP a second of audio, {options.threads} threads, times real time")
    materials = {f"{options.clips} clips": clips(None, options.clips)}
    materials |= {f"{seconds:g} s": clips(seconds, 1) for seconds in options.seconds}
    for compute_type in options.compute_types:
        if compute_type == "bfloat16" and not multiplies_bfloat16():
            print("bfloat16: left out, this processor multiplies it many times slower than float32")
            continue
        limit = bound(encoder, compute_type, clock, options.repeats)
        models = model_rows(folder, compute_type)
        pipelines = pipeline_rows(folder, compute_type)
        wave_BS, lengths_B = clips(1.0, 1)[0]
        with torch.inference_mode():
            ours_BTV = models["speechx"](wave_BS, lengths_B)
            theirs_BTV = models["transformers"](wave_BS, lengths_B)[..., common_rows(folder)]
            theirs_BTV = theirs_BTV.float().log_softmax(2)
            apart = (ours_BTV - theirs_BTV).abs().max() / theirs_BTV.abs().max()
        print(f"{compute_type}: bound {limit:.1f}; ours and transformers differ by {apart:.0e}")
        for material, batches in materials.items():
            seconds = sum(int(lengths_B.sum()) for _, lengths_B in batches) / RATE
            runs: dict[str, Run] = {
                name: partial(each, model, batches) for name, model in models.items()
            }
            rows = [w[:n].numpy() for wave_BS, lengths_B in batches
                    for w, n in zip(wave_BS, lengths_B.tolist(), strict=True)]  # fmt: skip
            waves = rows if "clips" in material else [np.concatenate(rows)]
            runs |= {
                name: partial(each, pipeline, [(wave_S,) for wave_S in waves])
                for name, pipeline in pipelines.items()
            }
            rates = {n: seconds / t for n, t in fastest(runs, clock, options.repeats).items()}
            for name, rate in rates.items():
                against = "transformers pipeline" if "pipeline" in name else "transformers"
                print(f"  {material:<9}{name:<22}{rate:8.2f}{rate / limit:7.0%} of the bound"
                      f"{rate / rates[against]:7.2f} x {against}", flush=True)  # fmt: skip


def memory(folder: Path, hours: float) -> None:
    """Peak memory of the command line on a long recording, preset tiny."""
    vocabulary = Vocabulary("characters", (*string.ascii_lowercase, " "))
    objectives = {"ctc": CTCConfig(tokens="characters")}
    model = SpeechModel(PRESETS["tiny"]().encoder, objectives, {"ctc": vocabulary})
    model.save(folder / "tiny", ["xx"])
    random, path = np.random.default_rng(0), folder / "long.wav"
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(round(hours * 360)):  # pieces of 10 s
            file.write(0.1 * random.standard_normal(10 * RATE))
    begun = time.perf_counter()
    command = [sys.executable, "-m", "speechx", "transcribe", "--model", str(folder / "tiny")]
    subprocess.run([*command, "--device", "cpu", "-o", str(folder / "out"), str(path)], check=True)
    spent = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # kibibytes, on Linux
    print(f"{hours:g} h with preset tiny: peak memory {peak / 1e6 * 1.024:.2f} GB, "
          f"{hours * 3600 / spent:.0f} times real time")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-layers", type=int, help="fewer layers than Base")
    parser.add_argument("--clips", type=int, default=8, help="clips of 1 to 3 s in a batch")
    parser.add_argument("--seconds", type=float, nargs="*", default=[20.0, 600.0])
    parser.add_argument("--compute-types", nargs="+", default=list(COMPUTE_TYPES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument(
        "--memory-hours", type=float, help="only the peak memory of that much audio"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as made:
        if options.memory_hours:
            memory(Path(made), options.memory_hours)
            return
        preset = PRESETS["base"]()
        if options.num_layers:
            preset = preset.with_context(num_layers=options.num_layers)
        write_models(Path(made), preset.encoder)
        compare(Path(made), preset.encoder, options)


if __name__ == "__main__":
    main()
