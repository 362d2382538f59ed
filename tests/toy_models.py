"""Untrained models that write something, for tests of what is done with a model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import small_filterbank

LETTERS = ("a", "b", "c", "d", " ")
PHONES = ("a", "e", "i", "o", "b", "tʃ", "ɡ", "s", "y")


def toy_model(
    folder: Path,
    tokens: Sequence[str] = LETTERS,
    token_type: Any = "characters",
    encoder: Any = None,
    local: bool = False,
) -> Path:
    """Writes a model folder. Its head has large weights and does not prefer the blank, so it writes
    a lot.

    A `local` model has attention that adds nothing: its output at a frame depends on half a second
    around it.
    """
    import torch

    from speechx.objectives.ctc import CTCConfig
    from speechx.objectives.model import SpeechModel
    from speechx.text.vocabulary import Vocabulary

    torch.manual_seed(3)
    vocabulary = Vocabulary(token_type, tuple(tokens))
    objective = CTCConfig(tokens=token_type)
    model = SpeechModel(encoder or small_filterbank(), {"ctc": objective}, {"ctc": vocabulary})
    with torch.no_grad():
        head = model.objectives["ctc"].head
        head.weight.normal_()
        head.bias.zero_()
        for layer in model.encoder.context.layers if local else ():
            layer.attention.out.weight.zero_()
            layer.attention.out.bias.zero_()
    model.save(folder, ["xx"])
    return folder
