"""The command line: one file for each verb, errors as one line, and exit code 2 for bad input."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> None:
    """Run the `bothways` command, see `bothways.cli.app.main`.

    Signal handlers are installed first, because loading the libraries takes seconds.
    """
    from bothways.cli.signals import signals

    with signals() as received:
        try:
            from bothways.cli.app import main as run

            run(arguments)
        except (KeyboardInterrupt, ImportError) as error:
            if received.code is None:
                if isinstance(error, KeyboardInterrupt):
                    sys.exit(130)
                raise  # a library that cannot be loaded
            print("interrupted", file=sys.stderr)  # noqa: T201 - output of the command line
            sys.exit(received.code)


__all__ = ["main"]
