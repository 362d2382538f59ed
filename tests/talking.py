"""Untrained models that write something, for tests of what is done with a model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import small_filterbank

LETTERS = ("a", "b", "c", "d", " ")
PHONES = ("a", "e", "i", "o", "b", "tʃ", "ɡ", "s", "y")


def talking_model(
    folder: Path,
    units: Sequence[str] = LETTERS,
    kind: Any = "characters",
    config: Any = None,
    local: bool = False,
) -> Path:
    """Writes a model folder. Its head is wide and knows no blank first, so its outputs are many.

    A `local` model has attention that adds nothing: what it hears of a frame is within half a
    second.
    """
    import torch

    from speechx.models.ctc import CTC
    from speechx.text.vocabulary import Vocabulary
    from speechx.training.checkpoint import save_model

    torch.manual_seed(3)
    config = config or small_filterbank()
    vocabulary = Vocabulary(kind, tuple(units))
    model = CTC(config, len(vocabulary))
    with torch.no_grad():
        model.head.weight.normal_()
        model.head.bias.zero_()
        for block in model.trunk.transformer.blocks if local else ():
            block.attention.out.weight.zero_()
            block.attention.out.bias.zero_()
    save_model(folder, "ctc", model, config, ["xx"], vocabulary)
    return folder
