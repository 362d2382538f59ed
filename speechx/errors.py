"""The one exception a user is meant to read."""


class UserError(Exception):
    """A mistake in what the user gave: says what was given, what was expected and what to do.

    The command line prints it in one line, without a traceback, and exits with code 1.
    """
