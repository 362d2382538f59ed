"""How true the times of a forced alignment are: peaks, the midpoint rule, and the sound model.

    python benchmarks/times.py MODEL TIMES.jsonl [--split test] [--learn train.jsonl] [--words]
    python benchmarks/times.py                       # made of tones and noise, without a model

TIMES.jsonl has a recording a line: `path` (beside the file), `split`, and `segments`, each
[start, end, token, ...] in seconds; "sil" is a pause. A model that writes characters is compared
by words: then a line has `text`, and `words`, each [start, end, word]. So is a model that writes
phones with `--words`; words begin and end where a segment does. `--learn` learns the sound model
from a manifest, for models that have none.

Printed are, in milliseconds, the mean absolute error, the mean signed error of starts and of ends
(positive is late), and the share of starts and ends within 10, 20 and 50 ms.

    S samples at 16 kHz · N steps of 10 ms · C cepstra · U tokens · E times
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from speechx.audio.cepstra import cepstra
from speechx.audio.files import SAMPLE_RATE, read_audio
from speechx.decoding.sound_model import SoundModel, Spoken

METHODS = ("peaks", "midpoint", "sound model")
WITHIN = (10, 20, 50)  # ms
ROUNDING = 0.5  # ms that times of 10 ms steps are given
REACH = 0.16  # seconds from a peak to a pause, for the midpoint rule


def midpoint(spans_U2: np.ndarray, duration: float) -> np.ndarray:
    """Boundaries halfway between the peaks of neighbours."""
    first_U, behind_U = spans_U2.T
    half_U = np.concatenate(
        ([first_U[0]], (first_U[1:] - behind_U[:-1]) / 2, [duration - behind_U[-1]])
    ).clip(0, REACH)
    return np.stack((first_U - half_U[:-1], behind_U + half_U[1:]), 1)


def by_method(sounds: SoundModel, each: Spoken, duration: float) -> dict[str, np.ndarray]:
    """Times (U, 2) of one recording."""
    found = (each.spans_U2, midpoint(each.spans_U2, duration), sounds.times(each))
    return dict(zip(METHODS, found, strict=True))


def row(name: str, found_E2: np.ndarray, true_E2: np.ndarray) -> str:
    error_E2 = 1000 * (found_E2 - true_E2)
    shares = [100 * np.mean(np.abs(error_E2) <= limit + ROUNDING) for limit in WITHIN]
    start, end = error_E2.mean(0)
    return f"{name:12s} {np.abs(error_E2).mean():6.1f} {start:+7.1f} {end:+7.1f}  " + " ".join(
        f"{share:5.1f}%" for share in shares
    )


def made_up(recordings: int, seed: int) -> tuple[list[Spoken], list[np.ndarray], list[float]]:
    """Recordings of five sounds (tones, chords and noise) and pauses with known times, and peaks
    anywhere in the first half of a sound."""
    random = np.random.default_rng(seed)
    spoken, times, durations = [], [], []
    for _ in range(recordings):
        parts, begins, ids_U, now = [], [], [], 0
        for _ in range(20):
            if random.random() < 0.2:
                parts.append(np.zeros(random.integers(2000, 5000)))
                now += len(parts[-1])
            sound, length = int(random.integers(1, 6)), int(random.integers(900, 3000))
            time_S = np.arange(length) / SAMPLE_RATE
            hertz = {1: (300,), 2: (600, 2400), 3: (1200,), 4: (400, 3000)}.get(sound, ())
            wave_S = sum((np.sin(2 * np.pi * h * time_S) for h in hertz), np.zeros(length))
            parts.append(wave_S if hertz else random.standard_normal(length))
            ids_U.append(sound)
            begins.append((now, now + length))
            now += length
        parts.append(np.zeros(4000))
        wave_S = np.concatenate(parts) + 0.003 * random.standard_normal(now + 4000)
        true_U2 = np.array(begins) / SAMPLE_RATE
        peak_U = true_U2[:, 0] + np.diff(true_U2)[:, 0] * random.uniform(0, 0.5, len(true_U2))
        spans_U2 = np.stack((peak_U, peak_U + 0.02), 1)
        spoken.append(Spoken(cepstra(wave_S), np.array(ids_U), spans_U2))
        times.append(true_U2)
        durations.append(len(wave_S) / SAMPLE_RATE)
    return spoken, times, durations


def without_model() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    spoken, times, durations = made_up(12, seed=1)
    sounds = SoundModel.learn(spoken[:8], tokens=6)
    found = [by_method(sounds, s, d) for s, d in zip(spoken[8:], durations[8:], strict=True)]
    true_E2 = np.concatenate(times[8:])
    return {m: (np.concatenate([each[m] for each in found]), true_E2) for m in METHODS}


def with_model(args: argparse.Namespace) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    import speechx
    from speechx.data.manifest import read_manifest
    from speechx.text.normalize import normalize
    from speechx.transcription.times import learn_times, peaks, spoken
    from speechx.transcription.token_times import load_times

    model = speechx.load(args.model)
    sounds = load_times(Path(args.model), next(iter(model.model.heads)))
    if args.learn:
        sounds = learn_times(model, read_manifest(args.learn), args.seed)
    if sounds is None:
        raise SystemExit(
            f"{args.learn} has no utterance that could be used"
            if args.learn
            else f"{args.model} has no sound model: give --learn MANIFEST"
        )
    vocabulary, second = model.vocabulary, model.features.stride / SAMPLE_RATE
    found: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    true: list[list[float]] = []
    for line in args.times.read_text(encoding="utf-8").splitlines():
        about = json.loads(line)
        if args.split not in ("all", about.get("split")):
            continue
        wave_S = read_audio(args.times.parent / about["path"])
        segments = [s for s in about["segments"] if s[2] != "sil"]
        tokens = [s[2] for s in segments]
        first_U = behind_U = np.arange(len(tokens))
        if vocabulary.token_type == "characters":
            words = normalize(about["text"], args.language).split()
            segments, tokens = about["words"], list(" ".join(words))
            ends_U = np.cumsum([len(word) for word in words])
            first_U, behind_U = np.append(0, ends_U[:-1]), ends_U - 1
        elif args.words:
            begin_U, end_U = np.array([s[:2] for s in segments]).T
            segments = about["words"]
            first_U = np.searchsorted(begin_U, [word[0] for word in segments])
            behind_U = np.searchsorted(end_U, [word[1] for word in segments])
        ids_U = np.array(vocabulary.encode(tokens))
        frames_U2 = peaks(model.log_probabilities(wave_S), ids_U)
        each = spoken(cepstra(wave_S), ids_U, frames_U2, second, vocabulary)
        if args.words:
            each = replace(each, pauses_U=np.isin(np.arange(len(each.ids_U)), first_U))
        for method, times_U2 in by_method(sounds, each, len(wave_S) / SAMPLE_RATE).items():
            found[method].append(np.stack((times_U2[first_U, 0], times_U2[behind_U, 1]), 1))
        true += [segment[:2] for segment in segments]
    return {m: (np.concatenate(times), np.array(true)) for m, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("times", type=Path, nargs="?")
    parser.add_argument("--split", default="test", help="part of the recordings, or all")
    parser.add_argument("--learn", type=Path, help="manifest to learn the sound model from")
    parser.add_argument("--words", action="store_true", help="comparison by words, also of phones")
    parser.add_argument("--language", default="ru", help="of texts")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    results = with_model(args) if args.model else without_model()
    print(f"{len(results['peaks'][0])} tokens or words; ms, share within {WITHIN} ms")
    print(f"{'':12s} {'mean':>6s} {'start':>7s} {'end':>7s}")
    for method, (found_E2, true_E2) in results.items():
        print(row(method, found_E2, true_E2))


if __name__ == "__main__":
    main()
