"""Which words a beam search may write, each with its spellings as outputs of the model.

The words come from a lexicon, or else from the language model, whose words are spelled with the
model's tokens. Words that cannot be spelled are counted and logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from speechx.decoding.ngram import SPECIAL, NGram
from speechx.decoding.trie import UNLISTED, WordSpelling
from speechx.errors import UserError
from speechx.log import logger

SHOWN = 5  # words in a message
Lexicon = Mapping[str, Sequence[Sequence[str]]]
"""The spellings of each word, as tokens of the model: characters, or phones of pronunciations."""


def spelled_words(
    tokens: Sequence[str],
    lm: NGram | None,
    lexicon: Lexicon | None,
    hotwords: Iterable[str],
    delimiter: int,
) -> list[WordSpelling]:
    """All spellings; `lm` is a model of words. UserError if there are words and none can be
    spelled, or if a hot word cannot."""
    speller = _Speller(tokens)
    hot = dict.fromkeys(word for phrase in hotwords for word in phrase.split())
    lost: list[str] = []
    spellings: dict[str, list[tuple[int, ...]]] = {}
    if lexicon is not None:
        for word, ways in lexicon.items():
            ids = [speller.ids(way) for way in _checked(word, ways)]
            lost += [f"{word} ({' '.join(way)})" for way, i in zip(ways, ids, strict=True) if not i]
            spellings[word] = list(dict.fromkeys(i for i in ids if i))
        _report(lost, sum(map(len, spellings.values())), "spellings of the lexicon", tokens)
    elif lm is not None:
        if not delimiter:
            raise UserError(
                f"the language model is of {_few([t for t in lm.tokens if t not in SPECIAL])}, of "
                "which most are not among the tokens that may be written. Give one of these "
                "tokens; or, for one of words, a lexicon with the pronunciation of each word."
            )
        for word in lm.tokens:
            if word in SPECIAL:
                continue
            spelled = speller.split(word)
            if spelled:
                spellings[word] = [spelled]
            else:
                lost.append(word)
        _report(lost, len(spellings), "words of the language model", tokens)
    modelled = {} if lm is None else lm.id_of
    words = [
        WordSpelling(
            word,
            ids,
            modelled.get(word, UNLISTED),
            known=lm is None or word in modelled,
            hot=word in hot,
        )
        for word, several in spellings.items()
        for ids in several
    ]
    unknown = sum(lm is not None and word not in modelled for word in spellings)
    if unknown:
        logger.warning(
            f"{unknown} of the {len(spellings)} words of the lexicon are unknown to the language "
            "model"
        )
    return words + _others(
        [word for word in hot if not spellings.get(word)], speller, modelled, delimiter
    )


def _others(
    hot: Sequence[str], speller: _Speller, modelled: Mapping[str, int], delimiter: int
) -> list[WordSpelling]:
    """Hot words that no list has."""
    if hot and not delimiter:
        raise UserError(
            f"nothing says how the hot words {_few(hot)} are spelled in the tokens of the model; "
            "give a lexicon that has them"
        )
    ids = {word: speller.split(word) for word in hot}
    if wrong := [word for word in hot if not ids[word]]:
        raise UserError(
            f"the model cannot write the hot words {_few(wrong)}: they have other characters than "
            f"its tokens ({_few(speller.tokens, 60)}); do they differ in case or script?"
        )
    return [
        WordSpelling(
            word,
            ids[word],
            modelled.get(word, UNLISTED),
            known=word in modelled,
            listed=False,
            hot=True,
        )
        for word in hot
    ]


class _Speller:
    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = [token for token in tokens if not token.isspace()]
        self._ids = {token: i for i, token in enumerate(tokens, start=1) if not token.isspace()}
        self._longest = max(map(len, self.tokens), default=0)

    def ids(self, spelling: Sequence[str]) -> tuple[int, ...]:
        """The outputs of tokens; none if one is unknown."""
        found = tuple(self._ids.get(token, 0) for token in spelling)
        return found if all(found) else ()

    def split(self, word: str) -> tuple[int, ...]:
        """The outputs of a word's characters, of the longest tokens first; none if the model lacks
        one."""
        found, begin = [], 0
        while begin < len(word):
            for end in range(min(len(word), begin + self._longest), begin, -1):
                if word[begin:end] in self._ids:
                    found.append(self._ids[word[begin:end]])
                    begin = end
                    break
            else:
                return ()
        return tuple(found)


def _checked(word: str, ways: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    if isinstance(ways, str) or any(isinstance(way, str) for way in ways):
        raise UserError(
            f"the lexicon has {ways!r} for {word}; a list of spellings is expected, and each is a "
            "list of tokens"
        )
    return ways


def _report(lost: Sequence[str], kept: int, what: str, tokens: Sequence[str]) -> None:
    if not kept:
        raise UserError(
            f"none of the {len(lost)} {what} can be written with the model's tokens "
            f"({_few(tokens, 60)}): {_few(lost)}; do they differ in case or script?"
        )
    if lost:
        logger.warning(
            f"{len(lost)} of {len(lost) + kept} {what} cannot be written with the model's tokens "
            f"and are left out: {_few(lost)}"
        )


def _few(words: Sequence[str], shown: int = SHOWN) -> str:
    more = [f"and {len(words) - shown} more"] if len(words) > shown else []
    return ", ".join([*map(repr, words[:shown]), *more])
