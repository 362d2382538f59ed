"""The one place that runs a trained model: validation, evaluation, transcription, phones.

    model = speechx.load("runs/mine/best")
    print(model.transcribe("talk.mp3").text)

A long recording is cut into windows that overlap; outputs are joined in frame space, on one frame
grid, so nothing is cut off and nothing is read twice. A head that gives one answer for a recording,
such as language identification, gives the mean over windows. Times come from the exact frame
arithmetic of the encoder. CTC places a token where it is most certain: starts are good to 0.1 s,
ends are early. Outputs are computed in float32: the same model and manifest give the same
numbers everywhere.

    B utterances · S samples · T frames · V = blank and tokens, the blank first
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE, read_audio
from speechx.data.batches import Batch, Batches, normalize
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance
from speechx.data.sampling import Plan, Row, every_row, once, padded_batches
from speechx.decoding.decoder import Decoder, GreedyDecoder, MappedDecoder, TokenSpan
from speechx.decoding.mapping import Mapping, map_inventory
from speechx.errors import UserError
from speechx.interchange.opening import open_model
from speechx.log import logger
from speechx.models.folder import SavedModel, is_model_folder
from speechx.objectives.model import SpeechModel
from speechx.text.inventory import Inventory
from speechx.text.vocabulary import TokenType
from speechx.training.distributed import pick_device
from speechx.transcription.result import Token, Transcript

WINDOW_SECONDS = 30.0
MARGIN_SECONDS = 2.0  # of context on each side of a window, computed and thrown away
BATCH_SECONDS = 60.0  # of utterances that are decoded at once
UNUSED = ("mask_embedding",)  # parts that decoding does not need


def _read(
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

    def __init__(self, model: SpeechModel, name: str, folder: Path, device: torch.device) -> None:
        """`name` is the head that is read out; `folder` stands in results."""
        self.model, self.head, self.folder = model, model.heads[name], folder
        self.vocabulary, self.device = self.head.vocabulary, device
        self.features = model.encoder.config.features
        self.decoder: Decoder = GreedyDecoder(self.vocabulary.tokens)
        self._mappings: dict[Inventory, Mapping] = {}

    def transcribe(
        self, audio: Path | str | np.ndarray, progress: Callable[[float], object] | None = None
    ) -> Transcript:
        """`audio` is a file, or samples (S,) at 16 kHz. `progress` gets the seconds done."""
        wave_S = read_wave(audio)
        spans = self._spans(self.decoder, self.log_probabilities(wave_S, progress))
        return self._transcript(spans, len(wave_S), None)

    def phonemize(
        self,
        audio: Path | str | np.ndarray,
        inventory: Inventory,
        progress: Callable[[float], object] | None = None,
    ) -> Transcript:
        """Phones of an unseen language, by articulatory mapping (Xu et al. 2021)."""
        decoder = MappedDecoder(self.map_inventory(inventory))
        wave_S = read_wave(audio)
        spans = decoder.decode(self.log_probabilities(wave_S, progress))
        return self._transcript(spans, len(wave_S), inventory)

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
        plan_of = padded_batches(every_row(corpus), BATCH_SECONDS, np.random.default_rng(0))
        for plan in once(plan_of):
            for rows, batch in _read(reader, plan, failed):
                outputs = self._outputs(batch.wave_BS, batch.lengths_B)
                for row, outputs_TV in zip(rows, outputs, strict=True):
                    yield row.utterances[0], [self._spans(each, outputs_TV) for each in decoders]

    def map_inventory(self, inventory: Inventory) -> Mapping:
        """From the phones this model writes to the phones of the inventory; printable. Phones that
        are left out are logged, once."""
        self.require("phonemes", "map its outputs to an inventory")
        if inventory not in self._mappings:
            self._mappings[inventory] = map_inventory(self.vocabulary.tokens, inventory.phones)
            for note in self._mappings[inventory].notes():
                logger.info(note)
        return self._mappings[inventory]

    def require(self, token_type: TokenType, purpose: str) -> None:
        """Raises UserError if the model writes something else."""
        if self.vocabulary.token_type != token_type:
            raise UserError(
                f"{self.folder} writes {self.vocabulary.token_type}; to {purpose}, a model "
                f"fine-tuned with objective.tokens={token_type} is needed"
            )

    def log_probabilities(
        self, wave_S: np.ndarray, progress: Callable[[float], object] | None = None
    ) -> np.ndarray:
        """(T, V) for samples (S,) at 16 kHz of any length, T exactly as the encoder counts."""
        config = self.model.encoder.config
        if config.normalize and len(wave_S):
            wave_S = normalize(wave_S, config.normalize_epsilon)
        return self._long(torch.from_numpy(np.ascontiguousarray(wave_S)), progress)

    def _spans(self, decoder: Decoder, outputs_TV: np.ndarray) -> list[TokenSpan]:
        """Without the boundaries of words that phone models of other toolkits can write."""
        spans = decoder.decode(outputs_TV)
        if self.vocabulary.token_type == "characters":
            return spans
        return [span for span in spans if not span.token.isspace()]

    def _outputs(self, wave_BS: Tensor, lengths_B: Tensor) -> list[np.ndarray]:
        """(T, V) of each row; rows longer than a window one by one."""
        if wave_BS.shape[1] <= WINDOW_SECONDS * SAMPLE_RATE:
            return self._run(wave_BS, lengths_B)
        return [
            self._long(wave_S[:n]) for wave_S, n in zip(wave_BS, lengths_B.tolist(), strict=True)
        ]

    def _long(
        self, wave_S: Tensor, progress: Callable[[float], object] | None = None
    ) -> np.ndarray:
        if not self.head.windowed:
            return self._mean(wave_S, progress)
        frames = self.features.frames(len(wave_S))
        stride, field = self.features.stride, self.features.receptive_field
        window, margin = (int(s * SAMPLE_RATE / stride) for s in (WINDOW_SECONDS, MARGIN_SECONDS))
        parts = [np.empty((0, len(self.vocabulary)), np.float32)]
        for first in range(0, frames, window):
            last = min(first + window, frames)
            low, high = max(first - margin, 0), min(last + margin, frames)
            # The last window has the samples after its last frame too, as in training.
            end = (high - 1) * stride + field if high < frames else len(wave_S)
            piece_S = wave_S[low * stride : end]
            (outputs_TV,) = self._run(piece_S[None], torch.tensor([len(piece_S)]))
            parts.append(outputs_TV[first - low : last - low])
            if progress is not None:
                progress((last * stride if last < frames else len(wave_S)) / SAMPLE_RATE)
        return np.concatenate(parts)

    def _mean(self, wave_S: Tensor, progress: Callable[[float], object] | None) -> np.ndarray:
        """The mean probabilities (1, V) of the windows of a recording, for a head that gives one
        answer."""
        windows = max(1, math.ceil(len(wave_S) / (WINDOW_SECONDS * SAMPLE_RATE)))
        outputs, done = [], 0
        for piece_S in wave_S.tensor_split(windows):
            outputs += self._run(piece_S[None], torch.tensor([len(piece_S)]))
            done += len(piece_S)
            if progress is not None:
                progress(done / SAMPLE_RATE)
        return np.asarray(np.logaddexp.reduce(outputs) - math.log(windows))

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

    def _transcript(
        self, spans: Sequence[TokenSpan], samples: int, inventory: Inventory | None
    ) -> Transcript:
        second, duration = self.features.stride / SAMPLE_RATE, samples / SAMPLE_RATE
        frames = self.features.frames(samples)
        if not self.head.windowed:  # one answer for the whole recording
            second = duration
        words: list[list[TokenSpan]] = [[]]
        for span in spans:
            if self.vocabulary.token_type != "characters":
                words.append([span])
            elif span.token.isspace():
                words.append([])
            else:
                words[-1].append(span)
        tokens = tuple(
            Token(
                text="".join(span.token for span in word),
                start=round(word[0].first * second, 3),
                end=round(min((word[-1].last + 1) * second, duration), 3),
                probability=round(float(np.mean([span.probability for span in word])), 4),
            )
            for word in words
            if word
        )
        covered = (frames - 1) * self.features.stride + self.features.receptive_field
        covered = covered if frames else 0
        tail = samples - covered  # a remainder below one stride belongs to the last frame
        whole = frames and tail < self.features.stride
        language = inventory.language if inventory else None
        if self.vocabulary.token_type == "languages" and tokens:
            language = tokens[0].text
        return Transcript(
            text=" ".join(token.text for token in tokens),
            tokens=tokens,
            token_type=self.vocabulary.token_type,
            duration=round(duration, 3),
            covered_duration=round(duration if whole else covered / SAMPLE_RATE, 3),
            model=str(self.folder),
            language=language,
            inventory=inventory.source if inventory else None,
        )


def read_wave(audio: Path | str | np.ndarray) -> np.ndarray:
    """Samples (S,) at 16 kHz of a file, or of an array that holds them already."""
    if not isinstance(audio, np.ndarray):
        return read_audio(audio)
    if audio.ndim != 1:
        raise ValueError(
            f"audio must be one channel of samples (S,) at 16 kHz, but has shape {audio.shape}"
        )
    if not np.issubdtype(audio.dtype, np.floating) or not np.isfinite(audio).all():
        raise ValueError("samples must be finite floats between -1 and 1")
    return audio.astype(np.float32)


def load(folder: Path | str, device: str = "auto", head: str | None = None) -> Recognizer:
    """Opens a model that writes something: a folder that `speechx finetune` wrote, or a CTC model
    of another toolkit. Nothing but the folder is needed. `head` chooses among several heads; by
    default it is the first."""
    return recognizer(open_model(Path(folder), UNUSED), Path(folder), device, head)


def recognizer(
    saved: SavedModel, source: Path, device: str = "auto", head: str | None = None
) -> Recognizer:
    """A recognizer with one head of a model that was read from `source`."""
    model, report = SpeechModel.from_saved(saved, UNUSED)
    if not model.heads:
        trained = ", ".join(saved.objectives) or "nothing"
        raise UserError(
            f"{source} writes nothing by itself (it was trained with {trained}); a fine-tuned "
            "model is needed: run `speechx finetune` with init= this model"
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
    return Recognizer(model.to(chosen).eval(), name, saved.folder, chosen)
