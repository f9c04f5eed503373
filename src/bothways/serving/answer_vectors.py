"""Vectors as an answer holds them: cut, scaled, quantized, and written in JSON or base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from bothways.encoder.encoder import Encoder
from bothways.encoder.inference import Precision, finish, quantize
from bothways.errors import InputError
from bothways.similarity import scores, unit_or_own
from bothways.similarity_names import Similarity, similarity_name


def check(dimensions: int | None, precision: Precision, width: int, *, ranges: bool) -> None:
    """Raise InputError for a request that vectors of `width` numbers cannot satisfy.

    `ranges` tells whether the server knows the ranges that int8 needs.
    """
    if dimensions is not None and dimensions > width:
        raise InputError(
            f"dimensions: must be at most {width}, the numbers of a vector of this model (got {dimensions})"
        )
    if precision in ("int8", "uint8") and not ranges:
        raise InputError(
            f"precision: {precision!r} scales numbers by their ranges over many texts, which this server was not given; start it "
            "with --int8-texts FILE, or ask for 'binary'"
        )
    kept = dimensions or width
    if precision in ("binary", "ubinary") and kept % 8:
        raise InputError(
            f"dimensions: {precision!r} packs 8 numbers into a byte, so they must be a multiple of 8 (got {kept})"
        )


def ranges_of(vectors: np.ndarray, dimensions: int | None, normalize: bool) -> np.ndarray:
    """Compute the smallest and the largest value of each number, (2, D'), of vectors (n, D)."""
    kept = finish(vectors[:, :dimensions], normalize)
    return np.stack([kept.min(axis=0), kept.max(axis=0)])


def compared(
    vectors: np.ndarray, queries: int, encoder: Encoder, asked: Similarity | None
) -> np.ndarray:
    """Compute the similarities (queries, documents) float32 of pooled vectors (n, D).

    Args:
        vectors: those of the queries, and then those of the documents.
        queries: number of queries.
        encoder: gives its own similarity, and whether its vectors have length 1.
        asked: the similarity of the request, if it names one.
    """
    kind = similarity_name(encoder, asked)
    found = finish(vectors, unit_or_own(kind) or encoder.options.normalize)
    return scores(found[:queries], found[queries:], kind).astype(np.float32)


def finished(
    vectors: Sequence[np.ndarray],
    *,
    dimensions: int | None,
    normalize: bool,
    precision: Precision = "float32",
    ranges: np.ndarray | None = None,
) -> np.ndarray:
    """Do what `Encoder.encode` does after pooling.

    Args:
        vectors: each (D,) float32.
        dimensions: keep this many leading numbers.
        normalize: scale to unit length, after the cut.
        precision: see `Encoder.encode`.
        ranges: (2, D') of int8 and uint8, see `ranges_of`. `encode` takes those of its own texts,
            so vectors of two calls could not be compared.

    Returns:
        (N, D') in the type of `precision`.
    """
    kept = finish(np.stack(vectors)[:, :dimensions], normalize)
    if ranges is None:
        return quantize(kept, precision)
    from sentence_transformers.util import quantize_embeddings

    return np.asarray(quantize_embeddings(kept, precision=precision, ranges=ranges))


def written(vectors: np.ndarray, encoding: Literal["float", "base64"] | None) -> list[Any]:
    """Write vectors (N, D) for JSON.

    Base64 holds float32 in little-endian order, and OpenAI's client reads it so. Quantized vectors
    are always lists of whole numbers: that client asks for base64 by itself, and would read their
    bytes as float32.
    """
    if encoding == "base64" and vectors.dtype == np.float32:
        little = np.ascontiguousarray(vectors, dtype="<f4")
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in little]
    rows: list[Any] = vectors.tolist()
    return rows
