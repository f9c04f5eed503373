"""Answers of the API: what each request asks of a model, and the object that a client gets.

The objects are OpenAI's (`/v1/embeddings`, `/v1/models`) and Jina's (`/v1/rerank`). Fields of our
own come on top: `truncated`, `document` and `span`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from bothways.encoder.chunks.late_chunking import Chunks
from bothways.errors import InputError
from bothways.nearest import meant
from bothways.serving import answer_vectors
from bothways.serving.engine import Engine, Full, Stopped
from bothways.serving.queue import Job
from bothways.serving.refusal import Refusal
from bothways.serving.schema import (
    Compared,
    EmbeddingRequest,
    RerankRequest,
    SearchRequest,
    SimilarityRequest,
)
from bothways.serving.served_documents import Documents
from bothways.serving.settings import ServeSettings
from bothways.serving.texts import ServedModel, TokenizedRows, as_texts

Result = TypeVar("Result")
# Vectors that are written on the event loop's thread. To change threads takes longer than to write
# them.
_AT_ONCE = 16


class Visit:
    """One request: its deadline, and whether its client is still there.

    Args:
        deadline: of `time.monotonic`.
        gone: waits until the client has gone away.
    """

    def __init__(self, deadline: float, gone: Callable[[], Any]) -> None:
        self.deadline, self.gone = deadline, gone


class Gone(Exception):
    """The client has gone away, so nobody reads the answer."""


class Answers:
    """Answers requests with the vectors of an engine.

    Args:
        models: the models by name.
        engine: runs their encoders.
        settings: limits and defaults.
        truncated: gets (model, number) of texts that were cut.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        engine: Engine,
        settings: ServeSettings,
        *,
        truncated: Callable[[str, int], None] = lambda model, number: None,
    ) -> None:
        self.models, self.engine, self.settings, self.truncated = (
            models,
            engine,
            settings,
            truncated,
        )
        self.begun = int(time.time())
        # One thread, because tokenizers change state while they work.
        self._tokenizer = ThreadPoolExecutor(1, "bothways-tokenizer")

    def close(self) -> None:
        """End the thread."""
        self._tokenizer.shutdown(wait=False, cancel_futures=True)

    def find(self, name: str | None) -> ServedModel:
        """Find the model that a request names.

        Raises:
            Refusal: there is no such model (404), or several and no name (422).
        """
        known = ", ".join(self.models)
        if name is None and len(self.models) > 1:
            raise Refusal(422, f"model: name one of {known}", code="model_missing", param="model")
        found = next(iter(self.models.values())) if name is None else self.models.get(name)
        if found is None:
            raise Refusal(
                404,
                f"model: {name!r} is not served here; {meant(name, self.models)}name one of {known}",
                code="model_not_found",
                param="model",
            )
        return found

    def describe(self, model: ServedModel) -> dict[str, Any]:
        """Build the entry of a model in /v1/models."""
        encoder = model.encoder
        return {
            "id": model.name,
            "object": "model",
            "created": self.begun,
            "owned_by": "bothways",
            "dimension": encoder.dimension,
            "max_length": encoder.max_length,
            "direction": encoder.direction,
            "similarity": encoder.similarity_fn_name,
            "prompts": encoder.prompts,
        }

    # --- vectors ---------------------------------------------------------------------

    async def embeddings(self, asked: EmbeddingRequest, visit: Visit) -> dict[str, Any]:
        """Answer /v1/embeddings."""
        model = self.find(asked.model)
        precision = asked.precision or "float32"
        answer_vectors.check(
            asked.dimensions, precision, model.encoder.dimension, ranges=model.calibrated
        )
        rows = await self._thread(self._rows_asked, model, asked, deadline=visit.deadline)
        alone = None if asked.late_chunks is None else self._chunks(model, asked)
        results = await self._encode(model, rows, visit, alone)
        normalize = self._normalize(model, asked.normalize)

        def build() -> dict[str, Any]:
            if alone is None:
                places: list[dict[str, Any]] = [{} for _ in results]
                found = results
            else:
                places = [
                    {"document": number, "span": list(span)}
                    for number, each in enumerate(results)
                    for span in each.spans
                ]
                found = [vector for each in results for vector in each.vectors]
            values: list[Any] = []
            if found:
                bounded = precision.endswith("int8")
                ranges = model.ranges(asked.dimensions, normalize) if bounded else None
                finished = answer_vectors.finished(
                    found,
                    dimensions=asked.dimensions,
                    normalize=normalize,
                    precision=precision,
                    ranges=ranges,
                )
                values = answer_vectors.written(finished, asked.encoding_format)
            data = [
                {"object": "embedding", "index": index, "embedding": value, **place}
                for index, (value, place) in enumerate(zip(values, places))
            ]
            return _answer(model, rows, {"object": "list", "data": data})

        small = len(results) <= _AT_ONCE and alone is None and precision == "float32"
        return build() if small else await asyncio.to_thread(build)

    async def similarity(self, asked: SimilarityRequest, visit: Visit) -> dict[str, Any]:
        """Answer /v1/similarity: similarities of queries (rows) and documents (columns)."""
        model = self.find(asked.model)
        found, rows = await self._scores(
            model, as_texts(asked.queries), as_texts(asked.documents), asked, visit
        )
        return _answer(model, rows, {"object": "list", "scores": found.tolist()})

    async def rerank(self, asked: RerankRequest, visit: Visit) -> dict[str, Any]:
        """Answer /v1/rerank: the documents from the nearest to the query on."""
        model = self.find(asked.model)
        documents = [each if isinstance(each, str) else each.text for each in asked.documents]
        (found,), rows = await self._scores(model, [asked.query], documents, asked, visit)
        order = np.argsort(-found, kind="stable")[: asked.top_n]
        results = []
        for index in order.tolist():
            result: dict[str, Any] = {"index": index, "relevance_score": float(found[index])}
            if asked.return_documents:
                result["document"] = {"text": documents[index]}
            results.append(result)
        return _answer(model, rows, {"object": "list", "results": results})

    async def search(
        self, asked: SearchRequest, documents: Documents, visit: Visit
    ) -> dict[str, Any]:
        """Answer /search: the nearest rows of the user's documents."""
        documents.check(asked)
        model = self.find(documents.model)
        rows = await self._thread(
            functools.partial(
                model.tokenize,
                [asked.query],
                documents.prompt,
                most=self.settings.max_tokens,
                truncate=asked.truncate,
                field="query",
            ),
            deadline=visit.deadline,
        )
        (vector,) = await self._encode(model, rows, visit)
        try:
            left = max(0.0, visit.deadline - time.monotonic())
            results = await documents.search(asked, vector, left)
        except asyncio.TimeoutError:
            raise self._late() from None
        return _answer(model, rows, {"object": "list", "results": results})

    async def _scores(
        self,
        model: ServedModel,
        queries: list[str],
        documents: list[str],
        asked: Compared,
        visit: Visit,
    ) -> tuple[np.ndarray, TokenizedRows]:
        """Compute similarities (queries, documents) float32, with the instruction of each role."""
        self._check_rows(len(queries) + len(documents))

        def rows_of() -> TokenizedRows:
            found = model.tokenize(
                queries,
                model.prompt("query"),
                most=self.settings.max_tokens,
                truncate=asked.truncate,
                field="query" if isinstance(asked, RerankRequest) else "queries",
            )
            more = model.tokenize(
                documents,
                model.prompt("document"),
                most=self.settings.max_tokens,
                truncate=asked.truncate,
                used=found.tokens,
                field="documents",
            )
            cut = found.cut + [len(queries) + index for index in more.cut]
            return TokenizedRows(found.rows + more.rows, found.texts + more.texts, cut)

        rows = await self._thread(rows_of, deadline=visit.deadline)
        found = np.stack(await self._encode(model, rows, visit))
        return answer_vectors.compared(found, len(queries), model.encoder, asked.similarity), rows

    # --- steps -----------------------------------------------------------------------

    def _rows_asked(self, model: ServedModel, asked: EmbeddingRequest) -> TokenizedRows:
        """Tokenize the input of a request."""
        texts = as_texts(asked.input)
        most, truncate = self.settings.max_tokens, asked.truncate
        if isinstance(texts[0], int):
            texts = [texts]
        self._check_rows(len(texts))
        if asked.prompt is not None and asked.input_type is not None:
            raise InputError("prompt and input_type: both choose the instruction; leave one out")
        if isinstance(texts[0], list):
            self._check_ids(model, asked)
            return model.from_ids(texts, most=most, truncate=truncate)
        if isinstance(asked.prompt, list):
            if len(asked.prompt) != len(texts):
                raise InputError(
                    f"prompt: one for each text, so {len(texts)} (got {len(asked.prompt)})"
                )
            return model.tokenize(
                list(zip(asked.prompt, texts)), None, most=most, truncate=truncate
            )
        prompt = asked.prompt if asked.prompt is not None else model.prompt(asked.input_type)
        return model.tokenize(texts, prompt, most=most, truncate=truncate)

    def _check_rows(self, count: int) -> None:
        if count > self.settings.max_rows:
            raise Refusal(
                413,
                f"input: has {count} texts, more than the {self.settings.max_rows} of one request; send it in parts",
                code="too_many_texts",
                param="input",
            )

    def _check_ids(self, model: ServedModel, asked: EmbeddingRequest) -> None:
        """Raise for token ids that the server does not take, or that nothing can be put around."""
        if not self.settings.accept_token_ids:
            raise Refusal(
                422,
                "input: token ids are refused, because a client's vocabulary is usually another model's (LangChain takes OpenAI's); "
                "send text: in LangChain set OpenAIEmbeddings(check_embedding_ctx_length=False)",
                code="token_ids",
                param="input",
            )
        if asked.late_chunks is not None:
            raise InputError("late_chunks: needs text, not token ids")
        if asked.prompt if asked.prompt is not None else model.prompt(asked.input_type):
            raise InputError(
                "input: an instruction cannot be put before token ids; send text, or prompt ''"
            )

    def _chunks(self, model: ServedModel, asked: EmbeddingRequest) -> Callable[[int], Chunks]:
        texts = as_texts(asked.input)
        per_text = asked.prompt if isinstance(asked.prompt, list) else None
        prompt = asked.prompt if isinstance(asked.prompt, str) else model.prompt(asked.input_type)

        def one(index: int) -> Chunks:
            text = texts[index] if per_text is None else (per_text[index], texts[index])
            chunks: Chunks = model.chunker.encode_chunks(
                text,
                asked.late_chunks,
                prompt=prompt,
                normalize_embeddings=False,
                show_progress_bar=False,
            )
            return chunks

        return one

    def _normalize(self, model: ServedModel, asked: bool | None) -> bool:
        for choice in (asked, self.settings.normalize):
            if choice is not None:
                return choice
        return model.encoder.options.normalize

    async def _thread(
        self, work: Callable[..., Result], *arguments: object, deadline: float
    ) -> Result:
        """Run something on the tokenizers' thread."""
        running = asyncio.get_running_loop().run_in_executor(self._tokenizer, work, *arguments)
        try:
            return await asyncio.wait_for(running, max(0.0, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            raise self._late() from None

    async def _encode(
        self,
        model: ServedModel,
        rows: TokenizedRows,
        visit: Visit,
        alone: Callable[[int], Any] | None = None,
    ) -> list[Any]:
        """Wait for the results of an engine's job.

        Raises:
            Refusal: the queue is full (429), time is over (504), or the server stops (503).
            Gone: the client went away. Its texts no longer wait.
        """
        try:
            job = self.engine.submit(model.name, rows.rows, rows.texts, alone)
        except Full as full:
            raise Refusal(
                429,
                f"the queue is full: {full}; try again later",
                code="busy",
                retry_after=full.retry_after,
            ) from None
        except Stopped as stopped:
            raise Refusal(503, str(stopped), code="stopping") from None
        if rows.cut:
            self.truncated(model.name, len(rows.cut))
        return await self._wait(job, visit)

    async def _wait(self, job: Job, visit: Visit) -> list[Any]:
        done = asyncio.wrap_future(job.future)
        gone = asyncio.ensure_future(visit.gone())
        try:
            await asyncio.wait(
                {done, gone},
                timeout=max(0.0, visit.deadline - time.monotonic()),
                return_when="FIRST_COMPLETED",
            )
            if done.done():
                return done.result()
            raise Gone if gone.done() else self._late()
        except Stopped as stopped:
            raise Refusal(503, str(stopped), code="stopping") from None
        finally:
            gone.cancel()
            if not done.done():
                self.engine.release(job)

    def _late(self) -> Refusal:
        return Refusal(
            504, f"the answer took longer than {self.settings.timeout:g} seconds", code="timeout"
        )


def _answer(model: ServedModel, rows: TokenizedRows, body: dict[str, Any]) -> dict[str, Any]:
    """Add what all answers have."""
    found = {
        **body,
        "model": model.name,
        "usage": {"prompt_tokens": rows.tokens, "total_tokens": rows.tokens},
    }
    return {**found, "truncated": rows.cut} if rows.cut else found


__all__: Sequence[str] = ["Answers", "Gone", "Visit"]
