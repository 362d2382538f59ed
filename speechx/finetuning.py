"""Fine-tuning of heads: CTC on characters or phonemes, language identification.

    speechx finetune recipe.yaml init=runs/pretrain/final a.b=c --resume

wav2vec 2.0, section 4.3: a linear head on the last layer, the feature extractor frozen, the whole
encoder frozen for the first steps, masking of frames and channels kept on, tri-stage learning rate.
"""

from pathlib import Path
from typing import Any, ClassVar

from speechx.config import config, require_not_negative
from speechx.objectives import FINETUNING
from speechx.runs import run_from_python
from speechx.training.optim import Optim
from speechx.training.run import RunConfig


@config
class Finetune(RunConfig):
    """With `init`, the encoder comes from that model. A head starts from random weights except for
    tokens that the model's head has."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "objective": {"kind": FINETUNING},
        "optim": {"schedule": "tri_stage", "warmup_ratio": 0.1, "epsilon": 1e-8, "lr": 1e-4},
    }

    freeze_steps: int = 0
    """Steps in which only the heads train; with `init` only."""
    freeze_feature_extractor: bool = True
    """Keep the feature extractor as it is; with `init` only. An adapter (`objective.adapter`) keeps
    the whole encoder as it is, whatever is set here."""
    optim: Optim = Optim(**DEFAULTS["optim"])

    def __post_init__(self) -> None:
        RunConfig.__post_init__(self)
        require_not_negative(self, "freeze_steps")
        if all(task.objective.token_type is None for task in self.all_tasks().values()):
            raise ValueError(
                "fine-tuning needs an objective with labels; run `speechx pretrain` with this "
                "configuration"
            )

    def frozen(self, step: int) -> tuple[str, ...]:
        if self.adapter is not None:
            return RunConfig.frozen(self, step)
        if self.init is not None and step < self.freeze_steps:
            return ("encoder.",)
        if self.init is not None and self.freeze_feature_extractor:
            return ("encoder.feature_extractor.",)
        return RunConfig.frozen(self, step)


def finetune(config: Finetune | None = None, resume: bool = False, **settings: Any) -> Path:
    """Trains and returns the model folder `out/best`, the one with the lowest error on dev.

    Takes a config, or its fields as keywords with plain values, as in a YAML file:

        speechx.finetune(
            out="runs/mine", init="runs/pretrain/final", objective={"tokens": "characters"},
            data={"train": ["train.jsonl"], "dev": ["dev.jsonl"]}, run={"steps": 2000},
        )
    """
    return run_from_python("finetune", Finetune, config, settings, resume) / "best"
