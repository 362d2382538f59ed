"""When each word of a given text is spoken.

    transcript = align(model, "talk.mp3", "the words of the talk")
    for word in transcript.words:
        print(word.start, word.end, word.text, word.probability)
    print(transcript.unaligned)     # words of the text that are not in the sound

Recordings may have hours: outputs come in blocks and are aligned as they come.

    S samples · T frames · V = blank and tokens, the blank first · U tokens of the text
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from speechx.audio.files import SAMPLE_RATE, audio_info
from speechx.decoding.alignment import Alignment, align_chain, boundaries
from speechx.decoding.loose_alignment import Untranscribed, chain_of_words
from speechx.errors import UserError
from speechx.interchange.hub import published_name
from speechx.log import logger
from speechx.text.vocabulary import Vocabulary
from speechx.transcription.result import Phone, Segment, Transcript, Word
from speechx.transcription.segments import SegmentLimits, Spaced, pieces_of, text_of
from speechx.transcription.spelling import SpelledWord, Spelling, describe, spell

LIMITS = SegmentLimits()
SHOWN = 10  # words in a message
FEW = 0.5  # share of the words that should be found


class Aligning(Protocol):
    """What `align` needs of a recognizer."""

    vocabulary: Vocabulary
    features: Any
    """With `stride` and `receptive_field`, in samples, and `frames(samples)`."""
    folder: Path

    def outputs(self, audio: Any, rate: int = ..., channel: int | None = ...) -> Iterator[Any]:
        """Log-probabilities (T, V) in blocks."""
        ...


def align(
    model: Aligning,
    audio: Any,
    text: str,
    rate: int = SAMPLE_RATE,
    *,
    channel: int | None = None,
    language: str | None = None,
    phones: bool = False,
    romanize: bool = False,
    untranscribed: Untranscribed = "anywhere",
    every_word: bool = False,
    progress: Callable[[float], object] | None = None,
) -> Transcript:
    """The times of the words of a text, and of their phones if the model writes phones.

    `audio` is a file, samples (S,) at `rate` per second, or an iterator of these. Each line of the
    text is a segment; if it has one line, pauses divide it. `language` decides how the text is
    normalised, or pronounced for a phone model; with `phones` the text is phones with spaces
    between, and words with `|`. `romanize` writes the text in Latin letters first.
    `untranscribed` says where there may be speech that the text lacks. Words that are not in the
    sound get no time and are listed in `unaligned`, unless `every_word` is to have one.
    `progress` gets the seconds done. UserError if the text does not fit.
    """
    if untranscribed not in get_args(Untranscribed):
        expected = ", ".join(get_args(Untranscribed))
        raise UserError(f"untranscribed is {untranscribed!r}; expected one of {expected}")
    name = str(audio) if isinstance(audio, (str, Path)) else None
    own = getattr(model, "language", None)  # of an adapter
    language = language or own
    spelling = spell(text, model.vocabulary, language, phones, romanize)
    if not spelling.words:
        raise UserError(
            f"{name or 'audio'}: its text has no words to align: it is empty, or has only "
            "punctuation. Expected the words that are spoken in the audio."
        )
    if spelling.unwritten:
        said = describe(spelling.unwritten, model.vocabulary.token_type)
        foreign = 2 * sum(spelling.unwritten.values()) > sum(len(w.text) for w in spelling.words)
        advice = "; if the model writes Latin letters, --romanize may help" if foreign else ""
        if spelling.is_foreign():
            raise UserError(
                f"{name or 'audio'}: the model can write nothing of the text, so nothing can be "
                f"aligned: {said}. Expected a text in the language and script of the model{advice}."
            )
        logger.warning(
            f"{name or 'audio'}: {said} of the text are none of the model and are aligned to any "
            f"speech{advice}"
        )
    audio, samples = _counted(audio, rate)
    stride = model.features.stride
    frames = 0

    def scores() -> Iterator[np.ndarray]:
        nonlocal frames
        for outputs_TV in model.outputs(audio, rate, channel):
            frames += len(outputs_TV)
            yield spelling.columns.scores(outputs_TV)
            if progress is not None:
                progress(frames * stride / SAMPLE_RATE)

    chain = chain_of_words([w.columns for w in spelling.words], untranscribed, every_word)
    try:
        alignment = align_chain(chain, scores())
    except UserError as error:
        if frames:
            raise UserError(f"{name or 'audio'}: {error}") from None
        if "fit" not in str(error):
            raise
    duration = samples()
    if not frames:
        raise UserError(
            f"{name or 'audio'}: {duration:.3f} s are too short for one frame of the "
            "model, so no word has a time; expected the recording of the text."
        )
    duration = max(duration, ((frames - 1) * stride + 1) / SAMPLE_RATE)
    words, unaligned = _words(spelling, alignment, frames, stride / SAMPLE_RATE, duration)
    if not words:
        raise UserError(
            f"{name or 'audio'}: none of the {len(spelling.words)} words of the text "
            "was found in the sound. Is it the text of this recording?"
        )
    _report(name or "audio", unaligned, len(spelling.words))
    covered = ((frames - 1) * stride + model.features.receptive_field) / SAMPLE_RATE
    whole = duration - covered < stride / SAMPLE_RATE
    segments = tuple(_segments(spelling, words))
    return Transcript(
        text=" ".join(segment.text for segment in segments),
        segments=segments,
        token_type=model.vocabulary.token_type,
        audio_duration=round(duration, 3),
        covered_duration=round(duration if whole else covered, 3),
        model=published_name(model.folder),
        audio=name,
        channel=channel,
        language=own or language,
        adapter=getattr(model, "adapter", None),
        unaligned=unaligned,
    )


def _counted(audio: Any, rate: int) -> tuple[Any, Callable[[], float]]:
    """The audio to read, and its seconds, which are known when it has been read."""
    if isinstance(audio, (str, Path)):
        return audio, lambda: audio_info(audio).duration
    if isinstance(audio, np.ndarray):
        return audio, lambda: len(audio) / rate
    counts: list[int] = []

    def chunks() -> Iterable[np.ndarray]:
        for chunk_S in audio:
            counts.append(len(chunk_S))
            yield chunk_S

    return chunks(), lambda: sum(counts) / rate


def _words(
    spelling: Spelling, alignment: Alignment, frames: int, second: float, duration: float
) -> tuple[list[tuple[SpelledWord, Word]], tuple[str, ...]]:
    """The words with times, and the texts of those without."""
    times_U2 = np.minimum(boundaries(alignment.spans_U2, frames) * second, duration)
    probabilities_U = alignment.probabilities_U
    words, unaligned, token = [], [], 0
    for spelled in spelling.words:
        tokens = slice(token, token + spelled.tokens)
        token = tokens.stop
        if alignment.spans_U2[tokens.start, 0] < 0:
            unaligned.append(spelled.text)
            continue
        of_word = [
            (round(float(start), 3), round(float(end), 3), round(float(probability), 4))
            for (start, end), probability in zip(
                times_U2[tokens], probabilities_U[tokens], strict=True
            )
        ]
        phones = tuple(
            Phone(phone, *values)
            for phone, values in zip(spelled.phones, of_word, strict=bool(spelled.phones))
        )
        mean = round(float(probabilities_U[tokens].mean()), 4)
        words.append((spelled, Word(spelled.text, of_word[0][0], of_word[-1][1], mean, phones)))
    return words, tuple(unaligned)


def _segments(spelling: Spelling, words: Sequence[tuple[SpelledWord, Word]]) -> Iterator[Segment]:
    """A segment for each line with a word that was found; a text of one line is cut as transcripts
    are."""
    if len(spelling.lines) > 1:
        for line, run in groupby(words, key=lambda one: one[0].line):
            yield _segment(spelling, spelling.lines[line], [word for _, word in run])
        return
    rest = iter([word for _, word in words])
    for piece in pieces_of(_written(spelling, words), LIMITS):
        yield _segment(spelling, text_of(piece), [next(rest) for _ in piece])


def _segment(spelling: Spelling, text: str, found: Sequence[Word]) -> Segment:
    return Segment(
        text=text,
        start=found[0].start,
        end=found[-1].end,
        words=tuple(found) if spelling.has_words else (),
        phones=tuple(phone for word in found for phone in word.phones),
    )


def _written(spelling: Spelling, words: Sequence[tuple[SpelledWord, Word]]) -> list[Spaced]:
    """The words of a line as they stand in it, each with what follows it and was not found."""
    (line,) = spelling.lines
    places, place = [], 0
    times = {id(spelled) for spelled, _ in words}
    for spelled in spelling.words:
        found = re.compile("[ |]*".join(map(re.escape, spelled.text))).search(line, place)
        place, end = found.span() if found else (place, place)
        if id(spelled) in times:
            places.append(place)
        place = end
    places[0] = 0
    return [
        Spaced(replace(word, text=line[begin:end].strip()), line[begin - 1 : begin] == " ")
        for (_, word), begin, end in zip(words, places, [*places[1:], len(line)], strict=True)
    ]


def _report(name: str, unaligned: Sequence[str], total: int) -> None:
    if unaligned:
        some = " ".join(unaligned[:SHOWN]) + (" ..." if len(unaligned) > SHOWN else "")
        doubt = "; is it the text of this recording?" if len(unaligned) > FEW * total else ""
        logger.warning(
            f"{name}: {len(unaligned)} of {total} words were not found in the sound{doubt} ({some})"
        )
