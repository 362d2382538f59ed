"""When each word of a given text is spoken.

    transcript = align(model, "talk.mp3", "the words of the talk")
    for word in transcript.words:
        print(word.start, word.end, word.text, word.probability)
    print(transcript.unaligned)     # words of the text that are not in the sound

Recordings may have hours: outputs come in blocks and are aligned as they come.

    S samples · T frames · V = blank and tokens, the blank first · U tokens of the text
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Protocol, get_args

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.decoding.alignment import LOST, Alignment, align_chain
from speechx.decoding.loose_alignment import FIRST_TOKEN, PAUSE, Untranscribed, chain_of_words
from speechx.decoding.sound_model import SoundModel
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.unspaced import is_unspaced
from speechx.transcription.build_transcript import Model, build_transcript
from speechx.transcription.recording import Audio, Recording, what_is_cut
from speechx.transcription.result import Phone, Segment, Transcript, Word
from speechx.transcription.segments import SegmentLimits, Spaced, segments_of
from speechx.transcription.spelling import SpelledWord, Spelling, describe, spell
from speechx.transcription.token_times import times_of
from speechx.wording import number_of

LIMITS = SegmentLimits()
SHOWN = 10  # words in a message
FEW = 0.5  # share of the words that should be found


class AligningModel(Model, Protocol):
    """The attributes of a recognizer that `align` needs."""

    sounds: SoundModel | None
    """How the tokens sound; None if that was not learned."""
    replaced_phones: set[str]
    """Phones that the model lacks, and whose nearest phones have been logged."""

    def outputs(self, audio: Audio) -> Iterator[np.ndarray]:
        """Log-probabilities (T, V) in blocks."""
        ...


def align(
    model: AligningModel,
    audio: Audio,
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
    text is a segment; one line is divided like a transcript. `language`, by default that of the
    model, decides how the text is normalised, or pronounced for a phone model; with `phones` the
    text is phones with spaces between, and words with `|`. `romanize` writes the text in Latin
    letters first. `untranscribed` is where there may be speech that the text lacks. Words that
    are not in the sound get no time and are listed in `unaligned`, unless `every_word` is set.
    `progress` gets the seconds done. UserError if the text does not fit.
    """
    if untranscribed not in get_args(Untranscribed):
        expected = ", ".join(get_args(Untranscribed))
        raise UserError(f"untranscribed is {untranscribed!r}; expected one of {expected}")
    language = language or model.language
    spelling = spell(text, model.vocabulary, language, phones, romanize)
    _report_nearest(spelling, model.replaced_phones)
    recording, counted = _counted(Recording.of(audio, rate, channel))
    name = recording.path or "audio"
    if not spelling.words:
        raise UserError(
            f"{name}: its text has no words to align: it is empty, or has only punctuation. "
            "Expected the words that are spoken in the recording."
        )
    if spelling.unwritten:
        unwritten = describe(spelling.unwritten, model.vocabulary.token_type)
        foreign = 2 * sum(spelling.unwritten.values()) > sum(len(w.text) for w in spelling.words)
        advice = ""
        if foreign and model.vocabulary.token_type == "characters":
            advice = "; if the model writes Latin letters, --romanize may help"
        if spelling.is_foreign():
            raise UserError(
                f"{name}: the model can write nothing of the text, so nothing can be aligned: "
                f"{unwritten}. Expected a text in the language and script of the model{advice}."
            )
        logger.warning(
            f"{name}: the text has {unwritten} that the model cannot write; any speech fits there"
            f"{advice}"
        )
    stride = model.features.stride
    frames = 0

    def scores() -> Iterator[np.ndarray]:
        nonlocal frames
        for outputs_TV in model.outputs(recording):
            frames += len(outputs_TV)
            yield spelling.columns.scores(outputs_TV)
            if progress is not None:
                progress(frames * stride / SAMPLE_RATE)

    chain = chain_of_words([w.columns for w in spelling.words], untranscribed, every_word)
    try:
        alignment = align_chain(chain, scores())
    except UserError as error:
        if str(error) != LOST:
            raise
        if frames:
            raise UserError(f"{name}: {error}") from None
    samples = counted()
    duration = samples / SAMPLE_RATE
    if not frames:
        raise UserError(
            f"{name}: {duration:.3f} s are too short for one frame of the "
            "model, so no word has a time; expected the recording of the text."
        )
    times_U2 = times_of(
        recording.blocks, _sounding(spelling), alignment.spans_U2, frames, stride / SAMPLE_RATE,
        model.sounds, _beginning(spelling),
    )  # fmt: skip
    words, unaligned = _words(spelling, alignment, np.minimum(times_U2, duration))
    if not words:
        raise UserError(
            f"{name}: no word of the text was found in the sound. Is it the text of this recording?"
        )
    _report(name, unaligned, len(spelling.words))
    segments = tuple(_segments(spelling, words))
    if message := what_is_cut(audio):
        logger.warning(message)
    return build_transcript(
        model, recording, samples, " ".join(segment.text for segment in segments), segments,
        model.language if model.adapter else language, unaligned=unaligned,
    )  # fmt: skip


