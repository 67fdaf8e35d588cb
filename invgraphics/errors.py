"""Errors that a user of the programs is meant to read."""


class InputError(ValueError):
    """The input cannot be used.

    The message is one line: what is wrong, where, and what would be right. The command line prints it and exits with 2.
    """


class MissingDependencyError(ImportError):
    """An optional package is needed and absent. The message says what to install, in one line."""
