"""The one exception type for bad input."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Something the caller gave is wrong; the message says what, where and how to mend it.

    Every error that a user can cause is a subclass. The binaries print it as one line and leave with exit code 2.
    """
