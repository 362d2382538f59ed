"""The exceptions that a user is meant to read."""


class UserError(Exception):
    """A mistake in what the user gave: what was wrong, what was expected, what to do.

    The command line prints it in one line, without a traceback, and exits with code 1.
    """


class HealthStop(Exception):
    """A run stopped because it was unhealthy; the command line exits with code 3."""
