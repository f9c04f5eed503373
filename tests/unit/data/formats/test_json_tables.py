"""A .json file is rows in all forms that pandas writes, and a single object that is a row stays one."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from bothways.data.formats.json_tables import json_rows, jsonl_rows, type_name
from bothways.errors import InputError

ROWS = [{"query": "q", "score": 1}, {"query": "r\u2028", "score": 2}]


def read(path: Path, text: str) -> list[dict[str, object]]:
    path.write_text(text, encoding="utf-8")
    return [row for _, row in json_rows(path)]


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table"])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_form_of_pandas(tmp_path: Path, orient: str, indent: int | None) -> None:
    text = pd.DataFrame(ROWS).to_json(orient=orient, indent=indent)  # type: ignore[call-overload]
    assert read(tmp_path / "a.json", text) == ROWS


@pytest.mark.parametrize(
    "value",
    [
        {"version": 1, "data": ROWS},
        {"rows": [{"row_idx": 0, "row": row} for row in ROWS]},
        {"query": ["q", "r\u2028"], "score": [1, 2]},
    ],
)
def test_tables_in_one_object(tmp_path: Path, value: object) -> None:
    assert read(tmp_path / "a.json", json.dumps(value)) == ROWS


@pytest.mark.parametrize("value", [{"query": "q", "pos": ["p", "r"]}, {"query": "q", "pos": ["p"], "neg": []}, {"a": {"b": 1}}])
def test_one_object_in_a_line_is_a_row(tmp_path: Path, value: object) -> None:
    assert read(tmp_path / "a.json", json.dumps(value)) == [value]
    with pytest.raises(InputError, match="each line must hold one whole object"):
        read(tmp_path / "a.json", json.dumps(value, indent=1))


def test_lines_keep_their_numbers_and_strings_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n\n"b"\n{"Unnamed: 0": 3, "text": "c"}\n')
    assert list(jsonl_rows(path)) == [(1, {"text": "a"}), (3, {"text": "b"}), (4, {"text": "c"})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": ', r"row 2: not valid JSON .*each line must hold one whole object"),
        ("[1]", "row 1: a row is an object or a string, this is a JSON number"),
        ("[null]", "this is a JSON null"),
        ('{"columns": ["a", "b"], "data": [[1, 2], [3]]}', "row 2: its cells do not fit the 2 columns"),
        ('{"a": {"x": 1}, "b": {"x": 2}}', "one object of objects, which may be columns or rows"),
        ("[" * 100_000, "JSON that cannot be read"),
    ],
)
def test_broken_files_name_the_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.json", text)


def test_names_of_types_are_those_of_json() -> None:
    names = [type_name(value) for value in (None, True, 1, 0.5, {}, "", [])]
    assert names == ["null", "boolean", "number", "number", "object", "string", "list"]
