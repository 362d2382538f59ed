"""Beam search with language models, lexicons and hot words, behind the protocol of all decoders.

    decoder = BeamDecoder(vocabulary.tokens, lm=NGram.load("words.safetensors"))
    decoder.decode(outputs)      # as GreedyDecoder: tokens with frames and probabilities
    decoder.search(outputs)      # the same, with words and scores

The search looks for the text with the greatest sum of natural logarithms:

    log P(text | sound)                 CTC: the sum over all alignments of the text
    + lm_weight * log P(text)           with the end of the sentence
    + word_bonus                        for each word; of a model of tokens, for each token
    + unknown_word_score                for each word that the language model does not know
    + hotword_weight                    for each hot word

The best prefixes of texts are kept from frame to frame (Hannun et al. 2014; Graves 2012, section
7.5), see `speechx.decoding.beam_search`. A prefix may end in an unfinished word of n tokens. If no
known word begins so, `unknown_part_score` * max(n / 6, 1) is added; if a hot word begins so, the
part n / (its tokens) of `hotword_weight`. pyctcdecode adds the same scores.

Ties: a prefix of the frame before comes before a longer one; of two longer ones, the one from the
better prefix comes first, then the one with the lower output.

    T frames · V = blank and tokens, the blank first · U tokens of a text
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from speechx.decoding.decoder import TokenSpan
from speechx.decoding.ngram import END, SPECIAL, UNKNOWN, NGram, Scores
from speechx.decoding.spellings import Lexicon, spelled_words
from speechx.decoding.trie import build_trie
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.ipa import normalize_ipa

SPACES = (" ", "|", "<space>", "▁")  # what models of characters call the space
MARKS = 2  # ties and stress that one spelling of a phone has and another one lacks


@dataclass(frozen=True, slots=True)
class BeamSettings:
    """Scores are natural logarithms. The defaults are those of pyctcdecode."""

    beam_size: int = 100
    """Entries that are kept in each frame: prefixes that end in a blank, or in a token."""
    lm_weight: float = 0.5
    word_bonus: float = 1.5
    """Makes up for the preference of language models for few words."""
    hotword_weight: float = 10.0
    unknown_word_score: float = -11.5
    """-inf closes the vocabulary: only hot words and words of the lexicon, or else of the language
    model, are written. It is always closed if the model has no space and the lexicon divides the
    words."""
    unknown_part_score: float = -10.0
    token_min_logp: float = -5.0
    """Tokens with a lower log-probability in a frame are not tried there, except the best one;
    -inf tries all."""
    beam_prune_logp: float = -10.0
    """Entries whose score is lower than the best one by more than this are dropped; -inf drops
    none."""

    def __post_init__(self) -> None:
        wrong = []
        if self.beam_size < 1:
            wrong.append(f"beam_size must be at least 1, not {self.beam_size}")
        for name in ("lm_weight", "hotword_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                wrong.append(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not math.isfinite(self.word_bonus):
            wrong.append(f"word_bonus must be a number, not {self.word_bonus}")
        for each in fields(self):
            low = each.name.startswith("unknown") or each.name.endswith("logp")
            if low and not getattr(self, each.name) <= 0:
                wrong.append(f"{each.name} must be 0 or less, not {getattr(self, each.name)}")
        if wrong:
            raise UserError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class WordSpans:
    """A word as the lexicon has it, and the tokens that were spoken for it."""

    word: str
    spans: tuple[TokenSpan, ...]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    spans: list[TokenSpan]
    """Spaces are tokens too; a space that follows another one is left out."""
    words: list[WordSpans]
    """Empty where nothing divides the tokens: no space among the tokens, and no lexicon."""
    score: float
    """Natural logarithm of all that the search adds up."""
    acoustic: float
    """log P(text | sound), a part of `score`."""


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """What a search reads, as arrays; the same for all settings."""

    grammar: Any
    trie: Any
    words: list[str]
    """Of each spelling in the trie."""
    delimiter: int
    has_trie: bool
    scores_words: bool


class BeamDecoder:
    """Searches with a language model, a lexicon and hot words; each may be left out.

    tokens: the tokens of the model; token i has output i + 1.
    lm: an n-gram model of words or of the model's tokens; `level_of` finds out which.
    lexicon: the words that may be written, each with its spellings; without it these are the words
    of a language model of words. The best spelling of a word counts, not the sum over all.
    hotwords: words that are more probable here than elsewhere; words of a phrase count one by one.

    UserError if tokens, language model, lexicon and hot words do not fit together.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        lm: NGram | None = None,
        lexicon: Lexicon | None = None,
        hotwords: Iterable[str] = (),
        settings: BeamSettings | None = None,
    ) -> None:
        if isinstance(hotwords, str):
            raise UserError(f"hot words are a list of words, not the text {hotwords!r}")
        self.tokens = tuple(tokens)
        self.settings = settings or BeamSettings()
        self._tables = _tables(self.tokens, lm, lexicon, hotwords)

    def with_settings(self, settings: BeamSettings) -> BeamDecoder:
        """The same decoder with other settings; shares its tables, so it is made at once."""
        other = object.__new__(BeamDecoder)
        other.tokens, other.settings, other._tables = self.tokens, settings, self._tables
        return other

    def decode(self, outputs: Sequence[np.ndarray]) -> list[list[TokenSpan]]:
        found = self.search(outputs)
        if self._tables.delimiter:
            return [each.spans for each in found]
        return [
            [
                replace(span, word=each.word) if i == 0 else span
                for each in hypothesis.words
                for i, span in enumerate(each.spans)
            ]
            if hypothesis.words
            else hypothesis.spans
            for hypothesis in found
        ]

    def search(self, outputs: Sequence[np.ndarray]) -> list[Hypothesis]:
        """The best text of each utterance, from its log-probabilities (T, V). Utterances are
        searched side by side, by as many threads as torch has."""
        import torch

        for outputs_TV in outputs:
            self._check(outputs_TV)
        threads = min(torch.get_num_threads(), len(outputs))
        if threads < 2:
            return [self._search(outputs_TV) for outputs_TV in outputs]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self._search, outputs))

    def _check(self, outputs_TV: np.ndarray) -> None:
        expected = len(self.tokens) + 1
        if outputs_TV.ndim != 2 or outputs_TV.shape[1] != expected:
            raise ValueError(
                f"log-probabilities of shape (frames, {expected}) were expected, for the blank and "
                f"{expected - 1} tokens, not {outputs_TV.shape}"
            )
        if np.isnan(outputs_TV).any():
            raise UserError("the model's outputs are not numbers (NaN); its weights are damaged")

    def _search(self, outputs_TV: np.ndarray) -> Hypothesis:
        from speechx.decoding import beam_search

        tables, given = self._tables, self.settings
        log_TV = np.ascontiguousarray(outputs_TV, np.float32)
        weights = beam_search.Weights(
            beam_size=int(given.beam_size),
            lm=float(given.lm_weight),
            bonus=float(given.word_bonus),
            hot=float(given.hotword_weight),
            unknown_word=float(given.unknown_word_score),
            unknown_part=float(given.unknown_part_score),
            token_min=float(given.token_min_logp),
            beam_prune=float(given.beam_prune_logp),
            delimiter=tables.delimiter,
            has_trie=tables.has_trie,
            scores_words=tables.scores_words,
        )
        found = beam_search.search(log_TV, tables.grammar, tables.trie, weights)
        spans = spans_of(self.tokens, log_TV, found.ids_U)
        words = [*found.word_U.tolist(), found.last]
        return Hypothesis(spans, self._words(spans, words), found.score, found.acoustic)

    def _words(self, spans: Sequence[TokenSpan], ends: Sequence[int]) -> list[WordSpans]:
        """`ends` is the spelling that each token completes, and the one that the end completes."""
        tables = self._tables
        if not (tables.delimiter or tables.has_trie):
            return []
        words, begin = [], 0
        for u, end in enumerate(ends):
            behind = u < len(spans) and not (tables.delimiter or end < 0)
            divides = u == len(spans) or behind or _is_space(spans[u].token)
            if not divides:
                continue
            own = tuple(spans[begin : u + 1 if behind else u])
            if own:
                word = tables.words[end] if end >= 0 else "".join(span.token for span in own)
                words.append(WordSpans(word, own))
            begin = u + 1
        return words


