"""Refuses vectors and weights that hold NaN, infinity, or nothing but zeros.

Vectors of zeros are the result of an overflow inside a norm. No such vector leaves the library. In
float16 a model whose activations exceed 65,504 overflows on ordinary texts (Qwen3-Embedding,
Gemma). Damaged or huge weights overflow in every type. A file of such vectors looks like any other,
but every cosine with them is NaN or 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bothways.errors import InputError


class NotFinite(InputError):
    """Vectors or weights are not finite, or vectors have no length."""


def check_vectors(
    vectors: np.ndarray,
    numbers: Sequence[int],
    texts: Sequence[Any],
    dtype: torch.dtype,
    *,
    zeros: bool = True,
) -> None:
    """Raise NotFinite if a vector cannot be compared with others.

    Args:
        vectors: (n, D) float32, before they are normalized.
        numbers: index of each vector's text, for the message.
        texts: the text of each, or a pair (instruction, text).
        dtype: of the weights that made them. The remedy in the message depends on it.
        zeros: also refuse a vector of zeros, and one whose length overflows float32.

    Raises:
        NotFinite: names the first such text.
    """
    finite, good = _checked(vectors, zeros=zeros)
    if good.all():
        return
    first = int(good.argmin())
    what = (
        "NaN or infinity"
        if not finite[first]
        else "numbers too large for float32"
        if vectors[first].any()
        else "nothing but zeros"
    )
    text = texts[first] if isinstance(texts[first], str) else texts[first][1]
    shown = " ".join(text[:200].split())[:60]
    raise NotFinite(
        f"text {numbers[first]} ({shown!r}): its vector holds {what} in {str(dtype).removeprefix('torch.')}; {remedy(dtype)}"
    )


def comparable(vectors: np.ndarray) -> np.ndarray:
    """Tell which vectors (n, D) can be compared with others, (n,) bool; see `check_vectors`."""
    return _checked(vectors, zeros=True)[1]


def _checked(vectors: np.ndarray, *, zeros: bool) -> tuple[np.ndarray, np.ndarray]:
    """Tell which vectors (n, D) are finite, and which of them may also be returned, (n,) bool."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = (
            np.sqrt(np.square(vectors, dtype=np.float32).sum(axis=1))
            if zeros
            else vectors.sum(axis=1, dtype=np.float64)
        )
    finite = (
        np.isfinite(vectors).all(axis=1)
        if not np.isfinite(lengths).all()
        else np.ones(len(vectors), dtype=bool)
    )
    if not zeros:
        return finite, finite
    return finite, finite & np.isfinite(lengths) & (vectors != 0).any(axis=1)


def check_weights(state: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Raise NotFinite if a weight that is about to be written holds NaN or infinity."""
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            kind = str(dtype).removeprefix("torch.")
            raise NotFinite(
                f"save: the weight {name} holds NaN or infinity in {kind}; {remedy(dtype)}"
            )


def remedy(dtype: torch.dtype) -> str:
    """Say what to do about numbers that are not finite."""
    if dtype == torch.float16:
        return "numbers beyond 65504 overflow there, so use bfloat16 or float32 (dtype)"
    return "the weights are damaged or far too large, so check the model with bothways doctor, and fetch or train it again"
