"""Speech to text, or to phones, with a trained model: recordings of any length.

    model = speechx.load("runs/mine/best")
    print(model.transcribe("talk.mp3").text)

A long recording is cut into windows that overlap; outputs are stitched in frame space, on one
frame grid, so nothing is cut off and nothing is read twice. Times come from the exact frame
arithmetic of the encoder. CTC puts a unit where it is surest of it: starts are good to about 0.1
s, ends are early.

    S samples · T frames · V outputs, the blank first
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechx.audio.files import SAMPLE_RATE, audio_info, read_audio
from speechx.data.batches import normalize
from speechx.decoding.greedy import Emission, greedy
from speechx.decoding.mapping import Mapping, fold, map_inventory
from speechx.errors import UserError
from speechx.interchange.conversion import fresh, open_any
from speechx.models.ctc import CTC
from speechx.text.inventory import Inventory
from speechx.text.vocabulary import Vocabulary
from speechx.training.checkpoint import load_weights
from speechx.training.distributed import pick_device
from speechx.training.progress import Bar, say
from speechx.whole_file import whole_file

WINDOW_SECONDS = 30.0
MARGIN_SECONDS = 2.0  # of context on each side of a window, computed and thrown away
PAUSE_SECONDS = 1.0  # between two words of one segment


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or a phone of a phoneme model: seconds, and the mean probability of its units."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    text: str
    tokens: tuple[Token, ...]
    """Words, or phones when `kind` is phonemes."""
    kind: str
    duration: float
    """Seconds of audio that were given."""
    covered_duration: float
    """Seconds that the model heard; less than `duration` if too short for one frame."""
    model: str
    language: str | None = None
    inventory: str | None = None

    def segments(self) -> list[tuple[Token, ...]]:
        """Tokens with no pause of more than a second between them."""
        runs: list[list[Token]] = []
        for token in self.tokens:
            if not runs or token.start - runs[-1][-1].end > PAUSE_SECONDS:
                runs.append([])
            runs[-1].append(token)
        return [tuple(run) for run in runs]

    def to_dict(self) -> dict[str, Any]:
        """Whisper's JSON, with `phones` for phoneme models and durations."""
        joint, name, many = (
            (" ", "word", "words") if self.kind == "characters" else (" ", "phone", "phones")
        )

        def write(token: Token) -> dict[str, Any]:
            values = asdict(token)
            return {name: values.pop("text"), **values}

        return {
            "text": self.text,
            "segments": [
                {
                    "id": index,
                    "start": run[0].start,
                    "end": run[-1].end,
                    "text": joint.join(token.text for token in run),
                    many: [write(token) for token in run],
                }
                for index, run in enumerate(self.segments())
            ],
            "language": self.language,
            "inventory": self.inventory,
            "model": self.model,
            "audio_duration": self.duration,
            "covered_duration": self.covered_duration,
        }