def spans_of(tokens: Sequence[str], log_TV: np.ndarray, ids_U: np.ndarray) -> list[TokenSpan]:
    """The tokens of a text with their frames in its best alignment; for the text that greedy search
    finds, these are the frames and probabilities of `GreedyDecoder`."""
    from speechx.decoding import beam_search

    first_U, last_U = beam_search.align(log_TV, ids_U).T.tolist()
    return [
        TokenSpan(
            token=tokens[token - 1],
            first=first,
            last=last,
            probability=float(np.exp(log_TV[first : last + 1, token]).mean()),
        )
        for token, first, last in zip(ids_U.tolist(), first_U, last_U, strict=True)
    ]


def level_of(lm: Scores, tokens: Sequence[str]) -> Literal["tokens", "words"]:
    """Whether a language model is one of tokens of the model, by the majority of what it lists."""
    listed = [token for token in lm.tokens if token not in SPECIAL]
    known = {*map(normalize_ipa, tokens), *(SPACES if any(map(_is_space, tokens)) else ())}
    longest = MARKS + max(map(len, tokens), default=0)
    own = sum(
        token in known or (len(token) <= longest and normalize_ipa(token) in known)
        for token in listed
    )
    return "tokens" if 2 * own > len(listed) else "words"


def _tables(
    tokens: Sequence[str], lm: NGram | None, lexicon: Lexicon | None, hotwords: Iterable[str]
) -> _Tables:
    from speechx.decoding import beam_search

    level, lm_id_V = beam_search.NO_LM, np.zeros(1, np.int32)
    if lm is not None:
        of_tokens = level_of(lm, tokens) == "tokens"
        level = beam_search.OF_TOKENS if of_tokens else beam_search.OF_WORDS
        if of_tokens:
            lm_id_V = lm_ids(lm, tokens)
    delimiter = next((i for i, token in enumerate(tokens, start=1) if _is_space(token)), 0)
    of_words = lm if level == beam_search.OF_WORDS else None
    spellings = spelled_words(tokens, of_words, lexicon, hotwords, delimiter)
    trie, spellings = build_trie(spellings)
    empty = np.zeros(2, np.int64)
    some = {name: getattr(lm, name, empty[:1]) for name in ("token_A", "score_A", "target_A")}
    some |= {name: getattr(lm, name, empty[:1]) for name in ("backoff_S", "fallback_S")}
    floats = ("score_A", "backoff_S")
    arrays = {
        name: np.require(array, np.float32 if name in floats else np.int32, ["C", "W"])
        for name, array in some.items()
    }
    grammar = beam_search.Grammar(
        first_S=np.require(getattr(lm, "first_S", empty), np.int64, ["C", "W"]),
        **arrays,
        lm_id_V=lm_id_V,
        start=0 if lm is None else int(lm.start),
        end=0 if lm is None else lm.id_of[END],
        unknown=0 if lm is None else lm.id_of[UNKNOWN],
        level=level,
    )
    return _Tables(
        grammar=grammar,
        trie=trie,
        words=[each.word for each in spellings],
        delimiter=delimiter,
        has_trie=bool(spellings),
        scores_words=any(each.listed for each in spellings),
    )


def lm_ids(lm: Scores, tokens: Sequence[str]) -> np.ndarray:
    """(V,): the id of each output in the language model, for phones in any spelling of IPA; <unk>
    for tokens that it does not list."""
    same = {normalize_ipa(token): token for token in lm.tokens if token not in SPECIAL}
    ids = [lm.id_of[UNKNOWN]] * (len(tokens) + 1)
    missing = []
    for i, token in enumerate(tokens, start=1):
        names = SPACES if _is_space(token) else (token, same.get(normalize_ipa(token), token))
        name = next((name for name in names if name in lm.id_of), None)
        if name is None:
            missing.append(token)
        else:
            ids[i] = lm.id_of[name]
    if missing:
        logger.warning(
            f"{len(missing)} of {len(tokens)} tokens of the model are unknown to the language "
            f"model: {' '.join(map(repr, missing))}"
        )
    return np.array(ids, np.int32)


def _is_space(token: str) -> bool:
    return token.isspace()
