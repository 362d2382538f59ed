"""Self-supervised pretraining: one encoder for all languages (XLSR, Conneau et al. 2020).

    speechx pretrain recipe.yaml a.b=c --resume

From here a reader is four steps from the loss: `runs.run` builds, `training.loop.train` iterates,
`objectives.model.SpeechModel` calls the objective.
"""

from pathlib import Path
from typing import Any, ClassVar

from speechx.config import config
from speechx.objectives import PRETRAINING
from speechx.runs import run_from_python
from speechx.training.run import RunConfig


@config
class Pretrain(RunConfig):
    """`init` continues a model: encoder and objective, with the objective's own settings."""

    DEFAULTS: ClassVar[dict[str, Any]] = {"objective": {"kind": PRETRAINING}}

    def __post_init__(self) -> None:
        RunConfig.__post_init__(self)
        if all(task.objective.token_type is not None for task in self.all_tasks().values()):
            raise ValueError(
                "pretraining needs an objective without labels; run `speechx finetune` with this "
                "configuration"
            )


def pretrain(config: Pretrain | None = None, resume: bool = False, **settings: Any) -> Path:
    """Trains and returns the model folder `out/final`.

    Takes a config, or its fields as keywords with plain values, as in a YAML file:

        speechx.pretrain(
            out="runs/mine", preset="base", data={"train": ["a.jsonl"]}, run={"steps": 400_000}
        )
    """
    return run_from_python("pretrain", Pretrain, config, settings, resume) / "final"
