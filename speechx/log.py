"""Messages for people: the logger `speechx`, and the handler that the command line gives it.

A library call prints nothing by itself. Who wants to read the messages in a program of their own
configures `logging.getLogger("speechx")`, or calls `log_to_stderr()`.
"""

import logging
import sys

logger = logging.getLogger("speechx")
logger.addHandler(logging.NullHandler())


class StderrHandler(logging.Handler):
    """Writes each message as one line to stderr, above a progress bar if one is drawn there."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if (tqdm := sys.modules.get("tqdm")) is not None:
            tqdm.tqdm.write(line, file=sys.stderr)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


def log_to_stderr() -> None:
    """Shows the messages on stderr; a second call changes nothing."""
    if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
        logger.addHandler(StderrHandler())
        logger.setLevel(logging.INFO)
