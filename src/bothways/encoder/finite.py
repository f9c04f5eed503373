"""Vectors that are none: NaN, infinity, or nothing but zeros, which is what an overflow inside a norm leaves. None leaves the library.

A model whose activations grow beyond 65,504 overflows in float16, on ordinary texts (Qwen3-Embedding, Gemma); damaged or huge weights do
in every type. A file of such vectors looks like any other one, and every cosine with them is NaN or 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bothways.errors import InputError


class NotFinite(InputError):
    """Vectors or weights that are not finite, or vectors without any length."""


def check_vectors(
    vectors: np.ndarray, numbers: Sequence[int], texts: Sequence[Any], dtype: torch.dtype, *, zeros: bool = True
) -> None:
    """Raise NotFinite for a vector that cannot be compared with any other.

    Args:
        vectors: (n, D) float32, before they are normalised.
        numbers: index of each vector's text, for the message.
        texts: the text of each, or a pair (instruction, text).
        dtype: of the weights that made them; decides on the remedy.
        zeros: also refuse a vector of zeros alone, and one whose length overflows float32.

    Raises:
        NotFinite: names the first text.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.square(vectors, dtype=np.float32).sum(axis=1)) if zeros else vectors.sum(axis=1, dtype=np.float64)
    finite = np.isfinite(vectors).all(axis=1) if not np.isfinite(lengths).all() else np.ones(len(vectors), dtype=bool)
    good = finite & np.isfinite(lengths) & (vectors != 0).any(axis=1) if zeros else finite
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


def check_weights(state: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Raise NotFinite for a weight, as it is about to be written, that holds NaN or infinity."""
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            kind = str(dtype).removeprefix("torch.")
            raise NotFinite(f"save: the weight {name} holds NaN or infinity in {kind}; {remedy(dtype)}")


def remedy(dtype: torch.dtype) -> str:
    """What to do about numbers that are not finite."""
    if dtype == torch.float16:
        return "numbers beyond 65504 overflow there, so use bfloat16 or float32 (dtype)"
    return "the weights are damaged or far too large, so check the model with bothways doctor, and fetch or train it again"
