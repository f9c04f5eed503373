"""The settings of a server: its address, its limits and the input that it takes."""

from __future__ import annotations

from pydantic import Field

from bothways.config import Strict

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
    """

    batch_tokens: int | None = Field(None, ge=1)
    max_bytes: int = Field(8 * 2**20, ge=1)
    max_rows: int = Field(2048, ge=1)
    max_tokens: int = Field(300_000, ge=1)
    max_requests: int = Field(512, ge=1)
    queue_rows: int = Field(16_384, ge=1)
    queue_tokens: int = Field(600_000, ge=1)
    timeout: float = Field(600.0, gt=0)
    body_timeout: float = Field(30.0, gt=0)
    drain: float = Field(30.0, ge=0)
    accept_token_ids: bool = False
    normalize: bool | None = None
    cors: tuple[str, ...] = ()
