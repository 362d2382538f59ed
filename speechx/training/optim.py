"""The optimizer and its learning rate, a pure function of the step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from speechx.config import config, require_not_negative, require_positive


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
        require_positive(self, "rate", "head_scale", "epsilon", "clip", "first", "last")
        require_not_negative(self, "weight_decay", "warmup", "hold")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be at least 0 and below 1, but are {self.betas}")
        used = self.warmup + (self.hold if self.schedule == "tri_stage" else 0)
        if used > 1:
            raise ValueError(
                "warmup and hold are fractions of the run and must not exceed 1 together"
            )


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
        several = sum(size > 1 for size in parameter.shape) > 1  # a gain per tap is (1, 1, K)
        group = matrices if several else vectors
        group = head if name.startswith("head.") else group
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
