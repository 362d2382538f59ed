"""What a proof asks of a model, and what the model answers.

B = 1 utterance · S samples · T frames · D width · V outputs of a head · M masked · K negatives
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from speechx.interchange.units import Rows
from speechx.training.checkpoint import SavedModel


@dataclass(frozen=True, slots=True)
class Clip:
    wave_1S: Tensor
    mask_1T: Tensor
    negatives_1MK: Tensor


@dataclass(frozen=True, slots=True)
class Answers:
    """What a package makes of the clips; empty lists where its model has no such part."""

    by: str
    outputs: list[Tensor] = field(default_factory=list)
    """Of the trunk, (T, D)."""
    logits: list[Tensor] = field(default_factory=list)
    """Of the CTC head, (T, V), the rows in our order."""
    losses: list[Tensor] = field(default_factory=list)
    """Contrastive, summed over the masked frames."""


def part_of(saved: SavedModel) -> str:
    """What the model has beyond its trunk: head, quantizer, or nothing (trunk)."""
    parts = {name.split(".")[0] for name in saved.weights}
    return next((part for part in ("head", "quantizer") if part in parts), "trunk")


def rows_of(saved: SavedModel, rows: Rows) -> list[int]:
    """Which of their rows are ours, the blank first."""
    assert saved.vocabulary is not None
    units: Iterable[str] = saved.vocabulary.units
    if saved.vocabulary.kind == "characters":
        units = [rows.space if unit == " " else unit for unit in units]
    return [rows.blank, *(rows.symbols.index(unit) for unit in units)]
