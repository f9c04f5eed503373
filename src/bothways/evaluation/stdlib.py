"""Retrieval over the running Python's standard library: find a function by its description. Nothing to download."""

from __future__ import annotations

from bothways.data.stdlib import retrieval_task
from bothways.errors import InputError
from bothways.evaluation.retrieval import Retrieval


class Stdlib(Retrieval):
    """The held-out part of `bothways.data.stdlib`. Its fingerprint differs between Python versions, as their libraries do."""

    kind = "stdlib"

    def __init__(self) -> None:
        super().__init__(retrieval_task(), name="stdlib")

    @classmethod
    def from_argument(cls, argument: str | None) -> Stdlib:
        """`stdlib`.

        Raises:
            InputError: an argument was given.
        """
        if argument is not None:
            raise InputError(f"task 'stdlib' takes no argument, got {argument!r}; write stdlib")
        return cls()
