"""Reranking: order the candidates of each query by similarity, measured by MAP and MRR.

Sources: MTEB (arXiv 2210.07316) and WikiQA (Yang et al. 2015).

A file has one of two layouts. In MTEB's, a row is a query with its positives and negatives. In
WikiQA's, a row is a query, one candidate and a label, and all rows of one query belong together. A
query without a right candidate does not have a score. A query without a wrong candidate scores 1
with any model. Both are left out, as in MTEB. `all_right=keep` keeps the second sort, as papers on
WikiQA do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bothways.data.columns import (
    ANSWERS,
    DOCUMENT,
    DUPLICATE,
    NEGATIVE,
    POSITIVE,
    QUERY,
    SCORE,
    find_column,
    list_in,
    read_text,
    text_in,
)
from bothways.data.formats.cells import is_missing
from bothways.errors import InputError
from bothways.evaluation.inputs.contradictions import say_empty
from bothways.evaluation.inputs.named_data import data_fingerprint, zero_or_one
from bothways.evaluation.inputs.split_table import open_split
from bothways.evaluation.item_scores import value_items
from bothways.evaluation.measures.ranking import measure_ranking
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task, similarity_setting
from bothways.search.ranker import Ranking
from bothways.search.vectors import AnyEncoder, encode_texts
from bothways.similarity import prepared, scores
from bothways.similarity_names import Similarity, similarity_name

log = logging.getLogger("bothways")

AllRight = Literal["drop", "keep"]


@dataclass(frozen=True)
class Candidates:
    """One query with its right and wrong candidates, in the order of the file.

    Attributes:
        query: text of the query.
        positive: texts of the right candidates.
        negative: texts of the wrong candidates.
    """

    query: str
    positive: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CandidateColumns:
    """The columns of queries and candidates. Those that are None are found by their usual names.

    Attributes:
        query: column of the query.
        positive: column of the right candidates (MTEB's layout).
        negative: column of the wrong candidates (MTEB's layout).
        candidate: column of the candidate (WikiQA's layout).
        label: column of the label, 0 or 1 (WikiQA's layout).
    """

    query: str | None = None
    positive: str | None = None
    negative: str | None = None
    candidate: str | None = None
    label: str | None = None


_USUAL = CandidateColumns()


class Reranking(Task):
    """MAP (main), MRR@10 and nDCG@10 over each query's own candidates, in [0, 1].

    Among equal scores wrong candidates come first. So a model that gives all texts the same vector
    gains nothing from their order.
    """

    kind = "reranking"
    main = "map"

    def __init__(
        self,
        queries: list[Candidates],
        *,
        all_right: AllRight = "drop",
        similarity: Similarity | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        name: str = "reranking",
    ) -> None:
        """Keep the queries that can be scored.

        Args:
            queries: queries with their candidates.
            all_right: "drop" leaves out queries without a wrong candidate, "keep" keeps them.
            similarity: how vectors are compared. If None, as the encoder says.
            query_prompt: instruction for queries, used instead of the encoder's own.
            document_prompt: instruction for candidates, used instead of the encoder's own.
            name: name of the task in results.

        Raises:
            InputError: if no query has both a right and a wrong candidate.
        """
        self.queries = [q for q in queries if q.positive and (q.negative or all_right == "keep")]
        self.left_out = len(queries) - len(self.queries)
        if not any(query.negative for query in self.queries):
            raise InputError(
                f"{name}: none of the {len(queries)} queries has both a right and a wrong candidate"
            )
        self._say_doubtful(queries, name)
        self.query_prompt, self.document_prompt, self.name = query_prompt, document_prompt, name
        self.fingerprint = data_fingerprint(
            [[query.query, query.positive, query.negative] for query in queries]
        )
        self.settings = {
            "all_right": all_right,
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
            **similarity_setting(similarity),
        }
        self.similarity = similarity

    def _say_doubtful(self, queries: list[Candidates], name: str) -> None:
        if self.left_out:
            log.warning(
                "%s: left out %d of %d queries: %d without a right candidate (no score), %d without a wrong one (always perfect)",
                *(name, self.left_out, len(queries)),
                sum(not query.positive for query in queries),
                sum(bool(query.positive) and not query.negative for query in queries),
            )
        both = sum(bool(set(query.positive) & set(query.negative)) for query in self.queries)
        if both:
            log.warning(
                "%s: in %d queries a text is both a right and a wrong candidate", name, both
            )
        candidates: dict[str, tuple[set[str], set[str]]] = {}
        for query in self.queries:
            right, wrong = candidates.setdefault(query.query, (set(), set()))
            right.update(query.positive)
            wrong.update(query.negative)
        several = sum(not right.isdisjoint(wrong) for right, wrong in candidates.values()) - both
        if several > 0:
            log.warning(
                "%s: %d queries occur several times, and a right candidate of one is a wrong one of another",
                name,
                several,
            )
        say_empty(name, (query.query for query in self.queries), "queries")
        say_empty(
            name,
            (text for query in self.queries for text in (*query.positive, *query.negative)),
            "candidates",
        )

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        all_right: AllRight = "drop",
        split: str = "test",
        columns: CandidateColumns = _USUAL,
        similarity: Similarity | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> Reranking:
        """Make the task from `reranking:PATH`, for example `reranking:wikiqa?all_right=keep`.

        Args:
            argument: a file, or a folder with a test split.
            all_right: see `Reranking`.
            split: the split of a folder.
            columns: options query, positive, negative, candidate and label, see
                `CandidateColumns`.
            similarity: see `Reranking`.
            query_prompt: see `Reranking`.
            document_prompt: see `Reranking`.
        """
        path = require_argument(argument, "reranking")
        queries = read_candidates(path, split=split, columns=asdict(columns))
        prompts = {"query_prompt": query_prompt, "document_prompt": document_prompt}
        return cls(
            queries,
            all_right=all_right,
            similarity=similarity,
            **prompts,
            name=f"reranking:{path}",
        )

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Encode queries and candidates, order and measure. See `Task.run`."""
        candidates = [[*query.negative, *query.positive] for query in self.queries]
        flat = [text for texts in candidates for text in texts]
        kind = similarity_name(encoder, self.similarity)
        queries = encode_texts(
            encoder,
            [q.query for q in self.queries],
            "query",
            prompt=self.query_prompt,
            **options.encoding,
        )
        documents = encode_texts(
            encoder, flat, "document", prompt=self.document_prompt, **options.encoding
        )
        if queries.shape[1] != documents.shape[1]:
            raise InputError(
                f"query vectors have {queries.shape[1]} dimensions, document vectors {documents.shape[1]}"
            )
        most = max(len(texts) for texts in candidates)
        ranking = _order(queries, documents, [len(texts) for texts in candidates], most, kind)
        qrels = {
            query: {
                document: 1
                for document in _ids(number, len(row.negative), len(row.positive))[
                    len(row.negative) :
                ]
            }
            for number, (query, row) in enumerate(zip(ranking.query_ids, self.queries))
        }
        metrics, per_query = measure_ranking(
            ranking, qrels, {"map": (most,), "mrr": (10,), "ndcg": (10,)}
        )
        precision = per_query.pop(f"map@{most}")
        metrics = {"map": metrics.pop(f"map@{most}"), **metrics}
        details = {
            "queries": len(self.queries),
            "candidates": len(flat),
            "similarity": kind,
            "queries_left_out": self.left_out,
        }

        def texts(number: int) -> dict[str, str]:
            row = self.queries[number]
            first = ranking.index[number, 0] - sum(len(each) for each in candidates[:number])
            return {
                "query": row.query,
                "relevant": row.positive[0],
                "found": candidates[number][first],
            }

        return Score(metrics, {**details, **value_items(precision, texts)})


def read_candidates(
    path: str | Path, *, split: str, columns: Mapping[str, str | None]
) -> list[Candidates]:
    """Read a file in either layout, see the top of this file.

    Args:
        path: the file, or a folder with splits.
        split: the split of a folder.
        columns: names of the columns "query", "positive", "negative", "candidate" and "label". None
            finds a column by its usual names. For example, `{"query": "question", "positive": None,
            "negative": None, "candidate": "sentence", "label": None}`.

    Raises:
        InputError: if a column is missing, a value is not a text, or a label is neither 0 nor 1.
        SourceError: if the file does not exist.
    """
    table = open_split(path, split)
    where, row = table.first()

    def named(option: str, usual: tuple[str, ...]) -> str:
        return find_column(where, row, usual, asked=columns[option], option=option)

    query = named("query", QUERY)
    rows = list(table.rows())
    if columns["positive"] is not None or any(name in row for name in POSITIVE):
        positive, negative = named("positive", POSITIVE), named("negative", NEGATIVE)
        return [
            Candidates(
                text_in(at, row, query, surrogates="refuse"),
                _texts(at, row, positive, table.cells),
                _texts(at, row, negative, table.cells),
            )
            for at, row in rows
        ]
    # a query may be called "question" and its documents "text", so no column is taken twice
    documents = tuple(name for name in DOCUMENT if name != query)
    candidate = named("candidate", documents)
    label = named("label", (*ANSWERS, *DUPLICATE, *SCORE))
    found: dict[str, Candidates] = {}
    for at, row in rows:
        text = text_in(at, row, query, surrogates="refuse")
        known = found.setdefault(text, Candidates(text))
        side = known.positive if zero_or_one(at, row, label) else known.negative
        side.append(text_in(at, row, candidate, surrogates="refuse"))
    return list(found.values())


def _texts(where: str, row: Mapping[str, Any], name: str, table: bool) -> list[str]:
    """Return the texts in a column.

    A table spells a list as text. An empty cell of a table holds an empty list.
    """
    value = row.get(name)
    if table and isinstance(value, str):
        value = [] if is_missing(value) else _unpacked(where, name, value)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise InputError(f"{where}: column {name!r} must hold a text or a list of texts")
    return [read_text(where, name, text, surrogates="refuse") for text in value]


def _unpacked(where: str, name: str, cell: str) -> str | list[Any]:
    """Return the list of texts that a table's cell spells, or the cell itself."""
    found = list_in(where, name, cell)
    return cell if found is None or not all(isinstance(text, str) for text in found) else found


def _ids(number: int, wrong: int, right: int) -> list[str]:
    """Return ids of a query's candidates, wrong ones first.

    The ids sort in this order over all queries.
    """
    return [f"{number:08d}.{place:06d}" for place in range(wrong + right)]


def _order(
    queries: np.ndarray, documents: np.ndarray, counts: list[int], most: int, kind: Similarity
) -> Ranking:
    """Order every query's own candidates by similarity, best first.

    `documents` are in the order of the queries, and those of one query have the wrong ones first.
    """
    queries, documents = (prepared(each.astype(np.float64), kind) for each in (queries, documents))
    ends = np.cumsum(counts)
    index = np.full((len(counts), max(most, 10)), -1, dtype=np.int64)
    kept = np.full(index.shape, -np.inf, dtype=np.float32)
    for number, (end, count) in enumerate(zip(ends, counts)):
        # They are rounded, so a text that occurs twice has the same score to the last bit.
        (found,) = scores(queries[number : number + 1], documents[end - count : end], kind)
        order = np.argsort(-found, kind="stable")  # stable: wrong ones stay first among equals
        index[number, :count] = end - count + order
        kept[number, :count] = found[order]
    ids = [name for number, count in enumerate(counts) for name in _ids(number, count, 0)]
    return Ranking(tuple(str(number) for number in range(len(counts))), tuple(ids), index, kept)
