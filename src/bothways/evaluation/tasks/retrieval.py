"""Retrieval: rank a corpus for each query and measure the ranking (main: nDCG@10, as in BEIR).

A collection is a folder in BEIR's layout, or any file of pairs. Encoders use their stored prompts
for queries and documents, unless the task has its own. Documents are searched exactly, block by
block, or with FAISS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

from bothways.data.labeled.beir import is_beir
from bothways.data.retrieval_folder import subsets_of
from bothways.errors import InputError
from bothways.evaluation.inputs.beir_collection import read_beir
from bothways.evaluation.inputs.contradictions import check_judgments
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.inputs.pair_collection import read_pair_collection
from bothways.evaluation.inputs.split_table import has_split
from bothways.evaluation.item_scores import value_items
from bothways.evaluation.measures.ranking import CUTOFFS, measure_ranking
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task, similarity_setting
from bothways.moved import old_names
from bothways.nearest import meant
from bothways.search.dense import Backend
from bothways.search.quantized import NONE, Quantization
from bothways.search.ranker import DenseRanker, Ranker, Ranking, check_quantization
from bothways.similarity_names import Similarity

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

_MAIN_CUT = 10
_DEEPEST = 1_000_000  # documents kept for one query


class JudgedCollection(Protocol):
    """A collection with relevance judgments, from any source."""

    @property
    def queries(self) -> dict[str, str]:
        """Return the query texts by id."""
        ...

    @property
    def corpus(self) -> dict[str, str]:
        """Return the document texts by id."""
        ...

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """Return the grades, `{query: {document: grade}}`, for example `{"q1": {"d7": 2}}`."""
        ...


class RankingTask(Task):
    """nDCG, recall, MRR and MAP over one collection.

    It takes encoders, and models that rank texts themselves (BM25).
    """

    main = f"ndcg@{_MAIN_CUT}"

    def __init__(
        self,
        collection: JudgedCollection,
        *,
        name: str,
        ignore_identical_ids: bool = False,
        k: Iterable[int] | None = None,
        backend: Backend = "exact",
        similarity: Similarity | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        quantization: Quantization = NONE,
    ) -> None:
        """Keep a collection and check it.

        Args:
            collection: queries, corpus and judgments.
            name: name of the task in results.
            ignore_identical_ids: if True, leave a document out of the ranking of the query with the
                same id. This is needed if the queries are taken from the corpus (ArguAna, Quora).
                In other collections equal ids mean nothing, so it is off by default.
            k: cutoffs of all four measures. 10 is always added. If None, use
                `measures.ranking.CUTOFFS`.
            backend: "exact" (bounded memory) or "faiss", see `DenseRanker`.
            similarity: how vectors are compared. If None, as the encoder says.
            query_prompt: instruction for queries, used instead of the encoder's own. "" means none.
            document_prompt: instruction for documents, used instead of the encoder's own. "" means
                none.
            quantization: how documents are kept and scored, see `search.quantized`.

        Raises:
            InputError: if a cutoff is out of range, if the backend is unknown or does not work with
                the quantization, or if the judgments do not fit the queries and the corpus.
        """
        cuts = None if k is None else _cutoffs(name, k)
        if backend not in get_args(Backend):
            raise InputError(
                f"{name}: backend {backend!r} is unknown; {meant(backend, get_args(Backend))}choose one of {', '.join(get_args(Backend))}"
            )
        check_quantization(quantization, backend)
        check_judgments(name, collection.queries, collection.corpus, collection.qrels)
        self.collection, self.name = collection, name
        self.ignore_identical_ids = ignore_identical_ids
        self.cutoffs = CUTOFFS if cuts is None else dict.fromkeys(CUTOFFS, cuts)
        self.backend, self.similarity, self.quantization = backend, similarity, quantization
        self.prompts: dict[str, Any] = {
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
        }
        parts = (collection.queries, collection.corpus, collection.qrels)
        # item by item, so that the collection is not copied in memory
        self.fingerprint = data_fingerprint(item for part in parts for item in _items(part))
        facts: dict[str, Any] = {
            "ignore_identical_ids": ignore_identical_ids,
            "k": None if cuts is None else list(cuts),
            "backend": backend,
        }
        # results that were written before vectors could be quantized have the same settings
        facts |= {"quantization": asdict(quantization)} if quantization else {}
        self.settings = {**facts, **self.prompts, **similarity_setting(similarity)}

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Rank and measure. See `Task.run`."""
        data = self.collection
        depth = max(cut for cuts in self.cutoffs.values() for cut in cuts)
        ranker = self._ranker(encoder, options)
        ranking = ranker.rank(
            data.queries, data.corpus, depth=depth, ignore_identical_ids=self.ignore_identical_ids
        )
        metrics, per_query = measure_ranking(ranking, data.qrels, self.cutoffs)
        judged = len(next(iter(per_query.values())))
        items = value_items(per_query[self.main], self._texts(ranking))
        details: dict[str, Any] = {"queries": judged, "documents": len(data.corpus)}
        if isinstance(ranker, DenseRanker):
            details["similarity"] = ranker.similarity
        return Score(metrics, {**details, **items})

    def _ranker(self, encoder: AnyEncoder, options: RunOptions) -> Ranker:
        # an encoder may have an attribute `rank` for another reason (its number among processes)
        if isinstance(encoder, Ranker) and not hasattr(encoder, "encode"):
            asked = [name for name, prompt in self.prompts.items() if prompt]
            asked += ["similarity"] if self.similarity else []
            asked += [f"backend={self.backend}"] if self.backend != "exact" else []
            asked += [f"precision={self.quantization.precision}"] if self.quantization else []
            if asked:
                option = asked[0]
                raise InputError(
                    f"{self.name}: {option} is for encoders only; {type(encoder).__name__} ranks texts itself"
                )
            return encoder
        return DenseRanker(
            encoder,
            similarity=self.similarity,
            backend=self.backend,
            quantization=self.quantization,
            **self.prompts,
            **options.encoding,
        )

    def _texts(self, ranking: Ranking) -> Callable[[int], dict[str, str]]:
        """Return a function that gives the texts of the i-th judged query.

        They are the query, its most relevant document and the document ranked first.
        """
        data = self.collection
        judged = [row for row, query in enumerate(ranking.query_ids) if query in data.qrels]

        def texts(number: int) -> dict[str, str]:
            row = judged[number]
            query = ranking.query_ids[row]
            grades = data.qrels[query]
            best = max(grades, key=grades.__getitem__, default="")
            first = int(ranking.index[row, 0])
            found = ranking.doc_ids[first] if first >= 0 else ""
            named = {
                "query": data.queries[query],
                "relevant": data.corpus.get(best, ""),
                "found": data.corpus.get(found, ""),
            }
            return {name: text for name, text in named.items() if text}

        return texts


