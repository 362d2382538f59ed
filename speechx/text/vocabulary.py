"""Vocabularies: the tokens that a model outputs (characters, phonemes or languages).

Token i has id i + 1. Id 0 belongs to no token: it is the blank of CTC, and padding. In a character
vocabulary the space is a token, so that text comes back unchanged; a phoneme vocabulary has no
spaces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from speechx.errors import UserError

TokenType = Literal["characters", "phonemes", "languages"]
BLANK = 0
_OF_LANGUAGE = re.compile(r"^\([^()]+\)(?=.)")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    token_type: TokenType
    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.tokens)) != len(self.tokens) or "" in self.tokens:
            raise ValueError("tokens must be distinct and not empty")

    @classmethod
    def collect(cls, token_type: TokenType, sequences: Iterable[Sequence[str]]) -> Vocabulary:
        """All tokens of the sequences, in code point order."""
        return cls(token_type, tuple(sorted({t for sequence in sequences for t in sequence})))

    def __len__(self) -> int:
        """Number of ids: the tokens and the blank."""
        return len(self.tokens) + 1

    def encode(self, sequence: Sequence[str]) -> list[int]:
        """Ids of the tokens; an unknown token raises KeyError with its name."""
        ids = {token: index + 1 for index, token in enumerate(self.tokens)}
        return [ids[token] for token in sequence]

    @property
    def written(self) -> tuple[str, ...]:
        """The tokens as they are written: without the language of `of_language`."""
        return tuple(_OF_LANGUAGE.sub("", token, count=1) for token in self.tokens)

    @property
    def has_languages(self) -> bool:
        """Whether tokens are those of one language each."""
        return self.written != self.tokens

    def unknown(self, sequence: Sequence[str]) -> list[str]:
        """Distinct tokens of the sequence that the vocabulary lacks."""
        return sorted(set(sequence) - set(self.tokens))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of the ids, without blanks."""
        return [self.tokens[i - 1] for i in ids if i != BLANK]

    def join(self, tokens: Sequence[str]) -> str:
        """Tokens as text: characters side by side, others with spaces."""
        if self.token_type == "characters":
            return " ".join("".join(tokens).split())
        return " ".join(tokens)

    def to_dict(self) -> dict[str, Any]:
        return {"token_type": self.token_type, "blank": BLANK, "tokens": list(self.tokens)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Vocabulary:
        """The inverse of `to_dict`; KeyError, TypeError or ValueError for other data."""
        token_type, tokens = data["token_type"], tuple(data["tokens"])
        if token_type not in get_args(TokenType) or not all(isinstance(t, str) for t in tokens):
            raise ValueError("needs a token_type and a list of tokens")
        return cls(token_type, tokens)


def of_language(tokens: Iterable[str], language: str) -> list[str]:
    """The tokens of one language, as in `(es)a`, which no other language shares."""
    return [f"({language}){token}" for token in tokens]


def save_vocabularies(path: Path, vocabularies: Mapping[str, Vocabulary]) -> None:
    """Writes the vocabulary of each head, by name, as JSON."""
    data = {name: vocabulary.to_dict() for name, vocabulary in vocabularies.items()}
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def load_vocabularies(path: Path) -> dict[str, Vocabulary]:
    """Reads a file of `save_vocabularies`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {name: Vocabulary.from_dict(each) for name, each in data.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"vocabulary {path} cannot be read: {error}") from None
