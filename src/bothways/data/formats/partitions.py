"""Folders of partitioned tables: values in the names of folders, and logs of table formats.

label=sports/part-00000.parquet      Spark, pandas, polars, DuckDB and pyarrow leave out the
column that the folder names
_delta_log/, metadata/v1.metadata.json, .hoodie/
Delta Lake, Iceberg and Hudi keep files that no longer
count, and a log says which ones do
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from urllib.parse import unquote

from bothways.errors import InputError

_PARTITION = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
# v1.metadata.json, 00001-6f0c….metadata.json, also with .gz
_ICEBERG = re.compile(r"(v\d+|\d{5,}-[0-9a-f-]+)(\.gz)?\.metadata\.json(\.gz)?")
_NULL = "__HIVE_DEFAULT_PARTITION__"
_REMEDY = "write its current rows to a .parquet file, and name that"


def partition_values(path: PurePath) -> dict[str, str | None]:
    """Return the columns that the folders right above a file name.

    For example, {"lang": "en", "label": "a b"} for "data/lang=en/label=a%20b/part-0.parquet". An
    empty partition is None.
    """
    found: dict[str, str | None] = {}
    for folder in reversed(path.parent.parts):
        match = _PARTITION.fullmatch(folder)
        if match is None:
            break
        found[match[1]] = None if match[2] == _NULL else unquote(match[2])
    return dict(reversed(found.items()))


def refuse_table_format(folder: Path, folders: list[str], names: list[str]) -> None:
    """Raise InputError for a folder of a table format whose log must be read to know its rows.

    Args:
        folder: the folder.
        folders: names of the folders in it.
        names: names of the files in it.
    """
    kind = None
    if "_delta_log" in folders:
        kind = "a Delta Lake table"
    elif ".hoodie" in folders:
        kind = "a Hudi table"
    elif folder.name == "metadata" and any(map(_ICEBERG.fullmatch, names)):
        folder, kind = folder.parent, "an Iceberg table"
    if kind is not None:
        raise InputError(
            f"{folder}: is {kind}, and some of its files may hold rows that were removed; {_REMEDY}"
        )