def _report_nearest(spelling: Spelling, known: set[str]) -> None:
    """Logs the nearest phones of phones that the model lacks, once for each phone."""
    new = {phone: some for phone, some in spelling.nearest.items() if phone not in known}
    if new:
        known.update(new)
        pairs = ", ".join(f"{phone} as {' or '.join(some)}" for phone, some in new.items())
        logger.info(f"phones that the model lacks are aligned as its nearest ones: {pairs}")


def _counted(recording: Recording) -> tuple[Recording, Callable[[], int]]:
    """The recording, and a function for its number of samples after it has been read to its end."""
    samples = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal samples
        samples = 0  # it may be read twice
        for block_S in recording.blocks():
            samples += len(block_S)
            yield block_S

    return replace(recording, blocks=blocks), lambda: samples


def _sounding(spelling: Spelling) -> np.ndarray:
    """The outputs (U,) of the tokens, 0 for those that the model cannot write."""
    columns_U = [c for word in spelling.words for c in word.columns if c != PAUSE]
    outputs = spelling.columns.tokens
    return np.array(
        [outputs[c - FIRST_TOKEN][0] if c >= FIRST_TOKEN else 0 for c in columns_U], int
    )


def _beginning(spelling: Spelling) -> np.ndarray:
    """(U,) booleans: the first token of every word, and of the parts of a word."""
    columns = [column for word in spelling.words for column in (PAUSE, *word.columns)]
    return np.array([a == PAUSE for a, b in pairwise(columns) if b != PAUSE], bool)


def _words(
    spelling: Spelling, alignment: Alignment, times_U2: np.ndarray
) -> tuple[list[tuple[SpelledWord, Word]], tuple[str, ...]]:
    """The words with times, and the texts of those without."""
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
    """One for each line with a word that was found; one line is divided as a transcript is."""
    segments: Sequence[Segment]
    if len(spelling.lines) > 1:
        segments = [
            _segment(spelling.lines[line], [word for _, word in run])
            for line, run in groupby(words, lambda pair: pair[0].line)
        ]
    else:
        segments = segments_of(_spaced([word for _, word in words]), LIMITS)
        if len(segments) == 1:
            segments = [replace(segments[0], text=spelling.lines[0])]
    for segment in segments:
        yield replace(
            segment,
            words=segment.words if spelling.has_words else (),
            phones=tuple(phone for word in segment.words for phone in word.phones),
        )


def _segment(text: str, words: Sequence[Word]) -> Segment:
    return Segment(text, words[0].start, words[-1].end, tuple(words))


def _spaced(words: Sequence[Word]) -> list[Spaced]:
    """Words with a space before each, but for signs of a script without spaces."""
    ends = [" ", *(word.text[-1] for word in words)]
    return [
        Spaced(word, not (is_unspaced(end) or is_unspaced(word.text)))
        for end, word in zip(ends, words, strict=False)
    ]


def _report(name: str, unaligned: Sequence[str], total: int) -> None:
    if unaligned:
        some = " ".join(unaligned[:SHOWN]) + (" ..." if len(unaligned) > SHOWN else "")
        doubt = "; is it the text of this recording?" if len(unaligned) > FEW * total else ""
        logger.warning(
            f"{name}: {len(unaligned)} of {number_of(total, 'word')} not found in the sound{doubt} "
            f"({some})"
        )
