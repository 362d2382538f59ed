"""Work on many files in as many processes as there are cores, with its progress."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import Any, TypeVar

from tqdm import tqdm

from speechx.data.worker_processes import end_at_interrupt
from speechx.log import logger

PROCESSES = min(8, os.cpu_count() or 1)
FILES_A_TURN = 16  # that a process takes at once
TURNS_AHEAD = 64  # of a process, so that one long file does not keep the others waiting
SECONDS_BETWEEN_PROGRESS = 10.0

T = TypeVar("T")


def spread(
    work: Callable[..., T], arguments: Iterable[tuple[Any, ...]], turn: int = FILES_A_TURN
) -> Iterator[T]:
    """`starmap` over processes, where there is more than one turn for them. Results come in order,
    and `arguments` is read only a little ahead of the work."""
    arguments = iter(arguments)
    first = list(islice(arguments, FILES_A_TURN + 1))
    if len(first) <= FILES_A_TURN:
        yield from (work(*some) for some in first)
        return
    arguments = chain(first, arguments)
    turns = iter(lambda: list(islice(arguments, turn)), [])
    pool = ProcessPoolExecutor(PROCESSES, initializer=end_at_interrupt)
    ahead: deque[Future[list[T]]] = deque()
    try:
        for some_turn in turns:
            ahead.append(pool.submit(_turn, work, some_turn))
            if len(ahead) > TURNS_AHEAD * PROCESSES:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _turn(work: Callable[..., T], turn: list[tuple[Any, ...]]) -> list[T]:
    return [work(*some) for some in turn]


def watched(results: Iterable[T], total: int | None, what: str, unit: str = "files") -> Iterator[T]:
    """The results as they come, with a bar on a terminal and a line now and then elsewhere."""
    logged = time.monotonic()
    bar = tqdm(results, what, total, unit=f" {unit}", disable=None)
    for done, result in enumerate(bar, start=1):
        if not sys.stderr.isatty() and time.monotonic() - logged > SECONDS_BETWEEN_PROGRESS:
            logged = time.monotonic()
            logger.info(f"{what} {done}{f' of {total}' if total else ''} {unit}")
        yield result
