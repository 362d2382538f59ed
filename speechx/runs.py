"""One run, from its configuration to its model folder. Pretraining and fine-tuning are this run
with different defaults."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch

from speechx.config import flat, override, read_yaml, source_of, to_dict
from speechx.data.corpus import Corpus
from speechx.diagnostics.initial_check import check_restored
from speechx.errors import UserError
from speechx.evaluation import score_utterances
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.log import logger
from speechx.models.adapter_files import head_of
from speechx.models.adapters import AdapterConfig
from speechx.models.encoder import with_adapters
from speechx.models.folder import SavedModel, saved_dev_error, times_file
from speechx.objectives.model import SpeechModel, missing_part, start_from
from speechx.objectives.objective import ObjectiveConfig
from speechx.text.languages import iso639_3, languages
from speechx.text.vocabulary import load_vocabularies, save_vocabularies
from speechx.training.distributed import Ranks, distributed
from speechx.training.loop import Job, Task, train
from speechx.training.run import ACTED_ON, RunConfig, complete, resumed
from speechx.training.state import open_run
from speechx.training.streams import TaskData, TaskSource
from speechx.training.validation import metrics_by_language
from speechx.transcription.recognizer import Recognizer
from speechx.transcription.times import learn_times
from speechx.whole_file import only_user

C = TypeVar("C", bound=RunConfig)


def load_run(
    cls: type[C], path: Path | str, overrides: Sequence[str] = (), resume: bool = False
) -> tuple[C, SavedModel | None]:
    """The config in a YAML file with its overrides, and the model of its `init`."""
    raw, source = read_yaml(path), source_of(path, overrides)
    if not resume:
        return make_run(cls, override(raw, overrides), source)
    # The file only names the run; its own config.yaml has the settings.
    config, saved = make_run(cls, override({"out": raw.get("out")}, overrides), source, True)
    used, given = flat(to_dict(config)), {setting.split("=")[0] for setting in overrides}
    if raw.get("tasks") and not config.tasks:
        logger.info(f"--resume goes on with the single task of the run, not the tasks of {path}")
    for key, value in flat(raw).items():
        if key in used and key not in {*given, "preset", "objective"} and _differ(value, used[key]):
            advice = "" if key in ACTED_ON else f"; to change it, write {key}=... after the file"
            logger.info(
                f"--resume goes on with {key}={used[key]} of the run, not {value} of {path}{advice}"
            )
    return config, saved


def _differ(value: Any, used: Any) -> bool:
    """Whether a setting of a file is given and another one; 1e-4 is text in YAML."""
    try:
        return float(value) != float(used)
    except (TypeError, ValueError):
        return value is not None and str(value) != str(used)


def make_run(
    cls: type[C], raw: dict[str, Any], source: str, resume: bool = False
) -> tuple[C, SavedModel | None]:
    """A config from plain data, and the model of its `init`; a resumed run does not open it."""
    if resume:
        return resumed(cls, raw, source), None
    init, saved = raw.get("init"), None
    if init is not None:
        saved = _open_init(Path(str(init)), raw.get("allow_missing") or (), _start(raw))
    config = complete(cls, raw, source, saved)
    if saved is None:
        return config, None
    missing: dict[str, None] = {}
    for name, task in config.all_tasks().items():
        theirs = saved.of_kind(task.objective.kind, name, task.objective.token_type)
        if task.objective.token_type is None and not saved.part(f"objectives.{theirs}."):
            missing[task.objective.part] = None
            if task.objective.part not in config.allow_missing:
                raise missing_part(str(init), task.objective.part)  # before any data is read
    # The configuration of the run names the parts that start fresh, and a resumed run reads it.
    fresh = tuple(part for part in config.allow_missing if part in {*missing, "mask_embedding"})
    return replace(config, allow_missing=fresh), saved


def _start(raw: dict[str, Any]) -> str | None:
    """The language whose adapter a run starts from, in plain data."""
    adapter = raw.get("objective")
    for key in ("adapter", "start"):
        adapter = adapter.get(key) if isinstance(adapter, dict) else None
    return None if adapter is None else str(adapter)


def _open_init(init: Path, allow_missing: Sequence[str], start: str | None) -> SavedModel:
    """The model of `init`, without an adapter unless one is to be continued."""
    saved = open_model(init, allow_missing)
    if start is not None and not saved.adapters:
        raise UserError(
            f"objective.adapter.start is {start!r}, but {init} has no adapters: leave start out"
        )
    if start is not None:
        return in_language(saved, start)
    if saved.adapters:
        note = f"its encoder alone, without adapters ({len(saved.adapters)} languages)"
        saved = replace(saved, notes=(*saved.notes, note))
    return saved.with_inner()


def run_from_python(
    command: str, cls: type[RunConfig], config: Any, settings: dict[str, Any], resume: bool
) -> Path:
    """`run` with a config, or with its fields as keywords; returns its `out`."""
    saved = None
    if config is None:
        config, saved = make_run(cls, settings, f"{command}(...)", resume)
    elif settings or not isinstance(config, cls):
        raise TypeError(
            f"{command}() takes settings by keyword, as in {command}(out=..., data=..., run=...), "
            f"or one {cls.__name__}; the command line reads YAML files"
        )
    run(command, config, resume, saved)
    return config.out


def run(command: str, config: RunConfig, resume: bool, saved: SavedModel | None = None) -> None:
    """Trains; writes `config.out/final`, and `best` where a dev error is measured. `saved` is the
    model of `init`, if it has been opened already."""
    with distributed(config.run.device) as ranks, _opened(config.out, resume, ranks):
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
        _keep_tokens(config.out / "vocabulary.json", data, resume, ranks)
        if config.adapter is not None:
            _require_one_language(config.adapter, data)
        if config.init is not None and saved is None and not resume:
            start = None if config.adapter is None else config.adapter.start
            saved = _open_init(config.init, config.allow_missing, start)
        seeds = {name: source.seed for name, source in sources.items()}
        model = _build(command, config, data, seeds, saved, ranks)
        del saved
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
            max_unreadable=min(task.data.max_unreadable for task in tasks.values()),
            resume=resume,
            frozen=config.frozen,
            config=config,
        )
        train(job, model, streams, Validation(config, data, seeds, resume), ranks)
        if ranks.is_main:
            _learn_times(command, config, model, data)


def _learn_times(
    command: str, config: RunConfig, model: SpeechModel, data: Mapping[str, TaskData]
) -> None:
    """Puts the sound model of each CTC head into the model folders."""
    device = next(model.parameters()).device
    for name, head in model.heads.items():
        if not head.windowed or head.vocabulary.has_languages:
            continue
        written = head_of(name, None if config.adapter is None else config.adapter.name)
        folders = [config.out / each for each in ("best", "final") if (config.out / each).is_dir()]
        if all(times_file(folder, written).exists() for folder in folders):
            continue  # a finished run was resumed: its folders were not written again
        recognizer = Recognizer(model, name, config.out, device)
        sounds = learn_times(recognizer, data[name].corpus, config.run.seed)
        if sounds is None:
            logger.info(f"{command}: {name}: no utterance to learn the times of tokens from")
            continue
        for folder in folders:
            sounds.save(times_file(folder, written))


@contextmanager
def _opened(out: Path, resume: bool, ranks: Ranks) -> Iterator[None]:
    """Opens the folder of a run, and refuses a second run there at the same time."""
    open_run(out, resume, ranks)
    with only_user(out) if ranks.is_main else nullcontext(True) as alone:
        (others,) = ranks.all_reduce_sum([float(not alone)])
        if others:
            raise UserError(f"another run is active in {out}; wait for its end or give another out")
        yield


def _build(
    command: str,
    config: RunConfig,
    data: Mapping[str, TaskData],
    seeds: Mapping[str, int],
    saved: SavedModel | None,
    ranks: Ranks,
) -> SpeechModel:
    """The model on its device, with the weights of `init` if the run begins here."""
    objectives: dict[str, ObjectiveConfig] = {
        name: task.objective for name, task in config.all_tasks().items()
    }
    goes_on = config.init is not None and not config.restart_schedules
    held = [n for n, c in objectives.items() if goes_on and c.part not in config.allow_missing]
    vocabularies = {name: d.vocabulary for name, d in data.items() if d.vocabulary is not None}
    encoder, adapter = config.encoder, config.adapter
    if adapter is not None:
        theirs = None if saved is None else saved.encoder.context.adapter_dim
        if theirs not in (None, adapter.dim):
            raise UserError(
                f"objective.adapter.dim is {adapter.dim}, but the adapter for {adapter.start} has "
                f"{theirs}: set it to {theirs}, or leave start out"
            )
        encoder = with_adapters(encoder, adapter.dim)
    model = SpeechModel(encoder, objectives, vocabularies, held)
    logger.info(f"{command}: {sum(p.numel() for p in model.parameters()):,} parameters")
    if adapter is not None:
        logger.info(f"{command}: trains an adapter for {adapter.name} and a head, nothing else")
    continued: list[str] = []
    if saved is not None:
        continued, lines = start_from(model, saved, config.allow_missing)
        for line in (*lines, *saved.notes):
            logger.info(f"{command}: from {config.init}: {line}")
    model.to(ranks.device)
    for name in continued:
        check_restored(model, name, config, data[name], seeds[name])
    return model


def _require_one_language(adapter: AdapterConfig, data: Mapping[str, TaskData]) -> None:
    """An adapter learns from one language, and its own if the manifests use a known name."""
    named = [u.language for each in data.values() for u in each.dev]
    named += [name for each in data.values() for name in each.corpus.languages]
    given = sorted({*named})
    codes = {iso639_3(name) for name in given}
    known = {language.iso639_3 for language in languages()}
    if len(codes) > 1 or (not codes & {iso639_3(adapter.name)} and codes & known):
        raise UserError(
            f"objective.adapter is for {adapter.name}, but data.train and data.dev have "
            f"{', '.join(given)}: an adapter needs manifests of its language alone"
        )


class Validation:
    """What a run does with its model on dev, and which folders it writes."""

    def __init__(
        self,
        config: RunConfig,
        data: Mapping[str, TaskData],
        seeds: Mapping[str, int],
        resume: bool = False,
    ) -> None:
        self.config, self.data, self.seeds = config, data, seeds
        self.tasks = config.all_tasks()
        self.best = saved_dev_error(config.out / "best") if resume else None
        """Lowest error so far. It stands in the folder, so that no worse model ever replaces it."""

    def validate(self, model: SpeechModel) -> tuple[dict[str, float | str], float | None]:
        """Of each task with dev data: scores of a head, or metrics of an objective without labels;
        over all and per language. And the mean error of the heads."""
        errors: list[float] = []
        values: dict[str, float | str] = {}
        for name, data in self.data.items():
            if data.dev:
                prefix = "dev_" if len(self.tasks) == 1 else f"{name}/dev_"
                if name in model.heads:
                    own, error = self._scores(model, name)
                    errors.append(error)
                else:
                    own = self._metrics(model, name)
                values |= {f"{prefix}{key}": value for key, value in own.items()}
        return values, fmean(errors) if errors else None

    def save(self, model: SpeechModel, error: float | None) -> None:
        """`final` is the newest model, `best` the one with the lowest error."""
        languages = sorted({name for d in self.data.values() for name in d.corpus.languages})
        if error is not None and (self.best is None or error < self.best):
            model.save(self.config.out / "best", languages, error)
            self.best = error
        model.save(self.config.out / "final", languages, error)

    def _scores(self, model: SpeechModel, name: str) -> tuple[dict[str, float | str], float]:
        """The headline score, greedily decoded, with one utterance to read; and its error."""
        dev = self.data[name].dev
        device = next(model.parameters()).device
        recognizer = Recognizer(model, name, self.config.out, device)
        scores, decoded, judged = score_utterances(recognizer, dev, resamples=1)
        model.heads[name].temperature = judged.temperature()  # is saved with these weights
        headline = next(iter(scores.values()))
        values: dict[str, float | str] = {headline.metric: headline.overall.rate}
        for language, rate in headline.languages.items():
            values[f"{headline.metric}/{language}"] = rate.rate
        join, first = recognizer.vocabulary.join, decoded[0]
        values["reference"], values["hypothesis"] = join(first.reference), join(first.hypothesis)
        return values, headline.error

    def _metrics(self, model: SpeechModel, name: str) -> dict[str, float | str]:
        """The headline metrics (CLSRIL-23 reports them per language)."""
        corpus, settings = Corpus.of(self.data[name].dev), self.tasks[name].data
        metrics = metrics_by_language(model, name, corpus, settings, self.seeds[name])
        overall = metrics.pop("overall")
        keys = model.objective(name).headline or tuple(overall)
        by_language = {f"{keys[0]}/{language}": m[keys[0]] for language, m in metrics.items()}
        return {**{key: overall[key] for key in keys}, **by_language}


def _keep_tokens(file: Path, data: Mapping[str, TaskData], resume: bool, ranks: Ranks) -> None:
    """A resumed run writes the tokens it began with, or rows of its head would change meaning."""
    vocabularies = {name: d.vocabulary for name, d in data.items() if d.vocabulary is not None}
    if not (resume and file.is_file()):
        if vocabularies and ranks.is_main:
            save_vocabularies(file, vocabularies)
        return
    before = load_vocabularies(file)
    for name, vocabulary in vocabularies.items():
        if name in before and before[name] != vocabulary:
            other = sorted(set(before[name].tokens) ^ set(vocabulary.tokens))
            raise UserError(
                "--resume: the training data now has other tokens than the run began with "
                f"({len(other)} differ: {' '.join(other[:10])}); start another run with init "
                "instead"
            )
