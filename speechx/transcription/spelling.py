"""A given text as the tokens of a model: which outputs each of its words has.

Characters are prepared as for scoring (speechx.text.normalize), and so are the tokens of the model,
so case and the spelling of signs do not matter. Phones are compared in one spelling of IPA. What a
model cannot write is one token for any speech, and is counted.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from speechx.decoding.loose_alignment import FIRST_TOKEN, PAUSE, SPEECH, UNWRITTEN, ScoreColumns
from speechx.errors import UserError
from speechx.text.articulation import distance, problem_without_features
from speechx.text.ipa import normalize_ipa
from speechx.text.normalize import normalize
from speechx.text.unspaced import is_unspaced
from speechx.text.vocabulary import TokenType, Vocabulary
from speechx.wording import most_frequent, number_of

UNKNOWN_LANGUAGE = "und"
SPECIAL = re.compile(r"<.*>|\[.+\]")  # tokens such as <unk>, which spell nothing
ABOUT = 1.5 / 24  # one articulatory feature of 24


@dataclass(frozen=True, slots=True)
class SpelledWord:
    """A word of the text, and the columns of scores of its tokens."""

    text: str
    line: int
    columns: tuple[int, ...]
    phones: tuple[str, ...] = ()
    """Of a phone model: one for each column, or none if its pronunciation is not known."""

    @property
    def tokens(self) -> int:
        return sum(column != PAUSE for column in self.columns)


@dataclass(slots=True)
class Spelling:
    """A text in the tokens of a model."""

    lines: list[str]
    words: list[SpelledWord]
    columns: ScoreColumns
    has_words: bool = True
    """False if the text is phones without boundaries of words: each phone stands for itself."""
    unwritten: Counter[str] = field(default_factory=Counter)
    """Characters or phones that the model cannot write."""
    nearest: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Phones that the model lacks, and those of the model that stand for each."""

    def is_foreign(self) -> bool:
        """Whether the model can write nothing of the text."""
        return not any(column >= FIRST_TOKEN for w in self.words for column in w.columns)


def spell(
    text: str,
    vocabulary: Vocabulary,
    language: str | None = None,
    phones: bool = False,
    romanize: bool = False,
) -> Spelling:
    """The words of a text in the tokens of a vocabulary.

    A phone model needs a `language`, from which pronunciations are made, or `phones`: the text
    then is phones with spaces between, and words with `|`. `romanize` writes any script in Latin
    letters, for models of these. UserError if the model has no use for such a text.
    """
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if vocabulary.token_type == "languages":
        raise UserError(
            "This model names languages, so it has no tokens to align a text to; "
            "choose a model of characters or phones."
        )
    if vocabulary.token_type == "characters":
        if phones:
            raise UserError(
                "The text was given as phones, but this model writes characters; "
                "leave out --phones, or choose a model of phones."
            )
        spelling = _spell_characters(lines, vocabulary, language or UNKNOWN_LANGUAGE, romanize)
    elif phones:
        spelling = _spell_phones(*_given_phones(lines), lines, vocabulary)
        spelling.has_words = "|" in text
    else:
        spelling = _spell_phones(*_pronounced(lines, language), lines, vocabulary)
    return spelling