class Recognizer:
    """A fine-tuned model, ready to listen."""

    def __init__(
        self, model: CTC, vocabulary: Vocabulary, folder: Path, device: torch.device
    ) -> None:
        self.model, self.vocabulary, self.folder, self.device = (
            model.to(device).eval(),
            vocabulary,
            folder,
            device,
        )
        self.encoder = model.trunk.config.encoder

    def transcribe(
        self, audio: Path | str | np.ndarray, progress: Callable[[float], object] | None = None
    ) -> Transcript:
        """`audio` is a file, or samples (S,) at 16 kHz. `progress` is told the seconds done."""
        wave_S = self._read(audio)
        emissions = greedy(self.log_probabilities(wave_S, progress))
        units = [(self.vocabulary.units[e.id - 1], e) for e in emissions]
        return self._transcript(units, len(wave_S), None)

    def phonemize(
        self,
        audio: Path | str | np.ndarray,
        inventory: Inventory,
        progress: Callable[[float], object] | None = None,
    ) -> Transcript:
        """Phones of an unseen language, by articulatory mapping (Xu et al. 2021)."""
        mapping = self.map_inventory(inventory)
        wave_S = self._read(audio)
        probabilities_TU = fold(np.exp(self.log_probabilities(wave_S, progress)), mapping)
        emissions = greedy(np.log(np.maximum(probabilities_TU, 1e-30)))
        units = [(mapping.target[e.id - 1], e) for e in emissions]
        return self._transcript(units, len(wave_S), inventory)

    def map_inventory(self, inventory: Inventory) -> Mapping:
        """From the phones this model writes to those of the inventory; printable."""
        self.require("phonemes", "map its outputs to an inventory")
        return map_inventory(self.vocabulary.units, inventory.phones)

    def require(self, kind: str, purpose: str) -> None:
        if self.vocabulary.kind != kind:
            raise UserError(
                f"{self.folder} writes {self.vocabulary.kind}; to {purpose}, "
                f"a model fine-tuned with units={kind} is needed"
            )

    def log_probabilities(
        self, wave_S: np.ndarray, progress: Callable[[float], object] | None = None
    ) -> np.ndarray:
        """(T, V) for samples (S,) at 16 kHz of any length, T exactly as the encoder counts."""
        if self.model.trunk.config.normalize and len(wave_S):
            wave_S = normalize(wave_S)
        frames = self.encoder.frames(len(wave_S))
        stride, field = self.encoder.stride, self.encoder.field
        window, margin = (int(s * SAMPLE_RATE / stride) for s in (WINDOW_SECONDS, MARGIN_SECONDS))
        parts = [np.empty((0, len(self.vocabulary)), np.float32)]
        for first in range(0, frames, window):
            last = min(first + window, frames)
            low, high = max(first - margin, 0), min(last + margin, frames)
            # The last window has the samples after its last frame too, as in training.
            end = (high - 1) * stride + field if high < frames else len(wave_S)
            piece_S = wave_S[low * stride : end]
            parts.append(self._window(piece_S)[first - low : last - low])
            if progress is not None:
                progress((last * stride if last < frames else len(wave_S)) / SAMPLE_RATE)
        return np.concatenate(parts)

    def _window(self, wave_S: np.ndarray) -> np.ndarray:
        wave_1S = torch.from_numpy(np.ascontiguousarray(wave_S))[None].to(self.device)
        with torch.inference_mode():
            emissions = self.model(wave_1S, torch.tensor([len(wave_S)], device=self.device))
            return emissions.logits_BTV[0].log_softmax(1).cpu().numpy()

    def _read(self, audio: Path | str | np.ndarray) -> np.ndarray:
        if not isinstance(audio, np.ndarray):
            return read_audio(audio)
        if audio.ndim != 1:
            raise ValueError(
                f"audio must be one channel of samples (S,) at 16 kHz, but has shape {audio.shape}"
            )
        if not np.issubdtype(audio.dtype, np.floating) or not np.isfinite(audio).all():
            raise ValueError("samples must be finite floats between -1 and 1")
        return audio.astype(np.float32)

    def _transcript(
        self, units: Sequence[tuple[str, Emission]], samples: int, inventory: Inventory | None
    ) -> Transcript:
        words: list[list[tuple[str, Emission]]] = [[]]
        for unit, emission in units:
            if self.vocabulary.kind == "phonemes":
                words.append([(unit, emission)])
            elif unit == " ":
                words.append([])
            else:
                words[-1].append((unit, emission))
        second = self.encoder.stride / SAMPLE_RATE
        duration = samples / SAMPLE_RATE
        tokens = tuple(
            Token(
                text="".join(unit for unit, _ in word),
                start=round(word[0][1].first * second, 3),
                end=round(min((word[-1][1].last + 1) * second, duration), 3),
                probability=round(float(np.mean([e.probability for _, e in word])), 4),
            )
            for word in words
            if word
        )
        frames = self.encoder.frames(samples)
        heard = (frames - 1) * self.encoder.stride + self.encoder.field if frames else 0
        tail = samples - heard  # a remainder below one stride belongs to the last frame
        return Transcript(
            text=" ".join(token.text for token in tokens),
            tokens=tokens,
            kind=self.vocabulary.kind,
            duration=round(duration, 3),
            covered_duration=round(
                duration if frames and tail < self.encoder.stride else heard / SAMPLE_RATE, 3
            ),
            model=str(self.folder),
            language=inventory.language if inventory else None,
            inventory=inventory.source if inventory else None,
        )


def load(folder: Path | str, device: str = "auto") -> Recognizer:
    """Opens a folder that `speechx finetune` wrote, or a CTC model of another toolkit; nothing but
    the folder is needed."""
    unused = ("mask_vector",)  # nothing is masked here
    saved = open_any(folder, "ctc", unused)
    assert saved.vocabulary is not None
    model = CTC(saved.config, len(saved.vocabulary))
    report = load_weights(model, saved.weights, str(folder), fresh(unused))
    if not (Path(folder) / "config.yaml").is_file():  # another toolkit's
        for note in (report, *saved.notes):
            say(f"{folder}: {note}")
    return Recognizer(model, saved.vocabulary, saved.folder, pick_device(device))


def transcribe_files(
    listen: Callable[..., Transcript], files: Sequence[Path], form: str, folder: Path | None
) -> int:
    """Transcribes files to stdout, or to `folder/<stem>.<form>`; returns 2 if some of them failed.

    Finished files of a folder are skipped, each is written whole or not at all, a bad one is said
    and does not stop the others.
    """
    failed, named = [], len(files) > 1 and folder is None and form == "txt"
    if folder is not None:
        _refuse_equal_names(files, folder)
    for file in files:
        target = folder / f"{file.stem}.{form}" if folder is not None else None
        if target is not None and target.exists():
            say(f"{file}: {target} is there already, skipped")
            continue
        try:
            seconds = audio_info(file).duration
            bar = Bar(file.name, seconds)
            transcript = listen(file, progress=bar.reach)
            bar.close()
            if transcript.covered_duration == 0:
                say(f"{file}: {seconds:.4f} s is too short for one frame; its transcript is empty")
        except UserError as error:
            failed.append(str(error))
            continue
        text = (
            json.dumps(transcript.to_dict(), ensure_ascii=False)
            if form == "json"
            else transcript.text
        )
        if target is None:
            print(f"{file}: {text}" if named else text, flush=True)
        else:
            with whole_file(target) as new:
                new.write_text(text + "\n", encoding="utf-8")
    if len(files) == 1 and failed:
        raise UserError(failed[0])
    for message in failed:
        say(f"speechx: {message}")
    return 2 if failed else 0


def _refuse_equal_names(files: Sequence[Path], folder: Path) -> None:
    """a/1.wav and b/1.wav would be one file of the folder, and the second would be lost."""
    of: dict[str, Path] = {}
    for file in files:
        if file.stem in of:
            raise UserError(
                f"{of[file.stem]} and {file} have the same name, so one would replace the other "
                f"in {folder}; give them in two calls with two output folders"
            )
        of[file.stem] = file
