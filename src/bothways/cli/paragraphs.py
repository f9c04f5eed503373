"""Joins the lines of a help text's paragraphs, so that a terminal of any width can wrap them.

The help texts are docstrings, whose lines are wrapped for the source. typer joins the lines of the
first paragraph alone.
"""

from __future__ import annotations

import inspect


def unwrapped(text: str) -> str:
    r"""Return a help text with every paragraph of prose in one line.

    A paragraph with an indented line, such as an example of a command, stays as it is. For example,
    unwrapped("Encode.\n\nEmpty texts\nare skipped.") is "Encode.\n\nEmpty texts are skipped.".
    """
    return "\n\n".join(
        part if any(line.startswith(" ") for line in part.splitlines()) else " ".join(part.split())
        for part in inspect.cleandoc(text).split("\n\n")
    )
