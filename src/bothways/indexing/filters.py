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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bothways.errors import InputError

TEXT_COLUMNS = ("file", "text")
NUMBER_COLUMNS = ("row", "start", "end")
_LONGEST = 10_000  # characters
_DEEPEST = 20  # parentheses and NOTs. Lance refuses conditions that are a little deeper
_MOST = 500  # comparisons. SQLite fails at 1,000
_GREATEST = 2**63 - 1

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+)(?![\w.])|(?P<sign><=|>=|<>|!=|[=<>(),])"
    r"|(?P<word>\"[^\"]*\"|[A-Za-z_]\w*))"
)
_SIGNS = ("=", "!=", "<>", "<", "<=", ">", ">=")
_PAIRS = {"=": "!=", "<": ">=", ">": "<=", "LIKE": "NOT LIKE"}
_OPPOSITES = _PAIRS | {second: first for first, second in _PAIRS.items()}
_EXAMPLE = "for example file = 'notes.txt' AND row < 100"

Value = str | int


@dataclass(frozen=True)
class Compare:
    """A column and a value, for example row < 10.

    `sign` is =, !=, <, <=, >, >=, LIKE or NOT LIKE.
    """

    column: str
    sign: str
    value: Value


@dataclass(frozen=True)
class Among:
    """A column with one of several values, or with none of them."""

    column: str
    values: tuple[Value, ...]
    opposite: bool = False


@dataclass(frozen=True)
class Joined:
    """Two or more conditions, joined by AND or by OR. None of them is joined by the same word."""

    word: str
    parts: tuple[Condition, ...]


Condition = Compare | Among | Joined


def read_where(where: str) -> Condition:
    """Read a condition. NOT is carried into the comparisons: NOT (row < 3 OR …) is row >= 3 AND ….

    Stores read this form at once. Some deep conditions they do not.

    Raises:
        InputError: if it is not one. The message says what was expected.
    """
    if not isinstance(where, str):
        raise InputError(f"where: must be a text (got {where!r}), {_EXAMPLE}")
    return _Reader(where).read()


def write_sql(condition: Condition, literal: Callable[[Value], str]) -> str:
    """Write a condition as SQL.

    Args:
        condition: the condition.
        literal: writes a value, for example as a placeholder that it adds to a list.
    """
    if isinstance(condition, Joined):
        return f" {condition.word} ".join(
            f"({write_sql(part, literal)})"
            if isinstance(part, Joined) and part.word == "OR"  # AND binds closer
            else write_sql(part, literal)
            for part in condition.parts
        )
    if isinstance(condition, Among):
        values = ", ".join(literal(value) for value in condition.values)
        return f'"{condition.column}" {"NOT " if condition.opposite else ""}IN ({values})'
    return f'"{condition.column}" {condition.sign} {literal(condition.value)}'


def placed(values: list[Value], mark: str = "?") -> Callable[[Value], str]:
    """Return a writer of values for `write_sql`: it writes a mark and collects them in `values`."""

    def literal(value: Value) -> str:
        values.append(value)
        return mark

    return literal


def quoted(value: Value) -> str:
    """Write a value as a literal of standard SQL, for example 'it''s'."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _opposite(condition: Condition) -> Condition:
    if isinstance(condition, Joined):
        word = "OR" if condition.word == "AND" else "AND"
        return Joined(word, tuple(_opposite(part) for part in condition.parts))
    if isinstance(condition, Among):
        return replace(condition, opposite=not condition.opposite)
    return replace(condition, sign=_OPPOSITES[condition.sign])


def _joined(word: str, conditions: Sequence[Condition]) -> Condition:
    parts: list[Condition] = []
    for each in conditions:
        parts += each.parts if isinstance(each, Joined) and each.word == word else [each]
    return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))


class _Reader:
    """Reads one condition by recursive descent."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.tokens = self._tokens()
        self.at = 0
        self.depth = self.compared = 0

    def read(self) -> Condition:
        found = self._or()
        if self.at < len(self.tokens):
            raise self._wrong("AND, OR or the end")
        return found

    def _tokens(self) -> list[tuple[str, str]]:
        if len(self.where) > _LONGEST:
            raise InputError(f"where: has more than {_LONGEST} characters; make it shorter")
        if any("\ud800" <= each <= "\udfff" for each in self.where):
            raise InputError("where: has half of a surrogate pair; leave it out")
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
        found = [self._and()]
        while self._word("OR"):
            found.append(self._and())
        return _joined("OR", found)

    def _and(self) -> Condition:
        found = [self._not()]
        while self._word("AND"):
            found.append(self._not())
        return _joined("AND", found)

    def _not(self) -> Condition:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise InputError(f"where: has more than {_DEEPEST} levels; make it simpler")
        try:
            if self._word("NOT"):
                return _opposite(self._not())
            if self._word("("):
                found = self._or()
                if not self._word(")"):
                    raise self._wrong("')'")
                return found
            return self._comparison()
        finally:
            self.depth -= 1

    def _comparison(self) -> Condition:
        self.compared += 1
        if self.compared > _MOST:
            raise InputError(
                f"where: has more than {_MOST} comparisons; make it shorter, for example with row IN (1, 2, 3)"
            )
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
        return _opposite(found) if opposite else found

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