@dataclass(frozen=True)
class PairOptions:
    """Options of a file of pairs, see `read_pair_collection`.

    Attributes:
        query: column of the queries.
        document: column of the documents.
        above: for scored pairs, those above this score are relevant.
    """

    query: str | None = None
    document: str | None = None
    above: float | None = None


_PLAIN = PairOptions()


def _items(part: Mapping[str, Any]) -> Iterator[Any]:
    yield len(part)
    for key in sorted(part):
        yield [key, part[key]]


def _cutoffs(name: str, k: Iterable[int]) -> tuple[int, ...]:
    """Return cutoffs in ascending order, with that of the main measure.

    Raises:
        InputError: if one is out of range.
    """
    cuts = tuple(sorted({*k, _MAIN_CUT}))
    if cuts[0] < 1:
        raise InputError(f"{name}: cutoffs k must be at least 1 (got {cuts[0]})")
    if cuts[-1] > _DEEPEST:
        raise InputError(f"{name}: cutoffs k must be at most {_DEEPEST:,} (got {cuts[-1]})")
    return cuts


def _holds_pairs(path: Path, split: str) -> bool:
    """Tell if a path is a file of pairs, or a folder that has a split of such files."""
    if not path.is_dir():
        return path.is_file()
    return not is_beir(path) and not (path / "qrels").is_dir() and has_split(path, split)


