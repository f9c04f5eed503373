"""Bodies of requests: texts or token ids, and the sentence that a wrong one gets."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from bothways.serving.schema import EmbeddingRequest, RerankDocument, RerankRequest, SearchRequest, SimilarityRequest


@pytest.mark.parametrize("value", ["a", ["a"], ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_texts_and_token_ids_stay_as_they_are(value: Any) -> None:
    assert EmbeddingRequest(input=value).input == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "must have at least one text, but the list is empty"),
        (3, "must be a text or a list of texts, not a number"),
        (None, "must be a text or a list of texts, not null"),
        ({"a": 1}, "must be a text or a list of texts, not an object"),
        (["a", 3], "item 1 must be a text, not a number"),
        ([True], "item 0 must be a text, not true or false"),
        ([1, "a"], "mixes token ids with other values"),
        ([1, True], "mixes token ids with other values"),
        ([[1], 2], "item 1 must be a list of token ids, as item 0 is"),
        ([[1], []], "item 1 must have at least one token id, but the list is empty"),
    ],
)
def test_other_values_are_one_sentence(value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        EmbeddingRequest(input=value)


def test_token_ids_are_for_embeddings_alone() -> None:
    with pytest.raises(ValidationError, match="item 0 must be a text, not a number"):
        SimilarityRequest(queries=[1, 2], documents="a")


@pytest.mark.parametrize("passages", [None, "sentences", 1, 512])
def test_passages_of_a_text(passages: Any) -> None:
    assert EmbeddingRequest(input="a", late_chunks=passages).late_chunks == passages


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (EmbeddingRequest, {"input": "a", "promt": "Find: "}),
        (EmbeddingRequest, {"input": "a", "dimensions": 0}),
        (EmbeddingRequest, {"input": "a", "dimensions": "8"}),
        (EmbeddingRequest, {"input": "a", "encoding_format": "hex"}),
        (EmbeddingRequest, {"input": "a", "late_chunks": 0}),
        (EmbeddingRequest, {"input": "a", "late_chunks": True}),
        (SearchRequest, {"query": "a", "top": 1001}),
        (RerankRequest, {"query": "a", "documents": []}),
        (RerankRequest, {"query": "a", "documents": [{"text": "a", "title": "b"}]}),
    ],
)
def test_unknown_fields_and_values_out_of_range_are_refused(kind: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**fields)


def test_documents_are_texts_or_objects() -> None:
    request = RerankRequest(query="q", documents=["a", {"text": "b"}])  # type: ignore[list-item]
    assert request.documents == ["a", RerankDocument(text="b")]


def test_the_schema_says_what_the_checks_take() -> None:
    properties = EmbeddingRequest.model_json_schema()["properties"]
    kinds = [each["type"] for each in properties["input"]["anyOf"]]
    assert kinds == ["string", "array", "array", "array"]
    assert {"const": "sentences"} in properties["late_chunks"]["anyOf"]
