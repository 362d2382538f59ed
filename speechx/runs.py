"""One run, from its configuration to its model folder. Pretraining and fine-tuning are this run
with different defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch

from speechx.config import override, read_yaml, source_of
from speechx.diagnostics.initial_check import check_restored
from speechx.errors import UserError
from speechx.evaluation import score_utterances
from speechx.interchange.opening import open_model
from speechx.log import logger
from speechx.objectives.model import SpeechModel, missing_part, start_from
from speechx.objectives.objective import ObjectiveConfig
from speechx.text.vocabulary import Vocabulary, load_vocabularies, save_vocabularies
from speechx.training.distributed import Ranks, distributed
from speechx.training.loop import Job, Task, train
from speechx.training.run import RunConfig, complete, resumed
from speechx.training.state import TrainState, open_run
from speechx.training.streams import TaskData, TaskSource
from speechx.training.validation import summed, totals_by_language
from speechx.transcription.recognizer import Recognizer

C = TypeVar("C", bound=RunConfig)


def load_run(
    cls: type[C], path: Path | str, overrides: Sequence[str], defaults: dict[str, Any], resume: bool
) -> C:
    """The YAML file with its overrides, everything written out."""
    raw = override(read_yaml(path), overrides)
    return make_run(cls, raw, source_of(path, overrides), defaults, resume)


def make_run(
    cls: type[C], raw: dict[str, Any], source: str, defaults: dict[str, Any], resume: bool = False
) -> C:
    """A config from plain data. A resumed run does not open its `init` again."""
    if resume:
        return resumed(cls, raw, source)
    init = raw.get("init")
    saved = None
    if init is not None:
        saved = open_model(Path(str(init)), raw.get("allow_missing") or ())
    config = complete(cls, raw, source, defaults, saved)
    if saved is None:
        return config
    objectives = [task.objective for task in config.all_tasks().values()]
    there = {c.part for c in objectives if saved.part(f"objectives.{saved.of_kind(c.kind)}.")}
    for objective in objectives:
        if objective.token_type is None and objective.part not in (*there, *config.allow_missing):
            raise missing_part(str(init), objective.part)  # before any data is read
    # The configuration of the run names the parts that start fresh, and a resumed run reads it.
    return replace(
        config, allow_missing=tuple(part for part in config.allow_missing if part not in there)
    )


def run(command: str, config: RunConfig, resume: bool) -> None:
    """Trains; writes `config.out/final`, and `best` where a dev error is measured."""
    with distributed(config.run.device) as ranks:
        open_run(config.out, config, resume, ranks)
        torch.manual_seed(config.run.seed)
        tasks, sources, data = config.all_tasks(), {}, {}
        several = len(tasks) > 1
        for index, (name, task) in enumerate(tasks.items()):
            sources[name] = TaskSource(
                f"{command}: {name}" if several else command,
                task.data, task.objective, config.encoder, config.seed_of(index),
            )  # fmt: skip
            too_long = f"too_long_{name}.tsv" if several else "too_long.tsv"
            data[name] = sources[name].read(config.out / too_long)
        model = _build(command, config, data, resume, ranks)
        workers, streams = config.run.num_workers(ranks.device), []
        for name, task in tasks.items():
            seconds = config.micro_seconds(task, ranks.world)
            stream = sources[name].stream(data[name], seconds, workers, ranks)
            streams.append(Task(name, stream, seconds, task.weight))
        job = Job(
            name=command,
            out=config.out,
            training=config.run,
            optim=config.optim,
            health=config.health,
            accumulate=config.accumulate(ranks.world),
            max_unreadable=max(task.data.max_unreadable for task in tasks.values()),
            resume=resume,
            frozen=config.frozen,
        )
        seeds = {name: source.seed for name, source in sources.items()}
        train(job, model, streams, Validation(config, data, seeds), ranks)


def _build(
    command: str, config: RunConfig, data: Mapping[str, TaskData], resume: bool, ranks: Ranks
) -> SpeechModel:
    """The model on its device, with the weights of `init` unless it is resumed."""
    objectives: dict[str, ObjectiveConfig] = {
        name: task.objective for name, task in config.all_tasks().items()
    }
    if config.init is not None:
        objectives = {
            name: c if c.part in config.allow_missing else c.continued()
            for name, c in objectives.items()
        }
    vocabularies = {name: d.vocabulary for name, d in data.items() if d.vocabulary is not None}
    file = config.out / "vocabulary.json"
    if resume and file.is_file():
        _same_tokens(load_vocabularies(file), vocabularies)
    elif vocabularies and ranks.is_main:
        save_vocabularies(file, vocabularies)
    model = SpeechModel(config.encoder, objectives, vocabularies)
    logger.info(f"{command}: {sum(p.numel() for p in model.parameters()):,} parameters")
    continued: list[str] = []
    if config.init is not None and not resume:
        saved = open_model(config.init, config.allow_missing)
        continued, lines = start_from(model, saved, config.allow_missing)
        for line in (*lines, *saved.notes):
            logger.info(f"{command}: from {config.init}: {line}")
    model.to(ranks.device)
    for name in continued:
        check_restored(model, name, config, data[name])
    return model


class Validation:
    """What a run does with its model on dev, and which folders it writes."""

    def __init__(
        self, config: RunConfig, data: Mapping[str, TaskData], seeds: Mapping[str, int]
    ) -> None:
        self.config, self.data, self.seeds = config, data, seeds
        self.tasks = config.all_tasks()
        self.errors: list[float] = []
        """Error of each head at the last validation."""

    def validate(self, model: SpeechModel) -> dict[str, float | str]:
        """Of each task with dev data: scores of a head, or metrics of an objective without labels;
        over all and per language."""
        self.errors = []
        values: dict[str, float | str] = {}
        for name, data in self.data.items():
            if data.dev:
                prefix = "dev_" if len(self.tasks) == 1 else f"{name}/dev_"
                measure = self._scores if name in model.heads else self._metrics
                own = measure(model, name)
                values |= {f"{prefix}{key}": value for key, value in own.items()}
        return values

    def save(
        self, model: SpeechModel, values: Mapping[str, float | str], state: TrainState
    ) -> None:
        """`final` is the newest model, `best` the one with the lowest mean error of its heads."""
        languages = sorted({name for d in self.data.values() for name in d.corpus.languages})
        error = fmean(self.errors) if self.errors else None
        if error is not None and (state.best_error is None or error < state.best_error):
            model.save(self.config.out / "best", languages)
            state.best_error = error
        model.save(self.config.out / "final", languages)

    def _scores(self, model: SpeechModel, name: str) -> dict[str, float | str]:
        """The headline score, greedily decoded, and one utterance to read."""
        dev = self.data[name].dev
        device = next(model.parameters()).device
        recognizer = Recognizer(model, name, self.config.out, device)
        scores, decoded = score_utterances(recognizer, dev, resamples=1)
        headline = next(iter(scores.values()))
        self.errors.append(headline.error)
        values: dict[str, float | str] = {headline.metric: headline.overall.rate}
        for language, rate in headline.languages.items():
            values[f"{headline.metric}/{language}"] = rate.rate
        join = recognizer.vocabulary.join
        first = decoded[0]
        return {**values, "reference": join(first.reference), "hypothesis": join(first.hypothesis)}

    def _metrics(self, model: SpeechModel, name: str) -> dict[str, float | str]:
        """The headline metrics (CLSRIL-23 reports them per language)."""
        totals = totals_by_language(
            model, name, self.data[name].dev, self.tasks[name].data, self.seeds[name]
        )
        objective = model.objective(name)
        overall = objective.metrics(summed(list(totals.values())))
        keys = objective.headline or tuple(overall)
        values: dict[str, float | str] = {key: overall[key] for key in keys}
        for language, each in totals.items():
            values[f"{keys[0]}/{language}"] = objective.metrics(each)[keys[0]]
        return values


def _same_tokens(before: Mapping[str, Vocabulary], vocabularies: Mapping[str, Vocabulary]) -> None:
    """A resumed run writes the tokens it began with, or rows of its head would change meaning."""
    for name, vocabulary in vocabularies.items():
        if name in before and before[name] != vocabulary:
            other = sorted(set(before[name].tokens) ^ set(vocabulary.tokens))
            raise UserError(
                "--resume: the training data now has other tokens than the run began with "
                f"({len(other)} differ: {' '.join(other[:10])}); start another run with init "
                "instead"
            )
