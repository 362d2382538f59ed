"""The configuration of a run: an encoder, and the tasks that it is trained with.

A run of one task is written short, with `objective` and `data`; a run of several names them:

    tasks:
      speech: {objective: wav2vec2, data: {train: [unlabelled.jsonl]}}
      phones:
        objective: {kind: ctc, tokens: phonemes}
        data: {train: [labelled.jsonl], dev: [dev.jsonl]}
        weight: 0.3
"""

import math
from dataclasses import field, fields, is_dataclass
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import numpy as np
from torch.nn import ModuleDict

from speechx import objectives
from speechx.config import config, merge, parse, read_yaml, require_positive, to_dict
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.adapters import AdapterConfig
from speechx.models.encoder import EncoderConfig, with_adapters
from speechx.models.folder import SavedModel
from speechx.models.presets import preset, usual_settings
from speechx.training.health import Health
from speechx.training.loop import TrainingConfig
from speechx.training.optim import Optim
from speechx.training.speech_data import SpeechData

C = TypeVar("C", bound="RunConfig")
ACTED_ON = ("init", "allow_missing", "allow_chance_level", "restart_schedules")
"""Settings that only the beginning of a run uses."""


@config
class TaskConfig:
    """An objective, and the data that feeds it."""

    objective: "objectives.AnyObjective"  # quoted: resolved when a configuration is parsed
    data: SpeechData
    weight: float = 1.0
    """Factor of the loss of this task."""
    batch_seconds: float | None = None
    """Audio of this task per optimiser step; by default run.batch_seconds."""

    def __post_init__(self) -> None:
        require_positive(self, "weight", "batch_seconds")
        self.data.require(self.objective.token_type)


@config
class RunConfig:
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    """Settings of the command that a configuration replaces in part."""

    out: Path
    init: Path | None = None
    """A model to start from, ours or another toolkit's, or `OWNER/NAME` of the Hugging Face Hub;
    without one weights start random."""
    allow_missing: tuple[str, ...] = ()
    """Parts that `init` may lack and that then start fresh: mask_embedding, or a part that an error
    about it names."""
    restart_schedules: bool = False
    """With `init`: schedules of the objective, such as the Gumbel temperature, start again. By
    default they stay at their end, as in the last steps of the model that is continued."""
    allow_chance_level: bool = False
    """With `init`: go on even if the loaded model is at chance on this audio."""
    preset: str | None = None
    """Sizes of a published model, and what its paper sets for the objective."""
    encoder: EncoderConfig = EncoderConfig()
    """What differs from the preset, or from the model of `init`."""
    objective: "objectives.AnyObjective | None" = None
    data: SpeechData | None = None
    tasks: dict[str, TaskConfig] = field(default_factory=dict)
    """Several objectives at once, by name, instead of `objective` and `data`."""
    optim: Optim = Optim()
    health: Health = Health()
    run: TrainingConfig

    def __post_init__(self) -> None:
        if self.tasks and (self.objective or self.data):
            raise ValueError("give either tasks, or objective and data")
        if not self.tasks and self.objective is None:
            raise ValueError("an objective is required")
        if not self.tasks and self.data is None:
            raise ValueError("data is required")
        if self.init is None and (self.allow_missing or self.restart_schedules):
            raise ValueError("allow_missing and restart_schedules are about a model of init")
        if self.encoder.context.adapter_dim is not None:
            raise ValueError("encoder.context.adapter_dim follows from objective.adapter.dim")
        if self.adapter is not None and len(self.all_tasks()) > 1:
            raise ValueError("an adapter is trained alone: give objective and data, not tasks")
        if self.adapter is not None and self.init is None:
            raise ValueError("an adapter fits a trained encoder to a language: init is required")
        for name, task in self.all_tasks().items():
            if not name.replace("_", "").isalnum() or hasattr(ModuleDict, name):
                raise ValueError(f"a task cannot be named {name!r}: use letters, digits and _")
            if task.objective.token_type is None:
                task.objective.require(self.encoder, task.data.min_seconds)

    @property
    def adapter(self) -> AdapterConfig | None:
        """The adapter that the run trains."""
        configs = [task.objective for task in self.all_tasks().values()]
        return next((c.adapter for c in configs if isinstance(c, objectives.CTCConfig)), None)

    def frozen(self, step: int) -> tuple[str, ...]:
        """Beginnings of the names of parameters that do not train at a step."""
        if self.adapter is not None:
            return ("encoder.",)
        return ("encoder.feature_extractor.",) if not self.encoder.features.gradient_scale else ()

    def all_tasks(self) -> dict[str, TaskConfig]:
        """The tasks by name; a single one has the name of its objective's kind."""
        if self.objective is None or self.data is None:
            return dict(self.tasks)
        return {self.objective.kind: TaskConfig(objective=self.objective, data=self.data)}

    def batch_seconds(self, task: TaskConfig) -> float:
        """Audio of a task per optimiser step over the whole job."""
        return self.run.batch_seconds if task.batch_seconds is None else task.batch_seconds

    def accumulate(self, world: int) -> int:
        """Micro-batches per rank and optimiser step."""
        total = sum(map(self.batch_seconds, self.all_tasks().values()))
        return max(1, math.ceil(total / (world * self.run.max_seconds_per_device) - 1e-9))

    def micro_seconds(self, task: TaskConfig, world: int) -> float:
        """Audio of a task per micro-batch."""
        return self.batch_seconds(task) / (world * self.accumulate(world))

    def seed_of(self, index: int) -> int:
        """The seed of a task's stream: tasks draw independently, the first one as if alone."""
        return self.run.seed if not index else int(
            np.random.SeedSequence([self.run.seed, index]).generate_state(1)[0]
        )  # fmt: skip


