"""Which decoder a model uses: greedy, our beam search, or pyctcdecode.

    model = speechx.load("runs/mine/best")
    model.decode_with(Decoding(lm=read_ngram("lm.arpa"), hotwords=("Tallinn",)))

A model folder may keep a language model for a head, with the settings that `speechx lm tune` chose:
`lm_ctc.safetensors`, and `decoding` in its config.yaml. It is used by default.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from speechx.decoding.beam import BeamDecoder, BeamSettings, Lexicon
from speechx.decoding.decoder import Decoder, GreedyDecoder
from speechx.decoding.ngram import NGram
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.folder import lm_file
from speechx.text.g2p import g2p
from speechx.text.normalize import normalize
from speechx.text.pronunciations import count_phones, is_lexicon, pronunciations
from speechx.text.user_files import read_lines

SHOWN = 5  # words in a message
Backend = Literal["greedy", "beam", "pyctcdecode"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen. Without a backend, beam search if anything else is given, else greedy.

    lm: of words, or of the tokens that are written. lexicon: the words that may be written, with
    their spellings in tokens; the result then has these words. hotwords: words that are more
    probable here than elsewhere.
    """

    lm: NGram | None = None
    lexicon: Lexicon | None = None
    hotwords: tuple[str, ...] = ()
    settings: BeamSettings | None = None
    backend: Backend | None = None

    def __post_init__(self) -> None:
        if self.backend not in (None, *get_args(Backend)):
            raise UserError(
                f"a decoder is {', '.join(get_args(Backend))}; there is no {self.backend!r}"
            )
        if self.backend == "greedy" and self.searches:
            raise UserError(
                "greedy decoding uses no language model, lexicon, hot words or beam: leave them "
                "out, or decode by beam"
            )
        if self.backend == "pyctcdecode" and self.lexicon is not None:
            raise UserError("pyctcdecode has no lexicon of pronunciations: decode by beam")

    @property
    def searches(self) -> bool:
        """Whether anything is given that only a search uses."""
        given = (self.lm, self.lexicon, self.hotwords or None, self.settings)
        return any(each is not None for each in given)

    @property
    def used(self) -> BeamSettings:
        """The settings. With a lexicon no other words are written, and by default the beam is wide,
        for in a word that was not recognised well there are phones of low probability."""
        if self.lexicon is None:
            return self.settings or BeamSettings()
        given, default = self.settings or BeamSettings(word_bonus=0.0), BeamSettings()
        token_min, prune = given.token_min_logp, given.beam_prune_logp
        return replace(
            given,
            unknown_word_score=-math.inf,
            unknown_part_score=-math.inf,
            token_min_logp=-30.0 if token_min == default.token_min_logp else token_min,
            beam_prune_logp=-100.0 if prune == default.beam_prune_logp else prune,
        )

    def decoder(self, tokens: Sequence[str]) -> Decoder:
        """The decoder of a model with these tokens; token i has output i + 1."""
        if self.backend == "pyctcdecode":
            from speechx.decoding.pyctcdecode_search import PyctcdecodeDecoder

            return PyctcdecodeDecoder(tokens, self.lm, self.hotwords, self.used)
        if self.searches or self.backend == "beam":
            return BeamDecoder(tokens, self.lm, self.lexicon, self.hotwords, self.used)
        return GreedyDecoder(tokens)

    def with_weights(self, **weights: Any) -> "Decoding":
        """The same with other settings, named as in `BeamSettings`; None leaves one as it is."""
        given = {name: value for name, value in weights.items() if value is not None}
        if not given:
            return self
        if "lm_weight" in given and self.lm is None:
            raise UserError("a weight of the language model was given, and no language model")
        if "hotword_weight" in given and not self.hotwords:
            raise UserError("a weight of hot words was given, and no hot words")
        return replace(self, settings=replace(self.used, **given))


def read_lexicon(
    path: Path, language: str | None = None, token_type: str = "phonemes"
) -> dict[str, list[tuple[str, ...]]]:
    """The words of a lexicon (`speechx.text.pronunciations`) with their phones; or the words of an
    ordinary text, whose phones G2P finds for the language. For a model of characters they are
    spelled as they are written."""
    lines = read_lines(path, "the lexicon", "a word, a tab and phones in each line")
    if is_lexicon(lines):
        count_phones(path, lines)  # logs what is strange
        return pronunciations(lines)
    if token_type == "characters":
        written = [word for line in lines for word in normalize(line, language or "und").split()]
        return {word: [tuple(word)] for word in written}
    if language is None or language == "und":
        raise UserError(
            f"{path} has no pronunciations: a word, a tab and phones were expected in each line. "
            "For ordinary text, name the language, so that espeak-ng reads the words."
        )
    words = list(dict.fromkeys(w for line in lines for w in normalize(line, language).split()))
    read = g2p(words, language)
    unread = [word for word, phones in zip(words, read.phones, strict=True) if not phones]
    if len(unread) == len(words):
        raise UserError(f"{path}: espeak-ng reads none of its words in {language}")
    if unread:
        logger.info(
            f"{path}: {len(unread)} of {len(words)} words have no phones and are never written: "
            f"{' '.join(unread[:SHOWN])}{' ...' * (len(unread) > SHOWN)}"
        )
    return {word: [phones] for word, phones in zip(words, read.phones, strict=True) if phones}


def read_hotwords(
    given: str, tokens: Sequence[str] = (), words: Container[str] = (), language: str | None = None
) -> tuple[str, ...]:
    """Words with commas between, or the lines of a file. With the tokens of a model, words that are
    neither made of them nor among `words` are normalised as references are (lower case), which is
    logged."""
    path = Path(given)
    if path.suffix == ".txt" or path.is_file():
        phrases = read_lines(path, "the hot words", "a word in each line")
    else:
        phrases = given.split(",")
    phrases = [phrase.strip() for phrase in phrases if phrase.strip()]
    if not phrases:
        raise UserError("there are no hot words: give words with commas between, or a file of them")

    def as_written(phrase: str) -> str:
        known = all(word in words or set(word) <= set(tokens) for word in phrase.split())
        return phrase if known or not tokens else normalize(phrase, language or "und") or phrase

    found = list(map(as_written, phrases))
    if changed := [new for new, old in zip(found, phrases, strict=True) if new != old]:
        logger.info(f"hot words as references are written: {', '.join(changed[:SHOWN])}")
    return tuple(dict.fromkeys(found))


def kept_decoding(folder: Path, head: str, settings: Any) -> Decoding:
    """The language model that a model folder keeps for a head, with its settings; else greedy."""
    file = lm_file(folder, head)
    if settings is None or not file.is_file():
        return Decoding()
    try:
        return Decoding(lm=NGram.load(file), settings=BeamSettings(**settings))
    except TypeError as error:
        raise UserError(f"{folder / 'config.yaml'}: decoding of {head}: {error}") from None
