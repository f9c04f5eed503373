"""The file of rows next to a .faiss file: its name, if it holds an index, and its settings.

`faiss_store` opens the two files as a store. Nothing here needs faiss.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from bothways.foreign import foreign
from bothways.indexing.settings import IndexSettings, parsed_settings

BROKEN = "the index is damaged, so remove both files and index again"
"""The remedy for a damaged file of rows."""


def rows_file(path: Path) -> Path:
    """Return the file of the rows that belong to a .faiss file."""
    return path.with_name(f"{path.name}.rows")


def is_begun(path: Path) -> bool:
    """Tell if a .faiss path has an index, which may be unfinished or damaged.

    A file of rows without settings and rows is none: a full disk or a kill left it.
    """
    file = rows_file(path)
    if not file.is_file():
        return False
    base = sqlite3.connect(file)
    try:
        tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master")}
        return any(
            base.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None
            for table in ("settings", "rows")
            if table in tables
        )
    except sqlite3.Error:
        return True
    finally:
        base.close()


def read_settings(path: Path) -> IndexSettings:
    """Read the settings of the index at a .faiss path, which may be unfinished.

    Raises:
        InputError: they are damaged.
    """
    file = rows_file(path)
    with foreign(file, "cannot be read", BROKEN):
        base = sqlite3.connect(file)
        try:
            found = base.execute("SELECT value FROM settings").fetchone()
        finally:
            base.close()
        if found is None:
            raise ValueError("it has no settings")
        values = json.loads(found[0])
    return parsed_settings(values, str(path))
