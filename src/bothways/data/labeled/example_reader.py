"""Reads labeled rows one after the other, for data that does not fit into memory.

`labeled_reader.read_examples` holds all rows, so it can leave out repetitions and count what it
replaced. Here a row is forgotten when it has been yielded, and repetitions stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bothways.data.labeled.dialects import named
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import (
    LabeledFile,
    UnknownDialect,
    examples_of_file,
    overridden,
)
from bothways.data.labeled.templates import find_template
from bothways.data.rows import Row
from bothways.errors import InputError


@dataclass(frozen=True)
class ExampleReader:
    """Reads labeled rows; the attributes are arguments of `labeled_reader.read_examples`."""

    dialect: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    template: str = "nv_embed"
    other_kind: ClassVar[type[InputError]] = UnknownDialect

    def of_file(self, path: Path) -> Iterator[Example]:
        """Yield the examples of a file.

        Raises:
            UnknownDialect: the columns fit no dialect.
            InputError: as `read_examples`.
        """
        return self._examples(LabeledFile.of(path))

    def of_rows(self, label: str, rows: Iterator[Row]) -> Iterator[Example]:
        """Yield the examples of the rows of a hub dataset; see `of_file`."""
        return self._examples(LabeledFile(label, label.split(":")[0].split("/")[-1], rows))

    def embedded(self, name: str) -> Iterator[Example]:
        """Yield the embedded pairs of this name."""
        from bothways.data.embedded.stdlib_names import embedded_pairs

        return map(self._with_prompts, embedded_pairs(name))

    def _examples(self, file: LabeledFile) -> Iterator[Example]:
        forced = None if self.dialect is None else named(self.dialect)
        found = examples_of_file(file, forced, find_template(self.template), None)
        return map(self._with_prompts, found)

    def _with_prompts(self, example: Example) -> Example:
        return overridden(example, None, self.query_prompt, self.document_prompt)
