"""From decoded tokens to words or phones with times.

U tokens
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from speechx.decoding.calibration import calibrated, word_probability
from speechx.decoding.decoder import TokenSpan
from speechx.text.unspaced import is_unspaced
from speechx.text.vocabulary import TokenType
from speechx.transcription.result import Phone, Word
from speechx.transcription.segments import SegmentLimits, Spaced, pieces_of

LIMITS = SegmentLimits()
PAUSE_SECONDS = 0.3  # between words of a model without spaces


def words_of(
    spans: Sequence[TokenSpan],
    times_U2: np.ndarray,
    token_type: TokenType,
    temperature: float = 1.0,
    spaced: bool = True,
    limits: SegmentLimits = LIMITS,
) -> list[Spaced]:
    """Phones, or the words between spaces, of U tokens; `times_U2` is where each begins and ends,
    in seconds. Pauses divide the text of a model without spaces (not `spaced`), as of Thai; and a
    stretch of it that is longer than a segment may be is divided as a segment would be."""

    def times(first: int, last: int) -> tuple[float, float]:
        return round(float(times_U2[first, 0]), 3), round(float(times_U2[last, 1]), 3)

    if any(span.word is not None for span in spans):
        return _by_lexicon(spans, times, temperature)
    if token_type == "phonemes":
        return [
            Spaced(Phone(s.token, *times(u, u), round(calibrated(s.probability, temperature), 4)))
            for u, s in enumerate(spans)
        ]
    words: list[tuple[list[int], bool]] = []
    begins, space = True, False
    for u, span in enumerate(spans):
        if span.token.isspace():
            begins = space = True
            continue
        alone = is_unspaced(span.token)
        if not spaced and words:
            begins = begins or times_U2[u, 0] - times_U2[u - 1, 1] >= PAUSE_SECONDS
        if begins or alone:
            words.append(([], space))
        words[-1][0].append(u)
        begins, space = alone, False
    if not spaced:
        words = [
            (piece, space and piece[0] == word[0])
            for word, space in words
            for piece in _short(word, spans, times_U2, limits)
        ]
    return [
        Spaced(
            Word(
                "".join(spans[u].token for u in word),
                *times(word[0], word[-1]),
                round(
                    calibrated(word_probability([spans[u].probability for u in word]), temperature),
                    4,
                ),
            ),
            space,
        )
        for word, space in words
    ]


def _by_lexicon(
    spans: Sequence[TokenSpan],
    times: Callable[[int, int], tuple[float, float]],
    temperature: float,
) -> list[Spaced]:
    """Words, each with the phones that were spoken for it."""
    begins = [u for u, span in enumerate(spans) if span.word is not None]
    words = []
    for first, end in zip(begins, [*begins[1:], len(spans)], strict=True):
        phones = tuple(
            Phone(span.token, *times(u, u), round(calibrated(span.probability, temperature), 4))
            for u, span in enumerate(spans[first:end], start=first)
        )
        probability = word_probability([span.probability for span in spans[first:end]])
        words.append(
            Word(
                spans[first].word or "",
                *times(first, end - 1),
                round(calibrated(probability, temperature), 4),
                phones,
            )
        )
    return [Spaced(word) for word in words]


def _short(
    word: Sequence[int], spans: Sequence[TokenSpan], times_U2: np.ndarray, limits: SegmentLimits
) -> Iterator[list[int]]:
    """A word in pieces, each no longer than a segment."""
    tokens = [
        Spaced(Word(spans[u].token, float(start), float(end), spans[u].probability), space=False)
        for u, (start, end) in zip(word, times_U2[list(word)], strict=True)
    ]
    begin = 0
    for piece in pieces_of(tokens, replace(limits, max_words_per_line=None)):
        yield [*word[begin : begin + len(piece)]]
        begin += len(piece)
