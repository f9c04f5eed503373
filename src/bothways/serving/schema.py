"""The bodies of requests, as a client sends them. Wrong ones are refused in one sentence.

A field that is not known is refused, too: a misspelled `prompt` would give vectors of another text.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from bothways.config import Strict
from bothways.encoder.inference import Precision
from bothways.similarity_names import Similarity

_TEXTS = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_INPUT = {"anyOf": [*_TEXTS["anyOf"], _IDS, {"type": "array", "items": _IDS, "minItems": 1}]}
_JSON = {
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _texts(value: object) -> object:
    """Check a text or a list of texts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError(f"must be a text or a list of texts, not {_JSON.get(type(value), 'this')}")
    if not value:
        raise ValueError("must have at least one text, but the list is empty")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise ValueError(f"item {index} must be a text, not {_JSON.get(type(item), 'this')}")
    return value


def _input(value: object) -> object:
    """Check a text, a list of texts, or token ids: a list of numbers, or a list of such lists."""
    if not isinstance(value, list) or not value:
        return _texts(value)
    if _is_id(value[0]):
        return _ids(value, "")
    if isinstance(value[0], list):
        for index, item in enumerate(value):
            if not isinstance(item, list):
                raise ValueError(f"item {index} must be a list of token ids, as item 0 is")
            _ids(item, f"item {index} ")
        return value
    return _texts(value)


def _ids(value: list[Any], where: str) -> list[Any]:
    if not value:
        raise ValueError(f"{where}must have at least one token id, but the list is empty")
    if not all(map(_is_id, value)):
        raise ValueError(f"{where}mixes token ids with other values")
    return value


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _passages(value: Any) -> Any:
    if value is None or value == "sentences" or (_is_id(value) and value >= 1):
        return value
    raise ValueError("must be 'sentences', or a number of tokens of at least 1")


Passages = Annotated[
    Any,
    BeforeValidator(_passages),
    WithJsonSchema(
        {"anyOf": [{"const": "sentences"}, {"type": "integer", "minimum": 1}, {"type": "null"}]}
    ),
]
"""How late chunks are cut."""
Texts = Annotated[Any, BeforeValidator(_texts), WithJsonSchema(_TEXTS)]
"""A text, or a list of at least one text."""
Input = Annotated[Any, BeforeValidator(_input), WithJsonSchema(_INPUT)]
"""`Texts`, or token ids of one text or of several."""


class Asked(Strict):
    """What all requests have."""

    model_config = ConfigDict(strict=True)

    model: str | None = Field(
        None, description="name of a model; may be left out if the server has only one"
    )
    user: str | None = Field(None, description="not used")
    truncate: bool = Field(
        True, description="cut texts that are longer than the model reads; false refuses them"
    )


class EmbeddingRequest(Asked):
    """The body of /v1/embeddings: OpenAI's fields, and those of `Encoder.encode`."""

    input: Input = Field(
        description="a text or a list of texts (token ids only if the server takes them)"
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="float (default) or base64 of float32"
    )
    dimensions: int | None = Field(None, ge=1, description="keep this many leading numbers")
    input_type: str | None = Field(
        None, description="query, document, or the name of a prompt stored with the model"
    )
    prompt: str | list[str] | None = Field(
        None, description="instruction, seen but not pooled; a list has one per text"
    )
    precision: Precision | None = Field(
        None, description="float32 (default), int8, uint8, binary or ubinary"
    )
    normalize: bool | None = Field(
        None, description="unit vectors; if left out, as the server was told"
    )
    late_chunks: Passages = Field(
        None,
        description="a vector for each passage of a text, read in its context: sentences, or tokens per passage",
    )


class Compared(Asked):
    """What requests have that compare texts."""

    similarity: Similarity | None = Field(
        None,
        description="cosine, dot, euclidean or manhattan (distances are negative); if left out, as the model's folder says",
    )


class SimilarityRequest(Compared):
    """The body of /v1/similarity."""

    queries: Texts = Field(description="a text or a list of texts")
    documents: Texts = Field(description="a text or a list of texts")


class SearchRequest(Asked):
    """The body of /search."""

    query: str = Field(description="the query")
    top: int = Field(5, ge=1, le=1000, description="how many of the best")
    where: str | None = Field(
        None,
        description="condition on file, row, start, end or text, for example \"file = 'a.txt' AND row < 10\"",
    )
    hybrid: bool = Field(False, description="join the ranking with that of BM25")


class RerankDocument(Strict):
    """A document of a rerank request, as an object."""

    text: str


class RerankRequest(Compared):
    """The body of /v1/rerank, with the fields of Jina's and Cohere's."""

    query: str = Field(description="the query")
    documents: list[str | RerankDocument] = Field(
        min_length=1, description="texts, or objects with a text"
    )
    top_n: int | None = Field(None, ge=1, description="how many of the best; if left out, all")
    return_documents: bool = Field(False, description="repeat the documents in the answer")
