"""The texts of a job as a stream. Every process that reads them gets the same ones in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from bothways.bulk.shard_texts import Places
from bothways.printable import utf8_name

Unit = Literal["line", "document"]


class SourceTexts:
    """The texts of a source as a stream, with their places."""

    def __init__(self, source: str | Path, column: str | None, unit: Unit) -> None:
        """Name what to read; see `bulk_encode` for the arguments."""
        self.source, self.column, self.unit = str(source), column, unit

    @property
    def facts(self) -> dict[str, Any]:
        """The source for the manifest. It is not compared, because the texts themselves are."""
        return {"name": utf8_name(self.source), "column": self.column, "unit": self.unit}

    def read(self) -> tuple[Iterator[str], Places]:
        """Return the texts, the first of which has been read, and the file and row of each.

        Raises:
            InputError: if the source is broken or holds no text.
            SourceError: if it cannot be found.
        """
        from bothways.data.text.documents import iter_documents
        from bothways.data.text.readers import iter_texts

        places: Places = deque()
        read = iter_texts if self.unit == "line" else iter_documents
        texts = read(self.source, column=self.column, places=places, splits="all")
        return chain([next(texts)], texts), places
