"""The test clips of a proof, and what a model computes from them.

B = 1 utterance · S samples · T frames · D = embed_dim · V outputs of a head
· M masked frames · K negatives
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor

from speechx.interchange.vocabulary_rows import VocabularyRows
from speechx.models.folder import SavedModel


@dataclass(frozen=True, slots=True)
class TestClip:
    __test__ = False  # not for pytest

    wave_1S: Tensor
    mask_1T: Tensor
    negatives_1MK: Tensor


@dataclass(frozen=True, slots=True)
class ReferenceOutputs:
    """What a package computes from the clips; empty lists where its model has no such part."""

    by: str
    """The package and its version."""
    outputs: list[Tensor] = field(default_factory=list)
    """Of the encoder, (T, D)."""
    logits: list[Tensor] = field(default_factory=list)
    """Of the CTC head, (T, V), the rows in our order."""
    losses: list[Tensor] = field(default_factory=list)
    """Contrastive, summed over the masked frames."""


def rows_of(saved: SavedModel, find: Callable[[], VocabularyRows]) -> list[int]:
    """Which of the rows that `find` gives are ours, the blank first; none without a head."""
    if not saved.vocabularies:
        return []
    vocabulary, rows = saved.vocabularies["ctc"], find()
    tokens: Iterable[str] = vocabulary.tokens
    if vocabulary.token_type == "characters":
        tokens = [rows.space if token == " " else token for token in tokens]
    return [rows.blank, *(rows.symbols.index(token) for token in tokens)]