class _Outputs:
    """ScoreColumns of scores for the tokens that a text has, in the order in which it has them."""

    def __init__(self, outputs_of: Mapping[str, Sequence[int]], pauses: Sequence[int]) -> None:
        self.outputs_of, self.pauses = outputs_of, pauses
        self.longest = max(map(len, outputs_of), default=0)
        self.column_of: dict[str, int] = {}
        self.unwritten: Counter[str] = Counter()

    def column(self, key: str) -> int:
        return self.column_of.setdefault(key, FIRST_TOKEN + len(self.column_of))

    def spelled(self, word: str) -> list[int]:
        """The columns of a normalised word, by the longest tokens that fit."""
        columns: list[int] = []
        place = 0
        while place < len(word):
            ends = range(min(len(word), place + self.longest), place, -1)
            end = next((end for end in ends if word[place:end] in self.outputs_of), place + 1)
            piece = word[place:end]
            place = end
            if piece in self.outputs_of:
                columns.append(self.column(piece))
                continue
            base, *marks = list(unicodedata.normalize("NFD", piece))
            if marks and base in self.outputs_of:
                columns.append(self.column(base))
            else:
                marks = [base, *marks]
            for mark in marks:
                self._add(mark, columns)
        return columns

    def _add(self, character: str, columns: list[int]) -> None:
        if character in self.outputs_of:
            columns.append(self.column(character))
            return
        self.unwritten[character] += 1
        is_mark = columns and unicodedata.category(character)[0] == "M"
        if not is_mark and columns[-1:] != [UNWRITTEN[-1]]:
            columns += UNWRITTEN

    def columns(self) -> ScoreColumns:
        return ScoreColumns(self.pauses, [self.outputs_of[key] for key in self.column_of])


def _spell_characters(
    lines: Sequence[str], vocabulary: Vocabulary, language: str, romanize: bool
) -> Spelling:
    outputs = _Outputs(*_characters(vocabulary.tokens, language))
    words = []
    for number, line in enumerate(lines):
        written = [word for spaced in line.split() for word in _divided(spaced)]
        for word, normal in zip(written, _normalized(written, language, romanize), strict=True):
            columns: list[int] = []
            for part in normal:
                columns += [PAUSE] * bool(columns) + outputs.spelled(part)
            if columns:
                words.append(SpelledWord(word, number, tuple(columns)))
    return Spelling([*lines], words, outputs.columns(), unwritten=outputs.unwritten)


def _characters(tokens: Iterable[str], language: str) -> tuple[dict[str, list[int]], list[int]]:
    """The outputs of each normalised character, and those that are no speech."""
    outputs_of: dict[str, list[int]] = {}
    pauses = []
    for output, token in enumerate(tokens, start=1):
        key = "" if SPECIAL.fullmatch(token) else normalize(token, language)
        if not key and token.strip() and not SPECIAL.fullmatch(token):
            normal = unicodedata.normalize("NFC", token)
            inside = normalize(f"a{normal}a", language)
            is_mark = all(unicodedata.category(c)[0] == "M" for c in normal)
            key = normal if is_mark else inside[1:-1].strip()
        if key:
            outputs_of.setdefault(key, []).append(output)
        else:
            pauses.append(output)
    return outputs_of, pauses


def _divided(word: str) -> list[str]:
    """What is written between spaces: a word, or the signs of a script without spaces."""
    if word.isascii():
        return [word]
    parts: list[str] = []
    alone = True
    for character in word:
        unspaced = is_unspaced(character)
        joins = parts and not unspaced and (not alone or not character.isalnum())
        if joins:
            parts[-1] += character
        else:
            parts.append(character)
        alone = unspaced
    return parts


def _normalized(words: Sequence[str], language: str, romanize: bool) -> list[list[str]]:
    """The parts of each word after normalisation; well-known has two."""
    if romanize:
        words, language = [_romanized(word) for word in words], UNKNOWN_LANGUAGE
    each = [normalize(word, language).split() for word in words]
    whole = iter(normalize(" ".join(words), language).split())
    together = [[next(whole, "") for _ in parts] for parts in each]
    # Signs at the edges of words may be quotation marks, which only the whole line shows.
    if all(map(all, together)) and next(whole, None) is None:
        return together
    return each


@cache
def _romanized(word: str) -> str:
    return _uroman().romanize_string(word)


@cache
def _uroman():  # type: ignore[no-untyped-def]
    try:
        import uroman
    except ImportError:
        raise UserError(
            "Romanisation needs the package uroman, which is not installed: pip install "
            '"speechx[romanize]"'
        ) from None
    return uroman.Uroman()


