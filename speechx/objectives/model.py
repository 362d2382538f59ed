"""The root module: one encoder, and the objectives it is trained with.

DDP, FSDP2 and compile wrap this one thing, so its `forward` takes the batches of all tasks.

    L layers
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

import speechx.objectives as kinds
from speechx.config import parse
from speechx.data.batches import Batch
from speechx.errors import UserError
from speechx.models.adapter_files import SavedAdapter, head_of
from speechx.models.adapters import is_adapter
from speechx.models.encoder import Encoder, EncoderConfig, with_adapters
from speechx.models.folder import SavedModel, load_weights, save_model
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.head import Head
from speechx.objectives.objective import Loss, Objective, ObjectiveConfig
from speechx.text.vocabulary import Vocabulary


class SpeechModel(nn.Module):
    """`model.encoder`, and `model.objectives[name]`."""

    def __init__(
        self,
        encoder: EncoderConfig,
        objectives: Mapping[str, ObjectiveConfig],
        vocabularies: Mapping[str, Vocabulary],
        continued: Collection[str] = (),
    ) -> None:
        """`vocabularies`: of the objectives with labels, by name. `continued`: names of objectives
        that go on from trained weights, with their schedules at the end."""
        super().__init__()
        self.configs = dict(objectives)
        self.encoder = Encoder(encoder)
        self.objectives = nn.ModuleDict(
            {
                name: (c.continued() if name in continued else c).build(
                    encoder, vocabularies.get(name)
                )
                for name, c in objectives.items()
            }
        )

    def forward(
        self,
        batches: Mapping[str, Batch],
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> dict[str, Loss]:
        """The loss of one micro-batch of each task, by name; `step` None evaluates."""
        return {
            name: self.objective(name)(self.encoder, batch, step, layer_keep_L)
            for name, batch in batches.items()
        }

    @classmethod
    def from_saved(
        cls, saved: SavedModel, allow_missing: Sequence[str] = ()
    ) -> tuple[SpeechModel, str]:
        """The whole model of a folder, and how many tensors of each part were loaded; parts of the
        encoder that `allow_missing` names may be absent and then start fresh."""
        source = str(saved.folder)
        objectives = parse(dict[str, kinds.AnyObjective], dict(saved.objectives), source)
        for name, config in objectives.items():
            if config.token_type is not None and name not in saved.vocabularies:
                raise _no_vocabulary(source, name)
        model = cls(saved.encoder, objectives, saved.vocabularies)
        for name, temperature in saved.temperatures.items():
            if name in model.heads:
                model.heads[name].temperature = temperature
        fresh = [f"encoder.{part}" for part in allow_missing]
        return model, load_weights(model, saved.weights, source, fresh)

    def objective(self, name: str) -> Objective:
        found = self.objectives[name]
        assert isinstance(found, Objective)
        return found

    @property
    def heads(self) -> dict[str, Head]:
        """The objectives that can be read out."""
        return {n: head for n, head in self.objectives.items() if isinstance(head, Head)}

    def save(self, folder: Path, languages: Sequence[str], dev_error: float | None = None) -> None:
        """Writes a model folder; an adapter, with its head, apart from the encoder."""
        weights, encoder = self.state_dict(), self.encoder.config
        vocabularies = {name: head.vocabulary for name, head in self.heads.items()}
        configs = [config for config in self.configs.values() if isinstance(config, CTCConfig)]
        adapter = next((config.adapter for config in configs), None)
        if adapter is None:
            save_model(
                folder, weights, encoder, self.configs, vocabularies, languages, dev_error,
                temperatures={name: head.temperature for name, head in self.heads.items()},
            )  # fmt: skip
            return
        own = {n: t for n, t in weights.items() if is_adapter(n) or not n.startswith("encoder.")}
        saved = SavedAdapter(adapter.name, own, vocabularies)
        weights = {name: tensor for name, tensor in weights.items() if name not in own}
        save_model(
            folder, weights, with_adapters(encoder, None), {}, {}, languages, dev_error,
            adapters=[saved],
            temperatures={head_of(n, adapter.name): h.temperature for n, h in self.heads.items()},
        )  # fmt: skip


def layer_keep(encoder: EncoderConfig, seed: int, step: int) -> list[bool] | None:
    """The layers that LayerDrop keeps at a step; None keeps all. Drawn from the step and not from
    the batch, so that every rank drops the same layers."""
    context = encoder.context
    if not context.layer_drop:
        return None
    draws_L = np.random.default_rng([seed, 3, step]).random(context.num_layers)
    return (draws_L >= context.layer_drop).tolist()


def start_from(
    model: SpeechModel, saved: SavedModel, allow_missing: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Copies the weights of a saved model. Returns the names of the objectives that go on from
    there, and lines for people about what was copied.

    All weights must be there except the parts in `allow_missing`. An objective continues the saved
    objective of the same kind (`SavedModel.of_kind`). A head starts from random weights except for
    tokens that the saved head shares.
    """
    source, weights = str(saved.folder), saved.part("encoder.")
    if not any(is_adapter(name) for name in weights):  # adapters start fresh
        adapters = [name for name in model.encoder.state_dict() if is_adapter(name)]
        allow_missing = (*allow_missing, *adapters)
    lines = [load_weights(model.encoder, weights, source, allow_missing)]
    continued = []
    for name, config in model.configs.items():
        objective = model.objective(name)
        theirs = saved.of_kind(config.kind, name, config.token_type)
        weights = saved.part(f"objectives.{theirs}.")
        if isinstance(objective, Head):
            if theirs is not None and weights:
                if theirs not in saved.vocabularies:
                    raise _no_vocabulary(source, theirs)
                wanted, known = objective.vocabulary, saved.vocabularies[theirs]
                if known.token_type != wanted.token_type:  # a letter is not the phone like it
                    lines.append(f"{name}: starts fresh; {source} writes {known.token_type}")
                    continue
                copied = objective.copy_rows(weights, known)
                lines.append(
                    f"{name}: head rows of {copied} of {len(wanted.tokens)} {wanted.token_type} "
                    "and the blank"
                )
        elif weights:
            lines.append(load_weights(objective, weights, source))
            continued.append(name)
        elif config.part in allow_missing:
            lines.append(f"{name}: {source} has no {config.part}, which starts fresh")
        else:
            raise missing_part(source, config.part)
    return continued, lines


def _no_vocabulary(source: str, name: str) -> UserError:
    return UserError(f"{source}: the tokens of the head {name} are not in its vocabulary.json")


def missing_part(source: str, *parts: str) -> UserError:
    """The error where a model lacks a part that was not allowed to be missing."""
    options = " ".join(f"--allow-missing {part}" for part in parts)
    return UserError(
        f"{source} has no {' and no '.join(parts)}: to initialise what is missing at random, set "
        f"allow_missing=[{','.join(parts)}] in a run, or pass {options} to a conversion"
    )
