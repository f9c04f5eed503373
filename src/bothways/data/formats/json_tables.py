"""A .json file as rows: a list, one object a line, or one object that holds a table.

Tables in one object are `{"data": [{…}, …]}`, a list for each column, and all that
`pandas.DataFrame.to_json` writes with its option `orient`: columns (its default), index, split and
table. A single row is an object too. It stays a row, because its values are not all objects, or all
lists of one length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bothways.data.formats.compressed import iter_lines
from bothways.data.formats.delimited import Row, index_columns
from bothways.errors import InputError

TEXT_COLUMN = "text"
"""The column of formats that have none: lines of a .txt, and bare strings in JSON."""
_WRAPPERS = ("data", "rows", "examples", "records", "train")


def jsonl_rows(path: Path) -> Iterator[Row]:
    """Yield the object or string of each line."""
    for number, line in iter_lines(path):
        if line.strip():
            text = line.removesuffix("\n").removesuffix("\r")
            value = decode(
                path, number, text, "each line must hold one whole object; the file may be cut off"
            )
            yield as_row(path, number, value)


def json_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a .json; see the top of this file."""
    lines = (line for _, line in iter_lines(path) if line.strip())
    first, second = next(lines, ""), next(lines, None)
    start = first.lstrip()
    if start.startswith("["):
        text = "".join(line for _, line in iter_lines(path))
        yield from _listed(path, decode(path, 1, text, "the file may be cut off"))
    elif start.startswith("{") and (second is None or not _is_object(first)):
        yield from _object(path)
    else:
        yield from jsonl_rows(path)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _object(path: Path) -> Iterator[Row]:
    # if it is not an object after all, it is read as JSON lines, for errors that name the line
    text = "".join(line for _, line in iter_lines(path))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield from jsonl_rows(path)
        return
    rows = _table(path, value)
    yield from jsonl_rows(path) if rows is None else _listed(path, rows)


def _listed(path: Path, values: list[Any]) -> Iterator[Row]:
    for number, value in enumerate(values, start=1):
        yield as_row(path, number, value)


def _table(path: Path, value: dict[str, Any]) -> list[Any] | None:
    """Return the rows of an object that holds a table, or None for an object that is a row."""
    if {"columns", "data"} <= value.keys() <= {"columns", "index", "data"}:  # orient="split"
        columns = value["columns"]
        if isinstance(columns, list) and isinstance(value["data"], list):
            return [
                _zipped(path, number, columns, cells)
                for number, cells in enumerate(value["data"], start=1)
            ]
    if {"schema", "data"} == value.keys() and isinstance(value["data"], list):  # orient="table"
        key = value["schema"].get("primaryKey", []) if isinstance(value["schema"], dict) else []
        return [
            {name: cell for name, cell in row.items() if name not in key or name != "index"}
            if isinstance(row, dict)
            else row
            for row in value["data"]
        ]
    wrapped = [name for name in _WRAPPERS if isinstance(value.get(name), list)]
    if len(wrapped) == 1 and all(isinstance(item, dict) for item in value[wrapped[0]]):
        rest = [item for name, item in value.items() if name != wrapped[0]]
        if not any(isinstance(item, list) for item in rest):
            return [
                item["row"] if isinstance(item.get("row"), dict) else item
                for item in value[wrapped[0]]
            ]
    if len(value) > 1 and all(isinstance(item, list) for item in value.values()):
        return _columns_of_lists(value)
    if value and all(isinstance(item, dict) and item for item in value.values()):
        return _columns_or_index(path, value)
    return None


def _zipped(path: Path, number: int, columns: list[Any], cells: object) -> dict[str, Any]:
    if not isinstance(cells, list) or len(cells) != len(columns):
        raise InputError(
            f"{path}, row {number}: its cells do not fit the {len(columns)} columns; write the file again"
        )
    return {str(name): cell for name, cell in zip(columns, cells)}


def _columns_of_lists(value: dict[str, list[Any]]) -> list[Any] | None:
    lengths = {len(item) for item in value.values()}
    if len(lengths) != 1 or not min(lengths):
        return None
    return [dict(zip(value, cells)) for cells in zip(*value.values())]


def _columns_or_index(path: Path, value: dict[str, dict[str, Any]]) -> list[Any] | None:
    """Return the rows of pandas' orient="columns" or orient="index", or None for another object.

    They are {column: {row: value}} and {row: {column: value}}.
    """
    inner = next(iter(value.values())).keys()
    if any(item.keys() != inner for item in value.values()):
        return None
    if all(name.isdecimal() for name in value):
        return list(value.values())
    if all(name.isdecimal() for name in inner):
        return [{name: column[row] for name, column in value.items()} for row in inner]
    if len(value) > 1 and not any(
        isinstance(cell, (dict, list)) for item in value.values() for cell in item.values()
    ):
        raise InputError(
            f"{path}: one object of objects, which may be columns or rows; write it with pandas' to_json(orient='records')"
        )
    return None


def decode(path: Path, row: int, text: str, remedy: str) -> Any:
    """Return the JSON value of a text.

    Raises:
        InputError: the text is not JSON. Names the file and the row.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        row = row + error.lineno - 1
        raise InputError(
            f"{path}, row {row}: not valid JSON ({error.msg} at column {error.colno}); {remedy}"
        ) from None
    except (ValueError, RecursionError) as error:  # over 4,300 digits, or thousands of brackets
        raise InputError(
            f"{path}, row {row}: JSON that cannot be read ({error}); {remedy}"
        ) from None


def as_row(path: Path, number: int, value: object) -> Row:
    """Return a JSON value as a row. A string becomes a row with the column `text`."""
    if isinstance(value, str):
        return number, {TEXT_COLUMN: value}
    if not isinstance(value, dict):
        raise InputError(
            f"{path}, row {number}: a row is an object or a string, this is a JSON {type_name(value)}"
        )
    index = index_columns(value)
    return number, {
        name: cell for name, cell in value.items() if name not in index
    } if index else value


def type_name(value: object) -> str:
    """Return JSON's name for the type of a Python value, for example "object" for a dict."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    kind = type(value).__name__
    return {"dict": "object", "str": "string"}.get(kind, kind)
