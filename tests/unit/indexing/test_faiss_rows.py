"""The file of rows next to a .faiss file: whether it holds an index, and its settings."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.indexing.faiss_rows import is_begun, read_settings, rows_file
from bothways.indexing.settings import IndexSettings, settings_text

MADE = IndexSettings(model="m", fingerprint="f", dtype="float32", dimension=8)


def write(path: Path, *statements: tuple[str, tuple[str, ...]]) -> Path:
    with sqlite3.connect(rows_file(path)) as base:
        for statement, values in statements:
            base.execute(statement, values)
    base.close()
    return path


TABLE = ("CREATE TABLE settings (only INTEGER PRIMARY KEY, value TEXT NOT NULL)", ())
SETTINGS = ("INSERT INTO settings VALUES (1, ?)", (settings_text(MADE),))


def test_the_name(tmp_path: Path) -> None:
    assert rows_file(tmp_path / "notes.faiss") == tmp_path / "notes.faiss.rows"


def test_settings_come_back(tmp_path: Path) -> None:
    path = write(tmp_path / "notes.faiss", TABLE, SETTINGS)
    assert is_begun(path) and read_settings(path) == MADE


def test_no_file_and_an_empty_one_are_not_begun(tmp_path: Path) -> None:
    assert not is_begun(tmp_path / "none.faiss")
    assert not is_begun(write(tmp_path / "empty.faiss"))
    assert not is_begun(write(tmp_path / "tables.faiss", TABLE))


def test_damage_is_an_index_and_one_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.faiss"
    rows_file(path).write_bytes(b"not a database" * 100)
    assert is_begun(path)  # so it is not overwritten
    with pytest.raises(InputError, match="remove both files and index again"):
        read_settings(path)
    with pytest.raises(InputError, match="has no settings"):
        read_settings(write(tmp_path / "tables.faiss", TABLE))
