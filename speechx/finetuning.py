"""CTC fine-tuning: characters or phonemes, one language or several with one shared vocabulary.

    speechx finetune recipe.yaml init=runs/pretrain/final a.b=c --resume

wav2vec 2.0, section 4.3: a linear head on the last block, the waveform encoder frozen, the whole
trunk frozen for the first steps, masking of time and channels kept on, tri-stage learning rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechx.audio.files import SAMPLE_RATE
from speechx.config import config, merge, override, parse, read_yaml, source_of
from speechx.data.augmentation import Augment, load_augmentation
from speechx.data.batches import Batch, Batches, load
from speechx.data.corpus import Corpus
from speechx.data.exclusion import Exclusions
from speechx.data.labels import feasible, frames_needed, labelled, limit, units
from speechx.data.manifest import Utterance, read_manifest
from speechx.data.reading import Training
from speechx.data.sampling import (
    Epoch,
    Position,
    at_some_speed,
    every_row,
    mixed_epoch,
    once,
    padded_batches,
    share,
    stream,
)
from speechx.decoding.greedy import greedy
from speechx.decoding.scoring import score
from speechx.errors import UserError
from speechx.interchange.conversion import fresh, open_any
from speechx.models.ctc import CTC
from speechx.models.presets import continued, expand
from speechx.models.wav2vec2 import Wav2Vec2Config
from speechx.objectives.ctc import ctc_loss
from speechx.objectives.masking import Masking, span_mask
from speechx.text.vocabulary import Kind, Vocabulary
from speechx.training.checkpoint import (
    SavedModel,
    load_weights,
    open_run,
    save_model,
)
from speechx.training.distributed import Machine, machine
from speechx.training.health import Health, Monitor
from speechx.training.loop import Run, Sums, train
from speechx.training.optim import Optim
from speechx.training.progress import amounts, say


@config
class LabelledData:
    train: tuple[Path, ...]
    dev: tuple[Path, ...]
    exclude: tuple[Path, ...] = ()
    """Lists of utterances to leave out of all manifests, as `speechx data doctor` writes them."""
    alpha: float = 0.5
    """Languages are mixed with p proportional to hours^alpha."""
    corpus_alpha: float | None = None
    """Corpora too, with p proportional to hours^corpus_alpha, and languages within each (XLS-R).
    Without it corpora are not told apart."""
    limit_minutes: float | None = None
    """Use only so many minutes of each language, the same ones for the same run.seed."""
    max_seconds: float = 60.0
    """Labelled utterances that are longer are an error: one goes through the model as one row,
    whose memory and time grow with its square."""
    speed: tuple[float, float] = (1.0, 1.0)
    """Each time an utterance is heard it is played at another speed between these two."""
    augment: Augment = Augment()
    """Noise, rooms and a telephone line, drawn anew each time too."""
    max_unreadable: float = 0.01
    """Share of the utterances tried that may be unreadable: they are replaced and listed in
    unreadable.tsv; beyond it the run stops."""

    def __post_init__(self) -> None:
        if not self.train or not self.dev:
            raise ValueError("train and dev need at least one manifest each")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1, but is {self.alpha}")
        if self.corpus_alpha is not None and not 0 <= self.corpus_alpha <= 1:
            raise ValueError(f"corpus_alpha must be between 0 and 1, but is {self.corpus_alpha}")
        if self.limit_minutes is not None and self.limit_minutes <= 0:
            raise ValueError(f"limit_minutes must be above 0, but is {self.limit_minutes}")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be above 0, but is {self.max_seconds}")
        if not 0 <= self.max_unreadable <= 1:
            raise ValueError(f"max_unreadable is a share, 0 to 1, but is {self.max_unreadable}")
        if not 0.5 <= self.speed[0] <= self.speed[1] <= 2:
            raise ValueError(
                "speed must be two numbers from 0.5 to 2, the slower first, "
                f"but is {list(self.speed)}"
            )


@config
class Finetune:
    out: Path
    init: Path | None = None
    """A pretrained or fine-tuned model, ours or another toolkit's; without one the model starts
    from random weights."""
    allow_missing: tuple[str, ...] = ()
    """Parts that `init` may lack and that start fresh: mask_vector; no quantizer is needed."""
    units: Kind
    model: Wav2Vec2Config = Wav2Vec2Config()
    """With `init`: what differs from the model there, as in model.transformer.dropout=0.1."""
    data: LabelledData
    time_masking: Masking = Masking(probability=0.65, span=10)
    channel_masking: Masking = Masking(probability=0.25, span=64, min_spans=0)
    head_dropout: float = 0.0
    freeze_steps: int = 0
    """Steps in which only the head trains; with `init` only."""
    freeze_encoder: bool = True
    """Keep the waveform encoder as it is; with `init` only."""
    optim: Optim = Optim(rate=1e-4, schedule="tri_stage", warmup=0.1, epsilon=1e-8)
    health: Health = Health()
    run: Run

    def __post_init__(self) -> None:
        if self.freeze_steps < 0:
            raise ValueError(f"freeze_steps must not be negative, but is {self.freeze_steps}")
        if not 0 <= self.head_dropout < 1:
            raise ValueError(
                f"head_dropout must be at least 0 and below 1, but is {self.head_dropout}"
            )


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Finetune:
    """The YAML file with its overrides; the model is the preset's, or that of `init` changed."""
    return complete(override(read_yaml(path), overrides), source_of(path, overrides))


