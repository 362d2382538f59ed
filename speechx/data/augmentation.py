"""Noise, rooms and telephone lines for fine-tuning, drawn again each time an utterance is read.

    data:
      augment:
        noise: {manifests: [musan/noise.jsonl], probability: 0.5, snr_db: [5, 20]}
        rooms: {manifests: [rirs/train.jsonl], probability: 0.3}
        telephone: 0.2

Noise and rooms are manifests like any other (wav or flac: a stretch of mp3 is read from its
beginning). Manifests of rooms contain impulse responses; their first channel is used. The room is
applied to the speech, then noise is added at a ratio of mean powers of `snr_db`, then both go
through the telephone: 300 to 3400 Hz, 8 kHz, mu-law. Noise longer than the speech is cut at a
random position, shorter noise is repeated. Durations and the times of words do not change
(`data.speed` changes them).

Draws are a function of the seed, the number of the batch and the row, so a resumed run gets the
same audio with any number of workers. Validation and scoring use the recordings unchanged.

If a file is missing or damaged, each process that reads logs it once and draws another.

    S samples
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechx.audio.augment import add_noise, in_room, telephone
from speechx.audio.files import SAMPLE_RATE, read_audio
from speechx.config import config
from speechx.data.manifest import Utterance, read_manifest
from speechx.errors import UserError
from speechx.log import logger

SILENT = 1e-4  # peaks below -80 dB
TRIES = 20  # positions in a noise file, if some are silent; files, if some are damaged
BLOCK_SECONDS = 10.0


@config
class Noise:
    manifests: tuple[Path, ...]
    probability: float = 0.5
    """Share of the utterances read."""
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
    """Share of the utterances read."""

    def __post_init__(self) -> None:
        _check(self.manifests, self.probability)


@config
class Augment:
    """All off by default."""

    noise: Noise | None = None
    rooms: Rooms | None = None
    telephone: float = 0.0
    """Share of the utterances that go through a telephone."""

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
    """The settings, and the utterances of their manifests."""

    config: Augment
    noises: tuple[Utterance, ...] = ()
    rooms: tuple[Utterance, ...] = ()
    damaged: set[str] = field(default_factory=set)
    """Files that were logged."""

    def __call__(self, wave_S: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Augments an utterance (S,) at 16 kHz: (S,) float32.

        The random numbers of all three are always drawn, so that switching one off does not change
        the others.
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

    def describe(self) -> str:
        """The settings, for the log."""
        parts: list[str] = []
        if self.noises and (noise := self.config.noise):
            low, high = noise.snr_db
            files = f"{len(self.noises)} recordings, {low:g} to {high:g} dB"
            parts.append(f"noise for {noise.probability:.0%} ({files})")
        if self.rooms and (rooms := self.config.rooms):
            parts.append(f"rooms for {rooms.probability:.0%} ({len(self.rooms)} responses)")
        if self.config.telephone:
            parts.append(f"a telephone for {self.config.telephone:.0%}")
        return f"augmentation: {', '.join(parts)} of the utterances"

    def _drawn(
        self,
        sounds: Sequence[Utterance],
        place: float,
        random: np.random.Generator,
        read: Callable[[Utterance], np.ndarray],
    ) -> np.ndarray:
        """The audio at position `place`, from 0 to 1; another if it cannot be read."""
        for _ in range(TRIES):
            u = sounds[int(place * len(sounds))]
            try:
                return read(u)
            except UserError as error:
                if (name := f"{u.audio} {u.id}") not in self.damaged:
                    self.damaged.add(name)
                    logger.warning(f"augmentation: {error}; another file is drawn")
                failed, place = error, random.random()
        raise UserError(f"{failed}; {TRIES - 1} other files that were drawn cannot be read either")


def load_augmentation(config: Augment) -> Augmentation | None:
    """Reads the manifests, and enough of each file to know that it is not silent; None if all is
    off."""
    noises: tuple[Utterance, ...] = ()
    rooms: tuple[Utterance, ...] = ()
    if config.noise is not None and config.noise.probability:
        noises = _audible(config.noise.manifests, "noise", _has_sound)
    if config.rooms is not None and config.rooms.probability:
        rooms = _audible(
            config.rooms.manifests,
            "the first channel of impulse response",
            lambda u: not _silent(_response(u)),
        )
    return Augmentation(config, noises, rooms) if noises or rooms or config.telephone else None


def _audible(
    manifests: tuple[Path, ...], what: str, sounds: Callable[[Utterance], bool]
) -> tuple[Utterance, ...]:
    """The utterances of manifests; a silent one is a UserError."""
    utterances = [u for path in manifests for u in read_manifest(path)]
    for u in utterances:
        if not sounds(u):
            raise UserError(f"{u.audio}: {what} {u.id} is silent; take it out of the manifest")
    return tuple(utterances)


def _has_sound(u: Utterance) -> bool:
    """Whether the mean of the channels is not silent everywhere."""
    starts = np.arange(0.0, u.duration, BLOCK_SECONDS).tolist()
    return not all(_silent(_read(u, start, BLOCK_SECONDS)) for start in starts)


def _response(u: Utterance) -> np.ndarray:
    return _read(u, 0.0, u.duration, channel=0)


def _stretch(u: Utterance, samples: int, random: np.random.Generator) -> np.ndarray:
    """Samples of a noise from a random position that is not silent; short noise is repeated."""
    seconds = samples / SAMPLE_RATE
    for place in random.random(TRIES):
        noise_S = _read(u, place * max(u.duration - seconds, 0.0), seconds)
        if not _silent(noise_S):
            break
    return np.resize(noise_S, samples)


def _read(u: Utterance, start: float, seconds: float, channel: int | None = None) -> np.ndarray:
    """Part of an utterance from `start` seconds, up to its end."""
    seconds = min(seconds, u.duration - start)
    return read_audio(u.audio, u.start + start, seconds, channel, part=u.bytes)


def _silent(wave_S: np.ndarray) -> bool:
    return float(np.abs(wave_S).max(initial=0.0)) < SILENT
