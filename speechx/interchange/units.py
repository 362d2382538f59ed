"""Which symbol each row of a CTC head stands for, elsewhere and here.

fairseq puts the blank at row 0 and calls it `<s>`; `<pad>`, `</s>`, `<unk>` and the units follow.
Hugging Face uses the row of its padding token, usually 0. UniSpeech's JSON dictionaries have the
units first and the same four symbols after them, so the blank of n units is row n. torchaudio has
a list of labels with `-` at 0. Here the blank is row 0, unit i is row i + 1, and there is nothing
else; the space, `|` elsewhere, is a unit of a character vocabulary.

Rows are moved, never changed. Symbols that ours lacks are left out, and are said; on the way back
they get a row of zeros and a bias of -10,000, which no softmax hears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechx.errors import UserError
from speechx.models.wav2vec2 import Wav2Vec2Config
from speechx.text.vocabulary import Kind, Vocabulary
from speechx.training.checkpoint import ModelKind, SavedModel

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""As fairseq orders them."""
SPACES = ("|", "\u2581")
"""Symbols that mean a space, and units by themselves only."""
SILENT = -1e4


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file says about the rows of its head."""

    symbols: tuple[str, ...]
    blank: int
    specials: frozenset[str] = frozenset(SPECIALS)
    """Symbols that are no units."""
    space: str = "|"
    kind: Kind | None = None
    """None: characters if there is a space or every unit is one character, else phonemes."""


def from_rows(
    weights: dict[str, Tensor], rows: Rows, source: str
) -> tuple[Vocabulary, dict[str, Tensor], tuple[str, ...]]:
    """The vocabulary, the weights with their head in its order, and notes on what was done."""
    symbols, blank = rows.symbols, rows.blank
    count = weights["head.weight"].shape[0]
    if count != len(symbols):
        raise UserError(
            f"{source}: the vocabulary has {len(symbols)} symbols, but the head has {count} rows: "
            "it is the vocabulary of another model"
        )
    kept = [
        row
        for row, symbol in enumerate(symbols)
        if row != blank and symbol not in rows.specials and not symbol.startswith("madeupword")
    ]
    own = [symbols[row] for row in kept]
    if pieces := [u for u in own if len(u) > 1 and any(space in u for space in SPACES)]:
        raise UserError(
            f"{source}: {len(pieces)} units are pieces of words with their spaces "
            f"({' '.join(pieces[:5])}), which speechx does not have; expected characters or phones"
        )
    whole = rows.space in own or all(len(unit) == 1 for unit in own)
    kind = rows.kind or ("characters" if whole else "phonemes")
    if kind == "characters":
        own = [" " if unit == rows.space else unit for unit in own]
    try:
        vocabulary = Vocabulary(kind, tuple(own))
    except ValueError as error:
        raise UserError(f"{source}: vocabulary: {error}") from None
    left_out = [s for row, s in enumerate(symbols) if row != blank and row not in set(kept)]
    notes = [f"{len(own)} {kind}; the blank was row {blank} ({symbols[blank]})"]
    if left_out:
        named = " ".join(symbol or "''" for symbol in left_out)
        notes.append(f"head rows of {named} left out: here are a blank and units only")
    order = [blank, *kept]
    head = {f"head.{name}": weights[f"head.{name}"][order] for name in ("weight", "bias")}
    return vocabulary, {**weights, **head}, tuple(notes)


def to_rows(
    weights: dict[str, Tensor], vocabulary: Vocabulary, before: Sequence[str], format: str
) -> tuple[list[str], dict[str, Tensor]]:
    """All symbols in the order of the rows, and the weights with their head in that order.

    `before` are the symbols of the first rows; the first of them is the blank.
    """
    units = list(vocabulary.units)
    if vocabulary.kind == "characters" and " " in units:
        if "|" in units:
            raise UserError(f"{format} writes the space as |, which is a unit of this model too")
        units = ["|" if unit == " " else unit for unit in units]
    if taken := sorted({*units} & {*SPECIALS, *before}):
        raise UserError(f"{format} reserves {' '.join(taken)}, which are units of this model")
    matrix, bias = weights["head.weight"], weights["head.bias"]
    new = len(before) - 1
    head = {
        "head.weight": torch.cat([matrix[:1], matrix.new_zeros(new, matrix.shape[1]), matrix[1:]]),
        "head.bias": torch.cat([bias[:1], bias.new_full((new,), SILENT), bias[1:]]),
    }
    return [*before, *units], {**weights, **head}


def saved(
    folder: Path,
    config: Wav2Vec2Config,
    weights: dict[str, Tensor],
    vocabulary: Vocabulary | None,
    languages: Any,
    notes: Sequence[str],
) -> SavedModel:
    """What a reader found; a model that writes units is a CTC model."""
    kind: ModelKind = "pretraining" if vocabulary is None else "ctc"
    return SavedModel(
        folder, kind, config, weights, vocabulary, tuple(languages or ()), tuple(notes)
    )
