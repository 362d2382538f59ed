"""Self-supervised pretraining: one encoder and one quantizer for all languages (XLSR, Conneau et
al. 2020).

    speechx pretrain recipe.yaml a.b=c --resume

From here a reader is two steps from the loss: `run` builds, `Pretraining.sums` computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from speechx.audio.files import SAMPLE_RATE
from speechx.config import (
    config,
    merge,
    override,
    parse,
    read_yaml,
    require_not_negative,
    require_positive,
    source_of,
)
from speechx.data.batches import Batch, Batches, load
from speechx.data.corpus import Corpus
from speechx.data.exclusion import Exclusions
from speechx.data.reading import ROUNDING, Training
from speechx.data.sampling import (
    Epoch,
    Position,
    Rows,
    cropped_batches,
    every_row,
    join_short,
    mixed_epoch,
    once,
    one_pass,
    share,
    stream,
)
from speechx.errors import UserError
from speechx.interchange.conversion import fresh, open_any
from speechx.models.presets import continued, expand
from speechx.models.quantizer import Temperature
from speechx.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2Pretraining
from speechx.objectives.contrastive import ContrastiveConfig, pretraining_loss, sample_negatives
from speechx.objectives.masking import Masking, span_mask
from speechx.restored import check_restored
from speechx.training.checkpoint import load_weights, open_run, save_model
from speechx.training.distributed import Machine, machine
from speechx.training.health import Contrast, Health, Monitor
from speechx.training.loop import Run, Sums, train
from speechx.training.optim import Optim
from speechx.training.progress import amounts, say


@config
class PretrainingData:
    train: tuple[Path, ...]
    """Manifests; text and phones in them are not used."""
    valid: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()
    """Lists of utterances to leave out of all manifests, as `speechx data doctor` writes them."""
    alpha: float = 0.5
    """Languages are mixed with p proportional to hours^alpha: of the hours that can be used, and as
    shares of the seconds heard, after cropping."""
    corpus_alpha: float | None = None
    """Corpora too, with p proportional to hours^corpus_alpha, and languages within each (XLS-R).
    Without it corpora are not told apart."""
    crop_seconds: float = 20.0
    min_seconds: float = 2.0
    """Shorter rows are left out, and counted."""
    join_seconds: float = 0.0
    """Short utterances of one speaker in one corpus and language are joined to rows of at least
    this length. Where no speaker is named, all of that corpus and language count as one."""
    max_unreadable: float = 0.01
    """Share of the utterances tried that may be unreadable: they are replaced and listed in
    unreadable.tsv; beyond it the run stops."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train needs at least one manifest")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1, but is {self.alpha}")
        if self.corpus_alpha is not None and not 0 <= self.corpus_alpha <= 1:
            raise ValueError(f"corpus_alpha must be between 0 and 1, but is {self.corpus_alpha}")
        require_positive(self, "min_seconds", "crop_seconds")
        require_not_negative(self, "join_seconds")
        if not 0 <= self.max_unreadable <= 1:
            raise ValueError(f"max_unreadable is a share, 0 to 1, but is {self.max_unreadable}")
        if self.min_seconds > self.crop_seconds:
            raise ValueError("needs 0 < min_seconds <= crop_seconds")


@config
class Pretrain:
    out: Path
    init: Path | None = None
    """A pretrained model to continue from, ours or another toolkit's: weights of encoder,
    quantizer and projections."""
    allow_missing: tuple[str, ...] = ()
    """Parts that `init` may lack and that start fresh: quantizer, mask_vector."""
    restart_temperature: bool = False
    """With `init`: anneal again from temperature.start. Otherwise it stays at its floor, as the
    model that is continued was left; one whose quantizer may be missing is annealed."""
    accept_chance: bool = False
    """With `init`: go on even if the loaded model is at chance on this audio."""
    model: Wav2Vec2Config = Wav2Vec2Config()
    data: PretrainingData
    masking: Masking = Masking()
    contrastive: ContrastiveConfig = ContrastiveConfig()
    temperature: Temperature = Temperature()
    optim: Optim = Optim()
    health: Health = Health()
    run: Run

    def __post_init__(self) -> None:
        if self.masking.min_spans < 2:
            raise ValueError("masking.min_spans must be at least 2, so that there are negatives")
        # Lengths in manifests are rounded: a row may have a little less than they say.
        frames, spans = (
            self.model.encoder.frames(int(ROUNDING * self.data.min_seconds * SAMPLE_RATE)),
            self.masking.min_spans,
        )
        if frames <= spans:
            raise ValueError(
                f"data.min_seconds = {self.data.min_seconds:g}, less a tenth for rounding, is "
                f"{frames} frames of this encoder, but a row needs at least {spans + 1} so that "
                f"{spans} can be hidden"
            )


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Pretrain:
    """The YAML file with its overrides, the model preset written out."""
    return complete(override(read_yaml(path), overrides), source_of(path, overrides))


