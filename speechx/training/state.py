"""Where a run is, and its copy on disk: what `--resume` needs beside the configuration.

A state folder, RUN/state/step_N, holds weights and optimizer moments in the format of
torch.distributed.checkpoint, the same for one process and for many, and `run.json` with everything
else: one `TrainState`. Two states are kept: the newest, and the newest that is known to be healthy.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechx.config import dump, flat, parse, read_yaml, to_dict
from speechx.data.sampling import Position
from speechx.errors import UserError
from speechx.log import logger
from speechx.training.distributed import Ranks
from speechx.training.health import HealthMemory
from speechx.whole_file import write_whole


@dataclass(slots=True)
class TrainState:
    """The state of a run except weights and optimizer moments."""

    step: int = 0
    positions: dict[str, Position] = field(default_factory=dict)
    """Of the next batch of each task, over all ranks."""
    micro_seconds: dict[str, float] = field(default_factory=dict)
    """Length of each task's micro-batches up to here."""
    totals: dict[str, Any] = field(default_factory=dict)
    """Sums of this rank since the last line of the log: tensors, or numbers after loading."""
    health: HealthMemory = field(default_factory=HealthMemory)
    audio_errors: dict[str, Any] = field(
        default_factory=lambda: {"tried": 0.0, "failed": 0.0, "first": ""}
    )

    def to_dict(self, ranks: Ranks) -> dict[str, Any]:
        """Plain data; totals are summed over ranks, so all ranks call it."""
        return asdict(replace(self, totals=sum_over_ranks(self.totals, ranks)))

    @classmethod
    def from_dict(cls, saved: dict[str, Any], is_main: bool) -> TrainState:
        """The first rank goes on with the totals of all."""
        state = parse(cls, saved, "run.json")
        return state if is_main else replace(state, totals=dict.fromkeys(state.totals, 0.0))


def sum_over_ranks(totals: Mapping[str, Any], ranks: Ranks) -> dict[str, float]:
    keys = sorted(totals)
    return dict(zip(keys, ranks.all_reduce_sum([float(totals[key]) for key in keys]), strict=True))


def open_run(out: Path, resume: bool, ranks: Ranks) -> None:
    """Makes the folder of a run. An earlier run there is continued or left alone, never
    overwritten."""
    states = _states(out)
    if states and not resume:
        raise UserError(
            f"{out} holds an earlier run (state of {states[-1].name.replace('_', ' ')}): "
            "continue it with --resume (in Python: resume=True), or give another out"
        )
    if resume and not states:
        raise UserError(
            f"--resume: {out} holds no saved state to continue from; start it without --resume"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be made: {error.strerror}") from None
    ranks.barrier()  # every rank has seen the states before anything is written


def write_config(out: Path, config: Any, resume: bool) -> None:
    """Writes the configuration of a run that has been set up; logs the changes of a resumed one."""
    file, now = out / "config.yaml", flat(to_dict(config))
    before = flat(read_yaml(file)) if resume and file.is_file() else now
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            logger.info(
                f"--resume with another {key}: {before.get(key)} before, {now.get(key)} now"
            )
    write_whole(file, dump(config))


def save_state(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainState, ranks: Ranks
) -> None:
    """Writes RUN/state/step_N; all ranks call it."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict

    ranks.broadcast(list(model.buffers()))  # batch statistics differ between ranks
    new, final = run / "state" / f".step_{state.step}", state_folder(run, state.step)
    if ranks.is_main:
        shutil.rmtree(new, ignore_errors=True)
    ranks.barrier()
    weights, moments = get_state_dict(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a process group DCP warns at every call
        dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=new)
    plain = state.to_dict(ranks)
    if ranks.is_main:
        (new / "run.json").write_text(json.dumps(plain))
        shutil.rmtree(final, ignore_errors=True)
        new.rename(final)
        for old in _states(run):
            if old not in (final, state_folder(run, state.health.healthy)):
                shutil.rmtree(old)


def load_state(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks
) -> TrainState:
    """Restores weights and moments of the newest state, and returns the rest of it."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    newest = _states(run)[-1]
    saved = dcp.FileSystemReader(newest).read_metadata().state_dict_metadata
    then = {n: getattr(t, "size", None) for n, t in saved.items() if n.startswith("model.")}
    now = {f"model.{name}": tensor.size() for name, tensor in model.state_dict().items()}
    if different := sorted(n for n in {*now, *then} if now.get(n) != then.get(n)):
        raise UserError(
            f"--resume: {newest} is of another model: {len(different)} tensors differ (first: "
            f"{different[0].removeprefix('model.')}); resume with the settings the run began with"
        )
    weights, moments = get_state_dict(model, optimizer)
    content: dict[str, Any] = {"model": weights, "optimizer": moments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dcp.load(content, checkpoint_id=newest)
        except dcp.api.CheckpointException as error:
            raise UserError(
                f"--resume: {newest} is damaged ({type(error).__name__}); remove it to continue "
                "from the state before, if there is one in that folder"
            ) from None
    # The moments are the run's; the settings of the groups are the configuration's.
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    set_state_dict(
        model, optimizer, model_state_dict=content["model"], optim_state_dict=content["optimizer"]
    )
    for group, setting in zip(optimizer.param_groups, settings, strict=True):
        group.update(setting)
    return TrainState.from_dict(json.loads((newest / "run.json").read_text()), ranks.is_main)


def drop_states(run: Path, after: int) -> None:
    """Removes the states of later steps."""
    for state in _states(run):
        if int(state.name.split("_")[1]) > after:
            shutil.rmtree(state)


def amend_health(run: Path, step: int, **changes: Any) -> None:
    """Changes the saved memory of health of one state."""
    file = state_folder(run, step) / "run.json"
    saved = json.loads(file.read_text())
    saved["health"] |= changes
    write_whole(file, json.dumps(saved))


def state_folder(run: Path, step: int | None) -> Path:
    return run / "state" / f"step_{step}"


def _states(run: Path) -> list[Path]:
    return sorted((run / "state").glob("step_*"), key=lambda path: int(path.name.split("_")[1]))
