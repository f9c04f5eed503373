"""The encoder that the tests of the server share."""

from __future__ import annotations

import copy
import threading

import pytest

import bothways as bw
from embedding_server import Running, running
from tiny import tiny_llama


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """A small encoder in float32 with two stored prompts, and room for 64 tokens."""
    base = tiny_llama(tmp_path_factory.mktemp("serving") / "base", tokenizer={"add_bos": True})
    made = bw.convert(str(base), dtype="float32")
    made.options.prompts = {"query": "Find: ", "title": "Title: "}
    made.options.max_length = 64
    return made


@pytest.fixture(scope="session")
def server(encoder) -> Running:
    """A server of that encoder under the name "tiny"."""
    with running({"tiny": encoder}) as started:
        yield started


@pytest.fixture
def slow(encoder):
    """The same encoder, whose passes each wait for a permit: `slow.permits.release(1)`."""
    made = copy.copy(encoder)
    made.permits = threading.Semaphore(0)

    def forward(batch):
        assert made.permits.acquire(timeout=20)
        return encoder.forward(batch)

    made.forward = forward
    return made
