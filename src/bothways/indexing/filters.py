"""Conditions on rows, in the part of SQL that every store understands.

For example, `file LIKE 'notes/%' AND NOT (row < 10 OR text = 'x')`. A condition names the columns
file, row, start, end and text, and compares them with numbers and with texts in single quotes (a
quote inside is doubled). It may use =, !=, <>, <, <=, >, >=, IN (…), LIKE, AND, OR, NOT and
parentheses.

It is read here and written again for a store. So a condition that comes over HTTP cannot reach
anything but these columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bothways.errors import InputError

TEXT_COLUMNS = ("file", "text")
NUMBER_COLUMNS = ("row", "start", "end")
_LONGEST = 10_000  # characters
_DEEPEST = 50  # parentheses and NOTs
_GREATEST = 2**63 - 1

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+)(?![\w.])|(?P<sign><=|>=|<>|!=|[=<>(),])"
    r"|(?P<word>\"[^\"]*\"|[A-Za-z_]\w*))"
)
_SIGNS = ("=", "!=", "<>", "<", "<=", ">", ">=")
_EXAMPLE = "for example file = 'notes.txt' AND row < 100"

Value = str | int


@dataclass(frozen=True)
class Compare:
    """A column and a value, for example row < 10. `sign` is =, !=, <, <=, >, >= or LIKE."""

    column: str
    sign: str
    value: Value


@dataclass(frozen=True)
class Among:
    """A column with one of several values."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    part: Condition


@dataclass(frozen=True)
class Both:
    """Two conditions, joined by AND or OR."""

    word: str
    left: Condition
    right: Condition


Condition = Compare | Among | Not | Both


def read_where(where: str) -> Condition:
    """Read a condition.

    Raises:
        InputError: if it is not one. The message says what was expected.
    """
    return _Reader(where).read()


def write_sql(condition: Condition, literal: Callable[[Value], str]) -> str:
    """Write a condition as SQL.

    Args:
        condition: the condition.
        literal: writes a value, for example as a placeholder that it adds to a list.
    """
    if isinstance(condition, Both):
        left, right = write_sql(condition.left, literal), write_sql(condition.right, literal)
        return f"({left} {condition.word} {right})"
    if isinstance(condition, Not):
        return f"(NOT {write_sql(condition.part, literal)})"
    if isinstance(condition, Among):
        values = ", ".join(literal(value) for value in condition.values)
        return f'("{condition.column}" IN ({values}))'
    return f'("{condition.column}" {condition.sign} {literal(condition.value)})'


def quoted(value: Value) -> str:
    """Write a value as a literal of standard SQL, for example 'it''s'."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


class _Reader:
    """Reads one condition by recursive descent."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.tokens = self._tokens()
        self.at = 0
        self.depth = 0

    def read(self) -> Condition:
        found = self._or()
        if self.at < len(self.tokens):
            raise self._wrong("AND, OR or the end")
        return found

    def _tokens(self) -> list[tuple[str, str]]:
        if len(self.where) > _LONGEST:
            raise InputError(f"where: has more than {_LONGEST} characters; make it shorter")
        found, place = [], 0
        end = len(self.where.rstrip())
        while place < end:
            match = _TOKEN.match(self.where, place)
            if match is None:
                rest = self.where[place:].strip()[:20]
                raise InputError(
                    f"where: cannot be read at {rest!r}; texts are in single quotes, {_EXAMPLE}"
                )
            found.append((str(match.lastgroup), match[str(match.lastgroup)]))
            place = match.end()
        return found

    def _wrong(self, expected: str) -> InputError:
        got = repr(self.tokens[self.at][1][:40]) if self.at < len(self.tokens) else "the end"
        return InputError(f"where: expected {expected}, got {got}; {_EXAMPLE}")

    def _word(self, *words: str) -> str | None:
        """Take the next token if it is one of these words or signs."""
        if self.at < len(self.tokens):
            kind, token = self.tokens[self.at]
            if kind in ("word", "sign") and token.upper() in words:
                self.at += 1
                return token.upper()
        return None

    def _or(self) -> Condition:
        found = self._and()
        while self._word("OR"):
            found = Both("OR", found, self._and())
        return found

    def _and(self) -> Condition:
        found = self._not()
        while self._word("AND"):
            found = Both("AND", found, self._not())
        return found

    def _not(self) -> Condition:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise InputError(f"where: has more than {_DEEPEST} levels; make it simpler")
        try:
            if self._word("NOT"):
                return Not(self._not())
            if self._word("("):
                found = self._or()
                if not self._word(")"):
                    raise self._wrong("')'")
                return found
            return self._comparison()
        finally:
            self.depth -= 1

    def _comparison(self) -> Condition:
        column = self._column()
        opposite = self._word("NOT") is not None
        found: Condition
        if self._word("IN"):
            found = Among(column, self._values(column))
        elif column in TEXT_COLUMNS and self._word("LIKE"):
            found = Compare(column, "LIKE", self._value(column))
            if "\\" in str(found.value):
                raise InputError("where: LIKE takes % and _, but no backslash; leave it out")
        elif not opposite and (sign := self._word(*_SIGNS)):
            found = Compare(column, "!=" if sign == "<>" else sign, self._value(column))
        else:
            signs = "IN or LIKE" if opposite else "one of = != < <= > >= IN LIKE"
            raise self._wrong(f"{signs} after {column}")
        return Not(found) if opposite else found

    def _column(self) -> str:
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        name = token.strip('"').lower()
        if kind != "word" or name not in (*TEXT_COLUMNS, *NUMBER_COLUMNS):
            raise self._wrong(f"one of the columns {', '.join((*TEXT_COLUMNS, *NUMBER_COLUMNS))}")
        self.at += 1
        return name

    def _values(self, column: str) -> tuple[Value, ...]:
        if not self._word("("):
            raise self._wrong("'(' after IN")
        values = [self._value(column)]
        while self._word(","):
            values.append(self._value(column))
        if not self._word(")"):
            raise self._wrong("',' or ')'")
        return tuple(values)

    def _value(self, column: str) -> Value:
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        wanted = "text" if column in TEXT_COLUMNS else "number"
        if kind != wanted:
            raise self._wrong(
                f"a text in single quotes for {column}"
                if wanted == "text"
                else f"a whole number for {column}"
            )
        self.at += 1
        if kind == "text":
            return token[1:-1].replace("''", "'")
        if len(token) > 20 or abs(int(token)) > _GREATEST:
            raise InputError(f"where: the number for {column} is too large")
        return int(token)
