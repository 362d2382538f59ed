"""A multilingual corpus made on the spot, so that the whole path runs without a download.

espeak-ng (from the wheel `espeakng-loader`) reads the sentences of `speechx/text/sentences`. Dev
and test have sentences *and* voices of their own: nothing in training is scored. Pitch,
liveliness, speed, room, microphone and noise change with every utterance
(`speechx.audio.augment`).

A share of the training utterances is word salad: words of the training sentences, drawn at
random. Eighty sentences spoken three times would let a model learn the sentences; salad breaks up
the order, while every word stays the language's own. Dev and test hold real sentences only.

The same seed gives the same bytes, in any order of languages and with any number of processes.

    S samples
"""

import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from speechx.audio.augment import Channel, random_channel
from speechx.audio.espeak import Speaker
from speechx.audio.files import SAMPLE_RATE, write_flac
from speechx.data.manifest import Utterance, claim, write_manifest
from speechx.data.phones import add_phones
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.g2p import espeak_voice
from speechx.text.languages import language_code
from speechx.text.normalize import normalize
from speechx.text.shipped import sentence_languages, shipped_sentences

# No Klatt voices (benjamin, david, ...): they read Catalan ŋ as n, and the labels say ŋ.
VOICES = {
    "train": (
        *("m1", "m3", "m4", "m6", "m8", "Michael", "Gene"),
        *("f1", "f2", "f5", "Alicia", "Andrea", "Annie", "aunty", "steph", "steph2"),
    ),
    "dev": ("m7", "f4"),
    "test": ("m2", "f3", "rob", "linda"),
}

# How the utterances differ; each pair is the (lowest, highest) value of a uniform draw.
RATE = (140, 190)  # words per minute
PITCH = (35, 65)  # espeak-ng's scale, 0 to 100
PITCH_RANGE = (20, 80)
TRACT = (0.9, 1.1)  # formants, pitch and rate together, by resampling
PAUSE = (0.05, 0.3)  # seconds of room tone before and after the speech
SALAD_SHARE = 0.5  # of the training utterances
SALAD_WORDS = (5, 12)


def prepare(
    out: Path,
    languages: Sequence[str] | None = None,
    minutes: float = 12.0,
    seed: int = 1,
    processes: int | None = None,
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/{train,dev,test}.jsonl` and FLAC files; returns how many utterances of
    each split there are.

    `languages` None means all that have sentences. Each gets `minutes` of training speech. Dev and
    test hold each of their sentences once by each of their voices. Several processes are spawned,
    so a script that calls this needs `if __name__ == "__main__"`, or processes=1.
    """
    asked = sentence_languages() if languages is None else languages
    wanted = list(dict.fromkeys(map(language_code, asked)))
    if not wanted:
        raise UserError(
            f"no language was given: expected some of {', '.join(sentence_languages())}."
        )
    for language in wanted:
        shipped_sentences(language)
        espeak_voice(language)
        if not 0 < minutes < float("inf"):
            raise UserError(f"minutes of {language} must be positive, but is {minutes}.")
    for language in wanted:
        claim(out / language, "synthetic speech")
    work = partial(_make_language, out, minutes=minutes, seed=seed)
    workers = min(processes or os.cpu_count() or 1, len(wanted))
    made: dict[str, dict[str, int]] = {}
    with ExitStack() as stack:
        run_all: Callable[..., Iterable[Any]] = map
        if workers > 1:
            context = multiprocessing.get_context("spawn")
            run_all = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context)).map
        for language, (counts, notes) in zip(wanted, run_all(work, wanted), strict=True):
            made[language] = counts
            for note in notes:
                logger.info(note)
    return made


def split_sentences(sentences: Sequence[str]) -> dict[str, list[str]]:
    """Of every ten sentences the ninth goes to dev and the tenth to test."""
    splits: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for number, sentence in enumerate(sentences):
        splits[{8: "dev", 9: "test"}.get(number % 10, "train")].append(sentence)
    if not all(splits.values()):
        raise UserError(
            f"at least 10 sentences are needed to have train, dev and test, "
            f"but there are {len(sentences)}."
        )
    return splits


def _make_language(
    out: Path, language: str, minutes: float, seed: int
) -> tuple[dict[str, int], list[str]]:
    """All of one language; its utterances by split, and what there is to report."""
    rng = np.random.default_rng([seed, zlib.crc32(language.encode())])
    speaker = Speaker(seed)
    counts: dict[str, int] = {}
    lengths: list[str] = []
    notes: list[str] = []
    folder = out.resolve() / language
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for split, sentences in split_sentences(shipped_sentences(language)).items():
        spoken: list[Utterance] = []
        seconds = 0.0
        for number, (text, voice) in enumerate(_readings(split, sentences, language, rng)):
            if split == "train" and seconds >= 60.0 * minutes:
                break
            wave_S = _speak(speaker, text, f"{espeak_voice(language)}+{voice}", rng)
            name = f"{language}-{split}-{number:04d}"
            audio = folder / "audio" / f"{name}.flac"
            write_flac(audio, wave_S)
            duration = len(wave_S) / SAMPLE_RATE
            seconds += duration
            spoken.append(
                Utterance(
                    id=name,
                    audio=audio,
                    duration=duration,
                    language=language,
                    text=text,
                    speaker=f"{language}-{voice}",
                )
            )
        labelled = add_phones(spoken, note=notes.append)
        write_manifest(folder / f"{split}.jsonl", labelled)
        counts[split] = len(spoken)
        lengths.append(f"{split} {seconds / 60.0:.1f}")
    return counts, [*notes, f"{language}: minutes of {', '.join(lengths)}"]


def _readings(
    split: str, sentences: Sequence[str], language: str, rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
    """(text, voice) without end for training; every sentence by every voice for dev and test."""
    voices = VOICES[split]
    if split != "train":
        yield from ((sentence, voice) for voice in voices for sentence in sentences)
        return
    words = [word for sentence in sentences for word in normalize(sentence, language).split()]
    while True:
        for index in rng.permutation(len(sentences)):
            if rng.random() < SALAD_SHARE / (1.0 - SALAD_SHARE):
                length = rng.integers(*SALAD_WORDS, endpoint=True)
                salad = " ".join(words[i] for i in rng.integers(len(words), size=length))
                yield salad, voices[rng.integers(len(voices))]
            yield sentences[int(index)], voices[rng.integers(len(voices))]


def _speak(speaker: Speaker, text: str, voice: str, rng: np.random.Generator) -> np.ndarray:
    import soxr

    rate, pitch, pitch_range = (
        int(rng.integers(*span, endpoint=True)) for span in (RATE, PITCH, PITCH_RANGE)
    )
    speech_S = speaker.say(text, voice, rate, pitch, pitch_range).astype(np.float32) / 32768.0
    speech_S = soxr.resample(speech_S, speaker.rate * rng.uniform(*TRACT), SAMPLE_RATE)
    before, after = (int(s * SAMPLE_RATE) for s in rng.uniform(*PAUSE, size=2))
    return random_channel(np.pad(speech_S, (before, after)), SAMPLE_RATE, rng, Channel())