def complete(raw: dict[str, Any], source: str) -> Finetune:
    """A `Finetune` from plain data, the model written out."""
    if "contrastive" in raw and "units" not in raw:
        raise UserError(f"{source} is a pretraining configuration: run `speechx pretrain` with it")
    if raw.get("init") is not None:
        saved = open_any(str(raw["init"]), None, raw.get("allow_missing") or ())
        model, note = continued(raw.get("model", {}), saved.config)
        raw = {**raw, "model": model}
        if note:
            say(f"finetune: {note}")
    else:
        raw = {**raw, "model": expand(raw.get("model", "base"))}
    if isinstance(raw.setdefault("optim", {}), dict):
        usual = {"schedule": "tri_stage", "warmup": 0.1, "epsilon": 1e-8, "rate": 1e-4}
        raw["optim"] = merge(usual, raw["optim"])
    return parse(Finetune, raw, source)


def finetune(config: Finetune | None = None, resume: bool = False, **settings: Any) -> Path:
    """Trains and returns the model folder `out/best`, the one with the lowest error rate on dev.

    Takes a config, or its fields as keywords with plain values, as in a YAML file:

        speechx.finetune(
            out="runs/mine", init="runs/pretrain/final", units="characters",
            data={"train": ["train.jsonl"], "dev": ["dev.jsonl"]}, run={"steps": 2000},
        )
    """
    config = config or complete(settings, "finetune(...)")
    with machine(config.run.device) as here:
        return _finetune(config, here, resume)


def _finetune(config: Finetune, here: Machine, resume: bool) -> Path:
    torch.manual_seed(config.run.seed)
    open_run(config.out, config, resume, say if here.first else None)
    speak = say if here.first else lambda _: None
    exclusions = Exclusions(config.data.exclude)
    read = (
        exclusions.kept(u for path in paths for u in read_manifest(path))
        for paths in (config.data.train, config.data.dev)
    )
    training, dev = (labelled(some, config.units, speak) for some in read)
    for line in exclusions.report():
        speak(f"finetune: {line}")
    for name, some in (("train", training), ("dev", dev)):
        _refuse_long(some, config.data.max_seconds, name)
    if strange := sorted({u.language for u in dev} - {u.language for u in training}):
        speak(
            f"finetune: data.dev has languages that data.train has not: {', '.join(strange)}; "
            f"the best model is chosen by them too (train: {_languages(training)})"
        )
    if config.data.limit_minutes is not None:
        training = limit(training, config.data.limit_minutes * 60, config.run.seed)
    training = feasible(
        training, config.units, config.model.encoder.frames, config.out / "too_long.tsv", speak
    )
    vocabulary = Vocabulary.collect(config.units, (units(u, config.units) for u in training))
    corpus = Corpus.of(training)
    speak(f"finetune: {amounts(corpus)}; {len(vocabulary.units)} {config.units} and the blank")
    if unseen := sorted({x for u in dev for x in vocabulary.unknown(units(u, config.units))}):
        speak(
            f"finetune: {len(unseen)} units of dev are never trained and count as errors: "
            + " ".join(unseen)
        )

    model = CTC(config.model, len(vocabulary), config.head_dropout)
    if config.init is not None and not resume:
        saved = open_any(config.init, None, config.allow_missing)
        report = start_from(model, saved, vocabulary, config.allow_missing)
        for note in (report, *saved.notes):
            speak(f"finetune: from {config.init}: {note}")
    model.to(here.device)
    _same_units(config.out / "units.json", vocabulary, resume, here.first)
    task = Finetuning(config, vocabulary, dev, corpus.languages, here, resume)
    spelled = [units(u, config.units) for u in training]
    targets = list(map(vocabulary.encode, spelled))
    augment = load_augmentation(config.data.augment)
    if augment is not None:
        speak(f"finetune: {augment.describe()}")
    reader = Batches(
        corpus, config.model.normalize, None, targets, config.run.seed, augment,
        Training(frames=config.model.encoder.frames),
    )  # fmt: skip
    needed_N = np.array([frames_needed(labels) for labels in spelled])
    frames_of = np.vectorize(config.model.encoder.frames, otypes=[np.int64])
    micro_seconds = config.run.micro_seconds(here.world)

    def fits(utterance_R: np.ndarray, seconds_R: np.ndarray) -> np.ndarray:
        short_enough_R = seconds_R <= np.maximum(corpus.seconds_N[utterance_R], micro_seconds)
        samples_R = (seconds_R * SAMPLE_RATE).astype(np.int64)
        return short_enough_R & (frames_of(samples_R) >= needed_N[utterance_R])

    def epoch(random: np.random.Generator) -> Epoch:
        rows = mixed_epoch(corpus, config.data.alpha, config.data.corpus_alpha, random)
        rows = at_some_speed(rows, config.data.speed, random, fits)
        return padded_batches(rows, micro_seconds, random)

    def batches(start: Position) -> Iterator[Batch]:
        plans = share(stream(epoch, config.run.seed, start), here.rank, here.world)
        return load(reader, plans, config.run.readers(here.device))

    monitor = Monitor(config.health, config.run.steps, config.optim.warmup)
    train(
        "finetune", model, task, batches, config.run, config.optim, config.out, here, resume,
        monitor, config.data.max_unreadable,
    )  # fmt: skip
    return config.out / "best"


