"""Types of a call of `encode`: the texts that go in, the options, and the arrays that come back.

They are for type checkers. An option that is missing in `EncodeKeywords` is one that changes the
type of the result (`convert_to_tensor`, `convert_to_numpy`).
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import numpy as np

OneText = str | tuple[str, str]
"""One text, or one pair (instruction, text)."""

Vector = np.ndarray[tuple[int], np.dtype[Any]]
"""The vector (D,) of one text."""

Vectors = np.ndarray[tuple[int, int], np.dtype[Any]]
"""The vectors (N, D) of many texts."""

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
"""Type of the numbers of a vector, as in sentence-transformers' `quantize_embeddings`."""


class PassKeywords(TypedDict, total=False):
    """Options of `encode` that do not depend on its order of arguments. See `Encoder.encode`."""

    precision: Precision
    normalize_embeddings: bool | None
    truncate_dim: int | None
    batch_tokens: int | None


class EncodeKeywords(PassKeywords, total=False):
    """All options of `encode` that do not change the type of the result. See `Encoder.encode`."""

    prompt_name: str | None
    prompt: str | None
    batch_size: int | None
    show_progress_bar: bool | None


class TokenKeywords(TypedDict, total=False):
    """Options of `Encoder.encode_tokens`."""

    prompt: str | None
    prompt_name: str | None
    batch_tokens: int | None
    show_progress_bar: bool | None


class ChunkKeywords(TokenKeywords, total=False):
    """Options of `Encoder.encode_chunks`."""

    length: int | None
    overlap: int | None
    normalize_embeddings: bool | None
