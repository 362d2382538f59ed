"""Devices, ranks and precision, applied from outside the model.

Started by `torchrun --nproc-per-node N -m speechx ...` there are N ranks; started plainly there
is one. Nothing else in speechx imports torch.distributed.
"""

import gc
import logging
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechx.errors import UserError
from speechx.log import logger
from speechx.models.adapters import is_adapter
from speechx.models.packed import multiplies_bfloat16

T = TypeVar("T")
Precision = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of a job, and this one among them."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks to the user."""
        return self.rank == 0

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, in float64."""
        if self.world == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def gather(self, mine: T) -> list[T]:
        """The plain data of every rank, in the order of the ranks."""
        if self.world == 1:
            return [mine]
        of_ranks: list[Any] = [None] * self.world
        dist.all_gather_object(of_ranks, mine)
        return of_ranks

    def broadcast(self, tensors: Sequence[torch.Tensor]) -> None:
        """Gives every rank the tensors of the first."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def barrier(self) -> None:
        """Waits until every rank has called it."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def distributed(device: str = "auto") -> Iterator[Ranks]:
    """Joins the process group that torchrun announces. Only the first rank logs messages."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = pick_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Ranks(0, 1, chosen)
        return
    # The first rank validates alone: the others must wait longer than the usual ten minutes.
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(hours=6))
    level = logger.level
    if rank:
        logger.setLevel(logging.ERROR)
    try:
        yield Ranks(rank, world, chosen)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the wrapped model
        raise
    finally:
        logger.setLevel(level)
        # DistributedDataParallel must be gone before its group: as the last to hold the group it
        # would wait for gloo's threads, which may wait for Python's lock, which it has.
        gc.collect()
        dist.destroy_process_group()


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r} is unknown: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device {name!r} was asked for, but torch sees no GPU here; use the device cpu"
        )
    return device


def set_training(model: nn.Module, frozen: Sequence[str]) -> None:
    """Training mode, but parameters whose names start with `frozen` do not train, and batch norms
    that they belong to keep their statistics. Adapters always train."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter(name) or not name.startswith(tuple(frozen)))
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm1d) and f"{name}.".startswith(tuple(frozen)):
            module.eval()


def parallelize(model: nn.Module, ranks: Ranks) -> nn.Module:
    """The model as the loop calls it; made again when other parameters train."""
    if ranks.world == 1:
        return model
    ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids)


def accumulating(model: nn.Module, last: bool) -> Any:
    """Around forward and backward of a micro-batch: gradients are exchanged after the last."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return nullcontext()


def autocast(device: torch.device, precision: Precision) -> Any:
    """bfloat16 matrix products if the precision is bfloat16; float32 islands stay in the models."""
    bfloat16 = precision_on(device, precision) == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)


def precision_on(device: torch.device, precision: Precision) -> Precision:
    """`auto` is bfloat16 where the device multiplies it faster than float32, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device.type == "cpu" and multiplies_bfloat16() else "float32"
