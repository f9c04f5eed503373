"""Lists in the cells of tables of text.

A table of text has no lists, so every writer spells them in its own way. A list that is not
recognized would become one wrong text. These spellings are known:

    ["a", "b"]            JSON
    ['a', "b's"]          Python's list, which pandas writes; also ('a', 'b') and {'a', 'b'}
    ['a' 'b']             an array of numpy, which Python would read as the one text 'ab'
    [0.9 0.2]             an array of numbers
    [np.str_('a')]        a list of numpy's scalars; also array(['a'], dtype=object)

numpy writes an array of more than a thousand elements with `...` in its middle. Its texts are lost,
so it is refused. In a column that holds nothing but lists, a list that was cut short or written
without quotes is refused too.
"""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

_MISSING = {"nan", "NaN", "None", "null", "NULL", "<NA>", "\\N", "#N/A"}
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_TOKEN = re.compile(rf"\s*({_STRING}|\.\.\.|[\[\](){{}},:]|[^\s\[\](){{}},:'\"]+)", re.DOTALL)
_WRAPPER = re.compile(
    r"(?:np\.|numpy\.)?(?:str_|float(?:16|32|64)|int(?:8|16|32|64)|array|list|tuple|set)"
)
_LEADING = re.compile(r"""\s*[\[({]""")
_ENDS = {"[": "]", "(": ")", "{": "}"}
_DEEPEST = 16


class Elided(ValueError):
    """An array that was written without its middle."""


def is_missing(value: object) -> bool:
    """Return whether a cell is a table's spelling of a missing value.

    These are an empty cell, nan, None, null, <NA>, and a backslash with N (MySQL, Hive).
    """
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and (not value or value in _MISSING))


def listed(text: str) -> list[Any] | None:
    """Return the list that a cell spells, or None if it spells none.

    Tuples, sets and arrays become lists, and nan becomes None. For example, "['a' 'b']" is ["a",
    "b"].

    Raises:
        Elided: an array with `...` in its middle.
    """
    text = text.strip()
    if not _LEADING.match(text) and not _WRAPPER.match(text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = _Spelled(text).whole()
        except Elided:
            raise
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or (
        text[0] == "(" and len(value) == 1 and not text.rstrip(") ").endswith(",")
    ):
        return None  # ('a') is a text in parentheses, in Python too
    return value


class _Spelled:
    """Reads the spelling of Python and numpy: values with or without commas between them."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                if text[place:].isspace():
                    break
                raise ValueError(text[place : place + 20])
            self.tokens.append(match[1])
            place = match.end()
        self.at = 0

    def whole(self) -> object:
        value = self._value(0)
        if self.at != len(self.tokens):
            raise ValueError("more behind the list")
        return value

    def _next(self) -> str:
        if self.at == len(self.tokens):
            raise ValueError("cut short")
        self.at += 1
        return self.tokens[self.at - 1]

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _value(self, depth: int) -> object:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        token = self._next()
        if token in ("[", "("):
            return self._items(_ENDS[token], depth)
        if token == "{":
            return self._braces(depth)
        if token == "...":
            raise Elided
        if token[0] in "'\"":
            return ast.literal_eval(token)
        if _WRAPPER.fullmatch(token) and self._peek() == "(":
            self._next()
            inner = self._items(")", depth)
            return inner[0] if inner else []
        return _scalar(token)

    def _items(self, end: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while self._peek() != end:
            if self._peek() == "dtype=object":
                self._next()
                continue
            found.append(self._value(depth + 1))
            if self._peek() == ",":
                self._next()
        self._next()
        return found

    def _braces(self, depth: int) -> object:
        members: list[Any] = []
        pairs: dict[str, Any] = {}
        while self._peek() != "}":
            value = self._value(depth + 1)
            if self._peek() == ":":
                self._next()
                pairs[str(value)] = self._value(depth + 1)
            else:
                members.append(value)
            if self._peek() == ",":
                self._next()
        self._next()
        if pairs and members:
            raise ValueError("neither a set nor a dictionary")
        return pairs if pairs or not members else members


def _scalar(token: str) -> object:
    if token in ("None", "nan", "NaN", "null", "<NA>", "NaT"):
        return None
    if token in ("True", "true", "False", "false"):
        return token in ("True", "true")
    try:
        return int(token)
    except ValueError:
        number = float(token)
        if math.isinf(number):
            raise ValueError(token) from None
        return number