def complete(raw: dict[str, Any], source: str) -> Pretrain:
    """A `Pretrain` from plain data. With `init` the model is the one there, unless changed here."""
    if "units" in raw:
        raise UserError(f"{source} is a fine-tuning configuration: run `speechx finetune` with it")
    if raw.get("init") is not None:
        saved = open_any(str(raw["init"]), "pretraining", raw.get("allow_missing") or ())
        model, note = continued(raw.get("model", {}), saved.config)
        if note:
            say(f"pretrain: {note}")
    else:
        model = expand(raw.get("model", "base"))
    return parse(Pretrain, merge(_usual(model), {**raw, "model": model}), source)


def _usual(model: Any) -> dict[str, Any]:
    """What LV-60, XLSR and XLS-R, the models with layer norms in the encoder, set beside the
    architecture; below what the user writes."""
    encoder = model.get("encoder") if isinstance(model, dict) else None
    if isinstance(encoder, dict) and encoder.get("norm") == "layer":
        return {"contrastive": {"penalty": 0.0}, "temperature": {"floor": 0.1}}
    return {}


def pretrain(config: Pretrain | None = None, resume: bool = False, **settings: Any) -> Path:
    """Trains and returns the model folder `out/final`; takes a config, or its fields."""
    config = config or complete(settings, "pretrain(...)")
    with machine(config.run.device) as here:
        return _pretrain(config, here, resume)


def _pretrain(config: Pretrain, here: Machine, resume: bool) -> Path:
    open_run(config.out, config, resume, say if here.first else None)
    torch.manual_seed(config.run.seed)
    model = Wav2Vec2Pretraining(config.model)
    exclusions = Exclusions(config.data.exclude)
    corpus = Corpus.read(config.data.train, exclusions)
    task = Pretraining(config, corpus.languages, here, exclusions)
    if here.first:
        for line in exclusions.report():
            say(f"pretrain: {line}")
        say(f"pretrain: {amounts(corpus)}")
        parameters = sum(p.numel() for p in model.parameters())
        negatives = config.contrastive.negatives
        say(f"pretrain: {parameters:,} parameters; chance is {math.log2(negatives + 1):.3f} bits")
    if config.init is not None and not resume:
        saved = open_any(config.init, "pretraining", config.allow_missing)
        restored = "quantizer.logits.weight" in saved.weights
        report = load_weights(model, saved.weights, str(config.init), fresh(config.allow_missing))
        if here.first:
            for note in (report, *saved.notes):
                say(f"pretrain: from {config.init}: {note}")
    model.to(here.device)
    if config.init is not None and not resume and restored:
        check_restored(task, model, corpus)
    train(
        "pretrain",
        model,
        task,
        batches(config, corpus, here),
        config.run,
        config.optim,
        config.out,
        here,
        resume,
        monitor(config),
        config.data.max_unreadable,
    )
    return config.out / "final"


def monitor(config: Pretrain) -> Monitor:
    """What watches the health of this run."""
    codes = config.model.quantizer
    contrast = Contrast(config.contrastive.negatives, codes.groups, codes.entries)
    return Monitor(config.health, config.run.steps, config.optim.warmup, contrast)


