"""Rows of labeled data as examples, with a count of the rows and texts that were left out.

A row without a usable text (an empty query, no positive that is not empty) is skipped and counted,
because large collections always hold some. For a wrong type or a missing column see `row_cells`.
"""

from __future__ import annotations

from typing import Any

from bothways.data.labeled.example import Example
from bothways.data.labeled.reading import Reading, Tally
from bothways.data.labeled.row_cells import LISTS, RowCells
from bothways.data.labeled.templates import Prompts
from bothways.data.rows import type_name
from bothways.errors import InputError

__all__ = ["LISTS", "Fields", "Numbered", "Reading", "Scores", "Tally"]

Numbered = tuple[int, Example]
"""An example and its row, the first row if it was made from several."""

Scores = tuple[list[float] | None, list[float] | None]
"""The scores of the positives and of the negatives."""


class Fields(RowCells):
    """One row of labeled data, which can become an example."""

    def prompts(self, *, symmetric: bool) -> Prompts:
        """Return the prompts that the row holds.

        `query_prompt` and `document_prompt` are used as they are. `prompt` or `instruction` is a
        description of the task and goes through the template of the reading. If it ends in white
        space, it is a prompt already.

        Args:
            symmetric: put an instruction before the documents as well as before the query.

        Raises:
            InputError: a prompt is not a text.
        """
        if "query_prompt" in self.row or "document_prompt" in self.row:
            return Prompts(*(self._literal(name) for name in ("query_prompt", "document_prompt")))
        instruction = self.given("prompt", "instruction")
        if instruction is None:
            return Prompts()
        if not isinstance(instruction, str):
            raise InputError(f"{self.where}: the prompt is a {type_name(instruction)}, not a text")
        if instruction and instruction[-1].isspace():
            return Prompts(instruction, instruction if symmetric else "")
        self.reading.notes[f"prompts as {self.reading.template.query!r}"] = None
        return self.reading.template.prompts(instruction, symmetric=symmetric)

    def example(
        self,
        query: str,
        positives: list[str],
        negatives: list[str],
        *,
        scores: Scores = (None, None),
        prompts: Prompts | None = None,
        label: str | None = None,
        classes: bool = False,
    ) -> Numbered | None:
        """Return an example of cleaned texts, or None if the row is skipped, which is counted.

        Empty texts and their scores are left out. So are texts that the row repeats, because they
        would count twice, and negatives that equal a positive, because they would teach the
        opposite of it.

        Args:
            query: the query.
            positives: texts that answer it.
            negatives: texts that do not.
            scores: a score of each positive and of each negative, or None for none.
            prompts: the prompts of both sides. If None, there are none.
            label: the class or cluster of the query.
            classes: read the columns `labels`, `pos_labels` and `neg_labels`.
        """
        if not query:
            self.reading.skipped.add("without a query", self.number)
            return None
        kept = _first_of_each(positives)
        if not kept:
            self.reading.skipped.add("without a positive", self.number)
            return None
        right = {positives[place] for place in kept}
        others = [place for place in _first_of_each(negatives) if negatives[place] not in right]
        self._count_losses(positives, negatives)
        task = self.given("task")
        query_prompt, document_prompt = prompts or Prompts()
        right_labels = self._classes_of("pos_labels", len(positives), kept) if classes else None
        wrong_labels = self._classes_of("neg_labels", len(negatives), others) if classes else None
        return self.number, Example(
            query=query,
            positives=tuple(positives[place] for place in kept),
            negatives=tuple(negatives[place] for place in others),
            positive_scores=_at(scores[0], kept),
            negative_scores=_at(scores[1], others),
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            task=task if isinstance(task, str) and task else self.reading.task,
            label=label,
            labels=self._classes("labels") if classes else (),
            positive_labels=right_labels,
            negative_labels=wrong_labels,
        )

    def _classes(self, name: str) -> tuple[str, ...]:
        """Return the names in a column that is a list of labels.

        Other tools use the same name for other things, which are ignored.
        """
        value = self.row.get(name)
        return tuple(map(self.label, value)) if isinstance(value, (list, tuple)) else ()

    def _classes_of(
        self, name: str, texts: int, kept: list[int]
    ) -> tuple[tuple[str, ...], ...] | None:
        """Return the labels of each kept text, which the column holds as one label or a list."""
        value = self.row.get(name)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or len(value) != texts:
            raise InputError(
                f"{self.where}: column {name!r} must be a list with the labels of each of the {texts} texts"
            )
        every = [each if isinstance(each, (list, tuple)) else [each] for each in value]
        return tuple(tuple(map(self.label, every[place])) for place in kept)

    def _count_losses(self, positives: list[str], negatives: list[str]) -> None:
        right, wrong = _first_of_each(positives), _first_of_each(negatives)
        there = sum(bool(text) for text in (*positives, *negatives))
        both = {negatives[at] for at in wrong} & {positives[at] for at in right}
        losses = {
            "empty texts left out": len(positives) + len(negatives) - there,
            "texts repeated in their row left out": there - len(right) - len(wrong),
            "negatives equal to a positive left out": len(both),
        }
        for reason, count in losses.items():
            if count:
                self.reading.repaired.add(reason, self.number, count)

    def _literal(self, name: str) -> str:
        value: Any = self.row.get(name)
        if value is not None and not isinstance(value, str):
            raise InputError(
                f"{self.where}: column {name!r} holds a {type_name(value)}, not a text"
            )
        return value or ""


def _first_of_each(texts: list[str]) -> list[int]:
    """Return the places of the texts that are not empty, each text once."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        if text:
            first.setdefault(text, place)
    return list(first.values())


def _at(scores: list[float] | None, places: list[int]) -> tuple[float, ...] | None:
    return None if scores is None else tuple(scores[place] for place in places)
