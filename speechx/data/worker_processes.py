"""What all worker processes of a pool have in common."""

import signal
import sys


def end_at_interrupt() -> None:
    """For the start of a worker: Ctrl-C, which the terminal sends to every process, ends its work
    as an error would, with nothing half written; of what happened the parent alone speaks.

    Not ignored, or the parent would wait for the work in hand, minutes of a shard.
    """
    signal.signal(signal.SIGINT, lambda *_: sys.exit(128 + signal.SIGINT))
