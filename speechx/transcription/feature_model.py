"""The features of a model: the hidden states of its layers, and discrete units made of them.

    model = speechx.load_encoder("runs/pretrain/final")
    features_TD = model.features("talk.wav", layer=6)
    seconds_T = model.frame_times(len(features_TD))
    units_T = model.units("talk.wav", "runs/units")

Long recordings are computed in windows (windows.py), as in transcription: a recording of up to 30 s
is computed as one. A frame of a longer one is computed from its window of 30 s and two seconds of
sound on either side, so features beside the edge of a window differ a little from those of one pass
over the whole; every frame of the recording is there once.

    B utterances · S samples · T frames · L layers that are read · D = embed_dim
    · V values of a frame, here (L, D)
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE
from speechx.config import flat, to_dict
from speechx.errors import UserError
from speechx.interchange.hub import local_path
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.log import logger
from speechx.models.compute import InferenceEncoder, prepare_for_inference, require_compute_type
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.models.folder import SavedModel, load_weights
from speechx.models.units import UnitCodebook
from speechx.objectives.model import SpeechModel
from speechx.training.distributed import pick_device
from speechx.transcription.layers import Convention, Layer, hidden_states, parse_layers
from speechx.transcription.outputs import AHEAD, Part, outputs_of
from speechx.transcription.recording import Audio, Recording, what_is_cut

UNUSED = ("mask_embedding", "quantizer")  # parts that features do not need
IN_TRAINING = ("dropout", "layer_drop", "gradient_scale")  # settings without effect on features


class FeatureModel:
    """A model whose layers can be read; it needs no head."""

    def __init__(
        self,
        encoder: Encoder | InferenceEncoder,
        device: torch.device,
        source: str,
        mark: Callable[[], str],
        batch_size: int | None = None,
    ) -> None:
        """`source` is the name of the model in messages and results; `mark` makes the fingerprint
        when it is needed."""
        self.encoder, self.device, self.source, self._mark = encoder, device, source, mark
        self.config: EncoderConfig = encoder.config
        self.batch_size = batch_size or (1 if device.type == "cpu" else 16)
        """Windows that are computed at once."""

    @property
    def num_layers(self) -> int:
        return self.config.context.num_layers

    @property
    def dim(self) -> int:
        return self.config.context.embed_dim

    @property
    def frame_step(self) -> float:
        """Seconds from one frame to the next."""
        return self.config.features.stride / SAMPLE_RATE

    @property
    def first_centre(self) -> float:
        """Second in the middle of the sound that the feature extractor makes frame 0 of; without
        padding frame 0 begins with the recording, and sees `receptive_field` samples."""
        return self.config.features.centre / SAMPLE_RATE

    def frame_times(self, frames: int) -> np.ndarray:
        """(T,) seconds from the beginning of a recording to the centres of its first frames."""
        return self.first_centre + self.frame_step * np.arange(frames)

    @cached_property
    def mark(self) -> str:
        """The fingerprint of the encoder: equal for equal weights, wherever they are stored."""
        return self._mark()

    def features(
        self,
        audio: Audio,
        layer: Layer = "all",
        rate: int = SAMPLE_RATE,
        *,
        channel: int | None = None,
        convention: Convention = "hugging_face",
    ) -> np.ndarray:
        """The features of a recording of any length in float32: (T, D) of one layer, (T, L, D) of
        several or of `all`. `layer` 0 is the input of the first layer; `convention` says what a
        layer is (`speechx.transcription.layers`). Audio is given as to `transcribe`."""
        layers = parse_layers(layer, self.num_layers, convention)
        one = isinstance(layer, int) or (isinstance(layer, str) and layer.strip().isdigit())
        found = [np.empty((0, len(layers), self.dim), np.float32)]
        found += self._blocks(audio, layers, rate, channel, convention)
        features_TLD = np.concatenate(found)
        return features_TLD[:, 0] if one else features_TLD

    def units(
        self,
        audio: Audio,
        codebook: UnitCodebook | Path | str,
        rate: int = SAMPLE_RATE,
        *,
        channel: int | None = None,
    ) -> np.ndarray:
        """The discrete units (T,) of a recording, from 0 on. `codebook` is a folder that
        `speechx features --units K` wrote, or what `UnitCodebook.load` read there; it must have
        been fitted on this model."""
        if not isinstance(codebook, UnitCodebook):
            codebook = UnitCodebook.load(codebook)
        self.require_own(codebook)
        layers, convention = (codebook.config.layer,), codebook.config.convention
        blocks = self._blocks(audio, layers, rate, channel, convention)
        return np.concatenate(
            [np.empty(0, np.int64), *(codebook.assign(x_TLD[:, 0]) for x_TLD in blocks)]
        )

    def require_own(self, codebook: UnitCodebook) -> None:
        """Raises UserError if the codebook was fitted on another model."""
        about = codebook.config
        if about.encoder != self.mark:
            raise UserError(
                f"the codebook was fitted on layer {about.layer} of {about.model}, whose "
                f"encoder is not that of {self.source}: give that model, or fit new units"
            )

    def parts(
        self, recordings: Iterable[Recording], layers: tuple[int, ...], convention: Convention
    ) -> Iterator[Part]:
        """The features (T, L, D) of the windows of each recording, in order, and then its end."""
        run = partial(self._run, layers, convention)
        ahead = max(1, AHEAD // len(layers))  # all layers of a window take a lot of memory
        return outputs_of(
            recordings, run, self.config, self.config.features, True, self.batch_size, ahead=ahead
        )

    def _blocks(
        self,
        audio: Audio,
        layers: tuple[int, ...],
        rate: int,
        channel: int | None,
        convention: Convention,
    ) -> Iterator[np.ndarray]:
        for part in self.parts([Recording.of(audio, rate, channel)], layers, convention):
            if part.error is not None:
                raise part.error
            if part.outputs_TV is not None:
                yield part.outputs_TV
        if message := what_is_cut(audio):
            logger.warning(message)

    def _run(
        self,
        layers: tuple[int, ...],
        convention: Convention,
        wave_BS: Tensor,
        lengths_B: Tensor,
    ) -> list[np.ndarray]:
        rows: list[tuple[Tensor, Tensor | None]] = [(wave_BS, lengths_B)]
        if getattr(self.encoder, "one_by_one", False):
            each = zip(wave_BS, lengths_B.tolist(), strict=True)
            rows = [(wave_S[None, :length], None) for wave_S, length in each]
        training, found = self.encoder.training, []
        self.encoder.eval()
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            for some_BS, some_B in rows:
                lengths = None if some_B is None else some_B.to(self.device)
                features_BTLD, frames_B = hidden_states(
                    self.encoder, layers, convention, some_BS.to(self.device), lengths
                )
                whole = features_BTLD.cpu().numpy()
                counts = [whole.shape[1]] * len(whole) if frames_B is None else frames_B.tolist()
                found += [x_TLD[:count] for x_TLD, count in zip(whole, counts, strict=True)]
        self.encoder.train(training)
        return found


def load_encoder(
    model: Path | str,
    device: str = "auto",
    language: str | None = None,
    compute_type: str = "float32",
    batch_size: int | None = None,
) -> FeatureModel:
    """Opens a model of any kind to read its layers: a folder of `speechx pretrain` or `finetune`, a
    checkpoint of another toolkit, or `owner/name` of the Hugging Face Hub.

    `language` chooses among the adapters of a model for many languages. `compute_type` is float32,
    bfloat16 or int8; `batch_size` is the number of windows of 30 s that are computed at once.
    """
    require_compute_type(compute_type)
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size}")
    if language == "auto":
        raise UserError("features have one language: give its code instead of auto")
    saved = in_language(open_model(local_path(model, language), UNUSED), language)
    whole = SpeechModel(saved.encoder, {}, {})
    load_weights(whole.encoder, saved.part("encoder."), str(model), UNUSED)
    chosen, mark = pick_device(device), encoder_fingerprint(saved)
    whole = whole.to(chosen).eval()
    prepare_for_inference(whole, compute_type)
    encoder: Any = whole.encoder
    assert isinstance(encoder, InferenceEncoder)
    return FeatureModel(encoder, chosen, str(model), lambda: mark, batch_size)


def encoder_fingerprint(saved: SavedModel) -> str:
    """16 digits of the SHA-256 of the settings and of all weights of an encoder, without what only
    training uses."""
    settings = flat(to_dict(saved.encoder))
    used = {name: value for name, value in settings.items() if not name.endswith(IN_TRAINING)}
    digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode())
    for name, tensor in sorted(saved.part("encoder.").items()):
        if name != "mask_embedding":
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
