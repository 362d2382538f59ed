"""Which symbol each row of a CTC head stands for, elsewhere and here.

fairseq puts the blank at row 0 and calls it `<s>`; `<pad>`, `</s>`, `<unk>` and the tokens follow.
Hugging Face uses the row of its padding token, usually 0. UniSpeech's JSON dictionaries have the
tokens first and the same four symbols after them, so the blank of n tokens is row n. torchaudio has
a list of labels with `-` at 0. Here the blank is row 0, token i is row i + 1, and there is nothing
else; the space, `|` elsewhere, is a token of a character vocabulary. A head with rows for both `|`
and the space itself keeps both: the second is a token that is another space of Unicode, and texts
have one space for either.

Rows are moved, never changed. Symbols that ours lacks are left out, with a note; on the way back
they get a row of zeros and a bias of -10,000, so their probability is 0.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechx.errors import UserError
from speechx.interchange.names import HEAD
from speechx.text.vocabulary import TokenType, Vocabulary

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""As fairseq orders them."""
SPACES = ("|", "\u2581")
"""Symbols that mean a space, and are tokens only by themselves."""
OTHER_SPACES = "\u2002\u2003\u2004"
SILENT = -1e4


@dataclass(frozen=True, slots=True)
class VocabularyRows:
    """The rows of a head, as its file describes them."""

    symbols: tuple[str, ...]
    blank: int
    specials: frozenset[str] = frozenset(SPECIALS)
    """Symbols that are no tokens."""
    space: str | None = "|"
    token_type: TokenType | None = None
    """None: characters if there is a space or every token is one character, else phonemes."""
    lower: bool = False
    """Whether texts have the symbols in lower case."""

    def tokens(self, token_type: TokenType) -> list[str]:
        """What each row is in a text."""
        tokens = [s.lower() if self.lower and s not in self.specials else s for s in self.symbols]
        if token_type != "characters" or self.space is None:
            return tokens
        other = next((each for each in OTHER_SPACES if each not in tokens), " ")
        if self.space in self.symbols and self.space != " ":
            tokens = [other if token == " " else token for token in tokens]
        pairs = zip(self.symbols, tokens, strict=True)
        return [" " if symbol == self.space else token for symbol, token in pairs]


def second_space(tokens: Collection[str]) -> str | None:
    """The token of a vocabulary that is a space too, if it has the space and another one."""
    return next((each for each in OTHER_SPACES if each in tokens and " " in tokens), None)


def from_rows(
    weights: dict[str, Tensor], rows: VocabularyRows, source: str
) -> tuple[Vocabulary, dict[str, Tensor], tuple[str, ...]]:
    """The vocabulary, the weights with the head in its order, and notes on what was done."""
    symbols, blank = rows.symbols, rows.blank
    count = weights[f"{HEAD}.weight"].shape[0]
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
    given = [symbols[row] for row in kept]
    if pieces := [t for t in given if len(t) > 1 and any(space in t for space in SPACES)]:
        raise UserError(
            f"{source}: {len(pieces)} tokens are pieces of words with their spaces "
            f"({' '.join(pieces[:5])}), which speechx does not have; expected characters or phones"
        )
    written = {rows.space, " "} & {*given} or all(len(token) == 1 for token in given)
    token_type = rows.token_type or ("characters" if written else "phonemes")
    all_tokens = rows.tokens(token_type)
    tokens = [all_tokens[row] for row in kept]
    if twice := [token for token, times in Counter(tokens).items() if times > 1]:
        named = [symbols[row] for row in kept if all_tokens[row] in twice]
        raise UserError(
            f"{source}: vocabulary: tokens must be distinct in a text, but {' '.join(named)} are "
            f"written as {' '.join(twice)}"
        )
    try:
        vocabulary = Vocabulary(token_type, tuple(tokens))
    except ValueError as error:
        raise UserError(f"{source}: vocabulary: {error}") from None
    left_out = dict.fromkeys(s or "''" for r, s in enumerate(symbols) if r not in {blank, *kept})
    notes = [f"{len(tokens)} {token_type}; the blank was row {blank} ({symbols[blank]})"]
    if left_out:
        notes.append(
            f"head rows of {' '.join(left_out)} left out: a head here has a blank and tokens only"
        )
    if token_type == "characters" and second_space(tokens) is not None:
        notes.append(f"the symbols {rows.space} and ' ' are both the space")
    order = [blank, *kept]
    head = {f"{HEAD}.{name}": weights[f"{HEAD}.{name}"][order] for name in ("weight", "bias")}
    return vocabulary, {**weights, **head}, tuple(notes)


def to_rows(
    weights: dict[str, Tensor], vocabulary: Vocabulary, before: Sequence[str], format: str
) -> tuple[list[str], dict[str, Tensor]]:
    """All symbols in the order of the rows, and the weights with the head in that order.

    `before` are the symbols of the first rows; the first of them is the blank.
    """
    tokens = list(vocabulary.tokens)
    if vocabulary.token_type == "characters" and " " in tokens:
        if "|" in tokens:
            raise UserError(f"{format} writes the space as |, which is a token of this model too")
        tokens = ["|" if token == " " else token for token in tokens]
    if taken := sorted({*tokens} & {*SPECIALS, *before}):
        raise UserError(f"{format} reserves {' '.join(taken)}, which are tokens of this model")
    matrix, bias = weights[f"{HEAD}.weight"], weights[f"{HEAD}.bias"]
    new = len(before) - 1
    zeros, silent = matrix.new_zeros(new, matrix.shape[1]), bias.new_full((new,), SILENT)
    head = {
        f"{HEAD}.weight": torch.cat([matrix[:1], zeros, matrix[1:]]),
        f"{HEAD}.bias": torch.cat([bias[:1], silent, bias[1:]]),
    }
    return [*before, *tokens], {**weights, **head}
