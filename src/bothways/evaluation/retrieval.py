"""Retrieval: rank a corpus for each query and measure the ranking (main: nDCG@10, as in BEIR)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from bothways.evaluation.beir import read_beir
from bothways.evaluation.data import fingerprint
from bothways.evaluation.ranking import DenseRanker, Ranker
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task
from bothways.evaluation.trec import DEPTH, measure


class Judged(Protocol):
    """A collection with relevance judgements, wherever it came from."""

    @property
    def queries(self) -> dict[str, str]:
        """Query text by id."""
        ...

    @property
    def corpus(self) -> dict[str, str]:
        """Document text by id."""
        ...

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """Grades: `{query: {document: grade}}`."""
        ...


class Retrieval(Task):
    """nDCG, recall, MRR and MAP over one collection. Takes encoders and whatever ranks by itself (BM25)."""

    kind = "retrieval"
    main = "ndcg@10"

    def __init__(self, collection: Judged, *, name: str, ignore_identical_ids: bool = False) -> None:
        """Hold a collection.

        Args:
            collection: queries, corpus and judgements.
            name: what results call the task.
            ignore_identical_ids: leave a document out of the ranking of the query with the same id. Needed where queries are
                taken from the corpus (ArguAna, Quora); elsewhere equal ids mean nothing, so it is off.
        """
        self.collection = collection
        self.name = name
        self.ignore_identical_ids = ignore_identical_ids
        self.fingerprint = fingerprint([collection.queries, collection.corpus, collection.qrels])

    @classmethod
    def from_folder(cls, folder: str | Path, *, split: str = "test", ignore_identical_ids: bool = False) -> Retrieval:
        """A folder in BEIR's layout; see `read_beir` for what it raises."""
        return cls(read_beir(folder, split), name=f"retrieval:{folder}", ignore_identical_ids=ignore_identical_ids)

    @classmethod
    def from_argument(cls, argument: str | None) -> Retrieval:
        """`retrieval:FOLDER`, its test split."""
        return cls.from_folder(require_argument(argument, "retrieval"))

    def run(self, encoder: Any, options: RunOptions) -> Score:
        """Rank and measure. See `Task.run`."""
        # an encoder may have an attribute called rank for other reasons (its place among processes)
        is_ranker = isinstance(encoder, Ranker) and not hasattr(encoder, "encode")
        ranker = encoder if is_ranker else DenseRanker(encoder, options)
        data = self.collection
        ranking = ranker.rank(data.queries, data.corpus, depth=DEPTH, ignore_identical_ids=self.ignore_identical_ids)
        metrics, per_query = measure(ranking, data.qrels)
        judged = len(next(iter(per_query.values())))
        return Score(metrics, {"queries": judged, "documents": len(data.corpus)})
