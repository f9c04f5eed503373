"""The encoder that the tests of indexes share: small, in float32, with an instruction for queries."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from tiny import tiny_llama


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """A saved encoder with room for 64 tokens."""
    folder = tmp_path_factory.mktemp("indexing")
    base = tiny_llama(folder / "base", tokenizer={"add_bos": True})
    bw.convert(base, dtype="float32", max_length=64, prompts={"query": "Find:\n"}).save(folder / "mine")
    return folder / "mine"


@pytest.fixture(scope="session")
def encoder(saved):
    """The same encoder, loaded."""
    return bw.load(saved, dtype="float32")
