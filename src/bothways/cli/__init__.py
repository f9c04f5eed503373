"""The command line: one file per verb, errors as one line with exit code 2."""

from bothways.cli.app import main

__all__ = ["main"]