def batches(
    config: Pretrain, corpus: Corpus, here: Machine
) -> Callable[[Position], Iterator[Batch]]:
    """This rank's batches from any point of the run on."""
    data, run = config.data, config.run
    random = np.random.default_rng([run.seed, 0])
    rows = join_short(corpus, every_row(corpus), data.join_seconds, random)
    used_R = rows.seconds_R >= data.min_seconds
    if not used_R.any():
        raise UserError(
            "every row of the training data is shorter than "
            f"data.min_seconds = {data.min_seconds:g}"
        )
    if not used_R.all():
        if here.first:
            lost = rows.seconds_R[~used_R].sum(dtype=np.float64) / 60
            say(
                f"pretrain: {(~used_R).sum()} of {len(rows)} rows are shorter than "
                f"{data.min_seconds:g} s and left out ({lost:.1f} min)"
            )
        rows = rows.take(used_R)
        if not data.join_seconds:  # what can never be heard takes no part in the mixture
            corpus = corpus.take(used_R)
            rows = every_row(corpus)
    given = one_pass(corpus, rows, data.crop_seconds)
    del rows, used_R
    reader = Batches(
        corpus, config.model.normalize, data.crop_seconds, None, run.seed,
        training=Training(data.min_seconds),
    )  # fmt: skip

    def epoch(random: np.random.Generator) -> Epoch:
        rows = mixed_epoch(corpus, data.alpha, data.corpus_alpha, random, given)
        rows = join_short(corpus, rows, data.join_seconds, random)
        rows = rows.take(rows.seconds_R >= data.min_seconds)
        return cropped_batches(rows, run.micro_seconds(here.world), data.crop_seconds, random)

    def from_(start: Position) -> Iterator[Batch]:
        plans = share(stream(epoch, run.seed, start), here.rank, here.world)
        return load(reader, plans, run.readers(here.device))

    return from_


@dataclass(frozen=True, slots=True)
class Masked:
    """A batch with its hidden frames and their negatives."""

    batch: Batch
    mask_BT: torch.Tensor
    negatives_BMK: torch.Tensor
    keep_L: list[bool] | None

    @property
    def targets(self) -> int:
        return self.negatives_BMK.shape[0] * self.negatives_BMK.shape[1]


