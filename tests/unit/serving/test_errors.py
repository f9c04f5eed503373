"""Every error of the server has OpenAI's form, with one sentence and the field that it is about."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from bothways.encoder.finite import NotFinite
from bothways.errors import BothwaysError, InputError
from bothways.serving.errors import add_errors
from bothways.serving.refusal import Refusal
from bothways.serving.schema import EmbeddingRequest


@pytest.fixture
def raised() -> list[Exception]:
    return []


@pytest.fixture
def app(raised: list[Exception]) -> FastAPI:
    app = FastAPI()
    add_errors(app)

    @app.post("/v1/embeddings")
    def embed(body: EmbeddingRequest) -> dict[str, Any]:
        if raised:
            raise raised[0]
        return {"input": body.input}

    return app


def told(
    app: FastAPI, status: int, body: object = b"", *, path: str = "/v1/embeddings", method: str = "POST"
) -> dict[str, Any]:
    """The error of one request, which goes to the application without a network."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "query_string": b"",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with contextlib.suppress(ValueError):  # an error of the code goes on to the server's log
        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == status
    error: dict[str, Any] = json.loads(b"".join(message.get("body", b"") for message in sent))["error"]
    assert "\n" not in error["message"]
    return error


def test_a_body_that_does_not_fit_names_the_field(app: FastAPI) -> None:
    assert told(app, 422, {"input": []})["param"] == "input"
    unknown = told(app, 422, {"input": "a", "dimension": 8})
    assert "dimension" in unknown["message"] and "dimensions" in unknown["message"], "the nearest name is offered"
    assert "JSON object" in told(app, 422, b"")["message"]
    assert "the body is not JSON" in told(app, 400, b"{")["message"]


def test_paths_and_methods(app: FastAPI) -> None:
    assert told(app, 404, path="/nothing")["message"].startswith("/nothing: there is no such path")
    assert told(app, 405, method="GET")["message"] == "/v1/embeddings: does not take GET"


@pytest.mark.parametrize(
    ("error", "status", "message", "param"),
    [
        (InputError("texts[3]: is not a text"), 422, "input[3]: is not a text", "input"),
        (InputError("nothing known"), 422, "nothing known", None),
        (NotFinite("a vector is not finite"), 500, "a vector is not finite", None),
        (BothwaysError("it broke"), 500, "it broke", None),
        (ValueError("a secret\nof the code"), 500, "the server failed; its log says why", None),
        (Refusal(413, "input: too many", code="too_many", param="input"), 413, "input: too many", "input"),
        (HTTPException(418, "no tea"), 418, "no tea", None),
    ],
)
def test_errors_of_the_work(
    app: FastAPI, raised: list[Exception], error: Exception, status: int, message: str, param: str | None
) -> None:
    raised.append(error)
    found = told(app, status, {"input": "a"})
    assert (found["message"], found["param"]) == (message, param)