def _refuse_long(utterances: Sequence[Utterance], most: float, split: str) -> None:
    """A recording of an hour in one row would run out of memory, or seem to hang."""
    long = [u for u in utterances if u.duration > most]
    if not long:
        return
    longest = max(long, key=lambda u: u.duration)
    raise UserError(
        f"{len(long)} of {len(utterances)} utterances of data.{split} are longer than "
        f"data.max_seconds = {most:g}, the longest is {longest.id} of {longest.duration:.1f} s "
        f"({longest.audio}): cut it by times (a line for each sentence, with `start` and "
        "`duration` in seconds), leave it out with data.exclude, or raise data.max_seconds"
    )


def _languages(utterances: Sequence[Utterance]) -> str:
    return ", ".join(sorted({u.language for u in utterances}))


def _same_units(file: Path, vocabulary: Vocabulary, resume: bool, first: bool) -> None:
    """A resumed run writes the units it began with, or rows of its head would change meaning."""
    if resume and file.is_file() and (before := Vocabulary.load(file)) != vocabulary:
        other = sorted(set(before.units) ^ set(vocabulary.units))
        raise UserError(
            "--resume: the training data now has other units than the run began with "
            f"({len(other)} differ: {' '.join(other[:10])}); start another run with init instead"
        )
    if first:
        vocabulary.save(file)


def start_from(
    model: CTC, saved: SavedModel, vocabulary: Vocabulary, allow_missing: Sequence[str] = ()
) -> str:
    """Weights of a pretrained or fine-tuned model; head rows are copied for units both know."""
    trunk = {name: tensor for name, tensor in saved.weights.items() if name.startswith("trunk.")}
    report = load_weights(model, trunk, str(saved.folder), ("head.", *fresh(allow_missing)))
    if saved.vocabulary is None:
        return report
    old = {unit: i for i, unit in enumerate(["", *saved.vocabulary.units])}
    rows = [(new, old[unit]) for new, unit in enumerate(["", *vocabulary.units]) if unit in old]
    with torch.no_grad():
        for new, before in rows:
            model.head.weight[new] = saved.weights["head.weight"][before]
            model.head.bias[new] = saved.weights["head.bias"][before]
    return f"{report}; head rows of {len(rows) - 1} of {len(vocabulary.units)} units and the blank"


@dataclass(frozen=True, slots=True)
class Hidden:
    """A labelled batch with its masks."""

    batch: Batch
    time_BT: Tensor | None
    channels_BD: Tensor | None
    keep_L: list[bool] | None

    @property
    def targets(self) -> int:
        """CTC is normalised by sentences."""
        return len(self.batch.ids)


