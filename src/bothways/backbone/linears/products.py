"""Matrix products with a fixed weight in 8 bits on a CPU, prepared once for oneDNN's kernel.

Letters: M rows, K inputs, N outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bothways.moved import old_names

_ROWS = 256  # unit vectors that are multiplied together


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
        self.terms, self.weight_terms = terms, weight_terms
        weight = weight.detach()
        parts = [rounded_weight(weight)]
        if weight_terms == 2:
            whole, scale = parts[0]
            parts.append(rounded_weight(weight - whole * scale[:, None]))
        self._prepare(parts)

    def _prepare(self, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Lay out one or two terms, whole numbers (N, K) and scales, for this CPU's kernel."""
        pack: Any = torch.ops.onednn.qlinear_prepack
        self.levels = kernel_levels()
        (whole, self.scale), *rest = parts
        self.shape = tuple(whole.shape)
        self._zeros = torch.zeros(len(whole), dtype=torch.int32)
        self._weight = pack(whole, None)
        self._rest: tuple[Any, Tensor] | None = None
        if rest:
            self._rest = pack(rest[0][0], None), rest[0][1]
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

    def _product(self, factors: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        found: Tensor = torch.ops.onednn.qlinear_pointwise.default(
            *(factors, 1.0, self.levels + 1, weight, scale, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return found

    def _whole(self, weight: Tensor) -> Tensor:
        """Return the whole numbers (N, K) int8 of a packed weight.

        Only the kernel can read its own layout, so unit vectors are multiplied, which is exact.
        """
        outputs, inputs = self.shape
        found = torch.empty((outputs, inputs), dtype=torch.int8)
        for first in range(0, inputs, _ROWS):
            count = min(_ROWS, inputs - first)
            factors = torch.full((count, inputs), self.levels + 1, dtype=torch.uint8)
            factors[torch.arange(count), torch.arange(first, first + count)] += 1
            columns = self._product(factors, weight, torch.ones(outputs))
            found[:, first : first + count] = columns.round().to(torch.int8).t()
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Int8Product:
        """Return a copy that shares the kernel's weights, which nothing changes."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__, scale=self.scale.clone())
        memo[id(self)] = made
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Return what any CPU can prepare again, for pickle."""
        packed = [(self._weight, self.scale), *([self._rest] if self._rest else [])]
        return {
            "terms": self.terms,
            "weight_terms": self.weight_terms,
            "parts": [(self._whole(weight), scale) for weight, scale in packed],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Prepare the product for this CPU."""
        self.terms, self.weight_terms = state["terms"], state["weight_terms"]
        self._prepare(state["parts"])


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
