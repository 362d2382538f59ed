"""From decoded tokens to words or phones with times."""

from collections.abc import Sequence

from speechx.decoding.calibration import calibrated, word_probability
from speechx.decoding.decoder import TokenSpan
from speechx.text.vocabulary import TokenType
from speechx.transcription.result import Phone, Word
from speechx.transcription.segments import Spaced, has_no_spaces

PAUSE_SECONDS = 0.3  # between words of a model without spaces


def words_of(
    spans: Sequence[TokenSpan],
    token_type: TokenType,
    second: float,
    duration: float,
    temperature: float = 1.0,
    spaced: bool = True,
) -> list[Spaced]:
    """Phones, or the words between spaces; `second` is the time of a frame, `duration` that of the
    recording. Pauses divide what a model writes that has no spaces (not `spaced`), as of Thai."""

    def times(first: TokenSpan, last: TokenSpan) -> tuple[float, float]:
        return round(first.first * second, 3), round(min((last.last + 1) * second, duration), 3)

    if token_type == "phonemes":
        return [
            Spaced(Phone(s.token, *times(s, s), round(calibrated(s.probability, temperature), 4)))
            for s in spans
        ]
    words: list[tuple[list[TokenSpan], bool]] = []
    begins, space = True, False
    for span in spans:
        if span.token.isspace():
            begins = space = True
            continue
        alone = has_no_spaces(span.token)
        if not spaced and words:
            pause = (span.first - words[-1][0][-1].last - 1) * second
            begins = begins or pause >= PAUSE_SECONDS
        if begins or alone:
            words.append(([], space))
        words[-1][0].append(span)
        begins, space = alone, False
    return [
        Spaced(
            Word(
                "".join(span.token for span in word),
                *times(word[0], word[-1]),
                round(
                    calibrated(word_probability([span.probability for span in word]), temperature),
                    4,
                ),
            ),
            space,
        )
        for word, space in words
    ]
