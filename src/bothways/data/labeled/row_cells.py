"""Typed access to the columns of one labeled row.

Every reader and conversion uses it. A value of the wrong type, a missing column and scores that do
not fit the texts are errors, because the file is then not of the kind it was taken for. Each error
names the file and the row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bothways.data.columns import find_column, list_in, read_text
from bothways.data.formats.cells import is_missing
from bothways.data.labeled.reading import Reading
from bothways.data.rows import finite_number, type_name
from bothways.errors import InputError
from bothways.foreign import one_line

LISTS = frozenset(
    (
        *("pos", "neg", "positives", "negatives", "pos_scores", "neg_scores", "scores", "labels"),
        *("positive_passages", "negative_passages", "positive_ctxs", "negative_ctxs"),
        *("hard_negative_ctxs", "hard_negatives"),
        *("messages", "positive_messages", "negative_messages"),
    )
)
"""Columns that hold nothing but lists. A string in one of them that spells a list is a list."""

_EMPTIED = "cells of nan, None or \\N taken as empty"


class RowCells:
    """One row with typed access to its columns."""

    def __init__(self, number: int, row: Mapping[str, Any], reading: Reading) -> None:
        self.number, self.reading = number, reading
        self.row = reading.opened(row)

    @property
    def where(self) -> str:
        """The file and row, for messages."""
        return f"{self.reading.label}, row {self.number}"

    def column(self, *names: str) -> str:
        """Return the first of these columns that the row has.

        Raises:
            InputError: the row has none of them.
        """
        return find_column(self.where, self.row, names)

    def given(self, *names: str) -> Any:
        """Return the first value of these columns that is not null, or None if all are."""
        return next((self.row[name] for name in names if self.row.get(name) is not None), None)

    def text(self, *names: str) -> str:
        """Return the text in the first of these columns, "" if it is only white space.

        Raises:
            InputError: the row has none of the columns, or the value is not a text.
        """
        name = self.column(*names)
        value = self.row[name]
        repair = self.reading.surrogates == "repair"
        if repair and self.reading.cells and isinstance(value, str):
            if value in ("\\N", "<NA>"):
                self.reading.repaired.add(_EMPTIED, self.number)
                return ""
            if self._texts_in(value, name):
                raise InputError(
                    f"{self.where}: column {name!r} holds a list, not a text; give each row one text"
                )
        return self.clean(value, name)

    def texts(self, *names: str) -> list[str]:
        """Return the texts in the first of these columns that is not null: a list, or one text.

        Returns:
            The texts, or [] if all of the columns are missing or null.

        Raises:
            InputError: the value is neither a text nor a list of texts.
        """
        name = next((name for name in names if not _is_null(self.row.get(name))), None)
        if name is None:
            return []
        value = self.row[name]
        if self.reading.cells and isinstance(value, str) and value and is_missing(value):
            self.reading.repaired.add(_EMPTIED, self.number)
            return []
        value = self.unpacked(name)
        if isinstance(value, (list, tuple)):
            return [
                "" if _is_null(item) else self.clean(item, f"{name}[{place}]")
                for place, item in enumerate(value)
            ]
        return [self.clean(value, name)]

    def scores(self, name: str, count: int, of: str) -> list[float] | None:
        """Return `count` finite numbers from a column, or None if it is missing or null.

        Args:
            name: the column.
            count: the number of texts that the scores belong to.
            of: the name of those texts, for messages.

        Raises:
            InputError: the value is not a list of that length, or a number is not finite.
        """
        value = self.unpacked(name)
        if is_missing(value):
            return None
        if self.reading.cells and isinstance(value, str):
            value = finite_number(value, name, self.where)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = [value]
        if not isinstance(value, (list, tuple)):
            raise InputError(
                f"{self.where}: column {name!r} holds a {type_name(value)}, not a list of numbers"
            )
        if len(value) != count:
            raise InputError(
                f"{self.where}: {len(value)} values in {name!r}, but {count} texts in {of!r}; give each text its score"
            )
        numbers = []
        for item in value:
            if not isinstance(item, (int, float)) or isinstance(item, bool):
                raise InputError(
                    f"{self.where}: column {name!r} holds a {type_name(item)}, not a finite number"
                )
            numbers.append(finite_number(item, name, self.where))
        return numbers

    def listed(self, *names: str) -> Any:
        """Return the first value of these columns that is not null, or None if it is empty.

        A list that a table's cell spells comes back as a list.
        """
        name = next((name for name in names if not _is_null(self.row.get(name))), None)
        value = None if name is None else self.unpacked(name)
        if self.reading.cells and isinstance(value, str) and is_missing(value):
            return None
        return None if value == "" else list(value) if isinstance(value, tuple) else value

    def number_in(self, *names: str) -> float:
        """Return the finite number in the first of these columns. Tables write it as text.

        Raises:
            InputError: the row has none of the columns, or the value is not a finite number.
        """
        column = self.column(*names)
        return finite_number(self.row[column], column, self.where)

    def label(self, value: object) -> str:
        """Return a class or cluster as text.

        A whole number is a label too. 3.0 is the label 3, because pandas writes whole numbers in
        this way. True and false are the labels 1 and 0.

        Raises:
            InputError: the value is null, empty or NaN, or neither a text nor a whole number.
        """
        if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
            value = int(value)
        if isinstance(value, int):
            return str(value)
        text = self.clean(value, "label").strip() if isinstance(value, str) else ""
        if not text:
            shown = "nothing" if value is None or isinstance(value, str) else repr(value)
            raise InputError(
                f"{self.where}: the label is {shown}; give the row a name or a whole number, or remove it"
            )
        return text

    def clean(self, value: object, name: str) -> str:
        """Return a text that a tokenizer can take.

        If the reading repairs texts, lone surrogates become U+FFFD and white space becomes "".

        Raises:
            InputError: `value` is not a text, or the reading refuses its lone surrogate.
        """
        text = read_text(self.where, name, value, surrogates=self.reading.surrogates)
        if self.reading.surrogates == "refuse":
            return text
        if text is not value:
            self.reading.repaired.add("lone surrogates became U+FFFD", self.number)
        return "" if text.isspace() else text

    def unpacked(self, name: str) -> Any:
        """Return the value of a column, as a list if a table's cell spells one.

        Numbers in brackets are a list of scores or labels, and a text elsewhere. In formats other
        than tables a string is a string.

        Returns:
            The value, or None if the row lacks the column.

        Raises:
            InputError: an array was written without its middle. Or a column of `LISTS` holds a
                list that is cut short, or spells several texts in a format that has lists.
        """
        value = self.row.get(name)
        if not isinstance(value, str) or not (self.reading.cells or name in LISTS):
            return value
        found = self._list_in(value, name)
        texts = found is not None and all(
            isinstance(item, (str, list, dict)) or item is None for item in found
        )
        if not self.reading.cells:
            if found is not None and len(found) > 1 and texts:
                raise InputError(
                    f"{self.where}: column {name!r} holds a list that is written as one string, "
                    f"{one_line(repr(value), 80)}; write it as a list"
                )
            return value
        return found if texts or (found is not None and name in LISTS) else value

    def _texts_in(self, value: str, name: str) -> bool:
        """Return whether a cell spells a list of texts."""
        found = self._list_in(value, name)
        return bool(found) and all(isinstance(item, str) for item in found or ())

    def _list_in(self, value: str, name: str) -> list[Any] | None:
        found = list_in(self.where, name, value)
        text = value.strip()
        cut = found is None and self.reading.cells and name in LISTS
        if cut and text.startswith(("['", '["', "[np.", "[{")):
            raise InputError(
                f"{self.where}: column {name!r} holds {one_line(repr(text), 80)}, which is not a "
                'whole list; write it as JSON, ["first", "second"]'
            )
        return found


def _is_null(value: object) -> bool:
    """Return whether a value is null, or NaN, which pandas writes for null."""
    return value is None or (isinstance(value, float) and math.isnan(value))
