"""A model that identifies the language of a recording, and then transcribes it in that language.

    model = speechx.load("runs/many/best", language="auto")
    print(model.transcribe("talk.mp3").language)

The model folder needs an objective `language_id`. The first 30 seconds of a recording decide. Then
the adapter for that language reads it, or, in a folder without adapters, the head that reads all
languages.

    S samples · T = 1 answer · V = blank and languages
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechx.audio.files import SAMPLE_RATE
from speechx.decoding.mapping import Mapping
from speechx.errors import UserError
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.log import logger
from speechx.models.compute import prepare_for_inference
from speechx.models.folder import SavedModel
from speechx.objectives.model import SpeechModel
from speechx.text.inventory import Inventory
from speechx.text.language_choice import choose, listed
from speechx.transcription.decoders import Decoding, saved_decoding
from speechx.transcription.recognizer import UNUSED, Progress, Recognizer, recognizer
from speechx.transcription.recording import Audio, Recording, what_is_cut
from speechx.transcription.result import Transcript
from speechx.transcription.token_times import load_times

DECIDING_SECONDS = 30.0
Choose = Callable[[Decoding], Decoding]


class SpokenLanguage(Recognizer):
    """A recognizer whose own head identifies languages; another one, for the language, writes."""

    def __init__(
        self,
        model: SpeechModel,
        name: str,
        saved: SavedModel,
        device: torch.device,
        reader: str,
        compute_type: str = "float32",
    ) -> None:
        """`name` is the head that identifies languages, `reader` the one that writes where there
        are no adapters, in `compute_type`."""
        super().__init__(model, name, saved.folder, device)
        self.compute_type = compute_type
        self.adapters, self.reader = saved.adapters, reader
        self.kept = saved.decoding
        self._choose: Choose | None = None
        self._open: tuple[str, Recognizer] | None = None

    def decode_with(self, decoding: Decoding) -> None:
        """Chooses how the readers of all languages decode."""
        super().decode_with(decoding)
        self._choose, self._open = lambda _: decoding, None

    def choose_decoding(self, choose: Choose) -> None:
        """As `decode_with`, from how the reader of each language decodes by itself."""
        choose(Decoding())  # what is wrong with the settings is wrong for all
        self._choose, self._open = choose, None

    def read_mapping(self, path: Path | str, inventory: Inventory | None = None) -> Mapping:
        raise UserError(
            f"{path}: a mapping is from the phones that a model writes in one language: name the "
            "language instead of auto"
        )

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
        outputs_TV = self.log_probabilities(wave_S[: int(DECIDING_SECONDS * SAMPLE_RATE)])
        if not len(outputs_TV) or samples < self.features.receptive_field:
            raise UserError(f"{name} is too short to identify its language: give language instead")
        best = int(outputs_TV[0].argmax())
        language = self.vocabulary.tokens[best - 1]
        share = float(np.exp(outputs_TV[0, best]))
        logger.info(f"{name}: the language is {language} with probability {share:.2f}")
        if not self.adapters:
            return language
        try:
            return choose(language, self.adapters, str(self.folder))
        except UserError as error:
            raise UserError(f"{name} is in {language}, but {error}") from None

    def stream(
        self, recordings: Iterable[Recording], *, progress: Progress | None = None, **settings: Any
    ) -> Iterator[tuple[Recording, Transcript | UserError]]:
        """As `Recognizer.stream`; neighbours in one language are computed together."""
        done = 0.0

        def report(seconds: float) -> None:
            if progress is not None:
                progress(done + seconds)

        for language, group in groupby(map(self._tried, recordings), key=lambda each: each[1]):
            members = (recording for recording, _ in group)
            if isinstance(language, UserError):
                yield from ((recording, language) for recording in members)
                continue
            try:
                reader = self._recognizer(language)
                if not settings.get("inventory"):
                    _ = reader.decoder  # a language model may not fit the tokens of this language
            except UserError as error:
                yield from ((recording, error) for recording in members)
                continue
            read = reader.stream(members, progress=report, **settings)
            seconds = 0.0
            for recording, result in read:
                if isinstance(result, Transcript):
                    seconds += result.audio_duration
                yield recording, result
            done += seconds

    def align(
        self, audio: Audio, text: str, rate: int = SAMPLE_RATE, **settings: Any
    ) -> Transcript:
        """As `Recognizer.align`, in the language of the recording."""
        recording = Recording.of(audio, rate, settings.pop("channel", None))
        transcript = self.reader_of(recording).align(recording, text, **settings)
        if message := what_is_cut(audio):
            logger.warning(message)
        return transcript

    def reader_of(self, recording: Recording) -> Recognizer:
        """What reads the language of a recording."""
        return self._recognizer(self.identify(recording))

    def _tried(self, recording: Recording) -> tuple[Recording, str | UserError]:
        try:
            return recording, self.identify(recording)
        except UserError as error:
            return recording, error

    def _recognizer(self, language: str) -> Recognizer:
        """What reads this language. Only the last one is kept: an encoder may take gigabytes."""
        if self._open is None or self._open[0] != language:
            self._open = None
            if self.adapters:
                saved = in_language(open_model(self.folder, UNUSED), language)
                opened = recognizer(saved, self.folder, str(self.device))
                opened.compute_with(compute_type=self.compute_type)
            else:
                opened = Recognizer(self.model, self.reader, self.folder, self.device, language)
                opened.sounds = load_times(self.folder, self.reader)
                kept = self.kept.get(self.reader)
                opened.decode_with(saved_decoding(self.folder, self.reader, kept))
            if self._choose is not None:
                opened.choose_decoding(self._choose)
            opened.batch_size = self.batch_size
            self._open = language, opened
        return self._open[1]


def by_spoken_language(
    saved: SavedModel,
    source: Path,
    device: str = "auto",
    head: str | None = None,
    compute_type: str = "float32",
) -> SpokenLanguage:
    """A recognizer for `language="auto"`; `head` chooses what writes, in a folder without
    adapters."""
    identifies = saved.of_kind("language_id")
    if identifies is None:
        known = saved.adapters or saved.languages
        some = f" ({listed(known)})" if known else ""
        raise UserError(
            f"{source} cannot identify languages: language=auto needs a folder with an objective "
            f"language_id; give the language instead{some}"
        )
    writers = [name for name in saved.vocabularies if name != identifies]
    if head is not None and head not in writers:
        raise UserError(f"{source} has no head {head!r} that writes; it has {', '.join(writers)}")
    if not (writers or saved.adapters):
        raise UserError(
            f"{source} identifies languages, but writes none of them: leave language=auto out, or "
            "give a folder with adapters or a CTC head"
        )
    opened = recognizer(saved, source, device, identifies)
    reader = head or (writers[0] if writers else "")
    adapters = () if head is not None else saved.adapters
    prepare_for_inference(opened.model, compute_type)
    return SpokenLanguage(
        opened.model, identifies, replace(saved, adapters=adapters), opened.device, reader,
        compute_type,
    )  # fmt: skip
