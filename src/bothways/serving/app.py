"""The routes of the server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.cors import CORSMiddleware

from bothways.backbone.sharing import share_weights
from bothways.encoder.encoder import Encoder
from bothways.serving.answers import Answers, Visit
from bothways.serving.engine import Engine
from bothways.serving.errors import add_errors
from bothways.serving.gate import Gate
from bothways.serving.hosts import Hosts
from bothways.serving.json_response import json_response
from bothways.serving.metrics import Metrics
from bothways.serving.page import page
from bothways.serving.schema import (
    EmbeddingRequest,
    RerankRequest,
    SearchRequest,
    SimilarityRequest,
)
from bothways.serving.served_documents import Documents
from bothways.serving.settings import KEY, ServeSettings
from bothways.serving.texts import ServedModel


def build_app(
    encoders: Mapping[str, Encoder],
    settings: ServeSettings,
    *,
    key: str | None = None,
    int8_texts: Sequence[str] = (),
    documents: Documents | None = None,
    hosts: Hosts | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        encoders: the encoders by the names that clients give.
        settings: limits and defaults.
        key: see `Gate`. If None, the environment's BOTHWAYS_API_KEY, if it is set.
        int8_texts: texts from which the ranges of int8 vectors are taken. They are encoded now.
        documents: what /search answers from. If None, there is no such path. It is closed at the
            end.
        hosts: see `Gate`.

    Returns:
        An ASGI application. Its engine starts and stops with its lifespan.
    """
    share_weights(encoders.values())
    metrics = Metrics(lambda: (engine.rows, engine.tokens))
    engine = Engine(
        encoders,
        batch_tokens=settings.batch_tokens,
        queue_rows=settings.queue_rows,
        queue_tokens=settings.queue_tokens,
        observer=metrics,
    )
    served = {name: ServedModel(name, encoder) for name, encoder in encoders.items()}
    for model in served.values():
        model.calibrate(int8_texts)
    answers = Answers(served, engine, settings, truncated=metrics.truncated)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        answers.close()
        engine.stop()
        if documents is not None:
            documents.close()

    # The pages of documentation would load their scripts from elsewhere.
    app = FastAPI(title="bothways", docs_url=None, redoc_url=None, lifespan=lifespan)
    _add_api(app, answers)
    if documents is not None:
        _add_search(app, answers, documents)
    _add_pages(app, answers, engine, metrics, own=documents is not None)
    add_errors(app)
    metrics.paths = {str(getattr(route, "path", "")) for route in app.routes}
    app.add_middleware(
        Gate,
        settings=settings,
        hosts=hosts,
        key=key or os.environ.get(KEY) or None,
        retry_after=engine.retry_after,
        observe=metrics.answered,
    )
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["*"],
            allow_headers=["*"],
        )
    return app


def _add_api(app: FastAPI, answers: Answers) -> None:
    """Add the routes that run a model."""

    @app.post("/v1/embeddings")
    async def embeddings(asked: EmbeddingRequest, request: Request) -> Response:
        return json_response(await answers.embeddings(asked, _visit(request)))

    @app.post("/v1/similarity")
    async def similarity(asked: SimilarityRequest, request: Request) -> Response:
        return json_response(await answers.similarity(asked, _visit(request)))

    @app.post("/rerank")
    @app.post("/v1/rerank")
    async def rerank(asked: RerankRequest, request: Request) -> Response:
        return json_response(await answers.rerank(asked, _visit(request)))


def _add_search(app: FastAPI, answers: Answers, documents: Documents) -> None:
    """Add the route that searches the user's documents."""

    @app.post("/search")
    async def search(asked: SearchRequest, request: Request) -> Response:
        return json_response(await answers.search(asked, documents, _visit(request)))


def _add_pages(
    app: FastAPI, answers: Answers, engine: Engine, metrics: Metrics, *, own: bool
) -> None:
    """Add the routes that tell about the server. `own` tells if it has the user's documents."""

    @app.get("/v1/models")
    async def models() -> Response:
        return json_response(
            {
                "object": "list",
                "data": [answers.describe(model) for model in answers.models.values()],
            }
        )

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        return json_response(answers.describe(answers.find(name)))

    @app.get("/health")
    async def health() -> Response:
        if not engine.healthy:
            return json_response({"status": "broken"}, 503)
        return json_response({"status": "ok", "models": list(answers.models)})

    @app.get("/metrics")
    async def figures() -> Response:
        return PlainTextResponse(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.get("/", include_in_schema=False)
    async def start() -> Response:
        html, headers = page(own)
        return HTMLResponse(html, headers=headers)


def _visit(request: Request) -> Visit:
    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return Visit(request.state.deadline, gone)
