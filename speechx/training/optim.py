"""The optimizer and its learning rate, a pure function of the step."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from speechx.config import config, require_not_negative, require_positive
from speechx.models.adapters import is_adapter


@config
class Optim:
    """AdamW as in wav2vec 2.0. Ratios are shares of the whole run."""

    lr: float = 5e-4
    """Peak learning rate."""
    schedule: Literal["polynomial", "tri_stage"] = "polynomial"
    warmup_ratio: float = 0.08
    hold_ratio: float = 0.4
    """Only tri_stage: share of the run at the peak; the rest decays exponentially."""
    init_lr_scale: float = 0.01
    """Only tri_stage: first learning rate, as a share of the peak."""
    final_lr_scale: float = 0.05
    """Only tri_stage: last learning rate, as a share of the peak."""
    head_lr_scale: float = 1.0
    """Learning rate of the heads, as a multiple of the rate of the encoder."""
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    clip: float = 2.0
    """Largest norm of the gradient (per target); longer ones are scaled down to it."""

    def __post_init__(self) -> None:
        require_positive(
            self, "lr", "head_lr_scale", "epsilon", "clip", "init_lr_scale", "final_lr_scale"
        )
        require_not_negative(self, "weight_decay", "warmup_ratio", "hold_ratio")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be at least 0 and below 1, but are {self.betas}")
        used = self.warmup_ratio + (self.hold_ratio if self.schedule == "tri_stage" else 0)
        if used > 1:
            raise ValueError(
                "warmup_ratio and hold_ratio are shares of the run and must not exceed 1 together"
            )


def learning_rate(step: int, steps: int, optim: Optim) -> float:
    """Rate of the encoder at optimiser step `step` of `steps`.

    polynomial: linear from 0 to the peak over the warm-up, then linear to 0 at the end. tri_stage:
    linear from its first rate to the peak, constant, then exponential to its last rate (wav2vec
    2.0, fine-tuning).
    """
    rise = optim.warmup_ratio * steps
    if optim.schedule == "polynomial":
        after = max(steps - step, 0) / max(steps - rise, 1)
        return optim.lr * (step / rise if step < rise else after)
    if step < rise:
        first = optim.init_lr_scale
        return optim.lr * (first + (1 - first) * step / rise)
    flat = optim.hold_ratio * steps
    decayed = (step - rise - flat) / max(steps - rise - flat, 1)
    return optim.lr * optim.final_lr_scale ** min(max(decayed, 0.0), 1.0)


def build_optimizer(model: nn.Module, heads: Sequence[str], optim: Optim) -> torch.optim.Optimizer:
    """Three groups: matrices, vectors (not decayed), and the heads, whose parameters' names start
    with one of `heads`. Of an encoder with adapters only these are in them."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    of_heads: list[nn.Parameter] = []
    parameters = dict(model.named_parameters())
    if any(is_adapter(name) for name in parameters):  # the rest never trains, and may be large
        parameters = {
            name: parameter
            for name, parameter in parameters.items()
            if is_adapter(name) or not name.startswith("encoder.")
        }
    for name, parameter in parameters.items():
        several = sum(size > 1 for size in parameter.shape) > 1  # a gain per tap is (1, 1, K)
        group = matrices if several else vectors
        group = of_heads if name.startswith(tuple(heads)) else group
        group.append(parameter)
    groups = [
        {"params": matrices, "scale": 1.0, "weight_decay": optim.weight_decay},
        {"params": vectors, "scale": 1.0, "weight_decay": 0.0},
        {"params": of_heads, "scale": optim.head_lr_scale, "weight_decay": optim.weight_decay},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optim.lr,
        betas=optim.betas,
        eps=optim.epsilon,
    )
    # Moments exist from the start, of frozen parameters too: a saved state always has every key.
    for parameter in parameters.values():
        optimizer.state[parameter] = {
            "step": torch.tensor(0.0),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
