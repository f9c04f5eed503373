"""The code that a card shows for each library: each side has its own prompt, and Chroma its space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import bothways as bw
from bothways.encoder.folder.card_loading import loading
from tiny import tiny_llama


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> bw.Encoder:
    base = tiny_llama(tmp_path_factory.mktemp("base") / "llama")
    return bw.convert(base, dtype="float32", device="cpu", prompts={"query": "Find: ", "document": "Text: "})


def test_each_side_is_given_its_own_prompt(encoder: bw.Encoder) -> None:
    code = loading(encoder)
    assert "query_instruction='Find: '" in code and "text_instruction='Text: '" in code
    assert 'query_encode_kwargs={"prompt_name": "query"}' in code
    assert '\n    encode_kwargs={"prompt_name": "document"}' in code


@pytest.mark.parametrize(
    ("similarity", "space"), [("cosine", "cosine"), ("dot", "ip"), ("euclidean", "l2"), ("manhattan", None)]
)
def test_chroma_ranks_by_the_similarity_of_the_encoder(encoder: bw.Encoder, similarity: Any, space: str | None) -> None:
    """Its own names of spaces: https://docs.trychroma.com/docs/collections/configure."""
    encoder.options = replace(encoder.options, similarity=similarity)
    code = loading(encoder)
    assert ("chromadb" in code) is (space is not None)
    assert space is None or f'"space": "{space}"' in code
