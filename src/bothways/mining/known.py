"""Documents that can never be a negative of a row, whatever their score.

These are the query, every known answer to it, and copies of them. Known answers are the positives
of the row and of all rows with the same query, in any task, and texts that have the query as a
positive. As an option, all texts of rows of the same task and label are known answers too, because
within a class or cluster each text answers each (NV-Embed, arXiv 2405.17428).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bothways.data.labeled.example import Example
from bothways.data.words import normal_form
from bothways.mining.corpus import Documents

QUERY = "the query itself, or a copy"
ANSWER = "a known answer, or a copy"
LABEL = "of the same label"


@dataclass(frozen=True)
class Excluded:
    """Places that are left out of a query's ranking.

    Attributes:
        own: place -> reason.
        label: places of texts of the same label.
    """

    own: dict[int, str]
    label: frozenset[int]

    def __len__(self) -> int:
        """Return the largest possible number of places."""
        return len(self.own) + len(self.label)

    def reason(self, place: int) -> str | None:
        """Return why this place is excluded, or None if it is not."""
        found = self.own.get(place)
        return found if found is not None else LABEL if place in self.label else None


class Known:
    """The answers to every query of a set of examples."""

    def __init__(self, examples: Sequence[Example], *, same_label: bool = True) -> None:
        """Collect the answers.

        Args:
            examples: all rows.
            same_label: see `MiningOptions`.
        """
        self.same_label = same_label
        self._answers: dict[str, dict[str, None]] = {}
        self._labels: dict[tuple[str, str], dict[str, None]] = {}
        for example in examples:
            self._answers.setdefault(normal_form(example.query), {})
        for example in examples:
            query = normal_form(example.query)
            keys = [normal_form(text) for text in example.positives]
            self._answers[query].update(dict.fromkeys(keys))
            for key in keys:
                # symmetric pairs answer each other, as in STS, NLI and duplicates
                if key in self._answers and key != query:
                    self._answers[key][query] = None
            if same_label:
                self._add_labels(example, query, keys)

    def _add_labels(self, example: Example, query: str, keys: Sequence[str]) -> None:
        facts = [(query, example.all_labels), *zip(keys, example.labels_of_positives)]
        if example.negative_labels is not None:
            facts += zip(map(normal_form, example.negatives), example.negative_labels)
        for key, labels in facts:
            for label in labels:
                self._labels.setdefault((example.task, label), {})[key] = None

    def among(self, documents: Documents) -> Among:
        """Return the same answers as places in a corpus."""
        return Among(self, documents)

    def answers(self, example: Example) -> dict[str, None]:
        """Return the normal forms of all answers to the row's query."""
        return self._answers[normal_form(example.query)]

    def same(self, example: Example) -> dict[str, None]:
        """Return the normal forms of the texts of the row's label."""
        return {
            key: None
            for label in example.all_labels
            for key in self._labels.get((example.task, label), ())
        }


class Among:
    """The known answers, as places among documents."""

    def __init__(self, known: Known, documents: Documents) -> None:
        """Keep the answers and the documents among which they are looked up."""
        self.known, self.documents = known, documents
        self._labels: dict[tuple[str, tuple[str, ...]], frozenset[int]] = {}

    def excluded(self, example: Example) -> Excluded:
        """Return the places to leave out of a row's ranking."""
        places = self.documents.by_key
        own: dict[int, str] = {}
        for key in self.known.answers(example):
            if key in places:
                own[places[key]] = ANSWER
        query = places.get(normal_form(example.query))
        if query is not None:
            own[query] = QUERY
        label = (example.task, example.all_labels)
        if label not in self._labels:  # large, and shared by many rows
            self._labels[label] = frozenset(
                places[key] for key in self.known.same(example) if key in places
            )
        return Excluded(own, self._labels[label])
