"""Set-up of worker processes."""

import signal
import sys


def end_at_interrupt() -> None:
    """Initialises a worker: Ctrl-C, which the terminal sends to every process, ends it like an
    error, without partial files; only the parent prints a message.

    If workers ignored Ctrl-C, the parent would wait for their current work, minutes for a shard.
    """
    signal.signal(signal.SIGINT, lambda *_: sys.exit(128 + signal.SIGINT))
