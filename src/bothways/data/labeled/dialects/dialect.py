"""The type of a dialect: how its files are recognized, and how its rows become examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bothways.data.labeled.labeled_row import Fields, Numbered, Reading
from bothways.data.rows import Row


@dataclass(frozen=True)
class Dialect:
    """A layout of labeled data.

    Attributes:
        name: the name that a user gives.
        shape: its columns, for messages.
        fits: returns whether a file with these columns has this layout.
        read: makes (row number, example) of rows.
    """

    name: str
    shape: str
    fits: Callable[[frozenset[str]], bool]
    read: Callable[[Iterable[Row], Reading], Iterator[Numbered]]


def row_by_row(
    parse: Callable[[Fields], Numbered | None],
) -> Callable[[Iterable[Row], Reading], Iterator[Numbered]]:
    """Return the `read` of a dialect in which each row is an example."""

    def read(rows: Iterable[Row], reading: Reading) -> Iterator[Numbered]:
        for number, row in rows:
            found = parse(Fields(number, row, reading))
            if found is not None:
                yield found

    return read
