"""A collection of a Qdrant server, through qdrant-client.

    qdrant://localhost:6333/notes, http://localhost:6333/notes, https://host:6333/notes
    qdrant:///folder/notes      the client's own local mode, in a folder and without a server

The collection NAME holds the rows, and NAME-settings one point with the settings. A server's key is
the environment variable QDRANT_API_KEY. A server has no locks, so it does not notice two writers at
once: run one at a time. In local mode the client refuses a second one.

A document's first row is written last. A document without it was interrupted, and is removed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np

from bothways.errors import InputError, MissingExtra, SourceError
from bothways.foreign import foreign
from bothways.indexing.filters import Among, Compare, Condition, Joined
from bothways.indexing.index_rows import COLUMNS, Entry
from bothways.indexing.settings import IndexSettings, parsed_settings, settings_text
from bothways.indexing.store import Near, Store, Stored
from bothways.similarity_names import Similarity

if TYPE_CHECKING:
    from qdrant_client.models import Filter, PointStruct

KEY = "QDRANT_API_KEY"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_FORM = "must be like qdrant://localhost:6333/notes"
_SOME = 200  # points of a request. Servers take 32 MB.
_PAGE = 1000  # points of an answer
_NAMES = ("document", "digest")  # kept as hexadecimal digits
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def has_index(url: str) -> bool:
    """Tell if there is an index at a URL.

    Raises:
        InputError: the URL has another form.
        SourceError: the server cannot be reached.
    """
    client, name = _client(url)
    try:
        with _asking(url):
            return bool(client.collection_exists(f"{name}-settings"))
    finally:
        client.close()


class QdrantStore(Store):
    """The two collections of a URL.

    Args:
        url: see the top of this file.
        settings: if given, write them and make the collections if there are none.

    Raises:
        MissingExtra: qdrant-client is not installed.
        InputError: there is no index, or the URL has another form.
        SourceError: the server cannot be reached.
    """

    def __init__(self, url: str, settings: IndexSettings | None = None) -> None:
        self.place = url
        self._client, self._name = _client(url)
        from qdrant_client import models

        self._models: Any = models
        with _asking(url):
            there = self._client.collection_exists(f"{self._name}-settings")
        if settings is None and not there:
            raise InputError(
                f"{url}: there is no index; make one with: bothways index SOURCE --model MODEL --to {url}"
            )
        if settings is not None:
            with _asking(url):
                self._make(settings, there=there)
            self.write_settings(settings)

    def settings(self) -> IndexSettings:
        """Read the settings."""
        with _asking(self.place):
            points = self._client.retrieve(f"{self._name}-settings", ids=[0])
            values = json.loads(points[0].payload["settings"])
        return parsed_settings(values, self.place)

    def write_settings(self, settings: IndexSettings) -> None:
        """Replace the settings."""
        payload = {"settings": settings_text(settings)}
        point = self._models.PointStruct(id=0, vector=[1.0], payload=payload)
        with _asking(self.place):
            self._client.upsert(f"{self._name}-settings", points=[point], wait=True)

    def version(self) -> object:
        """Return the number of the last change."""
        return self.settings().generation

    def documents(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield (document, digest, source) of each document, after interrupted ones are removed."""
        whole, every = {}, set()
        for point in self._points(None, ["document", "digest", "source", "first"]):
            every.add(point.payload["document"])
            if point.payload["first"]:
                whole[point.payload["document"]] = point.payload
        self.remove([bytes.fromhex(name) for name in every - set(whole)])
        for name, payload in whole.items():
            yield bytes.fromhex(name), bytes.fromhex(payload["digest"]), payload["source"]

    def known(self, digests: Sequence[bytes]) -> dict[bytes, Stored]:
        """Find passages and vectors of texts that the store holds at any place."""
        found: dict[bytes, dict[tuple[int, int], np.ndarray]] = {}
        fields = ["digest", "start", "end"]
        for part in _parts([digest.hex() for digest in digests]):
            for point in self._points(self._match("digest", part), fields, vectors=True):
                row = point.payload
                vector = np.asarray(point.vector, np.float32)
                found.setdefault(bytes.fromhex(row["digest"]), {})[row["start"], row["end"]] = (
                    vector
                )
        return {
            digest: Stored(spans := sorted(rows), np.stack([rows[span] for span in spans]))
            for digest, rows in found.items()
        }

    def add(self, entries: Sequence[Entry], vectors: np.ndarray) -> None:
        """Add rows with vectors (n, D) float32. Each document counts when its last row is there."""
        seen: set[bytes] = set()
        first: list[Any] = []
        later: list[Any] = []
        for entry, vector in zip(entries, vectors):
            leads = entry.document not in seen
            seen.add(entry.document)
            (first if leads else later).append(self._point(entry, vector, first=leads))
        with _asking(self.place):
            for points in (*_parts(later), *_parts(first)):
                self._client.upsert(self._name, points=list(points), wait=True)

    def remove(self, documents: Sequence[bytes]) -> None:
        """Remove all rows of documents."""
        with _asking(self.place):
            for part in _parts([name.hex() for name in documents]):
                chosen = self._models.FilterSelector(filter=self._match("document", part))
                self._client.delete(self._name, points_selector=chosen, wait=True)

    def finish(self, *, approximate: bool) -> None:
        """Do nothing, because Qdrant tidies up by itself."""

    def nearest(
        self,
        query: np.ndarray,
        count: int,
        where: Condition | None,
        *,
        exact: bool,
        similarity: Similarity,
    ) -> Near:
        """Find the most similar rows to a query (D,), best first."""
        with _asking(self.place):
            points = self._client.query_points(
                self._name,
                query=query.astype(float).tolist(),
                limit=count,
                query_filter=None if where is None else self._filter(where),
                search_params=self._models.SearchParams(exact=exact),
                with_payload=True,
                with_vectors=True,
            ).points
        vectors = np.array([point.vector for point in points], np.float32)
        return Near(
            [_entry(point) for point in points],
            vectors if len(points) else np.zeros((0, len(query)), np.float32),
        )

    def texts(self) -> Iterator[Entry]:
        """Yield all rows."""
        for point in self._points(None, True):
            yield _entry(point)

    def entries(self, ids: Sequence[bytes]) -> dict[bytes, Entry]:
        """Read rows by their names."""
        found = {}
        for part in _parts([str(UUID(bytes=name)) for name in ids]):
            with _asking(self.place):
                for point in self._client.retrieve(self._name, ids=list(part), with_payload=True):
                    entry = _entry(point)
                    found[entry.id] = entry
        return found

    def matching(self, where: Condition) -> set[bytes]:
        """Find the names of all rows that satisfy a condition."""
        return {UUID(point.id).bytes for point in self._points(self._filter(where), False)}

    def count(self) -> int:
        """Count the rows."""
        with _asking(self.place):
            return int(self._client.count(self._name, exact=True).count)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _make(self, settings: IndexSettings, *, there: bool) -> None:
        """Make what is missing of the two collections."""
        models, client = self._models, self._client
        if client.collection_exists(self._name):
            if not there:
                raise InputError(
                    f"{self.place}: a collection of this name exists and is no index of ours; choose another name"
                )
        else:
            # unit vectors for cosines, which Qdrant must not scale again
            distance = {
                "euclidean": models.Distance.EUCLID,
                "manhattan": models.Distance.MANHATTAN,
            }.get(settings.similarity, models.Distance.DOT)
            width = models.VectorParams(size=settings.dimension, distance=distance, on_disk=True)
            client.create_collection(self._name, vectors_config=width)
            for name in (*_NAMES, "file"):
                client.create_payload_index(self._name, name, models.PayloadSchemaType.KEYWORD)
        if not there:
            one = models.VectorParams(size=1, distance=models.Distance.DOT)
            client.create_collection(f"{self._name}-settings", vectors_config=one)

    def _point(self, entry: Entry, vector: np.ndarray, *, first: bool) -> PointStruct:
        payload = {**entry._asdict(), "first": first}
        del payload["id"]
        for name in _NAMES:
            payload[name] = payload[name].hex()
        point: PointStruct = self._models.PointStruct(
            id=str(UUID(bytes=entry.id)), vector=vector.astype(float).tolist(), payload=payload
        )
        return point

    def _points(
        self, where: Filter | None, fields: bool | Sequence[str], *, vectors: bool = False
    ) -> Iterator[Any]:
        place = None
        while True:
            with _asking(self.place):
                points, place = self._client.scroll(
                    self._name,
                    scroll_filter=where,
                    limit=_PAGE,
                    offset=place,
                    with_payload=fields,
                    with_vectors=vectors,
                )
            yield from points
            if place is None:
                return

    def _match(self, key: str, values: Sequence[Any]) -> Filter:
        models = self._models
        condition = models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        found: Filter = models.Filter(must=[condition])
        return found

    def _filter(self, where: Condition) -> Any:
        """Write a condition as Qdrant's filter.

        Raises:
            InputError: Qdrant has nothing like it.
        """
        models = self._models
        if isinstance(where, Joined):
            parts = [self._filter(part) for part in where.parts]
            return models.Filter(**{"must" if where.word == "AND" else "should": parts})
        if isinstance(where, Among):
            found = self._match(where.column, where.values)
            return models.Filter(must_not=[found]) if where.opposite else found
        return self._compared(where)

    def _compared(self, where: Compare) -> Any:
        models = self._models
        if where.sign == "=":
            return self._match(where.column, [where.value])
        if where.sign == "!=":
            return models.Filter(must_not=[self._match(where.column, [where.value])])
        if isinstance(where.value, str):
            raise InputError(
                f"where: Qdrant does not compare texts with {where.sign}; use =, != or IN for {where.column}"
            )
        limits = models.Range(**{_RANGES[where.sign]: where.value})
        return models.Filter(must=[models.FieldCondition(key=where.column, range=limits)])