class Retrieval(RankingTask):
    """Retrieval over a collection on disk."""

    kind = "retrieval"

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, split: str = "test", subset: str | None = None, **options: Any
    ) -> Retrieval:
        """Read a folder in BEIR's layout, see `read_beir` also for the errors.

        Args:
            folder: the folder, with corpus.jsonl, queries.jsonl and qrels/.
            split: the split of the judgments.
            subset: which of several collections, for example "en" for `en-corpus`. If None, the
                folder's own or only one.
            **options: options of `RankingTask`.
        """
        name = f"retrieval:{folder}" if subset is None else f"retrieval:{folder}/{subset}"
        return cls(read_beir(folder, split, subset), name=name, **options)

    @classmethod
    def from_pairs(
        cls,
        source: str | Path,
        *,
        split: str = "test",
        query: str | None = None,
        document: str | None = None,
        above: float | None = None,
        **options: Any,
    ) -> Retrieval:
        """Read a file of pairs, see `read_pair_collection`.

        Args:
            source: the file, or a folder with splits.
            split: the split of a folder.
            query: see `read_pair_collection`.
            document: see `read_pair_collection`.
            above: see `read_pair_collection`.
            **options: options of `RankingTask`.
        """
        collection = read_pair_collection(
            source, split=split, query=query, document=document, above=above
        )
        return cls(collection, name=f"retrieval:{source}", **options)

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        split: str = "test",
        k: tuple[int, ...] | None = None,
        backend: Backend = "exact",
        similarity: Similarity | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        ignore_identical_ids: bool = False,
        pairs: PairOptions = _PLAIN,
        quantization: Quantization = NONE,
    ) -> Retrieval:
        """Make the task from `retrieval:PATH`, for example `retrieval:scifact?k=10,100`.

        PATH is a folder in BEIR's layout, a file of pairs, or a folder of such files. `FOLDER/en`
        is the subset of a folder with `en-corpus`, `en-queries` and `en-qrels`.

        Args:
            argument: the folder or file.
            split: the split of a folder.
            k: see `RankingTask`.
            backend: see `RankingTask`.
            similarity: see `RankingTask`.
            query_prompt: see `RankingTask`.
            document_prompt: see `RankingTask`.
            ignore_identical_ids: see `RankingTask`.
            pairs: options query, document and above, for pairs only, see `PairOptions`.
            quantization: options precision, rescore and rescore_with, for example
                `retrieval:scifact?precision=binary&rescore=4`, see `search.quantized`.
        """
        path = Path(require_argument(argument, "retrieval"))
        subset = (
            path.name
            if not path.exists() and path.parent.is_dir() and path.name in subsets_of(path.parent)
            else None
        )
        path = path if subset is None else path.parent
        options: dict[str, Any] = {
            "k": k,
            "backend": backend,
            "similarity": similarity,
            "ignore_identical_ids": ignore_identical_ids,
        }
        options |= {"query_prompt": query_prompt, "document_prompt": document_prompt}
        options |= {"quantization": quantization}
        columns = asdict(pairs)
        if subset is None and _holds_pairs(path, split):
            return cls.from_pairs(path, split=split, **columns, **options)
        wrong = next((name for name, value in columns.items() if value is not None), None)
        if wrong is not None:
            raise InputError(
                f"{path}: {wrong}= is for files of pairs only, and this is a folder in BEIR's layout"
            )
        return cls.from_folder(path, split=split, subset=subset, **options)


__getattr__ = old_names(__name__)
