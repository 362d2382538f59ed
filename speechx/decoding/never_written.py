"""Reference tokens that no output of a model makes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from speechx.data.labels import tokens_of
from speechx.data.utterance import Utterance
from speechx.decoding.preparation import prepare
from speechx.text.normalize import letters
from speechx.text.vocabulary import TokenType
from speechx.wording import most_frequent


@dataclass(frozen=True, slots=True)
class NeverWritten:
    """Reference tokens, after preparation, that no output of a model makes: each is an error."""

    tokens: int
    total: int
    """Reference tokens in all."""
    share: float
    counts: dict[str, int]
    """By token, the most frequent first."""

    def __str__(self) -> str:
        some = most_frequent(self.counts)
        return f"{self.tokens} of {self.total} reference tokens ({self.share:.1%}): {some}"


def never_written(
    utterances: Sequence[Utterance], outputs: Iterable[str], token_type: TokenType
) -> NeverWritten:
    """The reference tokens that a model with these outputs cannot write."""
    outputs, total = tuple(outputs), 0
    possible: dict[str, frozenset[str]] = {}
    absent: Counter[str] = Counter()
    for u in utterances:
        if u.language not in possible:
            possible[u.language] = _possible(outputs, token_type, u.language)
        reference = prepare(tokens_of(u, token_type), token_type, u.language)
        absent.update(token for token in reference if token not in possible[u.language])
        total += len(reference)
    never = absent.total()
    return NeverWritten(never, total, never / max(total, 1), dict(absent.most_common()))


def _possible(outputs: Sequence[str], token_type: TokenType, language: str) -> frozenset[str]:
    """The prepared tokens that a model with these outputs can write."""
    if token_type == "characters":
        return letters(outputs, language)
    return frozenset(prepare(outputs, token_type, language))
