"""What the layers of a model know: linear probes of phones, languages and speakers, and ABX
discrimination of phones, layer by layer.

    speechx analyze layers runs/pretrain/final data/*/test.jsonl --alignments aligned -o layers

`diagnostics/probes.py` and `diagnostics/abx.py` explain the numbers. The features of all layers are
kept in a temporary file, and one layer of them in memory.

    N frames that are kept · L layers · D = embed_dim · T frames of an utterance · Q pieces
    · V values of a frame, here (L, D)
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.data.phone_times import TimedPhones, phones_of, timed_phones
from speechx.data.utterance import Utterance
from speechx.diagnostics.abx import Token, abx_error, draw_triples
from speechx.diagnostics.codebook import read_utterances, sample
from speechx.diagnostics.probes import ProbeTask, accuracy, hold_out, make_task
from speechx.diagnostics.unit_quality import NO_PHONE, phone_of_frames
from speechx.errors import UserError
from speechx.log import logger
from speechx.text_table import text_table
from speechx.training.progress import Bar
from speechx.transcription.feature_model import FeatureModel, load_encoder
from speechx.transcription.layers import Convention, parse_layers
from speechx.transcription.recording import Recording
from speechx.whole_file import write_whole

PROBE_FRAMES = 16_000  # of phones, of all languages
TOKENS = 4_000  # of phones for ABX, of all languages
SPEAKERS = 4  # of each language for ABX
TOKENS_PER_PHONE = 5  # of each speaker for ABX, or more where there are few
TRIPLES = 5_000
UNKNOWN = ""  # speaker


@dataclass(frozen=True, slots=True)
class LayerScores:
    """Accuracies and errors of each layer."""

    layers: tuple[int, ...]
    accuracy: dict[str, list[float]]
    """Of the probes by name: phones, language, speaker."""
    error: dict[str, list[float]]
    """Of ABX: within, across; any where the speakers are not known."""
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Chance and sizes of each."""
    unreadable: tuple[str, ...] = ()
    """Why some audio is left out."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for layers.json."""
        probes = {n: {"accuracy": v, **self.about[n]} for n, v in self.accuracy.items()}
        abx = {n: {"error": v, **self.about[f"abx {n}"]} for n, v in self.error.items()}
        unreadable = list(self.unreadable)
        return {"layers": list(self.layers), "probes": probes, "abx": abx, "unreadable": unreadable}

    def table(self) -> str:
        """A row per layer, and one for chance."""
        columns = [("layer", [str(n) for n in self.layers], "chance")]
        columns += [
            (name, [f"{100 * v:.1f}" for v in values], f"{100 * self.about[name]['chance']:.1f}")
            for name, values in self.accuracy.items()
        ]
        columns += [
            (f"ABX {name}", [f"{100 * v:.1f}" for v in values], "50.0")
            for name, values in self.error.items()
        ]
        rows = zip(*([name, *values, chance] for name, values, chance in columns), strict=True)
        notes = [f"{name}: {_note(about)}" for name, about in self.about.items()]
        title = "accuracy of linear probes and error of ABX in %"
        return "\n".join([text_table([*rows]), "", title, *notes])


def analyze_layers(
    model: Path | str,
    manifests: Sequence[Path],
    out: Path | None = None,
    alignments: Path | None = None,
    minutes: float = 5.0,
    seed: int = 1,
    convention: Convention = "hugging_face",
    device: str = "auto",
    language: str | None = None,
) -> LayerScores:
    """Probes every layer on at most `minutes` of each language; writes layers.json and layers.png
    to `out`. What has no labels is left out and logged: phones need times (data/phone_times.py)."""
    if not minutes > 0:
        raise UserError(f"--minutes must be more than 0, not {minutes:g}")
    if seed < 0:
        raise UserError(f"--seed must be 0 or more, not {seed}")
    if out is not None and not find_spec("matplotlib"):
        raise UserError("figures need matplotlib: pip install 'speechx[figures]'")
    if not find_spec("sklearn"):
        raise UserError("probes need scikit-learn: pip install 'speechx[units]'")
    utterances = read_utterances(manifests, "layers")
    known = timed_phones(utterances, alignments)
    if not known and any(u.phones for u in utterances):
        logger.info(
            "layers: the phones have no times, so phones are left out; `speechx align` finds them, "
            "and --alignments takes its folder"
        )
    pieces = [
        piece for some in sample(utterances, minutes, seed, "layers").values() for piece in some
    ]
    opened = load_encoder(model, device, language)
    layers = parse_layers("all", opened.num_layers, convention)
    plan = FramePlan.of(pieces, known, opened, seed)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="speechx_layers_") as folder:
        read = _read_layers(opened, plan, layers, convention, Path(folder))
        scores = _scores(plan, read, layers, seed)
    if out is not None:
        about: dict[str, Any] = {
            "model": str(model),
            "encoder": opened.mark,
            "convention": convention,
        }
        about |= {"manifests": [str(m) for m in manifests], "minutes": minutes, "seed": seed}
        text = json.dumps({**about, **scores.to_dict()}, ensure_ascii=False, indent=1)
        write_whole(out / "layers.json", text + "\n")
        from speechx.diagnostics.layer_figure import draw_layers

        draw_layers(layers, scores.accuracy, scores.error, scores.about, out / "layers.png")
    return scores


