"""Which words a beam search may write, each with its spellings as outputs of the model.

The words come from a lexicon, or else from the language model, whose words are spelled with the
model's tokens. Words that cannot be spelled are counted and logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from speechx.decoding.ngram import SPECIAL, Scores
from speechx.decoding.trie import UNLISTED, WordSpelling
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.ipa import normalize_ipa

SHOWN = 5  # words in a message
Lexicon = Mapping[str, Sequence[Sequence[str]]]
"""The spellings of each word, as tokens of the model: characters, or phones of pronunciations."""


def spelled_words(
    tokens: Sequence[str],
    lm: Scores | None,
    lexicon: Lexicon | None,
    hotwords: Iterable[str],
    delimiter: int,
) -> list[WordSpelling]:
    """All spellings of the words of the lexicon, or else of `lm`, a model of words, and of the hot
    words. `delimiter` is the output of the space, 0 if there is none. UserError if no word can be
    spelled, or if one of the hot words cannot."""
    speller = _Speller(tokens)
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
                "the language model is one of words, and the tokens of the model have no space; "
                "give a lexicon with the spelling or pronunciation of each word"
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
    lm_ids = {} if lm is None else lm.id_of
    hot = dict.fromkeys(
        _in_known_case(word, spellings, speller) for phrase in hotwords for word in phrase.split()
    )
    words = [
        WordSpelling(
            word,
            ids,
            lm_ids.get(word, UNLISTED),
            known=lm is None or word in lm_ids,
            hot=word in hot,
        )
        for word, several in spellings.items()
        for ids in several
    ]
    unknown = sum(lm is not None and word not in lm_ids for word in spellings)
    if unknown:
        logger.warning(
            f"{unknown} of the {len(spellings)} words of the lexicon are unknown to the language "
            "model"
        )
    return words + _hot_only(
        [word for word in hot if not spellings.get(word)], speller, lm_ids, delimiter
    )


def _in_known_case(
    word: str, spellings: Mapping[str, Sequence[tuple[int, ...]]], speller: _Speller
) -> str:
    """A hot word as the lists or the model have it: as given, in lower case or in capitals."""
    cases = tuple(dict.fromkeys((word, word.lower(), word.upper())))
    listed = (each for each in cases if spellings.get(each))
    return next(listed, next(filter(speller.split, cases), word))


def _hot_only(
    hot: Sequence[str], speller: _Speller, lm_ids: Mapping[str, int], delimiter: int
) -> list[WordSpelling]:
    """Spellings of hot words that are neither in the lexicon nor in the language model."""
    if hot and not delimiter:
        raise UserError(
            f"nothing says how the hot words {_few(hot)} are spelled in the tokens of the model; "
            "give a lexicon that has them"
        )
    ids = {word: speller.split(word) for word in hot}
    if wrong := [word for word in hot if not ids[word]]:
        raise UserError(
            f"the model cannot write the hot words {_few(wrong)}: they have other characters than "
            f"its tokens ({_few(speller.tokens, 60)})"
        )
    return [
        WordSpelling(
            word,
            ids[word],
            lm_ids.get(word, UNLISTED),
            known=word in lm_ids,
            listed=False,
            hot=True,
        )
        for word in hot
    ]


class _Speller:
    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = [token for token in tokens if not token.isspace()]
        self._ids = {token: i for i, token in enumerate(tokens, start=1) if not token.isspace()}
        self._same = {normalize_ipa(token): i for token, i in self._ids.items()}
        self._longest = max(map(len, self.tokens), default=0)

    def ids(self, spelling: Sequence[str]) -> tuple[int, ...]:
        """The outputs of tokens, for phones in any spelling of IPA; none if one is unknown."""
        found = tuple(
            self._ids.get(token) or self._same.get(normalize_ipa(token), 0) for token in spelling
        )
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
