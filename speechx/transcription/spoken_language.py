"""Which language is spoken? A recording is then read in that language.

    model = speechx.load("runs/many/best", language="auto")
    print(model.transcribe("talk.mp3").language)

The model folder needs an objective `language_id`. The first 30 seconds of a recording decide. Then
the adapter for that language reads it, or, in a folder without adapters, the head that reads all
languages.

    S samples · T = 1 answer · V = blank and languages
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.folder import SavedModel
from speechx.text.language_choice import choose, listed
from speechx.transcription.recording import Recording
from speechx.transcription.result import Transcript

DECIDING_SECONDS = 30.0
Stream = Iterator[tuple[Recording, Transcript | UserError]]


@dataclass(slots=True)
class SpokenLanguage:
    """Finds the language of each recording, and reads it with what was opened for the language."""

    folder: str
    """Of the model, for messages."""
    tokens: Sequence[str]
    """The languages of the head that identifies them."""
    adapters: Sequence[str]
    """Languages with an adapter; empty if one head reads all languages."""
    answer: Callable[[np.ndarray], np.ndarray]
    """Log-probabilities (T, V) of the languages for samples (S,)."""
    open: Callable[[str], Any]
    """The recognizer for a language."""
    _last: tuple[str, Any] | None = field(default=None, init=False)

    def stream(
        self,
        recordings: Iterable[Recording],
        progress: Callable[[float], object] | None = None,
        **settings: Any,
    ) -> Stream:
        """As `Recognizer.stream`, which gets `settings`; neighbours in one language are computed
        together."""
        done = 0.0

        def report(seconds: float) -> None:
            if progress is not None:
                progress(done + seconds)

        for language, group in groupby(map(self._tried, recordings), key=lambda each: each[1]):
            members = (recording for recording, _ in group)
            if isinstance(language, UserError):
                yield from ((recording, language) for recording in members)
                continue
            seconds = 0.0
            reader = self._reader(language)
            for recording, result in reader.stream(members, progress=report, **settings):
                if isinstance(result, Transcript):
                    seconds += result.audio_duration
                    result = replace(result, language=language)
                yield recording, result
            done += seconds

    def identify(self, recording: Recording) -> str:
        """The language of a recording, under its name in the model folder. UserError if the
        recording is too short, or the folder has no adapter for its language."""
        name = recording.path or "the recording"
        pieces, samples = [], 0
        for wave_S in recording.blocks():
            pieces.append(wave_S)
            samples += len(wave_S)
            if samples >= DECIDING_SECONDS * SAMPLE_RATE:
                break
        wave_S = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        outputs_TV = self.answer(wave_S[: int(DECIDING_SECONDS * SAMPLE_RATE)])
        best = int(outputs_TV[0].argmax()) if len(outputs_TV) else 0
        if best == 0:  # the blank: no frame to judge by
            raise UserError(f"{name} is too short to identify its language: give language instead")
        language, share = self.tokens[best - 1], float(np.exp(outputs_TV[0, best]))
        logger.info(f"{name}: the language is {language} with probability {share:.2f}")
        if not self.adapters:
            return language
        try:
            return choose(language, self.adapters, self.folder)
        except UserError as error:
            raise UserError(f"{name} is in {language}, but {error}") from None

    def _tried(self, recording: Recording) -> tuple[Recording, str | UserError]:
        try:
            return recording, self.identify(recording)
        except UserError as error:
            return recording, error

    def _reader(self, language: str) -> Any:
        """Only the last one is kept: an encoder may take gigabytes."""
        if self._last is None or self._last[0] != language:
            self._last = None
            self._last = language, self.open(language)
        return self._last[1]


def heads_for_auto(saved: SavedModel, head: str | None = None) -> tuple[str, str | None]:
    """The head that identifies languages, and the one that writes; None where adapters do.

    `head` chooses the second. UserError if the model has no such heads.
    """
    identifies, source = saved.of_kind("language_id"), saved.folder
    if identifies is None:
        known = saved.adapters or saved.languages
        some = f": {listed(known)}" if known else ""
        raise UserError(
            f"{source} cannot identify languages: language=auto needs a folder with an objective "
            f"language_id; give the language instead{some}"
        )
    writers = [name for name in saved.vocabularies if name != identifies]
    if head is not None and head not in writers:
        raise UserError(f"{source} has no head {head!r} that writes; it has {', '.join(writers)}")
    if head is not None or not saved.adapters:
        if not writers:
            raise UserError(
                f"{source} identifies languages, but writes none: leave language=auto out, or give "
                "a folder with adapters or a CTC head"
            )
        return identifies, head or writers[0]
    return identifies, None
