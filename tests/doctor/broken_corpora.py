"""Recordings and manifests with one problem each, and a good corpus to compare them with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechx.data.manifest import Utterance, write_manifest
from speechx.doctor.diagnosis import Diagnosis
from speechx.doctor.examination import DoctorOptions, examine

RATE = 16_000
WORDS = ("buenos", "días", "amigo", "casa", "verde", "camino", "pan", "noche", "largo", "río")


def speech(seconds: float = 2.0, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise modulated like syllables, in the whole band: the doctor finds nothing wrong."""
    random = np.random.default_rng(seed)
    time_S = np.arange(round(seconds * rate)) / rate
    swell_S = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time_S)
    return (0.05 * swell_S * random.standard_normal(len(time_S))).astype(np.float32)


def sentence(seed: int) -> str:
    """About 28 letters, different for each seed."""
    random = np.random.default_rng([7, seed])
    return (
        " ".join(random.choice(WORDS, 5)) + " " + " ".join("abcdefghij"[int(d)] for d in str(seed))
    )


def clip(
    folder: Path, id: str, wave_S: np.ndarray | None = None, rate: int = RATE, **changes: Any
) -> Utterance:
    """An audio file and its utterance, which is correct but for `changes`."""
    seed = sum(map(ord, id))
    wave_S = speech(seed=seed, rate=rate) if wave_S is None else wave_S
    path = folder / f"{id}.wav"
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave_S, rate)
    values: dict[str, Any] = {
        "id": id, "audio": path, "duration": len(wave_S) / rate, "language": "es",
        "text": sentence(seed), "speaker": id,
    }  # fmt: skip
    return Utterance(**values | changes)


def sound_corpus(folder: Path, count: int = 60) -> list[Utterance]:
    """Utterances without problems, enough for a median pace."""
    some = [clip(folder / "clips", f"good{i}", speech(seed=1000 + i)) for i in range(count)]
    return [replace(u, text=sentence(i)) for i, u in enumerate(some)]


def examined(folder: Path, **splits: Any) -> Diagnosis:
    """The diagnosis of `train=[...], test=[...]`; other arguments are options."""
    options = {
        name: splits.pop(name) for name in list(splits) if not isinstance(splits[name], list)
    }
    out, processes = options.pop("out", None), options.pop("processes", 1)
    for split, utterances in splits.items():
        write_manifest(folder / f"{split}.jsonl", utterances)
    return examine([folder], out, DoctorOptions(**{"decode": "all"} | options), processes)


def problems(paths: list[Path], decode: bool = False) -> list[str]:
    """As `speechx data validate` prints them."""
    return examine(paths, options=DoctorOptions(decode="all" if decode else "none")).problems()


def found(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """Checks, and the subjects of their cases."""
    return {check.name: [c.subject for c in cases] for check, cases in diagnosis.by_check.items()}
