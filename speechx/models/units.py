"""Discrete units of speech: every frame of a layer gets the number of its nearest centre of k-means
(HuBERT, Hsu et al. 2021, section II.A).

    codebook = UnitCodebook.load("runs/units")
    units_T = codebook.assign(features_TD)
    units, durations = runs_of(units_T)        # without repeats, and how many frames each lasts

The centres are a folder: `centres.safetensors`, and `config.yaml`, which names the encoder and the
layer that they belong to.

    T frames · D = embed_dim · K units · R runs of equal units
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from speechx.config import config, dump, parse, read_yaml, require_not_negative, require_positive
from speechx.errors import UserError
from speechx.whole_file import whole_folder

FOLDER = "codebook"  # in a folder of units
CENTRES, CONFIG = "centres.safetensors", "config.yaml"
AT_ONCE = 1 << 22  # distances that are in memory


@config
class UnitConfig:
    """Where the centres come from."""

    model: str
    """Name of the model, for people."""
    encoder: str
    """Fingerprint of its encoder."""
    layer: int
    convention: Literal["hugging_face", "fairseq", "before_residual"]
    """What a layer is (transcription/layers.py)."""
    num_units: int
    dim: int
    seed: int
    fitted_frames: int
    """Frames that k-means saw."""

    def __post_init__(self) -> None:
        require_positive(self, "num_units", "dim")
        require_not_negative(self, "layer", "seed", "fitted_frames")


@dataclass(frozen=True, slots=True)
class UnitCodebook:
    config: UnitConfig
    centres_KD: np.ndarray
    """float32."""

    @property
    def mark(self) -> str:
        """16 digits of the SHA-256 of the centres."""
        return hashlib.sha256(self.centres_KD.tobytes()).hexdigest()[:16]

    @classmethod
    def load(cls, folder: Path | str) -> "UnitCodebook":
        """Reads the folder of a codebook, or a folder of units that has one."""
        place = Path(folder)
        place = place / FOLDER if (place / FOLDER).is_dir() else place
        if not all((place / name).is_file() for name in (CENTRES, CONFIG)):
            raise UserError(
                f"{folder} has no codebook of units: expected a folder that `speechx features "
                f"--units K` wrote, with {FOLDER}/{CENTRES}"
            )
        about = parse(UnitConfig, read_yaml(place / CONFIG), str(place / CONFIG))
        try:
            centres_KD = load_file(place / CENTRES).get("centres")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{place / CENTRES} cannot be read: {error}") from None
        expected = about.num_units, about.dim
        if centres_KD is None or centres_KD.shape != expected:
            raise UserError(f"{place / CENTRES} does not hold `centres` of shape {expected}")
        return cls(about, centres_KD.astype(np.float32))

    def save(self, folder: Path) -> None:
        """Writes the folder, which appears whole or not at all."""
        with whole_folder(folder) as new:
            save_file({"centres": np.ascontiguousarray(self.centres_KD)}, new / CENTRES)
            (new / CONFIG).write_text(dump(self.config), encoding="utf-8")

    def assign(self, features_TD: np.ndarray) -> np.ndarray:
        """(T,) the nearest centre of each frame, from 0 on; of two as near the first."""
        mean_D = self.centres_KD.mean(0)  # without it, a common offset would take the precision
        centred_KD = self.centres_KD - mean_D
        half_K = np.square(centred_KD).sum(1) / 2
        units_T = np.empty(len(features_TD), np.int64)
        size = max(1, AT_ONCE // len(half_K))
        for begin in range(0, len(features_TD), size):
            some_TD = features_TD[begin : begin + size] - mean_D
            units_T[begin : begin + size] = (some_TD @ centred_KD.T - half_K).argmax(1)
        return units_T


def runs_of(units_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The units without repeats (R,), and the frames that each lasts (R,)."""
    if not len(units_T):
        return units_T, np.zeros(0, np.int64)
    begin_R = np.flatnonzero(np.concatenate(([True], units_T[1:] != units_T[:-1])))
    return units_T[begin_R], np.diff(begin_R, append=len(units_T))
