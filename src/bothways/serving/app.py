"""The routes of the server, and the errors that a client sees."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from bothways.config import explain_first
from bothways.encoder.encoder import Encoder
from bothways.encoder.finite import NotFinite
from bothways.errors import BothwaysError, InputError
from bothways.serving.answers import Answers, Gone, Visit
from bothways.serving.engine import Engine
from bothways.serving.gate import Gate
from bothways.serving.refusal import Refusal, error_body
from bothways.serving.schema import EmbeddingRequest, RerankRequest, SimilarityRequest
from bothways.serving.settings import KEY, ServeSettings
from bothways.serving.texts import ServedModel

log = logging.getLogger("bothways")


def build_app(encoders: Mapping[str, Encoder], settings: ServeSettings, *, key: str | None = None) -> FastAPI:
    """Build the application.

    Args:
        encoders: the encoders by the names that clients give.
        settings: limits and defaults.
        key: see `Gate`. If None, the environment's BOTHWAYS_API_KEY, if it is set.

    Returns:
        An ASGI application. Its engine starts and stops with its lifespan.
    """
    engine = Engine(
        encoders,
        batch_tokens=settings.batch_tokens,
        queue_rows=settings.queue_rows,
        queue_tokens=settings.queue_tokens,
    )
    answers = Answers({name: ServedModel(name, encoder) for name, encoder in encoders.items()}, engine, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        answers.close()
        engine.stop()

    # The pages of documentation would load their scripts from elsewhere.
    app = FastAPI(title="bothways", docs_url=None, redoc_url=None, lifespan=lifespan)
    _add_routes(app, answers, engine)
    _add_errors(app)
    app.add_middleware(Gate, settings=settings, key=key or os.environ.get(KEY) or None, retry_after=engine.retry_after)
    if settings.cors:
        app.add_middleware(CORSMiddleware, allow_origins=list(settings.cors), allow_methods=["*"], allow_headers=["*"])
    return app


def _add_routes(app: FastAPI, answers: Answers, engine: Engine) -> None:
    """Add the API."""

    @app.post("/v1/embeddings")
    async def embeddings(asked: EmbeddingRequest, request: Request) -> Response:
        return _json(await answers.embeddings(asked, _visit(request)))

    @app.post("/v1/similarity")
    async def similarity(asked: SimilarityRequest, request: Request) -> Response:
        return _json(await answers.similarity(asked, _visit(request)))

    @app.post("/rerank")
    @app.post("/v1/rerank")
    async def rerank(asked: RerankRequest, request: Request) -> Response:
        return _json(await answers.rerank(asked, _visit(request)))

    @app.get("/v1/models")
    async def models() -> Response:
        return _json({"object": "list", "data": [answers.describe(model) for model in answers.models.values()]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        return _json(answers.describe(answers.find(name)))

    @app.get("/health")
    async def health() -> Response:
        if not engine.healthy:
            return _json({"status": "broken"}, 503)
        return _json({"status": "ok", "models": list(answers.models)})


def _add_errors(app: FastAPI) -> None:
    """Give every error OpenAI's form."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
        if first["type"] == "json_invalid":
            return _json(error_body(400, f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"), 400)
        place = first["loc"][1:]
        if not place and first["type"] != "value_error":
            return _json(error_body(422, "the body must be a JSON object, sent as application/json"), 422)
        sentence = explain_first({**first, "loc": place}, _body_type(request))
        return _json(error_body(422, sentence, param=_field(request, sentence)), 422)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        body = error.body() if isinstance(error, Refusal) else error_body(error.status_code, _sentence(request, error))
        return _json(body, error.status_code, error.headers)

    @app.exception_handler(BothwaysError)
    async def wrong(request: Request, error: BothwaysError) -> Response:
        status = 422 if isinstance(error, InputError) and not isinstance(error, NotFinite) else 500
        message = str(error).replace("texts[", "input[")
        return _json(error_body(status, message, param=_field(request, message)), status)

    @app.exception_handler(Gone)
    async def gone(request: Request, error: Gone) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return _json(error_body(500, "the server failed; its log says why"), 500)


def _sentence(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"{request.url.path}: there is no such path; vectors are at /v1/embeddings"
    if error.status_code == 405:
        return f"{request.url.path}: does not take {request.method}"
    return str(error.detail)


def _body_type(request: Request) -> type[BaseModel]:
    """Return the type of the body that a route takes."""
    kinds: dict[str, type[BaseModel]] = {
        "/v1/similarity": SimilarityRequest,
        "/v1/rerank": RerankRequest,
        "/rerank": RerankRequest,
    }
    return kinds.get(request.url.path, EmbeddingRequest)


def _field(request: Request, sentence: str) -> str | None:
    """Return the field that a sentence begins with, for example "input" of "input[3]: …"."""
    first = re.split(r"\W", sentence, maxsplit=1)[0]
    return first if first in _body_type(request).model_fields else None


def _visit(request: Request) -> Visit:
    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return Visit(request.state.deadline, gone)


def _json(value: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    try:
        body = to_json(value)
    except PydanticSerializationError:  # a lone surrogate of a client's text
        body = json.dumps(value).encode()
    return Response(body, status, dict(headers or {}), media_type="application/json")
