"""Errors for users. Each message is one line: the problem, its place, and the remedy.

The command line prints only the message and exits with code 2.
"""

from __future__ import annotations


class BothwaysError(Exception):
    """The base of every error that bothways raises on purpose."""


class InputError(BothwaysError, ValueError):
    """Input that cannot be used, with its file and row or dotted config path, and the remedy."""


class OutputBusy(InputError):
    """An output that another process or thread is writing."""


class SourceError(BothwaysError, OSError):
    """A model or data source that cannot be found, reached or verified."""


class OutputError(BothwaysError, OSError):
    """A file or folder that cannot be written. Nothing of it is left behind.

    The disk may be full, the permission missing, or the name taken.
    """


class UnsupportedFamily(BothwaysError, ValueError):
    """A model family that cannot be made bidirectional, with the reason."""


class DirectionError(BothwaysError, RuntimeError):
    """A model with a measured direction that differs from the one it claims."""


class MissingExtra(BothwaysError, ImportError):
    """An optional dependency is not installed. The message holds the install line."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; run: pip install 'bothways[{extra}]'"
        )
