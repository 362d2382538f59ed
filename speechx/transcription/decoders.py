"""Which decoder a model uses: greedy, beam search, or pyctcdecode.

    model = speechx.load("runs/mine/best")
    model.decode_with(Decoding(lm=read_ngram("lm.arpa"), hotwords=("Tallinn",)))

A model folder may keep a language model for a head, with the settings that `speechx lm tune` chose:
`lm_ctc.safetensors`, and `decoding` in its config.yaml. It is used by default, but not for phones
of other languages.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from speechx.decoding.beam import BeamDecoder, BeamSettings, Lexicon
from speechx.decoding.decoder import Decoder, GreedyDecoder
from speechx.decoding.kenlm_file import KenlmModel
from speechx.decoding.ngram import NGram
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.folder import lm_file
from speechx.text.g2p import g2p
from speechx.text.normalize import normalize
from speechx.text.pronunciations import count_phones, is_lexicon, pronunciations, seems_lexicon
from speechx.text.user_files import read_lines

SHOWN = 5  # words in a message
LISTS = (".txt", ".tsv", ".csv", ".lst")  # what a word does not end in
Backend = Literal["greedy", "beam", "pyctcdecode"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How outputs become text. `backend` is by default `beam` if anything else is given, else
    `greedy`.

    lm: an n-gram model of words or of the model's tokens; pyctcdecode also takes a binary file of
    KenLM. lexicon: the only words that are written, each with its spellings or pronunciations in
    tokens. hotwords: words to prefer, such as names. UserError for combinations that a backend does
    not have.
    """

    lm: NGram | KenlmModel | None = None
    lexicon: Lexicon | None = None
    hotwords: tuple[str, ...] = ()
    settings: BeamSettings | None = None
    backend: Backend | None = None
    kept: bool = False
    """Whether the language model is the one of the model folder, of the model's own tokens."""

    def __post_init__(self) -> None:
        if self.backend not in (None, *get_args(Backend)):
            raise UserError(
                f"there is no decoder {self.backend!r}; expected {', '.join(get_args(Backend))}"
            )
        if self.backend == "greedy" and self.searches:
            raise UserError(
                "greedy decoding uses no language model, lexicon, hot words or beam settings: "
                "leave them out, or choose the decoder beam"
            )
        if self.backend == "pyctcdecode" and self.lexicon is not None:
            raise UserError("pyctcdecode has no lexicons: leave it out, or choose the decoder beam")
        if self.backend != "pyctcdecode" and isinstance(self.lm, KenlmModel):
            raise UserError(
                f"{self.lm.path}: only the decoder pyctcdecode takes a binary file of KenLM; for "
                "the decoder beam read it with `read_ngram`"
            )

    @property
    def searches(self) -> bool:
        """Whether anything is given that only beam search uses."""
        given = (self.lm, self.lexicon, self.hotwords or None, self.settings)
        return any(each is not None for each in given)

    @property
    def search_settings(self) -> BeamSettings:
        """The settings that are given, else the defaults. With a lexicon no other words are
        written, and the beam is wide unless the settings say otherwise, because some phones of a
        known word may have low probabilities."""
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

            return PyctcdecodeDecoder(tokens, self.lm, self.hotwords, self.search_settings)
        if self.searches or self.backend == "beam":
            assert not isinstance(self.lm, KenlmModel)
            return BeamDecoder(tokens, self.lm, self.lexicon, self.hotwords, self.search_settings)
        return GreedyDecoder(tokens)

    def for_inventory(self) -> "Decoding":
        """The same for phones of another language, of which the model folder's language model knows
        nothing."""
        return replace(self, lm=None, settings=None, kept=False) if self.kept else self

    def with_settings(self, **settings: Any) -> "Decoding":
        """The same with other settings, named as in `BeamSettings`; None leaves one as it is."""
        given = {name: value for name, value in settings.items() if value is not None}
        if not given:
            return self
        return replace(self, settings=replace(self.search_settings, **given))


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
    table = "its name ends in .csv" if path.suffix.lower() == ".csv" else None
    if problem := table or seems_lexicon(lines):
        raise UserError(
            f"{path} is neither a lexicon nor ordinary text: {problem}. Expected a word, a tab and "
            "phones with spaces between in each line, or sentences or words of the language."
        )
    if token_type == "characters":
        written = [word for line in lines for word in normalize(line, language or "und").split()]
        return {word: [tuple(word)] for word in written}
    if language is None or language == "und":
        raise UserError(
            f"{path} has no pronunciations: a word, a tab and phones were expected in each line. "
            "For ordinary text, name the language, so that espeak-ng reads the words."
        )
    words = list(dict.fromkeys(w for line in lines for w in normalize(line, language).split()))
    if not words:
        raise UserError(f"{path} has no words; words of the language were expected")
    logger.info(
        f"{path} is read as text in {language}, with {len(words)} words: no tabs divide words from "
        "pronunciations"
    )
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


def read_hotwords(given: str) -> tuple[str, ...]:
    """Words with commas between, or the lines of a file."""
    path = Path(given)
    if path.is_file():
        words = read_lines(path, "the hot words", "a word in each line")
    elif path.suffix.lower() in LISTS:
        raise UserError(f"{given}: there is no such file of hot words")
    else:
        words = given.split(",")
    found = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
    if not found:
        raise UserError("there are no hot words: give words with commas between, or a file of them")
    return found


def saved_decoding(folder: Path, head: str, settings: Any) -> Decoding:
    """Beam search with the language model and the settings that a model folder keeps for a head;
    greedy decoding if it keeps none."""
    file = lm_file(folder, head)
    if settings is None or not file.is_file():
        return Decoding()
    try:
        return Decoding(lm=NGram.load(file), settings=BeamSettings(**settings), kept=True)
    except TypeError as error:
        raise UserError(f"{folder / 'config.yaml'}: decoding of {head}: {error}") from None
