"""The one place that runs a trained model: for validation, evaluation, transcription and phones.

    model = speechx.load("runs/mine/best")
    print(model.transcribe("talk.mp3").text)
    for transcript in model.transcribe(["a.wav", "b.wav"]):
        transcript.save(Path(transcript.audio).with_suffix(".srt"))

A long recording is read, computed and decoded in windows (windows.py), so memory does not grow with
its length. A head that gives one answer for a recording, such as language identification, gives
the mean over windows. Times come from the exact frame arithmetic of the encoder. Outputs are
computed in float32: the same model and manifest give the same numbers everywhere.

    B utterances · S samples · T frames · U tokens · V = blank and tokens, the blank first
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE
from speechx.data.batches import Batch, Batches
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance
from speechx.data.sampling import Plan, Row, every_row, once, padded_batches
from speechx.decoding.decoder import Decoder, MappedDecoder, TokenSpan
from speechx.decoding.mapping import Mapping, map_inventory
from speechx.decoding.sound_model import SoundModel
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.adapter_files import head_of
from speechx.models.compute import prepare_for_inference
from speechx.models.folder import SavedModel, is_model_folder
from speechx.objectives.articulatory import Articulatory
from speechx.objectives.model import SpeechModel
from speechx.text.inventory import Inventory
from speechx.text.vocabulary import TokenType
from speechx.training.distributed import pick_device
from speechx.transcription.aligner import align as align_text
from speechx.transcription.build_transcript import build_transcript
from speechx.transcription.decoders import Decoding, saved_decoding
from speechx.transcription.feature_model import FeatureModel, load_encoder
from speechx.transcription.inventory_source import inventory_of, inventory_of_mapping
from speechx.transcription.outputs import Part, outputs_of
from speechx.transcription.recording import Audio, Recording, what_is_cut
from speechx.transcription.result import Transcript
from speechx.transcription.segments import SegmentLimits, segments_of, text_of
from speechx.transcription.token_times import load_times, times_of
from speechx.transcription.windows import WINDOW_SECONDS, Pauses
from speechx.transcription.words import words_of

BATCH_SECONDS = 60.0  # of utterances that are decoded at once, by default
PART_SECONDS = 30.0  # of outputs that are decoded at once, at least
UNUSED = ("mask_embedding",)  # parts that decoding does not need
LIMITS = SegmentLimits()
Progress = Callable[[float], object]
"""Gets the seconds of sound that are done."""


def read_batch(
    reader: Batches, plan: Plan, failed: dict[int, str] | None
) -> Iterator[tuple[Sequence[Row], Batch]]:
    """The batch of a plan. If some of its utterances cannot be read and there is room for them in
    `failed`, the others follow one by one."""
    try:
        whole = reader[plan]
    except UserError:
        if failed is None:
            raise
    else:
        yield plan.rows, whole
        return
    for row in plan.rows:
        try:
            alone = reader[replace(plan, rows=(row,))]
        except UserError as error:
            failed[row.utterances[0]] = str(error)
            continue
        yield [row], alone


class Recognizer:
    """A model with a head, ready to decode."""

    def __init__(
        self,
        model: SpeechModel,
        name: str,
        folder: Path,
        device: torch.device,
        language: str | None = None,
        adapter: str | None = None,
    ) -> None:
        """`name` is the head that is read out; `folder`, `language` and `adapter` stand in
        results."""
        self.language, self.adapter = language, adapter
        self.sounds: SoundModel | None = None
        """How the tokens sound, for their times."""
        self.model, self.head, self.folder = model, model.heads[name], folder
        self.saved_head = name
        """Name of the head in the files of the folder, with the language of an adapter."""
        self.vocabulary, self.device = self.head.vocabulary, device
        self.features = self.head.grid(model.encoder.config.features)
        """Which samples its frames see, and how far they are apart."""
        self.decode_with(Decoding())
        self.batch_size = 1 if device.type == "cpu" else 16
        """Windows that are computed at once."""
        self.batch_seconds = BATCH_SECONDS
        """Of utterances that are decoded at once."""
        self.compute_type = "float32"
        self.replaced_phones: set[str] = set()
        self.inventory: Inventory | None = None
        """Where its phones come from, if `for_inventory` made it."""
        self._mappings: dict[Inventory, Mapping] = {}
        self._composed: dict[Inventory, Recognizer] = {}

    @property
    def made(self) -> float:
        """When the newest file of the model was written, in seconds of the clock."""
        files = self.folder.iterdir() if self.folder.is_dir() else iter((self.folder,))
        return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)

    @property
    def encoder(self) -> FeatureModel:
        """Reads the layers of the same model: `model.encoder.features("talk.wav", layer=6)`."""

        def mark() -> str:
            return load_encoder(self.folder, "cpu", self.language if self.adapter else None).mark

        return FeatureModel(
            self.model.encoder, self.device, str(self.folder), mark, self.batch_size
        )

    def compute_with(
        self,
        batch_size: int | None = None,
        threads: int | None = None,
        compute_type: str | None = None,
    ) -> None:
        """Sets the number of windows that are computed at once, and the threads of the whole
        process. A compute type is set once: after that the model cannot be trained or saved."""
        for name, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and number < 1:
                raise UserError(f"{name} must be at least 1, not {number}")
        if batch_size is not None:
            self.batch_size, self.batch_seconds = batch_size, batch_size * WINDOW_SECONDS
        if threads is not None:
            torch.set_num_threads(threads)
        if compute_type is not None:
            prepare_for_inference(self.model, compute_type)
            self.compute_type = compute_type

    def decode_with(self, decoding: Decoding) -> None:
        """Chooses how the tokens of the model, and the phones of inventories, are decoded."""
        self.decoding = decoding
        self._decoder: Decoder | None = None

    def choose_decoding(self, choose: Callable[[Decoding], Decoding]) -> None:
        """As `decode_with`, from how the model decodes now."""
        self.decode_with(choose(self.decoding))

    @property
    def decoder(self) -> Decoder:
        """Decodes what the model writes."""
        if self._decoder is None:
            if self.decoding.searches or self.decoding.backend not in (None, "greedy"):
                self.require_one_inventory("use beam search")
            self._decoder = self.decoding.decoder(self.vocabulary.written)
        return self._decoder

    def mapped_decoder(self, mapping: Mapping) -> Decoder:
        """Decodes the phones of another language."""
        return MappedDecoder(mapping, self.decoding.for_inventory().decoder(mapping.target))

    @overload
    def transcribe(  # type: ignore[overload-overlap]
        self, audio: list[Any] | tuple[Any, ...], rate: int = ..., *, channel: int | None = ...,
        limits: SegmentLimits = ..., progress: Progress | None = ...,
    ) -> list[Transcript]: ...  # fmt: skip

    @overload
    def transcribe(
        self, audio: Audio, rate: int = ..., *, channel: int | None = ...,
        limits: SegmentLimits = ..., progress: Progress | None = ...,
    ) -> Transcript: ...  # fmt: skip

    def transcribe(
        self,
        audio: Audio | Sequence[Audio],
        rate: int = SAMPLE_RATE,
        *,
        channel: int | None = None,
        limits: SegmentLimits = LIMITS,
        progress: Progress | None = None,
    ) -> Transcript | list[Transcript]:
        """The transcript of a file, of samples (S,) at `rate` per second, or of an iterator of
        such samples; a list or tuple of these gives a list, and is faster than one by one.

        `channel` selects a channel of files, counted from 0; None takes their mean. `limits` are
        the sizes of segments, `progress` gets the seconds done. A UserError names what is wrong
        with a file.
        """
        return self._transcripts(audio, rate, channel, limits, progress, None)

    @overload
    def phonemize(  # type: ignore[overload-overlap]
        self, audio: list[Any] | tuple[Any, ...], inventory: Inventory | str | None = ...,
        rate: int = ..., *, channel: int | None = ..., limits: SegmentLimits = ...,
        progress: Progress | None = ..., mapping: Mapping | None = ...,
    ) -> list[Transcript]: ...  # fmt: skip

    @overload
    def phonemize(
        self, audio: Audio, inventory: Inventory | str | None = ..., rate: int = ..., *,
        channel: int | None = ..., limits: SegmentLimits = ..., progress: Progress | None = ...,
        mapping: Mapping | None = ...,
    ) -> Transcript: ...  # fmt: skip

    def phonemize(
        self,
        audio: Audio | Sequence[Audio],
        inventory: Inventory | str | None = None,
        rate: int = SAMPLE_RATE,
        *,
        channel: int | None = None,
        limits: SegmentLimits = LIMITS,
        progress: Progress | None = None,
        mapping: Mapping | None = None,
    ) -> Transcript | list[Transcript]:
        """Phones of an unseen language, composed if the head is `articulatory`, else by
        articulatory mapping (Xu et al. 2021); otherwise as `transcribe`. `inventory` is the
        inventory of the language, or a word that names one
        (`speechx.transcription.inventory_source`). `mapping` replaces the one of `map_inventory`,
        and needs no inventory beside it."""
        if inventory is None and mapping is None:
            raise UserError(
                "phonemize needs the inventory of a language, or a mapping to its phones"
            )
        if isinstance(inventory, str):
            inventory = inventory_of(inventory)
        return self._transcripts(audio, rate, channel, limits, progress, inventory, mapping)

    align = align_text

    def _transcripts(
        self,
        audio: Audio | Sequence[Audio],
        rate: int,
        channel: int | None,
        limits: SegmentLimits,
        progress: Progress | None,
        inventory: Inventory | None,
        mapping: Mapping | None = None,
    ) -> Transcript | list[Transcript]:
        several = isinstance(audio, (list, tuple))
        given: Sequence[Any] = audio if several else (audio,)  # type: ignore[assignment]
        recordings = [Recording.of(one, rate, channel) for one in given]
        transcripts = []
        found = self.stream(
            recordings, inventory=inventory, mapping=mapping, limits=limits, progress=progress
        )
        for _, transcript in found:
            if isinstance(transcript, UserError):
                raise transcript
            transcripts.append(transcript)
        for one in given:
            if message := what_is_cut(one):
                logger.warning(message)
        return transcripts if several else transcripts[0]

    def stream(
        self,
        recordings: Iterable[Recording],
        *,
        inventory: Inventory | None = None,
        limits: SegmentLimits = LIMITS,
        progress: Progress | None = None,
        mapping: Mapping | None = None,
    ) -> Iterator[tuple[Recording, Transcript | UserError]]:
        """Each recording with its transcript, or with the error of one that cannot be read, in
        their order; windows of several recordings are computed together. With an inventory or a
        mapping these are phones of its language."""
        if mapping is not None:
            self._require_own(mapping)
            inventory = inventory or inventory_of_mapping(mapping)
        elif inventory is not None and isinstance(self.head, Articulatory):
            composed = self.for_inventory(inventory)
            yield from composed.stream(recordings, limits=limits, progress=progress)
            return
        elif inventory is not None:
            mapping = self.map_inventory(inventory)
        else:
            inventory = self.inventory
        decoder = self.decoder if mapping is None else self.mapped_decoder(mapping)
        given: list[Recording] = []
        done, pauses, spans = 0.0, self._pauses(), list[TokenSpan]()
        for part in self._parts(_noted(recordings, given)):
            if part.outputs_TV is not None:
                ready = pauses.add(part.outputs_TV)
                done += part.window.seconds if part.window else 0.0
                if progress is not None:
                    progress(done)
            else:
                ready = pauses.rest()
            for first, outputs_TV in ready:
                (decoded,) = self._spans(decoder, [outputs_TV])
                spans += [replace(s, first=s.first + first, last=s.last + first) for s in decoded]
            recording = given[part.number]
            if part.samples is not None:
                try:  # the sound is read again for the times, and may be gone by now
                    found: Transcript | UserError = self._transcript(
                        spans, part.samples, recording, inventory, mapping, limits
                    )
                except UserError as error:
                    found = error
                yield recording, found
            elif part.error is not None:
                yield recording, part.error
            if part.outputs_TV is None:
                pauses, spans = self._pauses(), []

    def reader_of(self, recording: Recording) -> "Recognizer":
        """The recognizer that reads this recording: itself, unless its language decides."""
        return self

    def _pauses(self) -> Pauses:
        return Pauses(int(PART_SECONDS * SAMPLE_RATE / self.features.stride))

    def decode(
        self,
        utterances: Sequence[Utterance],
        decoders: Sequence[Decoder] | None = None,
        failed: dict[int, str] | None = None,
    ) -> Iterator[tuple[int, list[list[TokenSpan]]]]:
        """The index of each utterance with what each decoder makes of it, by default the model's
        own; similar lengths are computed together, so indices come in another order. Utterances
        that cannot be read are an error, or are added to `failed`, each with the reason."""
        decoders = [self.decoder] if decoders is None else decoders
        corpus = Corpus.of(utterances)
        config = self.model.encoder.config
        reader = Batches(corpus, config.normalize, epsilon=config.normalize_epsilon)
        plan_of = padded_batches(every_row(corpus), self.batch_seconds, np.random.default_rng(0))
        for plan in once(plan_of):
            for rows, batch in read_batch(reader, plan, failed):
                outputs = self._outputs(batch.wave_BS, batch.lengths_B)
                of_decoders = [self._spans(each, outputs) for each in decoders]
                for row, *spans in zip(rows, *of_decoders, strict=True):
                    yield row.utterances[0], spans

    def map_inventory(self, inventory: Inventory) -> Mapping:
        """From the phones this model writes to the phones of the inventory; printable. Phones that
        are left out are logged, once."""
        self.require("phonemes", "map its outputs to an inventory")
        self.require_one_inventory("map its outputs to an inventory")
        if inventory not in self._mappings:
            self._mappings[inventory] = map_inventory(self.vocabulary.tokens, inventory.phones)
            for note in self._mappings[inventory].notes():
                logger.info(note)
        return self._mappings[inventory]

    def phone_table(self, inventory: Inventory, mapping: Mapping | None = None) -> str:
        """Lines with tabs, for people: the mapping to the phones of an inventory, by default the
        one that `phonemize` uses; or, where it composes the phones of attributes, each phone with
        where its output comes from."""
        if mapping is None and isinstance(self.head, Articulatory):
            made = self.head.composition(inventory.phones)
            return "".join(f"{a}\t{b}\n" for a, b in (("phone", "output"), *made.items()))
        return (mapping or self.map_inventory(inventory)).to_tsv()

    def read_mapping(self, path: Path | str, inventory: Inventory | None = None) -> Mapping:
        """The mapping in a table that `speechx inventory map` wrote and a person may have edited,
        to the phones of the inventory, or to all that the table has."""
        self.require("phonemes", "map its outputs to an inventory")
        self.require_one_inventory("map its outputs to an inventory")
        phones = None if inventory is None else inventory.phones
        mapping = Mapping.from_tsv(path, self.vocabulary.tokens, phones)
        logger.info(f"{path}: {mapping.summary()}")
        for note in mapping.notes():
            logger.warning(note)
        return mapping

    def _require_own(self, mapping: Mapping) -> None:
        self.require("phonemes", "map its outputs to an inventory")
        self.require_one_inventory("map its outputs to an inventory")
        if mapping.source != tuple(self.vocabulary.tokens):
            raise UserError(
                f"the mapping ({mapping.made or 'given'}) is from {len(mapping.source)} phones, "
                f"which are not the {len(self.vocabulary.tokens)} outputs of {self.folder}: make "
                "it for this model"
            )

    def for_inventory(self, inventory: Inventory) -> "Recognizer":
        """A recognizer of the same model whose outputs are the phones of the inventory, composed
        of their attributes, without mapping. UserError if the head is not `articulatory`."""
        if not isinstance(self.head, Articulatory):
            raise UserError(
                f"{self.folder} does not compose phones of attributes; to write those of an "
                "inventory without mapping, a model fine-tuned with objective.kind=articulatory is "
                "needed"
            )
        if inventory not in self._composed:
            made = self._composed[inventory] = copy(self)
            made.head = self.head.for_inventory(inventory.phones)
            made.vocabulary, made.inventory = made.head.vocabulary, inventory
            made.decode_with(self.decoding.for_inventory())
            made.sounds, made._mappings, made._composed = None, {}, {}
        return self._composed[inventory]

    def require(self, token_type: TokenType, purpose: str) -> None:
        """Raises UserError if the model writes something else."""
        if self.vocabulary.token_type != token_type:
            raise UserError(
                f"{self.folder} writes {self.vocabulary.token_type}; to {purpose}, a model "
                f"fine-tuned with objective.tokens={token_type} is needed"
            )

    def require_one_inventory(self, purpose: str) -> None:
        """Raises UserError if every language has phonemes of its own."""
        if self.vocabulary.has_languages:
            raise UserError(
                f"{self.folder} has phonemes of each language; to {purpose}, a model with one "
                "inventory is needed (objective.separate_languages=false)"
            )

    def outputs(
        self, audio: Audio, rate: int = SAMPLE_RATE, channel: int | None = None
    ) -> Iterator[np.ndarray]:
        """Log-probabilities (T, V) of a recording of any length, block by block; frame t of the
        recording begins at t * `features.stride` samples of 16 kHz."""
        for part in self._parts([Recording.of(audio, rate, channel)]):
            if part.error is not None:
                raise part.error
            if part.outputs_TV is not None:
                yield part.outputs_TV

    def log_probabilities(self, wave_S: np.ndarray) -> np.ndarray:
        """(T, V) for samples (S,) at 16 kHz of any length, T exactly as the encoder counts."""
        parts = [np.empty((0, len(self.vocabulary)), np.float32), *self.outputs(wave_S)]
        return np.concatenate(parts)

    def _spans(self, decoder: Decoder, outputs: Sequence[np.ndarray]) -> list[list[TokenSpan]]:
        """Without the boundaries of words that phone models of other toolkits can write."""
        decoded = decoder.decode(outputs)
        if self.vocabulary.token_type == "characters":
            return decoded
        return [[span for span in spans if not span.token.isspace()] for spans in decoded]

    def _outputs(self, wave_BS: Tensor, lengths_B: Tensor) -> list[np.ndarray]:
        """(T, V) of each row, normalised before; rows longer than a window one by one."""
        if wave_BS.shape[1] <= WINDOW_SECONDS * SAMPLE_RATE:
            return self._run(wave_BS, lengths_B)
        rows = [wave_S[:n].numpy() for wave_S, n in zip(wave_BS, lengths_B.tolist(), strict=True)]
        recordings = [Recording(partial(iter, (row_S,))) for row_S in rows]
        found = [[np.empty((0, len(self.vocabulary)), np.float32)] for _ in rows]
        for part in self._parts(recordings, normalized=True):
            if part.outputs_TV is not None:
                found[part.number].append(part.outputs_TV)
        return [np.concatenate(parts) for parts in found]

    def _parts(self, recordings: Iterable[Recording], normalized: bool = False) -> Iterator[Part]:
        return outputs_of(
            recordings, self._run, self.model.encoder.config, self.features, self.head.windowed,
            self.batch_size, normalized,
        )  # fmt: skip

    def _run(self, wave_BS: Tensor, lengths_B: Tensor) -> list[np.ndarray]:
        training = self.model.training
        self.model.eval()
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            outputs_BTV, frames_B = self.head.log_probabilities(
                self.model.encoder, wave_BS.to(self.device), lengths_B.to(self.device)
            )
        self.model.train(training)
        whole_BTV = outputs_BTV.cpu().numpy()
        return [rows_TV[:n] for rows_TV, n in zip(whole_BTV, frames_B.tolist(), strict=True)]

    def _times(
        self, spans: Sequence[TokenSpan], recording: Recording, frames: int, own: bool
    ) -> np.ndarray:
        """(U, 2): seconds where the tokens begin and end; `own` tokens are those of the model."""
        ids = {token: i for i, token in enumerate(self.vocabulary.written, start=1)}
        ids_U = np.array([0 if s.token.isspace() or not own else ids[s.token] for s in spans], int)
        spans_U2 = np.array([(s.first, s.last) for s in spans], int).reshape(-1, 2)
        second = self.features.stride / SAMPLE_RATE
        begins_U = np.full(len(ids_U), not any(map(str.isspace, self.vocabulary.tokens)))
        return times_of(recording.blocks, ids_U, spans_U2, frames, second, self.sounds, begins_U)

    def _transcript(
        self,
        spans: Sequence[TokenSpan],
        samples: int,
        recording: Recording,
        inventory: Inventory | None,
        mapping: Mapping | None,
        limits: SegmentLimits,
    ) -> Transcript:
        duration = samples / SAMPLE_RATE
        frames = self.features.frames(samples)
        times_U2 = self._times(spans, recording, frames, inventory is None)
        if not self.head.windowed:  # one answer for the whole recording
            times_U2 = np.array([[0.0, duration]] * len(spans)).reshape(-1, 2)
        times_U2 = np.clip(times_U2, 0, duration)
        spaced = any(map(str.isspace, self.vocabulary.tokens))
        run = words_of(
            spans, times_U2, self.vocabulary.token_type, self.head.temperature, spaced, limits
        )
        language = inventory.language if inventory else self.language
        if self.vocabulary.token_type == "languages" and run:
            language = run[0].token.text
        segments = segments_of(run, limits)
        found = build_transcript(
            self, recording, samples, text_of(run), segments, language, inventory, mapping
        )
        of_words = any(span.word is not None for span in spans)
        return replace(found, token_type="characters") if of_words else found


def _noted(recordings: Iterable[Recording], given: list[Recording]) -> Iterator[Recording]:
    """The recordings, each of which is added to `given` first."""
    for recording in recordings:
        given.append(recording)
        yield recording


def recognizer(
    saved: SavedModel, source: Path, device: str = "auto", head: str | None = None
) -> Recognizer:
    """A recognizer with one head of a model that was read from `source`."""
    model, report = SpeechModel.from_saved(saved, UNUSED)
    if not model.heads:
        trained = ", ".join(saved.objectives) or "nothing"
        raise UserError(
            f"{source} writes nothing by itself (it was trained with {trained}); a fine-tuned "
            "model is needed: run `speechx finetune` with init= this model. For its features, use "
            "speechx.load_encoder or `speechx features`."
        )
    name = head or next(iter(model.heads))
    if name not in model.heads:
        raise UserError(f"{source} has no head {name!r}; it has {', '.join(model.heads)}")
    if head is None and len(model.heads) > 1:
        others = ", ".join(other for other in model.heads if other != name)
        logger.info(f"{source}: uses its head {name}; --head chooses another ({others})")
    if not is_model_folder(source):
        for note in (report, *saved.notes):
            logger.info(f"{source}: {note}")
    chosen = pick_device(device)
    spoken = saved.language or (saved.languages[0] if len(saved.languages) == 1 else None)
    opened = Recognizer(model.to(chosen).eval(), name, saved.folder, chosen, spoken, saved.adapter)
    opened.saved_head = head_of(name, saved.language if saved.adapter else None)
    opened.sounds = load_times(saved.folder, opened.saved_head)
    settings = saved.decoding.get(opened.saved_head)
    opened.decode_with(saved_decoding(saved.folder, opened.saved_head, settings))
    return opened