def _given_phones(lines: Sequence[str]) -> tuple[list[tuple[str, int]], list[tuple[str, ...]]]:
    """Words with their lines, and their phones; each phone for itself if there are no words."""
    words: list[tuple[str, int]] = []
    phones: list[tuple[str, ...]] = []
    has_words = any("|" in line for line in lines)
    for number, line in enumerate(lines):
        for word in line.split("|") if has_words else line.split():
            if of_word := tuple(word.split()):
                words.append(("".join(of_word), number))
                phones.append(of_word)
    return words, phones


def _pronounced(
    lines: Sequence[str], language: str | None
) -> tuple[list[tuple[str, int]], list[tuple[str, ...]]]:
    """Words with their lines, and the phones that espeak-ng gives them; a word that it does not
    read has none."""
    if language is None:
        raise UserError(
            "This model writes phones, and the text is no phones: give its --language, so that "
            "pronunciations are made, or --phones if the text is phones with spaces between."
        )
    from speechx.text.g2p import g2p

    words = [
        (word, n) for n, line in enumerate(lines) for s in line.split() for word in _divided(s)
    ]
    spoken = [(word, n) for word, n in words if normalize(word, language)]
    result = g2p([word for word, _ in spoken], language)
    return spoken, result.phones


def _spell_phones(
    words: Sequence[tuple[str, int]],
    phones: Sequence[Sequence[str]],
    lines: Sequence[str],
    vocabulary: Vocabulary,
) -> Spelling:
    outputs_of: dict[str, list[int]] = {}
    pauses = []
    for output, token in enumerate(vocabulary.tokens, start=1):
        if token.strip(" |") and not SPECIAL.fullmatch(token):
            outputs_of.setdefault(normalize_ipa(token), []).append(output)
        else:
            pauses.append(output)
    outputs = _Outputs(outputs_of, pauses)
    phones = [[p for phone in word for p in _parts(phone, outputs_of)] for word in phones]
    missing = {normalize_ipa(p) for word in phones for p in word} - set(outputs_of)
    nearest = _nearest(sorted(missing), [*outputs_of])
    for phone, some in nearest.items():
        outputs_of[phone] = [output for other in some for output in outputs_of[other]]
    spelled = []
    for (word, line), of_word in zip(words, phones, strict=True):
        columns = []
        for phone in map(normalize_ipa, of_word):
            if phone not in outputs_of:
                outputs.unwritten[phone] += 1
            columns.append(outputs.column(phone) if phone in outputs_of else SPEECH)
        if not columns:  # a word without a known pronunciation
            outputs.unwritten[word] += 1
            columns = [*UNWRITTEN]
        spelled.append(SpelledWord(word, line, tuple(columns), tuple(of_word)))
    return Spelling(
        [*lines], spelled, outputs.columns(), unwritten=outputs.unwritten, nearest=nearest
    )


def _parts(phone: str, known: Mapping[str, object]) -> list[str]:
    """A diphthong and the like as the phones of the model, if it is made of these."""
    whole = normalize_ipa(phone)
    parts: list[str] = []
    place = 0
    while place < len(whole):
        ends = range(len(whole), place, -1)
        end = next((end for end in ends if whole[place:end] in known), None)
        if end is None:
            return [phone]
        parts.append(whole[place:end])
        place = end
    return parts if len(parts) > 1 else [phone]


def _nearest(phones: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    """The articulatory neighbours of each phone, where there are some: the nearest, and others
    that are about as near (`ɭ` differs from `r` in two features, from `ɫ` in three)."""
    found = {}
    try:
        known = [other for other in known if problem_without_features(other) is None]
        for phone in phones if known else ():
            if problem_without_features(phone) is None:
                far = {other: distance(phone, other) for other in known}
                found[phone] = [o for o in known if far[o] <= min(far.values()) + ABOUT]
    except UserError:  # PanPhon is not installed
        return {}
    return found


def describe(unwritten: Mapping[str, int], token_type: TokenType) -> str:
    """For people: what the model cannot write, with numbers."""
    what = "character" if token_type == "characters" else "phone"
    return f"{number_of(sum(unwritten.values()), what)} ({most_frequent(unwritten)})"