def complete(cls: type[C], raw: dict[str, Any], source: str, saved: SavedModel | None = None) -> C:
    """A config from plain data, with everything written out: defaults of the command, the preset,
    or the model that `saved` holds."""
    defaults = dict(cls.DEFAULTS)
    if raw.get("tasks"):
        defaults.pop("objective", None)
    raw = merge(defaults, {k: _with_kind(k, v) for k, v in raw.items()})
    named = raw.get("preset")
    if saved is None:
        encoder = to_dict(preset(named or "base").encoder)
    else:
        raw.pop("preset", None)
        if named is not None and preset(named).encoder != saved.encoder:
            logger.info(f"the model is that of init, which is not exactly the preset {named!r}")
        encoder = to_dict(with_adapters(saved.encoder, None))
    if isinstance(raw.get("encoder", {}), dict):
        encoder = raw["encoder"] = merge(encoder, raw.get("encoder", {}))

    def whole(objective: Any, name: str = "") -> Any:
        """An objective with its defaults, the most general first."""
        if not isinstance(objective, dict):
            return objective
        if isinstance(objective.get("adapter"), str):
            objective = {**objective, "adapter": {"language": objective["adapter"]}}
        kind = str(objective.get("kind"))
        layers = [_sections(kind), usual_settings(encoder).get(kind, {})]
        if named is not None:
            layers.append(preset(named).objectives.get(kind, {}))
        if saved is not None:
            theirs = saved.of_kind(kind, name or kind, objective.get("tokens"))
            layers.append(
                saved.absent.get(kind, {}) if theirs is None else saved.objectives[theirs]
            )
        return reduce(merge, [*layers, objective])

    if "objective" in raw:
        raw["objective"] = whole(raw["objective"])
    for name, task in _tasks(raw).items():
        task["objective"] = whole(_with_kind("objective", task["objective"]), name)
        if isinstance(task["objective"], dict) and "kind" not in task["objective"]:
            raise UserError(f"{source}: tasks.{name}.objective needs a kind")
    return parse(cls, raw, source)


def _sections(kind: str) -> dict[str, Any]:
    """The sections of an objective's config as its defaults have them: a section that a user gives
    in part is laid over them, and not over the defaults of its class."""
    for config_class in get_args(objectives.AnyObjective):
        defaults = {f.name: f.default for f in fields(config_class)}
        if defaults["kind"] == kind:
            return {name: to_dict(d) for name, d in defaults.items() if is_dataclass(d)}
    return {}


def resumed(cls: type[C], raw: dict[str, Any], source: str) -> C:
    """The config of an interrupted run: its own config.yaml, with what `raw` changes. The model of
    `init` is not opened again."""
    out = raw.get("out")
    file = Path(str(out)) / "config.yaml"
    if out is None or not file.is_file():
        raise UserError(
            f"--resume: {out} holds no saved state to continue from; start it without --resume"
        )
    changes = {k: _with_kind(k, v) for k, v in merge({}, raw).items()}
    for task in _tasks(changes).values():
        task["objective"] = _with_kind("objective", task["objective"])
    before = read_yaml(file)
    if strange := sorted(before.keys() - {f.name for f in fields(cls)}):
        raise UserError(f"--resume: {file} is of another command: it has {', '.join(strange)}")
    own = sorted({f.name for f in fields(cls)} - {f.name for f in fields(RunConfig)})
    if own and not before.keys() & set(own):
        raise UserError(f"--resume: {file} is of another command: it lacks {', '.join(own)}")
    for fixed in ACTED_ON:
        given = changes.pop(fixed, None)
        if given and str(given) != str(before.get(fixed)):
            logger.info(f"--resume: {fixed}={given} has no effect: only a run that begins uses it")
    named = changes.pop("preset", None)
    if before.get("init") is None and named not in (None, before.get("preset")):
        raise UserError(
            f"--resume: the run began with preset {before.get('preset')!r}, not {named!r}; start "
            "another run with another out"
        )
    return parse(cls, merge(before, changes), source)


def _tasks(raw: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks in plain data that name an objective."""
    tasks = raw.get("tasks")
    some = tasks.items() if isinstance(tasks, dict) else ()
    return {n: task for n, task in some if isinstance(task, dict) and "objective" in task}


def _with_kind(key: str, value: Any) -> Any:
    """`objective: language_id` is short for `objective: {kind: language_id}`."""
    return {"kind": value} if key == "objective" and isinstance(value, str) else value
