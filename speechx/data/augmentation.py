"""Noise, rooms and telephone lines for fine-tuning, drawn anew each time an utterance is heard.

    data:
      augment:
        noise: {manifests: [musan/noise.jsonl], probability: 0.5, snr_db: [5, 20]}
        rooms: {manifests: [rirs/train.jsonl], probability: 0.3}
        telephone: 0.2

Noise and rooms are manifests like any other (wav or flac: a stretch of mp3 is read from its
beginning). Those of rooms hold impulse responses, of which the first channel is used. A voice
sounds in the room, the noise comes on top with a ratio of mean powers between the two of `snr_db`,
and both go through the telephone: 300 to 3400 Hz, 8 kHz, mu-law. Noise that is longer than the
speech is cut at a random place, shorter noise is repeated. None of it changes where words are or
how long an utterance is; speed, which does, is `data.speed`.

What is drawn is a function of the seed, the number of the batch and the row, so a resumed run hears
what it would have heard, with any number of workers. Validation and scoring hear the recordings.

A file that turns out to be damaged where it is read, or is gone, is named once by each process that
reads, and another is drawn in its place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechx.audio.augment import add_noise, in_room, telephone
from speechx.audio.files import SAMPLE_RATE, read_audio
from speechx.config import config
from speechx.data.manifest import Utterance, read_manifest
from speechx.errors import UserError

SILENT = 1e-4  # peaks below -80 dB
TRIES = 20  # places in a long noise file, should one be silent; files, should one be damaged
LOOK_SECONDS = 10.0


@config
class Noise:
    manifests: tuple[Path, ...]
    probability: float = 0.5
    """Share of the utterances heard."""
    snr_db: tuple[float, float] = (5.0, 20.0)
    """Lowest and highest ratio of speech to noise."""

    def __post_init__(self) -> None:
        _check(self.manifests, self.probability)
        if not -20 <= self.snr_db[0] <= self.snr_db[1] <= 100:
            raise ValueError(
                "snr_db must be two numbers from -20 to 100, the lower first, "
                f"but is {list(self.snr_db)}"
            )


@config
class Rooms:
    manifests: tuple[Path, ...]
    probability: float = 0.3
    """Share of the utterances heard."""

    def __post_init__(self) -> None:
        _check(self.manifests, self.probability)


@config
class Augment:
    """Off, all of it, unless it is asked for."""

    noise: Noise | None = None
    rooms: Rooms | None = None
    telephone: float = 0.0
    """Share of the utterances heard through a telephone."""

    def __post_init__(self) -> None:
        if not 0 <= self.telephone <= 1:
            raise ValueError(f"telephone must be from 0 to 1, but is {self.telephone}")


def _check(manifests: tuple[Path, ...], probability: float) -> None:
    if not manifests:
        raise ValueError("manifests needs at least one")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be from 0 to 1, but is {probability}")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The settings, with what their manifests hold."""

    config: Augment
    noises: tuple[Utterance, ...] = ()
    rooms: tuple[Utterance, ...] = ()
    damaged: set[str] = field(default_factory=set)
    """Named already."""

    def __call__(self, wave_S: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """An utterance (S,) at 16 kHz as it is heard this time: (S,) float32.

        The draws whether and which are made for all three in any case, so that switching one off
        leaves the others as they are.
        """
        in_a_room, in_noise, by_phone = random.random(3)
        room, place, ratio = random.random(3)
        if self.config.rooms is not None and in_a_room < self.config.rooms.probability:
            wave_S = in_room(wave_S, self._drawn(self.rooms, room, random, _response))
        if self.config.noise is not None and in_noise < self.config.noise.probability:
            low, high = self.config.noise.snr_db
            noise_S = self._drawn(
                self.noises, place, random, lambda u: _stretch(u, len(wave_S), random)
            )
            wave_S = add_noise(wave_S, noise_S, low + ratio * (high - low))
        if by_phone < self.config.telephone:
            wave_S = telephone(wave_S)
        return wave_S.astype(np.float32, copy=False)

    def _drawn(
        self,
        sounds: Sequence[Utterance],
        place: float,
        random: np.random.Generator,
        read: Callable[[Utterance], np.ndarray],
    ) -> np.ndarray:
        """The sound at `place`, from 0 to 1; another where it cannot be read."""
        for _ in range(TRIES):
            u = sounds[int(place * len(sounds))]
            try:
                return read(u)
            except UserError as error:
                if (name := f"{u.audio} {u.id}") not in self.damaged:
                    self.damaged.add(name)
                    print(f"augmentation: {error}; another is drawn", file=sys.stderr, flush=True)
                failed, place = error, random.random()
        raise UserError(f"{failed}; neither could be read what was drawn {TRIES - 1} times instead")


def load_augmentation(config: Augment, log: Callable[[str], object] = print) -> Augmentation | None:
    """Reads the manifests, and enough of every file to know that it sounds; None if all is off."""
    said: list[str] = []
    noises: tuple[Utterance, ...] = ()
    rooms: tuple[Utterance, ...] = ()
    if config.noise is not None and config.noise.probability:
        noises = _sounding(config.noise.manifests, "noise", _heard_at_all)
        low, high = config.noise.snr_db
        said.append(
            f"{config.noise.probability:.0%} in noise ({len(noises)} recordings, "
            f"{low:g} to {high:g} dB)"
        )
    if config.rooms is not None and config.rooms.probability:
        rooms = _sounding(
            config.rooms.manifests,
            "the first channel of impulse response",
            lambda u: not _silent(_response(u)),
        )
        said.append(f"{config.rooms.probability:.0%} in rooms ({len(rooms)} responses)")
    if config.telephone:
        said.append(f"{config.telephone:.0%} through a telephone")
    if not said:
        return None
    log(f"of the utterances heard {', '.join(said)}")
    return Augmentation(config, noises, rooms)


def _sounding(
    manifests: tuple[Path, ...], what: str, sounds: Callable[[Utterance], bool]
) -> tuple[Utterance, ...]:
    """The utterances of manifests; one that does not sound is a UserError that names it."""
    utterances = [u for path in manifests for u in read_manifest(path)]
    for u in utterances:
        if not sounds(u):
            raise UserError(f"{u.audio}: {what} {u.id} is silent; take it out of the manifest")
    return tuple(utterances)


def _heard_at_all(u: Utterance) -> bool:
    """Whether a noise sounds somewhere, as it is used: the mean of its channels."""
    start = 0.0
    while _silent(_read(u, start, LOOK_SECONDS)):
        start += LOOK_SECONDS
        if start >= u.duration:
            return False
    return True


def _response(u: Utterance) -> np.ndarray:
    """An impulse response as it is used: the first channel, all of it."""
    return _read(u, 0.0, u.duration, channel=0)


def _stretch(u: Utterance, samples: int, random: np.random.Generator) -> np.ndarray:
    """So many samples of a noise: from a random place that sounds, or all of it again and again."""
    seconds = samples / SAMPLE_RATE
    for place in random.random(TRIES):
        noise_S = _read(u, place * max(u.duration - seconds, 0.0), seconds)
        if not _silent(noise_S):
            break
    return np.resize(noise_S, samples)


def _read(u: Utterance, start: float, seconds: float, channel: int | None = None) -> np.ndarray:
    """Part of an utterance, from `start` seconds in it, as far as it goes."""
    seconds = min(seconds, u.duration - start)
    return read_audio(u.audio, u.start + start, seconds, channel, part=u.bytes)


def _silent(wave_S: np.ndarray) -> bool:
    return float(np.abs(wave_S).max(initial=0.0)) < SILENT
