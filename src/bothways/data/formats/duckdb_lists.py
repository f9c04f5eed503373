r"""Lists in tables of text as DuckDB writes them: quotes only around what needs them.

    [Mix the flour, 'It\'s raining', NULL]

One such cell may as well be a text in brackets. So a whole column decides: it holds lists if each
of its first cells is spelled so. `formats.cells` reads the spellings of other programs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator

from bothways.data.formats.cells import Elided, is_missing, listed
from bothways.data.formats.delimited import Row
from bothways.errors import InputError

_ITEM = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|([^,\[\]{}'"\\]*?))\s*([,\]])""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_JUDGED = 100  # rows


def spelled(text: str) -> list[str | None] | None:
    """Return the list that DuckDB spells in this way, or None.

    For example, "[a b, 'c, d', NULL]" is ["a b", "c, d", None].
    """
    text = text.strip()
    if not text.startswith("["):
        return None
    if text == "[]":
        return []
    found: list[str | None] = []
    place = 1
    while match := _ITEM.match(text, place):
        quoted, plain, end = match.groups()
        if quoted is None and not plain:
            return None
        value = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
        found.append(None if plain == "NULL" else value)
        place = match.end()
        if end == "]":
            return found if place == len(text) else None
    return None


def with_lists(label: str, rows: Iterator[Row], columns: Collection[str]) -> Iterator[Row]:
    """Yield rows with lists where columns hold lists as DuckDB writes them.

    Args:
        label: name of the file, for messages.
        rows: rows of a table of text.
        columns: columns that may hold lists.

    Raises:
        InputError: a later cell of such a column is not a list.
    """
    first = list(itertools.islice(rows, _JUDGED))
    names = {name for _, row in first for name in row if name in columns}
    chosen = [name for name in names if _holds_lists([row.get(name) for _, row in first])]
    for number, row in itertools.chain(first, rows):
        for name in chosen:
            value = row.get(name)
            if isinstance(value, str) and not is_missing(value):
                row = {**row, name: spelled(value)}
                if row[name] is None:
                    raise InputError(
                        f"{label}, row {number}: column {name!r} holds lists as DuckDB writes them, and {value[:60]!r} is none; "
                        "write the table as .parquet or .json"
                    )
        yield number, row


def _holds_lists(cells: list[object]) -> bool:
    """Return whether all cells are DuckDB's lists, and at least one is no other program's."""
    texts = [cell for cell in cells if isinstance(cell, str) and not is_missing(cell)]
    return all(spelled(text) is not None for text in texts) and any(map(_of_duckdb_alone, texts))


def _of_duckdb_alone(text: str) -> bool:
    try:
        return listed(text) is None
    except Elided:
        return False
