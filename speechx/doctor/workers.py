"""Work on many files at once, in processes that a bad file may kill.

Decoders are C: a file made to hurt can take down the process that opens it. The others then go on,
and the file gets the blame by name.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K")
R = TypeVar("R")

CHUNK = 64
WAITING = 4  # chunks per process that are read ahead: memory stays bounded
CRASHED = "reading it crashes the decoder"


def in_parallel(
    work: Callable[[K], R],
    items: Iterable[T],
    key: Callable[[T], K],
    processes: int,
    chunk: int = CHUNK,
) -> Iterator[tuple[T, R | str]]:
    """`(item, work(key(item)))` in the items' order; `CRASHED` for one that kills its process.

    Only the key goes to the processes, and the items are read as they are needed.
    """
    stream = iter(items)
    waiting: deque[tuple[list[T], Future[list[R]]]] = deque()
    pool = ProcessPoolExecutor(processes)
    try:
        while True:
            while len(waiting) < processes * WAITING:
                some = list(itertools.islice(stream, chunk))
                if not some:
                    break
                waiting.append((some, pool.submit(_each, work, [key(item) for item in some])))
            if not waiting:
                return
            some, future = waiting.popleft()
            try:
                results: Sequence[R | str] = future.result()
            except BrokenProcessPool:
                pool.shutdown(wait=False)
                results = [_alone(work, key(item)) for item in some]
                pool = ProcessPoolExecutor(processes)
                waiting = deque(
                    (later, pool.submit(_each, work, [key(item) for item in later]))
                    for later, _ in waiting
                )
            yield from zip(some, results, strict=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _each(work: Callable[[K], R], keys: Sequence[K]) -> list[R]:
    return [work(key) for key in keys]


def _alone(work: Callable[[K], R], key: K) -> R | str:
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(work, key).result()
        except BrokenProcessPool:
            return CRASHED
