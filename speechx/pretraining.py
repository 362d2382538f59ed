"""Self-supervised pretraining: one encoder for all languages (XLSR, Conneau et al. 2020).

    speechx pretrain recipe.yaml a.b=c --resume

From here a reader is four steps from the loss: `runs.run` builds, `training.loop.train` iterates,
`objectives.model.SpeechModel` calls the objective.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechx.config import config
from speechx.objectives import PRETRAINING
from speechx.runs import load_run, make_run, run
from speechx.training.run import RunConfig

DEFAULTS: dict[str, Any] = {"objective": {"kind": PRETRAINING}}


@config
class Pretrain(RunConfig):
    """`init` continues a model: encoder and objective, with the objective's own settings."""


def load_config(path: Path | str, overrides: Sequence[str] = (), resume: bool = False) -> Pretrain:
    """The YAML file with its overrides, everything written out."""
    return load_run(Pretrain, path, overrides, DEFAULTS, resume)


def complete(raw: dict[str, Any], source: str = "pretrain(...)", resume: bool = False) -> Pretrain:
    """A `Pretrain` from plain data, everything written out."""
    return make_run(Pretrain, raw, source, DEFAULTS, resume)


def pretrain(config: Pretrain | None = None, resume: bool = False, **settings: Any) -> Path:
    """Trains and returns the model folder `out/final`.

    Takes a config, or its fields as keywords with plain values, as in a YAML file:

        speechx.pretrain(
            out="runs/mine", preset="base", data={"train": ["a.jsonl"]}, run={"steps": 400_000}
        )
    """
    config = config or complete(settings, resume=resume)
    run("pretrain", config, resume)
    return config.out / "final"
