"""Errors as a client sees them: OpenAI's error object with one sentence."""

from __future__ import annotations

import re

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from bothways.config import explain_first
from bothways.encoder.finite import NotFinite
from bothways.errors import BothwaysError, InputError
from bothways.serving.answers import Gone
from bothways.serving.json_response import json_response
from bothways.serving.refusal import Refusal, error_body
from bothways.serving.schema import (
    EmbeddingRequest,
    RerankRequest,
    SearchRequest,
    SimilarityRequest,
)


def add_errors(app: FastAPI) -> None:
    """Give every error OpenAI's form."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
        if first["type"] == "json_invalid":
            return json_response(
                error_body(
                    400,
                    f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}",
                ),
                400,
            )
        place = first["loc"][1:]
        if not place and first["type"] != "value_error":
            return json_response(
                error_body(422, "the body must be a JSON object, sent as application/json"), 422
            )
        sentence = explain_first({**first, "loc": place}, _body_type(request))
        return json_response(error_body(422, sentence, param=_field(request, sentence)), 422)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        body = (
            error.body()
            if isinstance(error, Refusal)
            else error_body(error.status_code, _sentence(request, error))
        )
        return json_response(body, error.status_code, error.headers)

    @app.exception_handler(BothwaysError)
    async def wrong(request: Request, error: BothwaysError) -> Response:
        status = 422 if isinstance(error, InputError) and not isinstance(error, NotFinite) else 500
        message = str(error).replace("texts[", "input[")
        return json_response(error_body(status, message, param=_field(request, message)), status)

    @app.exception_handler(Gone)
    async def gone(request: Request, error: Gone) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return json_response(error_body(500, "the server failed; its log says why"), 500)


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
        "/search": SearchRequest,
    }
    return kinds.get(request.url.path, EmbeddingRequest)


def _field(request: Request, sentence: str) -> str | None:
    """Return the field that a sentence begins with, for example "input" of "input[3]: …"."""
    first = re.split(r"\W", sentence, maxsplit=1)[0]
    return first if first in _body_type(request).model_fields else None
