"""Jobs of two processes on one machine, joined by gloo."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from tests.conftest import finish, start

Job = tuple[Any, ...]  # a function, and its arguments


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def destroy_alone() -> None:
    """No wrapped model may outlive its process group: as its last holder it can wait forever."""
    alive = [x for x in gc.get_objects() if type(x) is DistributedDataParallel]
    assert not alive, f"{len(alive)} wrapped models are alive as the process group is destroyed"
    destroy()


destroy = torch.distributed.destroy_process_group


def be_rank(rank: int, ports: Sequence[int], jobs: Sequence[Job]) -> None:
    """One of two processes: takes part in all jobs, each with a process group of its own."""
    torch.distributed.destroy_process_group = destroy_alone
    for port, job in zip(ports, jobs, strict=True):
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        work: Callable[..., None]
        work, *arguments = job
        work(*arguments)


def run_in_two_processes(*jobs: Job, seconds: float = 180) -> None:
    """Runs the jobs one after the other; a job that hangs or fails fails the test."""
    ports = free_ports(len(jobs))
    ranks = [start(be_rank, rank, ports, jobs) for rank in range(2)]
    assert finish(*ranks, seconds=seconds) == [0, 0]
