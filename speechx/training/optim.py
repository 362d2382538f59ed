"""The optimizer and its learning rate, a pure function of the step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from speechx.config import config


@config
class Optim:
    """AdamW as in wav2vec 2.0. Fractions are of the whole run."""

    rate: float = 5e-4
    """Peak learning rate."""
    schedule: Literal["polynomial", "tri_stage"] = "polynomial"
    warmup: float = 0.08
    hold: float = 0.4
    """Only tri_stage: how long the peak is held; the rest decays exponentially to `last` x rate."""
    first: float = 0.01
    last: float = 0.05
    head_scale: float = 1.0
    """The rate of a fresh head, as a multiple of the rate of the trunk."""
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    clip: float = 2.0
    """Largest norm of the gradient (per target); longer ones are scaled down to it."""

    def __post_init__(self) -> None:
        for name in ("rate", "head_scale", "epsilon", "clip", "first", "last"):
            if not getattr(self, name) > 0:  # so that NaN is refused too
                raise ValueError(f"{name} must be above 0, but is {getattr(self, name)}")
        if not (self.warmup >= 0 and self.hold >= 0 and self.warmup + self.hold <= 1):
            raise ValueError(
                "warmup and hold are fractions of the run and must not exceed 1 together"
            )
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, but is {self.weight_decay}")


def learning_rate(step: int, steps: int, optim: Optim) -> float:
    """Rate of the trunk at optimiser step `step` of `steps`."""
    match optim.schedule:
        case "polynomial":
            return optim.rate * polynomial(step, steps, optim.warmup)
        case "tri_stage":
            return optim.rate * tri_stage(
                step, steps, optim.warmup, optim.hold, optim.first, optim.last
            )


def polynomial(step: int, steps: int, warmup: float) -> float:
    """Linear from 0 to 1 over the warm-up, then linear to 0 at the end."""
    rise = warmup * steps
    if step < rise:
        return step / rise
    return max(steps - step, 0) / max(steps - rise, 1)


def tri_stage(
    step: int, steps: int, warmup: float, hold: float, first: float, last: float
) -> float:
    """Linear from `first` to 1, constant, then exponential to `last` (wav2vec 2.0 fine-tuning)."""
    rise, flat = warmup * steps, hold * steps
    fall = max(steps - rise - flat, 1)
    if step < rise:
        return first + (1 - first) * step / rise
    if step <= rise + flat:
        return 1.0
    return last ** min((step - rise - flat) / fall, 1)


def build_optimizer(model: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """Three groups: trunk matrices, trunk vectors (not decayed), head."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    head: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        group = head if name.startswith("head.") else matrices if parameter.ndim > 1 else vectors
        group.append(parameter)
    groups = [
        {"params": matrices, "scale": 1.0, "weight_decay": optim.weight_decay},
        {"params": vectors, "scale": 1.0, "weight_decay": 0.0},
        {"params": head, "scale": optim.head_scale, "weight_decay": optim.weight_decay},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optim.rate,
        betas=optim.betas,
        eps=optim.epsilon,
    )
    # Moments exist from the start, of frozen parameters too: a saved state always has every key.
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(0.0),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
