"""The texts of evaluation sets, whatever their task: what `overlap` must keep out of training.

Apart from the readers of training text, which choose one column: here every column that holds text counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bothways.data.labeled.beir import is_beir, judged_queries
from bothways.data.rows import Row, iter_rows
from bothways.data.sources import iter_hub_rows, resolve_texts
from bothways.errors import InputError

_COLUMNS = (
    *("text", "sentence", "sentence1", "sentence2", "premise", "hypothesis", "query", "question", "title"),
    *("anchor", "sent0", "sent1", "content", "document", "passage", "abstract", "body"),
)


def read_evaluation_texts(sources: Iterable[str | Path]) -> list[str]:
    """All texts of evaluation sets.

    Args:
        sources: files, folders or hub datasets, of which each row's usual text columns are taken; BEIR folders, of which the
            queries that test and dev judge are taken, since training shares their corpus; or `python-stdlib` for its queries. Of a
            folder with a test or validation split, those splits alone are taken: its training rows are nobody's evaluation.

    Raises:
        InputError, SourceError: as the readers do; a row without any column that is known to hold text.
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
        texts = [row[name] for name in _COLUMNS if isinstance(row.get(name), str)]
        if not texts:
            there = ", ".join(row) or "none"
            raise InputError(f"{label}, row {number}: no column that is known to hold text; the columns there are: {there}")
        yield from texts
