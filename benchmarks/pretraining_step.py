"""Time of one pretraining step (forward and backward), speechx against Hugging Face transformers.

    python benchmarks/pretraining_step.py [--preset base] [--seconds 10] [--rows 2] [--device cpu]

Both models have the same sizes and dropout rates, get the same waveforms and masks, draw as many
negatives, and are timed in turns in one process; the medians and their ratio are printed. Needs the
extra `hf`.

    B utterances · S samples · T frames · K negatives
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import Wav2Vec2Config as TheirConfig
from transformers import Wav2Vec2ForPreTraining

from speechx.config import parse
from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.models.context.transformer import TransformerConfig
from speechx.models.encoder import EncoderConfig
from speechx.models.features.convolutional import ConvolutionalConfig
from speechx.models.presets import PRESETS
from speechx.objectives.model import SpeechModel
from speechx.objectives.wav2vec2 import Wav2Vec2Config


def their_model(encoder: EncoderConfig, objective: Wav2Vec2Config) -> Wav2Vec2ForPreTraining:
    """The same model in transformers."""
    features, context, quantizer = encoder.features, encoder.context, objective.quantizer
    assert isinstance(features, ConvolutionalConfig)
    assert isinstance(context, TransformerConfig)
    return Wav2Vec2ForPreTraining(
        TheirConfig(
            hidden_size=context.embed_dim,
            num_hidden_layers=context.num_layers,
            num_attention_heads=context.num_heads,
            intermediate_size=context.ffn_dim,
            hidden_dropout=context.dropout,
            attention_dropout=context.attention_dropout,
            activation_dropout=context.activation_dropout,
            layerdrop=0.0,
            feat_extract_norm=features.norm,
            conv_bias=features.bias,
            do_stable_layer_norm=context.norm == "pre",
            num_codevectors_per_group=quantizer.num_entries,
            num_codevector_groups=quantizer.num_groups,
            codevector_dim=quantizer.dim,
            proj_codevector_dim=quantizer.dim,
        )
    )


def drawn_batch(
    encoder: EncoderConfig, objective: Wav2Vec2Config, rows: int, samples: int
) -> Batch:
    """Noise, with masks and negatives."""
    batch = Batch(
        position=Position(),
        wave_BS=torch.randn(rows, samples),
        lengths_B=torch.full((rows,), samples),
        padded=False,
        ids=tuple(map(str, range(rows))),
        languages=("xx",) * rows,
    )
    draws, counts = objective.draw(batch, np.random.default_rng(0), encoder)
    return replace(batch, draws=draws, counts=counts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--preset", default="base", choices=[n for n in PRESETS if n != "tiny"])
    parser.add_argument("--num-layers", type=int, help="fewer layers than the preset")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)

    preset = PRESETS[options.preset]().with_context(layer_drop=0.0)
    if options.num_layers:
        preset = preset.with_context(num_layers=options.num_layers)
    settings = {"kind": "wav2vec2", **preset.objectives.get("wav2vec2", {})}
    encoder, objective = preset.encoder, parse(Wav2Vec2Config, settings, options.preset)
    device = torch.device(options.device)
    batch = drawn_batch(encoder, objective, options.rows, int(options.seconds * 16_000))
    # transformers wants negatives for every frame, as indices into the flattened batch.
    mask_BT, negatives_BMK = (batch.draws[n].numpy() for n in ("mask_BT", "negatives_BMK"))
    flat_BTK = np.zeros((*mask_BT.shape, negatives_BMK.shape[2]), dtype=np.int64)
    for row, mask_T in enumerate(mask_BT):
        flat_BTK[row, mask_T] = np.flatnonzero(mask_T)[negatives_BMK[row]] + row * len(mask_T)
    batch, their_negatives = batch.to(device), torch.from_numpy(flat_BTK).to(device)

    ours = SpeechModel(encoder, {"wav2vec2": objective}, {}).to(device).train()
    theirs: torch.nn.Module = their_model(encoder, objective)
    theirs.to(device).train()

    def our_step() -> None:
        terms = ours({"wav2vec2": batch}, 0)["wav2vec2"].terms
        torch.stack([term.sum / batch.counts[term.count] for term in terms]).sum().backward()

    def their_step() -> None:
        theirs(
            batch.wave_BS,
            mask_time_indices=batch.draws["mask_BT"],
            sampled_negative_indices=their_negatives,
        ).loss.backward()

    def timed(step: Callable[[], None]) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bfloat16):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    times: dict[str, list[float]] = {"speechx": [], "transformers": []}
    for repeat in range(options.repeats + 1):
        for name, step in (("speechx", our_step), ("transformers", their_step)):
            spent = timed(step)
            if repeat:  # the first of each is a warm-up
                times[name].append(spent)
    audio = options.rows * options.seconds
    for name, all_ in times.items():
        middle = statistics.median(all_)
        print(f"{name:<13} {middle:.3f} s a step, {audio / middle:.1f}x real time")
    ratio = statistics.median(times["transformers"]) / statistics.median(times["speechx"])
    print(f"transformers / speechx = {ratio:.2f} ({options.preset}, {device}, {torch.__version__})")


if __name__ == "__main__":
    main()
