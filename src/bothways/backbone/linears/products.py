"""Matrix products with a fixed weight in 8 bits on a CPU, prepared once for oneDNN's kernel.

Letters: M rows, K inputs, N outputs.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import torch
from torch import Tensor

from bothways.moved import old_names


class LinearProduct(Protocol):
    """The product of float32 rows (M, K) with a fixed weight (N, K): (M, N) float32."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply the rows."""


class Int8Product:
    """A product of 8-bit integers, summed exactly in 32 bits.

    A row of the weight has one scale, and so has each row of activations, whenever it comes. With
    two terms, what the first rounding loses is rounded again at a finer scale and added, which
    keeps 15 bits. A second term of the activations doubles the rows. One of the weight is another
    product, with the first term of the activations alone.

    Args:
        weight: (N, K) float32. It is not kept.
        terms: 1 or 2 terms of the activations.
        weight_terms: 1 or 2 terms of the weight.
    """

    def __init__(self, weight: Tensor, terms: int, weight_terms: int = 1) -> None:
        ops: Any = torch.ops.onednn
        self.terms, self.weight_terms = terms, weight_terms
        self.levels = kernel_levels()
        weight = weight.detach()
        whole, self.scale = rounded_weight(weight)
        self._zeros = torch.zeros(len(whole), dtype=torch.int32)
        self._weight = ops.qlinear_prepack(whole, None)
        self._rest: tuple[Any, Tensor] | None = None
        if weight_terms == 2:
            rest, scale = rounded_weight(weight - whole * self.scale[:, None])
            self._rest = ops.qlinear_prepack(rest, None), scale
        self._run = ops.qlinear_pointwise.default
        self._term_bytes = whole.numel() + 4 * len(whole)

    @property
    def bytes(self) -> int:
        """Memory of the weight."""
        return self.weight_terms * self._term_bytes

    def forget(self) -> None:
        """Free the second term of the weight, if it is not used."""
        if self.weight_terms == 1:
            self._rest = None

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply the rows."""
        count = len(rows)
        factors, scale = rounded_rows(rows, self.levels, self.terms)
        out = self._product(factors, self._weight, self.scale)
        if self.terms == 2:
            out = torch.add(out[:count], out[count:], alpha=0.5 / self.levels)
        if self.weight_terms == 2 and self._rest is not None:
            out += self._product(factors[:count], *self._rest)
        return out.mul_(scale)

    def _product(self, factors: Tensor, weight: Any, scale: Tensor) -> Tensor:
        found: Tensor = self._run(
            *(factors, 1.0, self.levels + 1, weight, scale, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return found


def rounded_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight (N, K) to int8.

    Returns:
        Whole numbers (N, K) from -127 to 127, and scales (N,) float32. Their product is near the
            weight.
    """
    scale = weight.abs().amax(1).float().clamp_min(1e-30) / 127
    whole = (weight.float() / scale[:, None]).round_().clamp_(-127, 127).to(torch.int8)
    return whole, scale


def rounded_rows(rows: Tensor, levels: int, terms: int) -> tuple[Tensor, Tensor]:
    """Round each row of activations with its own scale.

    Args:
        rows: (M, K) float32.
        levels: L, the largest whole number.
        terms: 1 or 2.

    Returns:
        uint8 (terms · M, K), whole numbers from -L to L plus L + 1, and scales (M, 1). The second
            term follows the first, in units of 1 / 2L of its step. NaN and infinity stay in the
            scales.
    """
    scale = rows.abs().amax(1, keepdim=True).clamp_min_(1e-30).div_(levels)
    middle = levels + 1.5  # a conversion cuts off, so half a step more rounds
    steps = rows / scale
    if terms == 1:
        return steps.add_(middle).to(torch.uint8), scale
    found = torch.empty((2 * len(rows), rows.shape[1]), dtype=torch.uint8)
    first, second = found[: len(rows)], found[len(rows) :]
    whole = steps.round()
    first.copy_(whole + (levels + 1))
    second.copy_(steps.sub_(whole).mul_(2 * levels).add_(middle))
    return found, scale


@functools.cache
def kernel_levels() -> int:
    """Find the largest whole number that this CPU's kernel multiplies exactly: 127 or 63.

    CPUs without VNNI add pairs of products in 16 bits, and 255 · 127 twice is too large for them
    (oneDNN, "Nuances of int8 computations").

    Raises:
        RuntimeError: if no kernel is exact, or torch was built without oneDNN.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.where(torch.rand(48, 96, generator=generator) < 0.9, 127, -127).to(torch.int8)
    ops: Any = torch.ops.onednn
    packed = ops.qlinear_prepack(weight, None)
    for levels in (127, 63):
        exact = True
        for rows in (1, 2, 33):
            whole = torch.where(torch.rand(rows, 96, generator=generator) < 0.9, levels, -levels)
            factors = (whole + levels + 1).to(torch.uint8)
            out = ops.qlinear_pointwise.default(
                *(factors, 1.0, levels + 1, packed, torch.ones(48)),
                *(torch.zeros(48, dtype=torch.int32), None),
                *(1.0, 0, torch.float32, "none", [], ""),
            )
            exact = exact and torch.equal(out.double(), whole.double() @ weight.double().t())
        if exact:
            return levels
    raise RuntimeError("no exact 8-bit product")


__getattr__ = old_names(__name__)
