"""What can never be a negative of a row, whatever it scores: the query, every known answer to it, and copies of these.

Known answers are the positives of the row and of all rows with the same query, in whatever task, and texts whose positive the
query is; by option, also all texts of rows
of the same task and label, since within a class or cluster each text answers each (NV-Embed, arXiv 2405.17428).
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
    """Places that a query's ranking is taken without.

    Attributes:
        own: place -> why.
        label: places of texts of the same label.
    """

    own: dict[int, str]
    label: frozenset[int]

    def __len__(self) -> int:
        """How many places at most."""
        return len(self.own) + len(self.label)

    def reason(self, place: int) -> str | None:
        """Why this place is excluded, None if it is not."""
        found = self.own.get(place)
        return found if found is not None else LABEL if place in self.label else None


class Known:
    """The answers to every query of a set of examples."""

    def __init__(self, examples: Sequence[Example], *, same_label: bool = True) -> None:
        """Collect them; `same_label` as in `MiningOptions`."""
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
                # pairs of equals answer each other, as in STS, NLI and duplicates
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
        """The same as places in a corpus."""
        return Among(self, documents)

    def answers(self, example: Example) -> dict[str, None]:
        """Normal forms of all answers to its query."""
        return self._answers[normal_form(example.query)]

    def same(self, example: Example) -> dict[str, None]:
        """Normal forms of the texts of its label."""
        return {key: None for label in example.all_labels for key in self._labels.get((example.task, label), ())}


class Among:
    """What is known, as places among documents."""

    def __init__(self, known: Known, documents: Documents) -> None:
        self.known, self.documents = known, documents
        self._labels: dict[tuple[str, tuple[str, ...]], frozenset[int]] = {}

    def excluded(self, example: Example) -> Excluded:
        """The places that a row's ranking is taken without."""
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
            self._labels[label] = frozenset(places[key] for key in self.known.same(example) if key in places)
        return Excluded(own, self._labels[label])