class Finetuning:
    """The task of the training loop: spell the sentence."""

    def __init__(
        self, config: Finetune, vocabulary: Vocabulary, dev: Sequence[Utterance],
        languages: Sequence[str], here: Machine, resume: bool,
    ) -> None:  # fmt: skip
        self.config, self.vocabulary, self.dev, self.languages, self.here = (
            config,
            vocabulary,
            dev,
            languages,
            here,
        )
        self.metric = "per" if config.units == "phonemes" else "cer"
        self.best_file = config.out / "best_error.txt"
        self.best = (
            float(self.best_file.read_text())
            if resume and self.best_file.is_file()
            else float("inf")
        )

    def frozen(self, step: int) -> tuple[str, ...]:
        # Without masks the mask vector has no gradient, for which several processes would wait.
        unmasked = () if self.config.time_masking.probability else ("trunk.mask_vector",)
        still = ("trunk.encoder.",) if self.config.model.encoder.gradient_scale == 0 else ()
        if self.config.init is None:
            return (*unmasked, *still)
        if step < self.config.freeze_steps:
            return ("trunk.",)
        return ("trunk.encoder.", *unmasked) if self.config.freeze_encoder else unmasked

    def prepare(self, batch: Batch, step: int) -> Hidden:
        config = self.config
        random = np.random.default_rng([config.run.seed, 2, batch.number])
        lengths = [config.model.encoder.frames(int(n)) for n in batch.lengths_B]
        width = config.model.transformer.width
        time_BT = span_mask(lengths, max(*lengths, 1), config.time_masking, random)
        channels_BD = span_mask([width] * len(lengths), width, config.channel_masking, random)
        layer_drop = config.model.transformer.layer_drop
        draws_L = np.random.default_rng([config.run.seed, 3, step]).random(
            config.model.transformer.blocks
        )
        device = batch.wave_BS.device
        return Hidden(
            batch,
            torch.from_numpy(time_BT).to(device) if config.time_masking.probability else None,
            torch.from_numpy(channels_BD).to(device)
            if config.channel_masking.probability
            else None,
            (draws_L >= layer_drop).tolist() if layer_drop else None,
        )

    def sums(self, model: nn.Module, prepared: Hidden, step: int) -> Sums:
        batch = prepared.batch
        assert batch.targets_BU is not None
        assert batch.units_B is not None
        emissions = model(
            batch.wave_BS, batch.lengths_B, prepared.time_BT, prepared.channels_BD, prepared.keep_L
        )
        term = ctc_loss(emissions, batch.targets_BU, batch.units_B)
        best_BT = emissions.logits_BTV.argmax(2)
        frames = emissions.frames_B.sum()
        padding = best_BT.numel() - frames
        metrics = {
            "loss": term.loss.detach(),
            "units": batch.units_B.sum(),
            "infeasible": term.infeasible,
            "blank": (best_BT == 0).sum() - padding,
            "frames": frames,
        }
        return Sums(term.loss, metrics)

    def summary(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Nats per unit, and the share of frames read as blank."""
        values = {
            "loss": sums["loss"] / sums["units"],
            "blank_share": sums["blank"] / max(sums["frames"], 1),
        }
        return {**values, "infeasible": sums["infeasible"]} if sums["infeasible"] else values

    def validate(self, model: nn.Module, step: int) -> dict[str, float | str]:
        """Error rate on dev, greedy, over all and per language, with one sentence to look at."""
        if not self.here.first:
            return {}
        hypotheses = transcripts(model, self.dev, self.config, self.vocabulary, self.here)
        references = [list(units(u, self.config.units)) for u in self.dev]
        result = score(
            references, hypotheses, [u.language for u in self.dev], [u.id for u in self.dev],
            [None] * len(self.dev), self.metric, resamples=1,
        )  # fmt: skip
        name = f"dev_{self.metric}"
        values: dict[str, float | str] = {name: result.overall.rate}
        values |= {f"{name}/{language}": rate.rate for language, rate in result.languages.items()}
        return {
            **values,
            "said": self.vocabulary.join(references[0]),
            "heard": self.vocabulary.join(hypotheses[0]),
        }

    def keep(self, model: nn.Module, step: int, values: Mapping[str, float | str]) -> None:
        """`best` has the lowest error rate on dev so far, `final` is the newest."""
        error = float(values[f"dev_{self.metric}"])
        folders = ["final"]
        if error < self.best:
            folders.append("best")
        for name in folders:
            save_model(
                self.config.out / name,
                "ctc",
                model,
                self.config.model,
                self.languages,
                self.vocabulary,
            )
        if error < self.best:  # written last: a run killed before it saves this model again
            self.best = error
            self.best_file.write_text(repr(error))


def transcripts(
    model: nn.Module,
    utterances: Sequence[Utterance],
    config: Finetune,
    vocabulary: Vocabulary,
    here: Machine,
) -> list[list[str]]:
    """Units that the model hears in each utterance, greedily."""
    corpus = Corpus.of(utterances)
    reader = Batches(corpus, config.model.normalize, None, None, config.run.seed)
    random = np.random.default_rng(0)
    heard: dict[int, list[str]] = {}
    for plan in once(padded_batches(every_row(corpus), config.run.device_seconds, random)):
        batch = reader[plan].to(here.device)
        emissions = model(batch.wave_BS, batch.lengths_B)
        probabilities_BTV = emissions.logits_BTV.log_softmax(2).cpu().numpy()
        for row, frames, probabilities_TV in zip(
            plan.rows, emissions.frames_B, probabilities_BTV, strict=True
        ):
            units_heard = greedy(probabilities_TV[: int(frames)])
            heard[row.utterances[0]] = vocabulary.decode(e.id for e in units_heard)
    return [heard[i] for i in range(len(utterances))]
