"""Rows that are mined together, with one list of documents that is encoded under one prompt.

The vector of a document depends on the prompt before it, and documents of one task are not hard
negatives of another. So rows are mined prompt by prompt if vectors are used, and task by task if
the examples are their own corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.words import normal_form
from bothways.mining.candidates import (
    Bm25Search,
    DenseSearch,
    HybridSearch,
    Ranked,
    Request,
    Search,
)
from bothways.mining.corpus import Documents, own_texts
from bothways.mining.document_filters import Rule
from bothways.mining.fill import filled
from bothways.mining.known import Known
from bothways.mining.options import MiningOptions
from bothways.mining.select import Choice, choose
from bothways.mining.work_folder import Work
from bothways.search.dense import DenseIndex
from bothways.search.vectors import Vectors


@dataclass(frozen=True)
class Prompting:
    """The prompts before texts.

    Attributes:
        query: prompt of all queries. If None, each row's own. A row without one uses the prompt
            that the encoder stores for queries, as in training.
        document: the same for documents.
    """

    query: str | None = None
    document: str | None = None

    def of_query(self, example: Example) -> str | None:
        """Return the prompt of the row's query, or None to leave it to the encoder."""
        return self._chosen(self.query, example.query_prompt)

    def of_document(self, example: Example) -> str | None:
        """Return the prompt of the row's documents, or None to leave it to the encoder."""
        return self._chosen(self.document, example.document_prompt)

    def _chosen(self, given: str | None, own: str) -> str | None:
        return given if given is not None else own or None


def group_rows(
    examples: Sequence[Example],
    corpus: Sequence[str] | None,
    options: MiningOptions,
    prompting: Prompting,
) -> list[list[int]]:
    """Return the row numbers of each group, in order of first appearance."""
    groups: dict[tuple[str, str | None], list[int]] = {}
    for number, example in enumerate(examples):
        task = example.task if corpus is None else ""
        prompt = "" if options.method == "bm25" else prompting.of_document(example)
        groups.setdefault((task, prompt), []).append(number)
    return list(groups.values())


class MiningGroup:
    """A group of rows to mine, row by row.

    Attributes:
        rows: their numbers among all rows.
        documents: the corpus of their negatives.
        facts: everything that determines the choices, in addition to options and examples.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        rows: Sequence[int],
        *,
        corpus: Sequence[str] | None,
        known: Known,
        options: MiningOptions,
        rules: Sequence[Rule] = (),
        without: Overlap | None = None,
    ) -> None:
        """Collect the documents and answers of a group.

        Args:
            examples: all rows.
            rows: numbers of the group's rows.
            corpus: texts of the corpus. If None, the positives and negatives of the group's rows.
            known: answers of all rows.
            options: see `MiningOptions`.
            rules: additional rules of the caller, see `mine`.
            without: evaluation texts that must not become negatives.
        """
        self.rows, self.options, self.rules = list(rows), options, rules
        self.examples = [examples[row] for row in rows]
        positives = (text for example in self.examples for text in example.positives)
        self.documents = Documents(
            own_texts(self.examples) if corpus is None else corpus, positives, without
        )
        self.among = known.among(self.documents)
        self.facts: list[str] = []
        self._answers: dict[str, dict[str, None]] = {}
        for example in self.examples:
            self._answers.setdefault(normal_form(example.query), {}).update(
                dict.fromkeys(example.positives)
            )
        self._search: Search | None = None

    def open(
        self, work: Work, vectors: Vectors | None, prompting: Prompting, *, show: bool | None
    ) -> None:
        """Encode and index, or use the vectors in `work`.

        Raises:
            MissingExtra: if bm25s or faiss is needed and not installed.
            InputError: if the output of the encoder cannot be used.
        """
        queries = [example.query for example in self.examples]
        lexical = None if self.options.method == "dense" else Bm25Search(self.documents, queries)
        if vectors is None:
            self._search = lexical
            return
        dense = self._dense(work, vectors, prompting, show)
        self._search = dense if lexical is None else HybridSearch(lexical, dense)

    def choices_of(self, numbers: Sequence[int]) -> list[Choice]:
        """Return the choices of some of the group's own rows."""
        if self._search is None:
            raise RuntimeError("call open before choices_of")
        requests = [self._request(number) for number in numbers]
        found = self._search.ranked(requests, self.options.ranks[1])
        return [
            self._choice(number, request, ranked)
            for number, request, ranked in zip(numbers, requests, found)
        ]

    def _choice(self, number: int, request: Request, ranked: Ranked) -> Choice:
        row, example, answers = self.rows[number], self.examples[number], ranked.asked.tolist()
        choice = choose(
            row,
            example,
            self.documents,
            ranked,
            request.excluded,
            answers,
            self.options,
            self.rules,
        )
        search = self._search
        if (
            self.options.fill == "none"
            or len(choice.places) >= self.options.negatives
            or search is None
        ):
            return choice

        def scored(places: list[int]) -> np.ndarray:
            return search.scores(number, np.array(places, dtype=np.int64))

        return filled(
            choice,
            row,
            example,
            self.documents,
            request.excluded,
            scored,
            min(answers),
            self.options,
            self.rules,
        )

    def _request(self, number: int) -> Request:
        example = self.examples[number]
        # the row's own answers first, then the answers of other rows with the same query
        own = set(example.positives)
        others = [text for text in self._answers[normal_form(example.query)] if text not in own]
        places = [self.documents.places[text] for text in (*example.positives, *others)]
        return Request(number, self.among.excluded(example), np.array(places, dtype=np.int64))

    def _dense(
        self, work: Work, vectors: Vectors, prompting: Prompting, show: bool | None
    ) -> DenseSearch:
        options = self.options
        prompt = prompting.of_document(self.examples[0])
        documents, name = work.encode(
            vectors,
            self.documents.texts,
            _always(prompt),
            "document",
            store=options.store,
            show=show,
        )
        asked: dict[tuple[str | None, str], int] = {}
        rows = [
            asked.setdefault((prompting.of_query(row), row.query), len(asked))
            for row in self.examples
        ]
        distinct = list(asked)
        queries, other = work.encode(
            vectors,
            [text for _, text in distinct],
            lambda number: distinct[number][0],
            "query",
            store=options.store,
            show=show,
        )
        self.facts = [name, other]
        index = DenseIndex(
            documents,
            self.documents.candidates,
            similarity=vectors.similarity,
            backend=options.backend,
        )
        return DenseSearch(index, queries, rows)


def _always(prompt: str | None) -> Callable[[int], str | None]:
    return lambda number: prompt