def _client(url: str) -> tuple[Any, str]:
    """Open a client; return it with the name of the collection."""
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise MissingExtra("qdrant-client", "qdrant", "an index in Qdrant") from None
    parts = urlsplit(url)
    above, _, name = parts.path.rstrip("/").rpartition("/")
    if not _NAME.fullmatch(name) or (parts.netloc and above):
        raise InputError(f"{url}: {_FORM}")
    with _asking(url):
        if not parts.netloc:
            if not above:
                raise InputError(f"{url}: {_FORM}")
            return QdrantClient(path=above), name
        scheme = "http" if parts.scheme.lower() == "qdrant" else parts.scheme
        key = os.environ.get(KEY) or None
        made = QdrantClient(
            url=f"{scheme}://{parts.netloc}", api_key=key, timeout=60, check_compatibility=False
        )
        return made, name


def _entry(point: Any) -> Entry:
    row = point.payload
    names = {name: bytes.fromhex(row[name]) for name in _NAMES}
    values = {**{name: row[name] for name in COLUMNS if name not in ("id", *_NAMES)}, **names}
    return Entry(id=UUID(str(point.id)).bytes, **values)


def _asking(url: str) -> AbstractContextManager[None]:
    remedy = "see that the server runs and that the address and QDRANT_API_KEY are right"
    return foreign(url, "Qdrant did not answer as expected", remedy, kind=SourceError)


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(values), _SOME):
        yield values[first : first + _SOME]