@dataclass(frozen=True, slots=True)
class FramePlan:
    """Which frames are kept, before anything is computed."""

    pieces: list[Utterance]
    probe: list[np.ndarray]
    """Of each piece, the frames for the phone probe."""
    labels: list[list[str]]
    """Their phones."""
    tokens: list[list[tuple[str, int, int]]]
    """Of each piece, phones for ABX with their first frame and the one behind them."""

    @classmethod
    def of(
        cls, pieces: list[Utterance], known: TimedPhones, model: FeatureModel, seed: int
    ) -> "FramePlan":
        random = np.random.default_rng([seed, 20])
        labelled: list[tuple[int, int, str]] = []
        spoken: dict[str, dict[str, dict[str, list[tuple[int, int, int]]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for number, piece in enumerate(pieces):
            phones = phones_of(piece, known)
            frames = model.config.features.frames(int(piece.duration * SAMPLE_RATE))
            centres = model.frame_times(frames)
            names = phone_of_frames(centres, phones)
            labelled += [(number, t, names[t]) for t in np.flatnonzero(names != NO_PHONE).tolist()]
            for phone in phones:
                first, end = np.searchsorted(centres, (phone.start, phone.end)).tolist()
                if end > first:
                    by = spoken[piece.language][piece.speaker or UNKNOWN][phone.text]
                    by.append((number, first, end))
        probe: list[list[int]] = [[] for _ in pieces]
        labels: list[list[str]] = [[] for _ in pieces]
        for at in np.sort(random.permutation(len(labelled))[:PROBE_FRAMES]).tolist():
            number, t, name = labelled[at]
            probe[number].append(t)
            labels[number].append(name)
        tokens: list[list[tuple[str, int, int]]] = [[] for _ in pieces]
        for number, phone_text, first, end in _choose_tokens(spoken, random):
            tokens[number].append((phone_text, first, end))
        return cls(pieces, [np.array(t, np.int64) for t in probe], labels, tokens)


def _choose_tokens(spoken: Any, random: np.random.Generator) -> Iterator[tuple[int, str, int, int]]:
    """Of each language some speakers, of each of these some tokens of each phone."""
    for speakers in spoken.values():
        most = sorted(speakers, key=lambda s: -sum(map(len, speakers[s].values())))[:SPEAKERS]
        limit = max(1, TOKENS // len(spoken))
        each = max(TOKENS_PER_PHONE, limit // max(1, sum(len(speakers[s]) for s in most)))
        chosen = []
        for speaker in most:
            for phone, found in speakers[speaker].items():
                some = random.permutation(len(found))[:each].tolist()
                chosen += [(found[i][0], phone, found[i][1], found[i][2]) for i in some]
        yield from (chosen[i] for i in np.sort(random.permutation(len(chosen))[:limit]).tolist())


@dataclass(frozen=True, slots=True)
class _Read:
    """What is kept of the features."""

    means_QLD: np.ndarray
    """Of each piece that was read."""
    numbers: list[int]
    """Of these pieces, in the plan."""
    frames_NLD: np.ndarray
    labels_N: list[str]
    owners_N: list[int]
    """The phone and the piece of each of the frames for the probe, which come first."""
    tokens: list[Token]
    unreadable: list[str]


def _read_layers(
    model: FeatureModel,
    plan: FramePlan,
    layers: tuple[int, ...],
    convention: Convention,
    folder: Path,
) -> _Read:
    """Computes the features of all pieces, one after another."""
    size = sum(map(len, plan.probe)) + sum(b - a for some in plan.tokens for _, a, b in some)
    shape = (max(size, 1), len(layers), model.dim)
    frames_NLD = np.memmap(folder / "frames", np.float32, "w+", shape=shape)
    means, numbers, labels, owners, tokens = [], [], list[str](), list[int](), list[Token]()
    at, behind, blocks = 0, sum(map(len, plan.probe)), list[np.ndarray]()
    bar = Bar("layers", sum(piece.duration for piece in plan.pieces))
    seconds, unreadable = 0.0, list[str]()
    with closing(bar):
        recordings = map(Recording.of_utterance, plan.pieces)
        for part in model.parts(recordings, layers, convention):
            if part.outputs_TV is not None:
                blocks.append(part.outputs_TV)
                continue
            piece = plan.pieces[part.number]
            seconds += piece.duration
            bar.reach(seconds)
            if part.error is not None:
                unreadable.append(f"{piece.id}: {part.error}")
            elif blocks:
                x_TLD = np.concatenate(blocks)
                means.append(x_TLD.mean(0))
                numbers.append(part.number)
                kept = plan.probe[part.number]
                kept = kept[kept < len(x_TLD)]
                frames_NLD[at : at + len(kept)] = x_TLD[kept]
                at += len(kept)
                labels += plan.labels[part.number][: len(kept)]
                owners += [part.number] * len(kept)
                for phone, begin, end in plan.tokens[part.number]:
                    if end <= len(x_TLD):
                        frames_NLD[behind : behind + end - begin] = x_TLD[begin:end]
                        speaker = piece.speaker or UNKNOWN
                        tokens.append(Token(piece.language, speaker, phone, behind, end - begin))
                        behind += end - begin
            blocks = []
    if not means:
        why = f" ({unreadable[0]})" if unreadable else ""
        raise UserError(f"no utterance can be read and is as long as a frame{why}")
    return _Read(np.stack(means), numbers, frames_NLD, labels, owners, tokens, unreadable)


def _scores(plan: FramePlan, read: _Read, layers: tuple[int, ...], seed: int) -> LayerScores:
    tasks, about = _tasks(plan, read, seed)
    triples = {}
    known = any(token.speaker != UNKNOWN for token in read.tokens)
    for mode in ("within", "across") if known else ("any",):
        random = np.random.default_rng([seed, 22, mode == "across"])
        drawn = draw_triples(read.tokens, TRIPLES, mode == "across", random)
        if len(drawn):
            triples[mode] = drawn
            phones = len({t.phone for t in read.tokens})
            about[f"abx {mode}"] = {
                "triples": len(drawn),
                "tokens": len(read.tokens),
                "phones": phones,
            }
    if not tasks and not triples:
        raise UserError(
            "there is nothing to probe: expected phones with times, several languages or several "
            "speakers with two utterances each; `speechx align` finds the times of phones"
        )
    accuracies: dict[str, list[float]] = {name: [] for name in tasks}
    errors: dict[str, list[float]] = {mode: [] for mode in triples}
    bar = Bar("probes", float(len(layers)))
    with closing(bar):
        for index in range(len(layers)):
            frames_ND = np.array(read.frames_NLD[:, index])
            for name, task in tasks.items():
                given = (
                    frames_ND[: len(read.labels_N)]
                    if name == "phones"
                    else read.means_QLD[:, index]
                )
                accuracies[name].append(accuracy(given, task))
            for mode, drawn in triples.items():
                errors[mode].append(abx_error(frames_ND, read.tokens, drawn))
            bar.reach(index + 1.0)
    return LayerScores(layers, accuracies, errors, about, tuple(read.unreadable))


def _tasks(plan: FramePlan, read: _Read, seed: int) -> tuple[dict[str, ProbeTask], dict[str, Any]]:
    """The probes for which there are labels, and what is known of them."""
    random = np.random.default_rng([seed, 21])
    pieces = [plan.pieces[number] for number in read.numbers]
    utterance = [f"{p.id} {p.audio}" for p in pieces]
    language = [p.language for p in pieces]
    speaker = [
        f"{p.language} {p.speaker}" if p.speaker else u
        for p, u in zip(pieces, utterance, strict=True)
    ]
    several = defaultdict(set)
    for p in pieces:
        several[p.language].add(p.speaker)
    # A language with one speaker, or unknown ones, can only be held out by utterances.
    alone = {name for name, some in several.items() if len(some - {None}) < 2}
    group = [
        u if name in alone else s for u, s, name in zip(utterance, speaker, language, strict=True)
    ]
    unseen_Q = hold_out(language, group, random)
    unseen = dict(zip(read.numbers, unseen_Q.tolist(), strict=True))
    by = "utterances" if len(alone) == len(several) else "speakers"
    if alone and by == "speakers":
        by = f"speakers, and utterances of {', '.join(sorted(alone))}"
    named_Q = np.array([p.speaker is not None for p in pieces])
    told_apart = [s if p.speaker else UNKNOWN for p, s in zip(pieces, speaker, strict=True)]
    found = {
        "phones": (read.labels_N, np.array([unseen[n] for n in read.owners_N], bool), by),
        "language": (language, unseen_Q, by),
        "speaker": (
            told_apart, hold_out(told_apart, utterance, random) & named_Q, "utterances"
        ),
    }  # fmt: skip
    tasks, about = {}, {}
    for name, (labels, test_N, held_out) in found.items():
        task = make_task(labels, test_N)
        if task is None:
            logger.info(f"layers: {name} left out: no two with labels on both sides of a split")
            continue
        tasks[name] = task
        train = int((task.used_N & ~task.test_N).sum())
        about[name] = {
            "chance": task.chance, "classes": task.classes, "training": train,
            "held_out": int((task.used_N & task.test_N).sum()), "held_out_by": held_out,
        }  # fmt: skip
    return tasks, about


def _note(about: dict[str, Any]) -> str:
    if "triples" in about:
        return f"{about['triples']} triples of {about['tokens']} tokens of {about['phones']} phones"
    return (
        f"{about['classes']} classes, {about['training']} examples of training, "
        f"{about['held_out']} held out by {about['held_out_by']}"
    )
