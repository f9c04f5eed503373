"""The texts of evaluation sets of any task, which `decontamination` keeps out of training.

Readers of training text choose one column. Here every column that holds text counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bothways.data.columns import EVALUATED, listed_columns
from bothways.data.labeled.beir import is_beir, judged_queries
from bothways.data.rows import Row, iter_rows
from bothways.data.text_sources import iter_hub_rows, resolve_texts
from bothways.errors import InputError


def read_evaluation_texts(sources: Iterable[str | Path]) -> list[str]:
    """Read all texts of evaluation sets.

    For example, read_evaluation_texts(["stsb/test.jsonl", "scifact"]) reads the pairs of a file and
    the judged queries of a BEIR folder.

    Args:
        sources: files, folders or hub datasets. Every usual text column of a row is taken
            (`bothways.data.columns.EVALUATED`), and each text of a list. Of a BEIR folder only the
            queries that test and dev judge are taken, because training shares its corpus. Of a
            folder with a test or validation split only those splits are taken. `python-stdlib`
            gives the queries of its retrieval task.

    Raises:
        InputError: what the readers raise, or a row has no column that is known to hold text.
        SourceError: what the readers raise.
    """
    return [text for source in sources for text in _texts(source)]


def _texts(source: str | Path) -> Iterator[str]:
    if is_beir(source):
        yield from judged_queries(source, splits=("test", "dev", "validation"))
        return
    found = resolve_texts(source, splits="held_out")
    if found.kind == "embedded":
        from bothways.data.embedded.stdlib import retrieval_task

        yield from retrieval_task().queries.values()
    elif found.kind == "hub":
        yield from _columns(found.label, iter_hub_rows(found))
    for path in found.files:
        yield from _columns(str(path), iter_rows(path))


def _columns(label: str, rows: Iterable[Row]) -> Iterator[str]:
    for number, row in rows:
        texts: list[str] = []
        for name in EVALUATED:
            value = row.get(name)
            several = value if isinstance(value, (list, tuple)) else [value]
            texts += [text for text in several if isinstance(text, str)]
        if not texts:
            raise InputError(
                f"{label}, row {number}: no column that is known to hold text; the columns are: {listed_columns(row)}"
            )
        yield from texts
