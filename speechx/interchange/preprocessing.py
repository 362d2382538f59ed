"""How other toolkits prepare a recording for a model.

All that know it bring it to mean 0 and variance 1 or leave it as it is; they add different
constants to the variance, which matters to quiet recordings.

Folders of transformers have the settings of their feature extractor in one of several files:
version 5 writes them into `processor_config.json`, version 4 into `preprocessor_config.json`, and
the first releases kept them in `tokenizer_config.json`. All are read.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechx.errors import UserError
from speechx.interchange.json_objects import read_if_there, write_json
from speechx.models.encoder import EncoderConfig

EPSILON, EPSILONS = 1e-5, {"hugging_face": 1e-7}
"""What toolkits add to the variance of a recording that they normalise; all others the first."""
PROCESSOR, PREPROCESSOR = "processor_config.json", "preprocessor_config.json"
TOKENIZER = "tokenizer_config.json"
KIND = "Wav2Vec2FeatureExtractor"
AUDIO: dict[str, Any] = {
    "do_normalize": True,
    "sampling_rate": 16_000,
    "feature_size": 1,
    "padding_value": 0.0,
    "return_attention_mask": False,
}
"""Settings of `Wav2Vec2FeatureExtractor` and its defaults."""
COMPUTED = ("do_normalize", "sampling_rate", "feature_size")
"""The settings that change what the model computes from one recording."""


def epsilon_of(format: str) -> float:
    """What a toolkit adds to the variance of a recording that it normalises."""
    return EPSILONS.get(format, EPSILON)


def epsilon_note(encoder: EncoderConfig, format: str) -> list[str]:
    """A note if another toolkit normalises quiet recordings in another way than this model."""
    own, theirs = encoder.normalize_epsilon, epsilon_of(format)
    if not encoder.normalize or own == theirs:
        return []
    return [
        f"{format} adds {theirs:g} to the variance of a recording, and this model {own:g}: "
        "there the outputs for recordings below about -40 dBFS are different"
    ]


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """How recordings are prepared."""

    given: Mapping[str, Any]
    """The settings of `AUDIO` that a file has."""
    notes: tuple[str, ...]

    @property
    def normalize(self) -> bool:
        return bool(self.given.get("do_normalize", AUDIO["do_normalize"]))


def read_audio_settings(folder: Path) -> AudioSettings:
    """The settings of the feature extractor, from whichever file has them."""
    found: dict[str, tuple[Any, str]] = {}
    notes = []
    for file, given in _audio_files(folder):
        kind = given.get("feature_extractor_type", KIND)
        if file != TOKENIZER and kind != KIND:
            raise UserError(
                f"{folder / file}: feature_extractor_type is {kind!r}; expected {KIND!r}, which "
                "gives waveforms to the model"
            )
        for name in AUDIO:
            if (value := given.get(name)) is None:
                continue
            before, first = found.setdefault(name, (value, file))
            if before == value or name not in COMPUTED:
                continue
            both = f"{name} is {json.dumps(before)} in {first}, but {json.dumps(value)} in {file}"
            if file != TOKENIZER:  # versions 4 and 5 of transformers differ in which they read
                raise UserError(
                    f"{folder}: {both}: correct the wrong one, or remove it if it is left over"
                )
            notes.append(f"{both}, which is used only if no other file has it")
    for name, (value, file) in found.items():
        place = f"{folder / file}: {name} is {json.dumps(value)}"
        if name in ("sampling_rate", "feature_size") and value != AUDIO[name]:
            raise UserError(f"{place}; speechx needs {AUDIO[name]}")
        if isinstance(AUDIO[name], bool) and not isinstance(value, bool):
            raise UserError(f"{place}; expected true or false")
    if "do_normalize" not in found:
        notes.append(
            "assumed encoder.normalize: true, the default of transformers, because no file of the "
            "folder has do_normalize"
        )
    return AudioSettings({name: value for name, (value, _) in found.items()}, tuple(notes))


def _audio_files(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files that may have settings of the feature extractor, the latest layout first."""
    processor = read_if_there(folder / PROCESSOR)
    inner = processor.get("feature_extractor", processor.get("audio_processor"))
    yield PROCESSOR, inner if isinstance(inner, dict) else processor
    yield PREPROCESSOR, read_if_there(folder / PREPROCESSOR)
    yield TOKENIZER, read_if_there(folder / TOKENIZER)


def write_audio_settings(folder: Path, given: Mapping[str, Any]) -> None:
    """Writes the settings where both versions of transformers read them; `given` over defaults."""
    about = {**AUDIO, "feature_extractor_type": KIND, "padding_side": "right", **given}
    write_json(folder / PREPROCESSOR, about)
