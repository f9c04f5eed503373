"""Searches an index: exactly, together with BM25 if you want, and with conditions.

A store gives candidates by float32 numbers. As in `search.dense`, a few more than wanted are taken,
more still if these numbers hardly differ, and their scores are computed again in float64.
So the results are those of a loop over all vectors, and rows with equal scores are in the order of
file, row and span. An index of signs is searched by `sign_search`.

A hybrid search joins two rankings by reciprocal rank fusion (Cormack, Clarke & Büttcher 2009,
https://doi.org/10.1145/1571941.1572114): a row's score is the sum of 1 / (60 + rank).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from numbers import Integral
from types import TracebackType
from typing import overload

import numpy as np

from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.indexing.filters import Condition, read_where
from bothways.indexing.index_model import check_model, open_model
from bothways.indexing.index_rows import Changes, Entry, Hit
from bothways.indexing.places import open_store
from bothways.indexing.settings import IndexSettings
from bothways.indexing.sign_search import nearest_by_signs
from bothways.indexing.store import Store
from bothways.indexing.text_index import TextIndex, open_text_index
from bothways.search.dense import SPARE
from bothways.similarity import as_nearness, noise, scores, unit_or_own
from bothways.similarity_names import Similarity

K = 60
"""The constant of reciprocal rank fusion, as in the paper."""
DEPTH = 1000
"""Rows of each ranking that a hybrid search joins."""
_MOST = 10_000  # results of one query
# settings that a query's vector depends on
_QUERY = ("query_prompt", "truncate_dim", "dimension", "similarity")


class Index:
    """An index that was opened for searches.

    Args:
        store: its store.
        model: the encoder that made it, or its name. If None, the one that the settings name. It
            is loaded with the first query.
        device: device for a model that is loaded, for example "cpu".
        dtype: precision for it. With "auto", the one that the texts were encoded in.
        graph: for a model that is loaded, see `bothways.load`.
        changes: what `index` did before it returned this. None if the index was only opened.

    Attributes:
        settings: what the index knows about itself.

    Raises:
        InputError: an encoder is given that did not make the index.
    """

    def __init__(
        self,
        store: Store,
        model: str | os.PathLike[str] | Encoder | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        graph: str | None = "auto",
        changes: Changes | None = None,
    ) -> None:
        self.store, self.changes = store, changes
        self._version = store.version()
        self.settings: IndexSettings = store.settings()
        self._device, self._dtype, self._graph = device, dtype, graph
        self._name = self.settings.model if model is None else model
        self._encoder: Encoder | None = None
        self._words: TextIndex | None = None
        self._lock = threading.Lock()
        if isinstance(model, Encoder):
            check_model(model, self.settings, store.place)
            self._encoder = model

    @property
    def encoder(self) -> Encoder:
        """The encoder of the index.

        Raises:
            InputError: the model that the index names has changed since.
        """
        with self._lock:
            if self._encoder is None:
                assert not isinstance(self._name, Encoder)
                if not self._name:
                    raise InputError(
                        f"{self.store.place}: was made by an encoder without a folder; give that encoder as model"
                    )
                chosen = self.settings.dtype if self._dtype == "auto" else self._dtype
                made = open_model(
                    self._name,
                    pooling=self.settings.pooling,
                    device=self._device,
                    dtype=chosen,
                    graph=self._graph,
                )
                check_model(made, self.settings, self.store.place, str(self._name))
                self._encoder = made
            return self._encoder

    def __len__(self) -> int:
        """Return the number of rows: passages, or texts if they have one vector each."""
        return self.store.count()

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        query: str,
        *,
        top: int = 5,
        where: str | None = None,
        hybrid: bool = False,
        exact: bool = False,
    ) -> list[Hit]: ...

    @overload
    def search(
        self,
        query: Sequence[str],
        *,
        top: int = 5,
        where: str | None = None,
        hybrid: bool = False,
        exact: bool = False,
    ) -> list[list[Hit]]: ...

    def search(
        self,
        query: str | Sequence[str],
        *,
        top: int = 5,
        where: str | None = None,
        hybrid: bool = False,
        exact: bool = False,
    ) -> list[Hit] | list[list[Hit]]:
        """Find the nearest rows to a query, best first.

        For example, `index.search("how long until it arrives?", top=3, where="file = 'a.txt'")`.

        Args:
            query: a query, or several.
            top: maximum number of results for each, at most 10,000.
            where: a condition on file, row, start, end or text, see `filters`.
            hybrid: join the ranking with that of BM25.
            exact: for an index that was made with `approximate`: read all vectors nevertheless.

        Returns:
            A list of `Hit`, or one list for each query.

        Raises:
            InputError: `top` or `where` is wrong, there is no query, or the model has changed.
            MissingExtra: a hybrid search without bm25s.
        """
        queries = [query] if isinstance(query, str) else list(query)
        if not queries or not all(isinstance(each, str) and each.strip() for each in queries):
            raise InputError("query: must be a text, or a list of texts, that are not empty")
        check_search(top, where)
        self._refresh(ask_again=False)
        vectors = self.encoder.encode(
            queries,
            prompt=self.settings.query_prompt,
            normalize_embeddings=unit_or_own(self.settings.similarity),
            truncate_dim=self.settings.truncate_dim,
            show_progress_bar=False,
        )
        found = [
            self.search_vector(text, vector, top=top, where=where, hybrid=hybrid, exact=exact)
            for text, vector in zip(queries, vectors)
        ]
        return found[0] if isinstance(query, str) else found

    def search_vector(
        self,
        query: str,
        vector: np.ndarray,
        *,
        top: int = 5,
        where: str | None = None,
        hybrid: bool = False,
        exact: bool = False,
    ) -> list[Hit]:
        """Search with the vector (D,) of a query that was encoded before; see `search`.

        It must have length 1 if the index ranks by cosine.
        """
        check_search(top, where)
        self._refresh()
        if vector.shape != (self.settings.dimension,):
            raise InputError(
                f"query: its vector has shape {vector.shape}, and the index has {self.settings.dimension} numbers a vector"
            )
        condition = None if where is None else read_where(where)
        if not hybrid:
            scored = self._dense(vector, top, condition, exact)
            found = self.store.entries([entry.id for entry, _ in scored])
            return [hit(found[entry.id], score) for entry, score in scored if entry.id in found]
        return self._hybrid(query, vector, top, condition, exact)

    def _dense(
        self, vector: np.ndarray, top: int, where: Condition | None, exact: bool
    ) -> list[tuple[Entry, float]]:
        """Find the most similar rows, in float64 (see the top of this file)."""
        if self.settings.quantization:
            return nearest_by_signs(self.store, vector, top, where, self.settings.quantization)
        exact, kind = exact or not self.settings.approximate, self.settings.similarity
        wanted = top + SPARE
        while True:
            near = self.store.nearest(vector, wanted, where, exact=exact, similarity=kind)
            if len(near.entries) < wanted and not exact:
                exact = True  # a graph may not reach all rows that satisfy a condition
                continue
            (found,) = scores(vector[None], near.vectors, kind)
            order = sorted(
                range(len(found)), key=lambda place: (-found[place], near.entries[place].order)
            )
            # If the last candidate is about as near as the last result, others may be as near.
            enough = len(found) < wanted or not exact
            if enough or _apart(vector, near.vectors, found, found[order[top - 1]], kind):
                return [(near.entries[place], float(found[place])) for place in order[:top]]
            wanted *= 2

    def _hybrid(
        self, query: str, vector: np.ndarray, top: int, where: Condition | None, exact: bool
    ) -> list[Hit]:
        with self._lock:
            if self._words is None:
                self._words = open_text_index(self.store, self.settings)
            words = self._words
        depth = max(DEPTH, top)
        dense = [entry.id for entry, _ in self._dense(vector, depth, where, exact)]
        among = None if where is None else self.store.matching(where)
        joined = fused([dense, words.best(query, depth, among)])
        last = len(words.names)
        order = sorted(joined, key=lambda name: (-joined[name], words.place.get(name, last)))[:top]
        found = self.store.entries(order)
        return [hit(found[name], joined[name]) for name in order if name in found]

    def _refresh(self, *, ask_again: bool = True) -> None:
        """Follow changes that another process has made.

        Args:
            ask_again: whether the query was encoded before, with the settings known so far.

        Raises:
            InputError: the index was made again, with another model or so that the query has
                another vector now.
        """
        version = self.store.version()
        if version == self._version:
            return
        settings = self.store.settings()
        if settings.fingerprint != self.settings.fingerprint:
            raise InputError(
                f"{self.store.place}: was made again with another model; open it again"
            )
        before = self.settings
        with self._lock:
            self._version, self.settings, self._words = version, settings, None
        if ask_again and any(getattr(before, name) != getattr(settings, name) for name in _QUERY):
            raise InputError(
                f"{self.store.place}: was made again with other settings; send the query again"
            )

    def close(self) -> None:
        """Free the store."""
        self.store.close()

    def __enter__(self) -> Index:
        """Return the index, which is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the index."""
        self.close()


def open_index(
    place: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Encoder | None = None,
    device: str = "auto",
    dtype: str = "auto",
    graph: str | None = "auto",
) -> Index:
    """Open an index for searches.

    For example, `open_index("notes.index").search("a question")[0].text`.

    Args:
        place: a folder, a .faiss file, or the URL of a collection or table, as `index` made it.
        model: the model that made it, or where it is now. If None, the one that the index names.
        device: device for the model, for example "cpu".
        dtype: precision for the model. With "auto", the one that the texts were encoded in.
        graph: how the model computes queries, see `bothways.load`. "openvino" needs float32.

    Raises:
        InputError: there is no index, it is damaged, or another model made it.
        MissingExtra: the library of its store is not installed.
        SourceError: its server cannot be reached.
    """
    store = open_store(place)
    try:
        return Index(store, model, device=device, dtype=dtype, graph=graph)
    except BaseException:
        store.close()
        raise


def check_search(top: int, where: str | None) -> None:
    """Raise InputError if a number of results or a condition cannot be used."""
    if not isinstance(top, Integral) or not 1 <= top <= _MOST:
        raise InputError(f"top: must be a whole number from 1 to {_MOST} (got {top!r})")
    if where is not None:
        read_where(where)


def _apart(
    query: np.ndarray, vectors: np.ndarray, found: np.ndarray, last: float, kind: Similarity
) -> bool:
    """Return whether a store can tell the least of scores (n,) from the last result's."""
    least, limit = as_nearness(np.array([found.min(), last]), kind)
    longest = float(np.linalg.norm(vectors, axis=1).max())
    length = np.linalg.norm(query[None].astype(np.float64), axis=1)
    return bool(least < limit - noise(kind, length, longest, np.array([limit]))[0])


def fused(rankings: Sequence[Sequence[bytes]]) -> dict[bytes, float]:
    """Join rankings by reciprocal rank: the sum of 1 / (60 + rank) of each name, rank 1 first."""
    joined: dict[bytes, float] = {}
    for ranking in rankings:
        for rank, name in enumerate(ranking, start=1):
            joined[name] = joined.get(name, 0.0) + 1 / (K + rank)
    return joined


def hit(entry: Entry, score: float) -> Hit:
    """Make a result of a row."""
    return Hit(entry.file, entry.row, (entry.start, entry.end), score, entry.text)
