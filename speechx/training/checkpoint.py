"""What a run leaves on disk.

A model folder is what users touch: `model.safetensors`, `config.yaml`, `vocabulary.json` if the
model writes units. No pickle, no path to a parent; it opens by itself, years later. A state
folder is what `--resume` needs beside it: torch.distributed.checkpoint, the same for one process
and for many.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speechx.config import dump, flat, parse, read_yaml, to_dict
from speechx.errors import UserError
from speechx.models.wav2vec2 import Wav2Vec2Config
from speechx.text.vocabulary import Vocabulary
from speechx.whole_file import whole_file

FORMAT = 1
ModelKind = Literal["pretraining", "ctc"]


@dataclass(frozen=True, slots=True)
class SavedModel:
    """The content of a model folder."""

    folder: Path
    kind: ModelKind
    config: Wav2Vec2Config
    weights: dict[str, Tensor]
    vocabulary: Vocabulary | None
    languages: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What the reading of another toolkit's file assumed or left out."""


def save_model(
    folder: Path,
    kind: ModelKind,
    model: nn.Module,
    config: Wav2Vec2Config,
    languages: Sequence[str],
    vocabulary: Vocabulary | None = None,
) -> None:
    """Writes a model folder; it appears whole or not at all."""

    def write(new: Path) -> None:
        weights = {
            name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
        }
        save_file(weights, new / "model.safetensors")
        about = {
            "format": FORMAT,
            "kind": kind,
            "languages": list(languages),
            "model": to_dict(config),
        }
        text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
        (new / "config.yaml").write_text(text, encoding="utf-8")
        if vocabulary is not None:
            vocabulary.save(new / "vocabulary.json")

    _replace_folder(folder, write)


def open_model(folder: Path | str, kind: ModelKind | None = None) -> SavedModel:
    """Reads a model folder; `kind` says what is needed."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"model {folder} does not exist: "
            "expected a folder with model.safetensors and config.yaml"
        )
    for name in ("config.yaml", "model.safetensors"):
        if not (folder / name).is_file():
            inside = [
                p.name for p in sorted(folder.iterdir()) if (p / "model.safetensors").is_file()
            ]
            hint = f"; did you mean {folder / inside[0]}?" if inside else ""
            raise UserError(f"{folder} is not a speechx model folder: it has no {name}{hint}")
    about = read_yaml(folder / "config.yaml")
    found = about.get("kind")
    if about.get("format") != FORMAT or found not in ("pretraining", "ctc") or "model" not in about:
        raise UserError(f"{folder / 'config.yaml'} does not describe a model of format {FORMAT}")
    if kind is not None and found != kind:
        advice = {
            "ctc": "a fine-tuned model is needed: run `speechx finetune` with init= this folder",
            "pretraining": "a pretrained model with its quantizer is needed",
        }
        raise UserError(f"{folder} holds a {found} model, but {advice[kind]}")
    try:
        weights = load_file(folder / "model.safetensors")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder / 'model.safetensors'} cannot be read: {error}") from None
    vocabulary = Vocabulary.load(folder / "vocabulary.json") if found == "ctc" else None
    config = parse(Wav2Vec2Config, about["model"], str(folder / "config.yaml"))
    return SavedModel(folder, found, config, weights, vocabulary, tuple(about.get("languages", ())))


def load_weights(
    model: nn.Module, weights: dict[str, Tensor], source: str, fresh: Sequence[str] = ()
) -> str:
    """Copies tensors by name and says how many of each part; parts named in `fresh` may be absent.

    A tensor that is missing, of another shape or left over is an error: nothing starts from chance
    where weights were asked for.
    """
    own = model.state_dict()
    missing = [n for n in own if n not in weights and not n.startswith(tuple(fresh))]
    extra = [n for n in weights if n not in own]
    shapes = [n for n in own if n in weights and own[n].shape != weights[n].shape]
    if missing or extra or shapes:
        parts = []
        for what, names in (
            ("missing", missing),
            ("left over", extra),
            ("of another shape", shapes),
        ):
            if names:
                parts.append(f"{len(names)} tensors {what} (first: {names[0]})")
        raise UserError(f"{source} does not fit this model: {', '.join(parts)}")
    model.load_state_dict({n: weights.get(n, own[n]) for n in own})
    counts: dict[str, list[int]] = {}
    for name in own:
        part = counts.setdefault(_part(name), [0, 0])
        part[0] += name in weights
        part[1] += 1
    return ", ".join(
        f"{part} {loaded}/{all_}" + ("" if loaded == all_ else " (rest starts fresh)")
        for part, (loaded, all_) in counts.items()
    )


def open_run(out: Path, config: Any, resume: bool, speak: Callable[[str], object] | None) -> None:
    """Makes the folder of a run and writes its configuration there; `speak` None leaves that to
    another rank. A run that is there already is continued or left alone, never overwritten."""
    states = _states(out)
    if states and not resume:
        raise UserError(
            f"{out} holds an earlier run (state of {states[-1].name.replace('_', ' ')}): "
            "continue it with --resume (in Python: resume=True), or give another out"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be made: {error.strerror}") from None
    if speak is None:
        return
    file, now = out / "config.yaml", flat(to_dict(config))
    before = flat(read_yaml(file)) if resume and file.is_file() else now
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            speak(f"--resume with another {key}: {before.get(key)} before, {now.get(key)} now")
    file.write_text(dump(config), encoding="utf-8")


def save_state(
    run: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: dict[str, Any],
    keep: int | None = None,
) -> None:
    """What `--resume` needs, as `RUN/state/step_N`; called by all ranks. The newest is kept, and
    that of step `keep`."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict

    first = not dist.is_initialized() or dist.get_rank() == 0
    new, final = run / "state" / f".step_{step}", run / "state" / f"step_{step}"
    if first:
        shutil.rmtree(new, ignore_errors=True)
    weights, moments = get_state_dict(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a process group DCP says so at every call
        dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=new)
    if first:
        (new / "run.json").write_text(json.dumps({"step": step, **extra}))
        shutil.rmtree(final, ignore_errors=True)
        new.rename(final)
        for old in _states(run):
            if old not in (final, run / "state" / f"step_{keep}"):
                shutil.rmtree(old)


