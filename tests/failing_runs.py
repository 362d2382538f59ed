"""Pretraining runs that fail, each in the way that its code names.

Nothing is faked: the settings do it, on tones, within some hundred steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from speechx.config import merge
from speechx.data.manifest import Utterance, write_manifest
from tests.conftest import RATE, pretrain_config, write_wav

ENTRIES_32 = {"quantizer": {"num_entries": 32}}
NO_DROPOUT = {"context": {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}}
NO_PENALTY = {"features_penalty": 0.0}

FAILING: dict[str, dict[str, Any]] = {
    # The feature penalty of the base model is stronger than what such a small model can learn.
    "E101": {"objective": ENTRIES_32, "optim": {"lr": 0.02}},
    "E102": {"objective": {**ENTRIES_32, "diversity": 0.0, **NO_PENALTY}, "optim": {"lr": 0.2}},
    "E103": {"objective": ENTRIES_32, "optim": {"lr": 0.02}},  # on digital silence
    # Masked frames stand alone between their neighbours, and all recordings are one.
    "E103 by a leak": {
        "encoder": {
            "context": {**NO_DROPOUT["context"], "embed_dim": 32, "ffn_dim": 64},
            "input_dropout": 0.0,
        },
        "objective": {
            "quantizer": {"num_groups": 1, "num_entries": 8}, "target_dropout": 0.0,
            "diversity": 0.05, "num_negatives": 3, "masking": {"probability": 0.3, "span": 1},
            **NO_PENALTY,
        },
        "optim": {"lr": 0.02}, "run": {"steps": 160, "seed": 5},
    },
    # Weights decay faster than they learn: the softmax over codes becomes flat, 64.0 of 64.
    "E104": {
        "objective": ENTRIES_32, "optim": {"lr": 0.03, "weight_decay": 10, "warmup_ratio": 0.5},
        "run": {"steps": 160},
    },
    "E105": {"objective": ENTRIES_32, "optim": {"lr": 1e30, "warmup_ratio": 0.1}},
}  # fmt: skip

# A run that learns: little is masked at a time, and nothing pulls against it.
HEALTHY: dict[str, Any] = {
    "encoder": {**NO_DROPOUT, "input_dropout": 0.0},
    "objective": {
        "target_dropout": 0.0, "masking": {"probability": 0.3, "span": 3}, **NO_PENALTY,
    },
    "optim": {"lr": 0.02}, "run": {"steps": 80},
}  # fmt: skip


def failing_config(out: Path, manifests: tuple[Path, Path], name: str, **changes: Any) -> Any:
    """The configuration of a run that fails as `name` says, or is "healthy"."""
    if name.startswith("E103"):
        silent = name == "E103"
        manifests = copies(out.parent / name, np.zeros_like(CHIRP_S) if silent else CHIRP_S)
    settings: dict[str, Any] = {
        "data": {"dev": []},
        "health": {"window": 20},
        "run": {
            "seed": 2, "steps": 100, "batch_seconds": 6, "max_seconds_per_device": 6,
            "log_steps": 5, "save_steps": 5,
        },
    }  # fmt: skip
    run = merge(settings, HEALTHY if name == "healthy" else FAILING[name])
    return pretrain_config(out, manifests, **merge(run, changes))


# A tone that rises from 200 Hz to 6.6 kHz in 1.2 seconds.
CHIRP_S = 0.3 * np.sin(
    2 * np.pi * np.cumsum(200 * 2 ** (4.2 * np.arange(int(1.2 * RATE)) / RATE)) / RATE
)


def copies(folder: Path, wave_S: np.ndarray) -> tuple[Path, Path]:
    """Manifests of eight copies of one recording."""
    utterances = []
    for number in range(8):
        path, seconds = folder / f"{number}.wav", len(wave_S) / RATE
        write_wav(path, wave_S)
        utterances.append(Utterance(id=str(number), audio=path, duration=seconds, language="xx"))
    write_manifest(folder / "all.jsonl", utterances)
    return folder / "all.jsonl", folder / "all.jsonl"
