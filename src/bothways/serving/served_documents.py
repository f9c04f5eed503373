"""The user's own documents: an index that /search answers from, with one of the served models."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from bothways.encoder.encoder import Encoder
from bothways.encoder.inference import finish
from bothways.errors import BothwaysError, InputError
from bothways.indexing.index_model import identity
from bothways.indexing.searching import Index, check_search
from bothways.indexing.store import RemovedIndex
from bothways.serving.refusal import Refusal
from bothways.serving.schema import SearchRequest
from bothways.similarity import unit_or_own

# Searches at the same time. More of them would only share the same cores.
_THREADS = 4


class Documents:
    """An index with the name of the served model that made it.

    Args:
        index: the open index.
        model: the name.
        normalize: whether queries get unit vectors.
    """

    def __init__(self, index: Index, model: str, *, normalize: bool = True) -> None:
        self.index, self.model, self.normalize = index, model, normalize
        self._threads = ThreadPoolExecutor(_THREADS, "bothways-search")

    @classmethod
    def of(cls, index: Index, encoders: Mapping[str, Encoder]) -> Documents:
        """Find the served model that made an index.

        Raises:
            InputError: none of them did.
        """
        for name, encoder in encoders.items():
            if identity(encoder) == index.settings.fingerprint:
                unit = unit_or_own(index.settings.similarity)
                return cls(index, name, normalize=unit or encoder.options.normalize)
        raise InputError(index.settings.other_model(" or ".join(encoders), index.store.place))

    @property
    def prompt(self) -> str:
        """The instruction of queries."""
        return self.index.settings.query_prompt

    def check(self, asked: SearchRequest) -> None:
        """Check a request before its query is encoded.

        Raises:
            InputError: the model is not the index's, or a field cannot be used.
        """
        if asked.model not in (None, self.model):
            raise InputError(
                f"model: the documents were indexed with {self.model}; leave model out"
            )
        if not asked.query.strip():
            raise InputError("query: must not be empty")
        check_search(asked.top, asked.where)

    async def search(
        self, asked: SearchRequest, vector: np.ndarray, timeout: float
    ) -> list[dict[str, Any]]:
        """Search with the vector (D,) of the query, which is not normalized.

        Raises:
            InputError: the condition does not work with the store.
            Refusal: the index was removed (503), or cannot be read (500).
            asyncio.TimeoutError: it took longer than `timeout` seconds.
        """
        (prepared,) = finish(vector[None, : self.index.settings.truncate_dim], self.normalize)

        def work() -> list[dict[str, Any]]:
            hits = self.index.search_vector(
                asked.query, prepared, top=asked.top, where=asked.where, hybrid=asked.hybrid
            )
            return [{**asdict(hit), "span": list(hit.span)} for hit in hits]

        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.wait_for(running, timeout)
        except RemovedIndex as error:
            raise Refusal(503, str(error), code="index") from None
        except BothwaysError as error:
            if str(error).startswith("where:"):
                raise
            raise Refusal(500, str(error), code="index") from None

    def close(self) -> None:
        """End the threads and close the index."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.index.close()
