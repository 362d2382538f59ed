"""Work on many files at once, in processes that a bad file may kill or hang.

Decoders are C: a malicious file can crash the process that opens it, or loop for ever. Work is sent
in chunks; the items of a chunk that crashes or takes too long are sent again one by one, so that
the right file is named and the others get their results.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError  # the builtin one from Python 3.11 on
from typing import TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from speechx.corpora.engine.problems import Problem

T = TypeVar("T")
K = TypeVar("K")
R = TypeVar("R")

CHUNK = 64
CHUNKS_AHEAD = 4  # per process: memory stays bounded
PATIENCE_SECONDS = 600.0

CRASHED = Problem("", "reading it crashes the decoder")
HUNG = Problem("", "reading it never ends")


def in_parallel(
    work: Callable[[K], R],
    items: Iterable[T],
    key: Callable[[T], K],
    processes: int,
    chunk: int = CHUNK,
    seconds: Callable[[K], float] = lambda _: PATIENCE_SECONDS,
) -> Iterator[tuple[T, R | Problem]]:
    """`(item, work(key(item)))` in the order of the items; `CRASHED` for an item that kills its
    process, `HUNG` for one that takes more than its `seconds`.

    Only the keys go to the processes, and items are read as they are needed.
    """

    def schedule(keys: Sequence[K]) -> ProcessFuture:
        return pool.schedule(_each, (work, keys), timeout=max(map(seconds, keys)))

    def results(keys: Sequence[K], future: ProcessFuture) -> list[R | Problem]:
        try:
            return future.result()
        except (TimeoutError, ProcessExpired) as error:
            if len(keys) == 1:
                return [CRASHED if isinstance(error, ProcessExpired) else HUNG]
            alone = [([key], schedule([key])) for key in keys]
            return [result for one in alone for result in results(*one)]

    pool = ProcessPool(processes)  # starts with the first chunk
    stream = iter(items)
    ahead: deque[tuple[list[T], list[K], ProcessFuture]] = deque()
    try:
        while some := list(itertools.islice(stream, chunk)):
            keys = [key(item) for item in some]
            ahead.append((some, keys, schedule(keys)))
            if len(ahead) == processes * CHUNKS_AHEAD:
                some, keys, future = ahead.popleft()
                yield from zip(some, results(keys, future), strict=True)
        for some, keys, future in ahead:
            yield from zip(some, results(keys, future), strict=True)
    finally:
        pool.stop()
        pool.join()


def _each(work: Callable[[K], R], keys: Sequence[K]) -> list[R]:
    return [work(key) for key in keys]
