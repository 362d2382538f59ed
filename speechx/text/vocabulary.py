"""The units a model writes: characters or phonemes, in a list, never characters of a string.

Id 0 is the blank of CTC and belongs to no unit; unit i has id i + 1. In a character vocabulary
the space is an ordinary unit, so that any text round-trips; in a phoneme vocabulary there are no
spaces.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from speechx.errors import UserError

Kind = Literal["characters", "phonemes"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    kind: Kind
    units: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.units)) != len(self.units) or "" in self.units:
            raise ValueError("units must be distinct and not empty")

    @classmethod
    def collect(cls, kind: Kind, sequences: Iterable[Sequence[str]]) -> Vocabulary:
        """All units seen, in code point order."""
        seen = Counter(unit for sequence in sequences for unit in sequence)
        return cls(kind, tuple(sorted(seen)))

    def __len__(self) -> int:
        """Number of outputs: the units and the blank."""
        return len(self.units) + 1

    def encode(self, sequence: Sequence[str]) -> list[int]:
        """Ids of the units; an unknown one raises KeyError with its name."""
        ids = {unit: index + 1 for index, unit in enumerate(self.units)}
        return [ids[unit] for unit in sequence]

    def unknown(self, sequence: Sequence[str]) -> list[str]:
        """Units of the sequence that the vocabulary lacks, each once."""
        return sorted(set(sequence) - set(self.units))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Units of the ids; blanks are left out."""
        return [self.units[i - 1] for i in ids if i != 0]

    def join(self, units: Sequence[str]) -> str:
        """Units as text: characters side by side, phonemes with spaces."""
        return " ".join("".join(units).split()) if self.kind == "characters" else " ".join(units)

    def save(self, path: Path) -> None:
        data = {"kind": self.kind, "blank": 0, "units": list(self.units)}
        path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            kind, units = data["kind"], tuple(data["units"])
            if kind not in get_args(Kind) or not all(isinstance(unit, str) for unit in units):
                raise ValueError("needs a kind and a list of units")
            return cls(kind, units)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"vocabulary {path} cannot be read: {error}") from None