class Pretraining:
    """The task of the training loop: which of K+1 quantized latents was hidden?"""

    def __init__(
        self,
        config: Pretrain,
        languages: Sequence[str],
        here: Machine,
        exclusions: Exclusions | None = None,
    ) -> None:
        """`exclusions` count what they leave out; without them those of `config` are read."""
        exclusions = exclusions or Exclusions(config.data.exclude)
        self.config, self.languages, self.here = config, languages, here
        self.possible = config.model.quantizer.groups * config.model.quantizer.entries
        self.valid = Corpus.read(config.data.valid, exclusions) if config.data.valid else None
        if self.valid and not len(self.valid_rows(self.valid)):
            raise UserError(
                "every row of the validation data is shorter than data.min_seconds = "
                f"{config.data.min_seconds:g}"
            )

    def frozen(self, step: int) -> tuple[str, ...]:
        return ("trunk.encoder.",) if self.config.model.encoder.gradient_scale == 0 else ()

    def prepare(self, batch: Batch, step: int) -> Masked:
        config = self.config
        random = np.random.default_rng([config.run.seed, 2, batch.number])
        frames = config.model.encoder.frames(batch.wave_BS.shape[1])
        rows = len(batch.wave_BS)
        mask_BT = span_mask([frames] * rows, frames, config.masking, random, same_count=True)
        negatives = sample_negatives(
            rows, int(mask_BT[0].sum()), config.contrastive.negatives, random
        )
        layer_drop = config.model.transformer.layer_drop
        # Drawn from the step and not from the batch: every rank drops the same blocks.
        draws_L = np.random.default_rng([config.run.seed, 3, step]).random(
            config.model.transformer.blocks
        )
        device = batch.wave_BS.device
        return Masked(
            batch,
            torch.from_numpy(mask_BT).to(device),
            torch.from_numpy(negatives).to(device),
            (draws_L >= layer_drop).tolist() if layer_drop else None,
        )

    def sums(self, model: nn.Module, prepared: Masked, step: int) -> Sums:
        config = self.config
        anneals = config.restart_temperature or "quantizer" in config.allow_missing
        held = config.init is not None and not anneals
        temperature = config.temperature.floor if held else config.temperature(step)
        return self._sums(model, prepared, temperature, prepared.keep_L)

    def _sums(
        self,
        model: nn.Module,
        prepared: Masked,
        temperature: float | None,
        keep_L: list[bool] | None,
    ) -> Sums:
        predictions = model(prepared.batch.wave_BS, prepared.mask_BT, temperature, keep_L)
        term = pretraining_loss(
            predictions, prepared.negatives_BMK, self.possible, self.config.contrastive
        )
        frames = prepared.targets
        metrics = {
            "loss": term.loss.detach(),
            "contrastive": term.contrastive,
            "correct": term.correct,
            "negatives_equal_positive": term.negatives_equal_positive,
            "chance_bits": term.chance_bits,
            "soft_perplexity": predictions.quantized.soft_perplexity.detach() * frames,
            "code_perplexity": predictions.quantized.code_perplexity.detach() * frames,
            "energy": predictions.energy.detach() * frames,
            "feature_variance": predictions.variance * frames,
            "masked": torch.tensor(float(frames)),
            "frames": torch.tensor(float(prepared.mask_BT.numel())),
        }
        return Sums(term.loss, metrics)

    def summary(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Per masked frame: bits, accuracy; perplexities of `possible`; shares."""
        masked = sums["masked"]
        return {
            "bits": sums["contrastive"] / masked / math.log(2),
            "accuracy": sums["correct"] / masked,
            "code_perplexity": sums["code_perplexity"] / masked,
            "soft_perplexity": sums["soft_perplexity"] / masked,
            "negatives_equal_positive": sums["negatives_equal_positive"] / masked,
            "chance_bits": sums["chance_bits"] / masked,
            "feature_variance": sums["feature_variance"] / masked,
            "loss": sums["loss"] / masked,
            "masked_share": masked / sums["frames"],
        }

    def validate(self, model: nn.Module, step: int) -> dict[str, float | str]:
        """Bits and accuracy on the validation manifests, over all and per language (CLSRIL-23)."""
        if not self.valid or not self.here.first:
            return {}
        values: dict[str, float | str] = {}
        everything: dict[str, float] = {}
        for language in self.valid.languages:
            spoken = self.valid.in_language(language)
            rows = self.valid_rows(spoken)
            if not len(rows):  # nothing long enough
                continue
            sums = self.evaluate(model, spoken, rows)
            for key, value in sums.items():
                everything[key] = everything.get(key, 0.0) + value
            values[f"valid_bits/{language}"] = self.summary(sums)["bits"]
        if not everything:
            return {}
        overall = self.summary(everything)
        return {"valid_bits": overall["bits"], "valid_accuracy": overall["accuracy"], **values}

    def evaluate(self, model: nn.Module, corpus: Corpus, rows: Rows) -> dict[str, float]:
        """Sums over the rows without noise: best code instead of a sample, fixed masks."""
        data, run = self.config.data, self.config.run
        random = np.random.default_rng([run.seed, 0])
        batches = cropped_batches(rows, run.device_seconds, data.crop_seconds, random)
        reader = Batches(corpus, self.config.model.normalize, data.crop_seconds, None, run.seed)
        sums: dict[str, float] = {}
        for plan in once(batches):
            part = self.prepare(reader[plan].to(self.here.device), 0)
            for key, value in self._sums(model, part, None, None).metrics.items():
                sums[key] = sums.get(key, 0.0) + float(value)
        return sums

    def valid_rows(self, corpus: Corpus) -> Rows:
        data, random = self.config.data, np.random.default_rng([self.config.run.seed, 4])
        rows = join_short(corpus, every_row(corpus), data.join_seconds, random)
        return rows.take(rows.seconds_R >= data.min_seconds)

    def keep(self, model: nn.Module, step: int, values: Mapping[str, float | str]) -> None:
        save_model(
            self.config.out / "final", "pretraining", model, self.config.model, self.languages
        )
