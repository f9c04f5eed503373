"""Errors a user meets. Each message is one line: what is wrong, where, and what would be right.

The command line prints the message alone and exits with code 2.
"""

from __future__ import annotations


class BothwaysError(Exception):
    """Root of every error that bothways raises on purpose."""


class InputError(BothwaysError, ValueError):
    """Input that cannot be used: names the file and row, or the dotted config path, and the remedy."""


class SourceError(BothwaysError, OSError):
    """A model or data source that cannot be found, reached or verified."""


class OutputError(BothwaysError, OSError):
    """A file or folder that cannot be written: no room, no permission, a name that is taken; nothing of it is left behind."""


class UnsupportedFamily(BothwaysError, ValueError):
    """A model family that cannot be made bidirectional, with the reason."""


class DirectionError(BothwaysError, RuntimeError):
    """A model whose measured direction is not the one it claims."""


class MissingExtra(BothwaysError, ImportError):
    """An optional dependency is not installed; the message holds the install line."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed; run: pip install 'bothways[{extra}]'")
