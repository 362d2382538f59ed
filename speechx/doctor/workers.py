"""Work on many files at once, in processes that a bad file may kill or hold up.

Decoders are C: a file made to hurt can take down the process that opens it, or keep it for ever.
Each process hands over its results one by one, so the file it was at when it died gets the blame by
name, and another process goes on with the next.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K")
R = TypeVar("R")

CHUNK = 64
WAITING = 4  # chunks per process that are read ahead: memory stays bounded
ORPHAN_SECONDS = 5.0  # how often an idle process looks whether its parent lives
CRASHED = "reading it crashes the decoder"
HUNG = "reading it never ends"


@dataclass(slots=True)
class _Chunk(Generic[T]):
    """Items, what the work is done on, and what came back so far."""

    items: list[T]
    keys: list[Any]
    results: list[Any] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.results) == len(self.items)


class _Worker:
    """A process and what it works on."""

    def __init__(self, work: Callable[..., Any], seconds: Callable[..., float] | None) -> None:
        self.line, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(
            target=_serve, args=(other, work, seconds), daemon=True
        )
        self.process.start()
        other.close()  # so that the line ends when the process does
        self.chunk: _Chunk[Any] | None = None

    def give(self, chunk: _Chunk[Any]) -> None:
        self.chunk = chunk
        with contextlib.suppress(OSError):  # killed while idle: `collect` meets the line's end
            self.line.send(chunk.keys[len(chunk.results) :])

    def collect(self) -> bool:
        """Takes a result; False if the process has died, which is blamed on what it was at."""
        assert self.chunk is not None
        try:
            found = self.line.recv()
        except (EOFError, OSError):
            self.process.join()
            hung = self.process.exitcode == -getattr(signal, "SIGALRM", 0)
            self.chunk.results.append(HUNG if hung else CRASHED)
            return False
        if isinstance(found, Exception):
            raise found
        self.chunk.results.append(found)
        return True

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.line.close()


def in_parallel(
    work: Callable[[K], R],
    items: Iterable[T],
    key: Callable[[T], K],
    processes: int,
    chunk: int = CHUNK,
    seconds: Callable[[K], float] | None = None,
) -> Iterator[tuple[T, R | str]]:
    """`(item, work(key(item)))` in the items' order; `CRASHED` for one that kills its process,
    `HUNG` for one that takes more than its `seconds`.

    Only the key goes to the processes, and the items are read as they are needed.
    """
    stream = iter(items)
    waiting: deque[_Chunk[T]] = deque()
    free: deque[_Chunk[T]] = deque()
    crew = [_Worker(work, seconds) for _ in range(processes)]
    try:
        while True:
            while len(waiting) < processes * WAITING:
                some = list(itertools.islice(stream, chunk))
                if not some:
                    break
                waiting.append(_Chunk(some, [key(item) for item in some]))
                free.append(waiting[-1])
            if not waiting:
                return
            for worker in crew:
                if worker.chunk is None and free:
                    worker.give(free.popleft())
            busy = {worker.line: place for place, worker in enumerate(crew) if worker.chunk}
            for line in wait(list(busy)):
                place = busy[line]  # type: ignore[index]
                worker = crew[place]
                at = worker.chunk
                assert at is not None
                if not worker.collect():
                    worker.line.close()
                    worker = crew[place] = _Worker(work, seconds)
                    if not at.done:
                        worker.give(at)
                if at.done:
                    worker.chunk = None
            while waiting and waiting[0].done:
                first = waiting.popleft()
                yield from zip(first.items, first.results, strict=True)
    finally:
        for worker in crew:
            worker.stop()


def _serve(line: Connection, work: Callable[[K], R], seconds: Callable[[K], float] | None) -> None:
    """Works through lists of keys until the parent is gone. What takes too long is ended by the
    alarm, whose default is to kill: C code that loops answers to nothing gentler."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limited = seconds is not None and hasattr(signal, "setitimer")
    if limited:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    parent = os.getppid()
    try:
        while True:
            while not line.poll(ORPHAN_SECONDS):
                if os.getppid() != parent:
                    return
            keys: Sequence[K] = line.recv()
            for key in keys:
                if limited:
                    assert seconds is not None
                    signal.setitimer(signal.ITIMER_REAL, seconds(key))
                try:
                    found: R | Exception = work(key)
                except Exception as error:
                    found = error
                if limited:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                line.send(found)
    except (EOFError, OSError):
        return
