"""The settings of a server: its address, its limits and the input that it takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bothways.config import Strict
from bothways.serving import limits

KEY = "BOTHWAYS_API_KEY"
"""Environment variable of the key that clients must send. If it is not set, no key is needed."""


class ServeSettings(Strict):
    """The settings of a server.

    OpenAI's own limits are 2,048 texts and 300,000 tokens per request. Its client waits for 600 s.

    Args:
        batch_tokens: tokens per pass. If None, a number that suits the device.
        max_bytes: bytes of a request's body.
        max_rows: texts of a request.
        max_tokens: tokens of a request.
        max_requests: requests that are answered at the same time. The next one gets 429.
        queue_rows: texts that wait or run, over all requests.
        queue_tokens: tokens that wait or run, over all requests.
        timeout: seconds from a request's arrival to the end of its answer.
        body_timeout: seconds in which the body must arrive.
        drain: seconds that a stopping server waits for the requests that it has begun.
        accept_token_ids: read lists of numbers as token ids of the model's own vocabulary.
        normalize: return unit vectors if a request does not say. If None, use the encoder's own
            setting, as `Encoder.encode` does.
        cors: origins of web pages that may ask, for example ["https://example.org"].
        allowed_hosts: names by which clients may call the server, besides those of this machine
            itself. If empty, a server on a loopback address takes only those of this machine, and
            another one takes all.
    """

    batch_tokens: Annotated[int | None, Field(ge=1)] = None
    max_bytes: Annotated[int, Field(ge=1)] = limits.MAX_BYTES
    max_rows: Annotated[int, Field(ge=1)] = limits.MAX_ROWS
    max_tokens: Annotated[int, Field(ge=1)] = limits.MAX_TOKENS
    max_requests: Annotated[int, Field(ge=1)] = limits.MAX_REQUESTS
    queue_rows: Annotated[int, Field(ge=1)] = limits.QUEUE_ROWS
    queue_tokens: Annotated[int, Field(ge=1)] = limits.QUEUE_TOKENS
    timeout: Annotated[float, Field(gt=0)] = limits.TIMEOUT
    body_timeout: Annotated[float, Field(gt=0)] = limits.BODY_TIMEOUT
    drain: Annotated[float, Field(ge=0)] = limits.DRAIN
    accept_token_ids: bool = False
    normalize: bool | None = None
    cors: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
