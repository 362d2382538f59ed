"""Time of one pretraining step (forward and backward), speechx against Hugging Face transformers.

    python benchmarks/pretraining_step.py [--preset base] [--seconds 10] [--rows 2] [--device cpu]

Both models have the same sizes and dropout rates, get the same waveforms and masks, draw as many
negatives, and are timed in turns in one process; the medians and their ratio are printed. Needs the
extra `hf`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from transformers import Wav2Vec2Config as TheirConfig
from transformers import Wav2Vec2ForPreTraining

from speechx.models.presets import PRESETS
from speechx.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2Pretraining
from speechx.models.waveform import ConvolutionalConfig
from speechx.objectives.contrastive import ContrastiveConfig, pretraining_loss, sample_negatives
from speechx.objectives.masking import Masking, span_mask


def their_model(config: Wav2Vec2Config) -> Wav2Vec2ForPreTraining:
    """The same model in transformers."""
    assert isinstance(config.encoder, ConvolutionalConfig)
    transformer, quantizer = config.transformer, config.quantizer
    return Wav2Vec2ForPreTraining(
        TheirConfig(
            hidden_size=transformer.width,
            num_hidden_layers=transformer.blocks,
            num_attention_heads=transformer.heads,
            intermediate_size=transformer.inner,
            hidden_dropout=transformer.dropout,
            attention_dropout=transformer.attention_dropout,
            activation_dropout=transformer.activation_dropout,
            layerdrop=0.0,
            feat_extract_norm=config.encoder.norm,
            conv_bias=config.encoder.bias,
            do_stable_layer_norm=transformer.norm == "pre",
            num_codevectors_per_group=quantizer.entries,
            num_codevector_groups=quantizer.groups,
            codevector_dim=quantizer.width,
            proj_codevector_dim=quantizer.width,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="base", choices=[n for n in PRESETS if n != "tiny"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    config = PRESETS[options.preset]()
    config = replace(config, transformer=replace(config.transformer, layer_drop=0.0))
    device, random = torch.device(options.device), np.random.default_rng(0)
    samples = int(options.seconds * 16_000)
    frames = config.encoder.frames(samples)
    wave_BS = torch.randn(options.rows, samples, device=device)
    mask = span_mask([frames] * options.rows, frames, Masking(), random, 2, same_count=True)
    masked = int(mask[0].sum())
    negatives = sample_negatives(options.rows, masked, 100, random)
    mask_BT = torch.from_numpy(mask).to(device)
    negatives_BMK = torch.from_numpy(negatives).to(device)
    # transformers wants negatives for every frame, as indices into the flattened batch.
    flat = np.zeros((options.rows, frames, 100), dtype=np.int64)
    for row in range(options.rows):
        flat[row, mask[row]] = np.flatnonzero(mask[row])[negatives[row]] + row * frames
    flat_BTK = torch.from_numpy(flat).to(device)

    ours = Wav2Vec2Pretraining(config).to(device).train()
    theirs = their_model(config).to(device).train()
    possible, loss_config = config.quantizer.groups * config.quantizer.entries, ContrastiveConfig()

    def our_step() -> None:
        predictions = ours(wave_BS, mask_BT, 2.0)
        pretraining_loss(predictions, negatives_BMK, possible, loss_config).loss.backward()

    def their_step() -> None:
        theirs(
            wave_BS, mask_time_indices=mask_BT, sampled_negative_indices=flat_BTK
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