def load_state(run: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restores the newest state of the run; returns its step and what was saved with it."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    states = _states(run)
    if not states:
        raise UserError(
            f"--resume: {run} holds no saved state to continue from; start it without --resume"
        )
    saved = dcp.FileSystemReader(states[-1]).read_metadata().state_dict_metadata
    then = {n: getattr(t, "size", None) for n, t in saved.items() if n.startswith("model.")}
    now = {f"model.{name}": tensor.size() for name, tensor in model.state_dict().items()}
    if different := sorted(n for n in {*now, *then} if now.get(n) != then.get(n)):
        raise UserError(
            f"--resume: {states[-1]} is of another model: {len(different)} tensors differ (first: "
            f"{different[0].removeprefix('model.')}); resume with the settings the run began with"
        )
    weights, moments = get_state_dict(model, optimizer)
    state: dict[str, Any] = {"model": weights, "optimizer": moments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(state, checkpoint_id=states[-1])
    # The moments are the run's; the settings of the groups are the configuration's.
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    set_state_dict(
        model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
    )
    for group, setting in zip(optimizer.param_groups, settings, strict=True):
        group.update(setting)
    return json.loads((states[-1] / "run.json").read_text())


def drop_states(run: Path, after: int) -> None:
    """Removes the states of later steps: the newest is that of step `after` then."""
    for state in _states(run):
        if int(state.name.split("_")[1]) > after:
            shutil.rmtree(state)


def amend_state(run: Path, extra: dict[str, Any]) -> None:
    """Replaces what was saved beside the weights of the newest state."""
    file = _states(run)[-1] / "run.json"
    with whole_file(file) as new:
        new.write_text(json.dumps({**json.loads(file.read_text()), **extra}))


def _states(run: Path) -> list[Path]:
    return sorted((run / "state").glob("step_*"), key=lambda path: int(path.name.split("_")[1]))


def _part(name: str) -> str:
    """encoder, transformer, quantizer, ...: the part of the model a tensor belongs to."""
    return name.removeprefix("trunk.").split(".")[0]


def _replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    write(new)
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(new, folder)
        shutil.rmtree(old)
    else:
        os.replace(new, folder)
